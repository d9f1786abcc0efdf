"""
The payload builder: makes the payloads of an event, at the call of a tracking method.

It works in two steps. `resolve` finds out everything that the event needs
besides itself: its id, its times, its subject and its page. `build` makes JSON
bytes of the result, and depends on nothing else. Global contexts and enrichers
stand between the two; for an event without any, `payloads` does both steps in one.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final
from uuid import UUID

import orjson

from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.atomic import MAX_EVENT_BYTES, UUID_FORM, is_unicode
from snowplow_aio.model.payload import Payload, check_size
from snowplow_aio.model.payload_bytes import PayloadBytes
from snowplow_aio.model.primitive_event import PrimitiveEvent
from snowplow_aio.model.self_describing import SelfDescribing, SelfDescribingJson
from snowplow_aio.model.subject import IDENTIFYING_KEYS, Subject, merge, merged, subject_with
from snowplow_aio.model.timestamps import DeviceTimestamp, TrueTimestamp, milliseconds
from snowplow_aio.tracking.draft import Draft, schema_of
from snowplow_aio.tracking.event_id import new_event_id
from snowplow_aio.tracking.json_encoder import JSONDefault, is_plain, json_in_one_pass, model_data, to_json
from snowplow_aio.tracking.scope import TrackingScope, bound_scope, bound_subject


def _standard_base64(data: bytes, altchars: bytes) -> bytes:
    # These are three calls in C; `base64.urlsafe_b64encode` takes twice as long.
    return b2a_base64(data, newline=False).replace(b"+", altchars[:1]).replace(b"/", altchars[1:])


def _quickest_base64() -> Callable[[bytes, bytes], bytes]:
    try:
        # The extra `speed` takes a quarter of the time.
        from pybase64 import b64encode  # noqa: PLC0415
    except ImportError:
        return _standard_base64
    return b64encode


# Final, like all that is read here for each event: compiled code does not look it up in the module.
_base64: Final = _quickest_base64()
_dumps: Final = orjson.dumps
_bound_subject: Final = bound_subject.get
_bound_scope: Final = bound_scope.get

_CONTEXTS: Final = "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-1"
_NO_PAGE: Final[Mapping[str, str]] = {}
_UNSTRUCT_EVENT: Final = "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0"


class PendingPayloads:
    """
    The payloads of one call of a tracking method.

    Args:
        event_id: The id of the event.

        ready: The payloads, which each emitter gets in one piece; None while coroutine
            functions must be awaited for them.

        later: Awaits these functions and returns the payloads.
    """

    __slots__ = ("_later", "event_id", "ready")

    def __init__(
        self,
        event_id: str,
        ready: tuple[Payload, ...] | None,
        later: Callable[[], Awaitable[tuple[Payload, ...]]] | None = None,
    ) -> None:
        self.event_id: str = event_id
        self.ready: tuple[Payload, ...] | None = ready
        self._later = later

    def later(self) -> Awaitable[tuple[Payload, ...]]:
        """
        Return the awaitable of payloads that are not ready.

        Raises:
            RuntimeError: If they are.
        """
        # No `async def`: a compiled one warns when it is cancelled.
        if self._later is None:
            raise RuntimeError("the payloads are ready")
        return self._later()

    def must_be_awaited(self) -> InvalidEventError:
        """Return the error for a caller that cannot wait until the payloads are ready."""
        rule = "must be awaited, as a global context or an enricher of it is a coroutine function"
        return InvalidEventError(f"event: {rule}; use track or track_and_confirm")


class ResolvedCall:
    """
    One call of a tracking method, with everything that its events need; later changes do not reach it.

    Attributes:
        drafts: The event and, after it, the events that are tracked with it.

        times: The times of these events, as members of a JSON object.

        is_permitted: Whether the scope permits tracking.
    """

    __slots__ = ("drafts", "is_permitted", "times")

    def __init__(self, drafts: tuple[Draft, ...], times: str, is_permitted: bool) -> None:  # noqa: FBT001
        self.drafts: tuple[Draft, ...] = drafts
        self.times: str = times
        self.is_permitted: bool = is_permitted


class PayloadBuilder:
    """
    Makes the payloads of events.

    Args:
        fixed: The protocol fields of every event: the tracker's version, names and platform.

        subject: The tracker's subject.

        encode_base64: Whether self-describing data is sent as URL-safe base64.

        json_default: Turns a value that JSON does not know into one that it does.

        is_anonymous: Whether every event is anonymous.

        clock: The wall clock in nanoseconds since the epoch.

        new_id: Makes event ids: UUIDs in their canonical form.

    Attributes:
        subject: The tracker's subject.
    """

    def __init__(
        self,
        fixed: Mapping[str, str],
        subject: Subject,
        *,
        encode_base64: bool,
        json_default: JSONDefault | None,
        is_anonymous: bool,
        clock: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._fixed = dict(fixed)
        self.subject: Subject = subject
        self._base64 = encode_base64
        self._default = json_default
        self._is_anonymous = is_anonymous
        self._clock = clock
        self._new_id = new_id
        self._own: _OwnFields | None = None

    def set_platform(self, platform: str) -> None:
        """Set the platform code of events whose subject has none."""
        self._fixed = self._fixed | {"p": platform}
        self._own = None

    def payloads(
        self,
        event: Any,
        context: Any,
        tstamp: Any,
        true_timestamp: Any,
        subject: Any,
        event_id: Any,
        anonymous: Any,
    ) -> PendingPayloads:
        """
        Return the payloads of an event that no function changes: `resolve` and `build` in one.

        It makes no drafts, which would take as long as the JSON of the event. The
        arguments are those of `resolve`, and it raises the same errors.
        """
        # Resolve.
        scope = _bound_scope()
        own_id, times, is_anonymous, is_permitted = self._stamp(
            scope, tstamp, true_timestamp, event_id, anonymous
        )
        kind = type(event)
        wire = _wires[kind] if kind in _wires else _wire_fields(kind)
        if subject is None and not is_anonymous and _bound_subject() is None:
            known = self._own
            if known is None or known.subject is not self.subject or known.revision != self.subject.revision:
                known = self._renewed()
            if scope is None:
                fields = known.json
            else:
                page = _page(event, wire, scope.page())
                fields = _dumps({**known.fields, **scope.fields(), **page})[1:-1]
        else:
            page = _NO_PAGE if scope is None else _page(event, wire, scope.page())
            fields = self._merged_fields(self._layers(scope, subject), page, is_anonymous)
        # Build.
        payload = self._payload(event, wire, own_id, times, fields, context, is_anonymous)
        if not is_permitted:
            return PendingPayloads(own_id, ())
        if wire is None or not wire.has_followers:
            return PendingPayloads(own_id, (payload,))
        payloads = [payload]
        for i, (item, its_context) in enumerate(event.followers()):
            try:
                its_id = self._next_id()
                its_wire = _wire_fields(type(item))
                payloads.append(
                    self._payload(item, its_wire, its_id, times, fields, its_context, is_anonymous)
                )
            except InvalidEventError as error:
                raise _of_item(i, error) from None
        return PendingPayloads(own_id, tuple(payloads))

    def resolve(
        self,
        event: Any,
        context: Any,
        tstamp: Any,
        true_timestamp: Any,
        subject: Any,
        event_id: Any,
        anonymous: Any,
    ) -> ResolvedCall:
        """
        Return everything that *event*, and those that are tracked with it, need to be built.

        Args:
            event: The event.

            context: The entities; this and the other arguments are those of `Tracker.track`.

            tstamp: The time of the event.

            true_timestamp: The true time of the event.

            subject: The subject of the call.

            event_id: The id of the event; None for a new one.

            anonymous: Whether the event is anonymous.

        Raises:
            InvalidEventError: If an argument breaks a rule. Data that is no JSON is found by `build`.
        """
        scope = _bound_scope()
        own_id, times, is_anonymous, is_permitted = self._stamp(
            scope, tstamp, true_timestamp, event_id, anonymous
        )
        layers = self._layers(scope, subject)
        page = _NO_PAGE if scope is None else scope.page()
        drafts = [_draft(event, context, layers, page, own_id, is_anonymous)]
        followers = event.followers() if isinstance(event, PrimitiveEvent) else ()
        for i, (item, its_context) in enumerate(followers):
            try:
                drafts.append(_draft(item, its_context, layers, page, self._next_id(), is_anonymous))
            except InvalidEventError as error:
                raise _of_item(i, error) from None
        return ResolvedCall(tuple(drafts), times, is_permitted)

    def build(self, draft: Draft, times: str) -> Payload:
        """
        Return the payload of *draft*, which happened at *times*.

        Raises:
            InvalidEventError: If something in it is not JSON or breaks a rule of the
                protocol, or all of it is too large.
        """
        wire = _wire_fields(type(draft.event))
        page = _page(draft.event, wire, draft.page)
        fields = self._merged_fields((checked_subject(draft.subject),), page, draft.anonymous)
        return self._payload(draft.event, wire, draft.event_id, times, fields, draft.context, draft.anonymous)

    def build_all(self, call: ResolvedCall) -> tuple[Payload, ...]:
        """
        Return the payloads of *call* as it was made, before any function.

        Raises:
            InvalidEventError: As `build` does; the error names the item of a transaction.
        """
        payloads: list[Payload] = []
        for i, draft in enumerate(call.drafts):
            try:
                payloads.append(self.build(draft, call.times))
            except InvalidEventError as error:
                if i == 0:
                    raise
                raise _of_item(i - 1, error) from None
        return tuple(payloads)

    def _stamp(
        self,
        scope: TrackingScope | None,
        tstamp: Any,
        true_timestamp: Any,
        event_id: Any,
        anonymous: Any,
    ) -> tuple[str, str, bool, bool]:
        """Return the event's id, its times, and whether it is anonymous and whether it is permitted."""
        if event_id is not None:
            own_id = _event_id("event_id", event_id)
        elif self._new_id is new_event_id:
            # The usual way of `_next_id`, without a call of it for each event.
            own_id = new_event_id.next_id()
        else:
            own_id = self._next_id()
        if tstamp is None and true_timestamp is None:
            times = f'"dtm":"{self._clock() // 1_000_000}"'
        else:
            times = self._times(tstamp, true_timestamp)
        if scope is None:
            return own_id, times, self._is_anonymous or bool(anonymous), True
        permission = scope.permission()
        is_anonymous = self._is_anonymous or bool(anonymous) or permission == "anonymous"
        return own_id, times, is_anonymous, permission != "nothing"

    def _times(self, tstamp: Any, true_timestamp: Any) -> str:
        """Return the times of an event, of which one is given, as members of a JSON object."""
        if isinstance(tstamp, TrueTimestamp):
            if true_timestamp is not None:
                rule = "must be None where tstamp is a true one"
                raise InvalidEventError.about("true_timestamp", true_timestamp, rule)
            return f'"ttm":"{tstamp.milliseconds}"'
        if isinstance(tstamp, DeviceTimestamp):
            device = tstamp.milliseconds
        else:
            device = self._clock() // 1_000_000 if tstamp is None else milliseconds(tstamp)
        if true_timestamp is None:
            return f'"dtm":"{device}"'
        if isinstance(true_timestamp, TrueTimestamp):
            return f'"dtm":"{device}","ttm":"{true_timestamp.milliseconds}"'
        return f'"dtm":"{device}","ttm":"{milliseconds(true_timestamp, "true_timestamp")}"'

    def _next_id(self) -> str:
        if self._new_id is new_event_id:
            return new_event_id.next_id()
        return _event_id("new_id()", self._new_id())

    def _renewed(self) -> _OwnFields:
        """Return the fields of the tracker and its subject, of which one has changed."""
        # Replaced as one, because another thread may be tracking too.
        known = self._own = _OwnFields(self.subject, self._fixed)
        return known

    def _layers(self, scope: TrackingScope | None, subject: Any) -> list[Subject]:
        """Return the subjects of an event, of which a later one wins."""
        layers = [self.subject]
        if scope is not None:
            layers.append(subject_with(scope.fields()))
        bound = _bound_subject()
        if bound is not None:
            layers.append(bound)
        if subject is not None:
            layers.append(checked_subject(subject))
        return layers

    def _merged_fields(
        self,
        layers: Iterable[Subject],
        page: Mapping[str, str],
        is_anonymous: bool,  # noqa: FBT001
    ) -> bytes:
        fields = merge(layers)
        if is_anonymous:
            fields = {key: value for key, value in fields.items() if key not in IDENTIFYING_KEYS}
        return _dumps({**self._fixed, **fields, **page})[1:-1]

    def _payload(
        self,
        event: Any,
        wire: _WireFields | None,
        event_id: str,
        times: str,
        fields: bytes,
        context: Any,
        is_anonymous: bool,  # noqa: FBT001
    ) -> Payload:
        if context is not None and not isinstance(context, (list, tuple)):
            raise _no_context(context)
        # Joined once: each copy of an event costs as much as its JSON does.
        own = b'"e":"ue"' if wire is None else _protocol_fields(event, wire)
        parts = [own, f',"eid":"{event_id}",{times},'.encode(), fields]
        if wire is None:
            self._add_member(parts, b'"ue_px":"', b'"ue_pr":', _unstruct_event(event, self._default))
        if context:
            self._add_member(parts, b'"cx":"', b'"co":', _contexts(context, self._default))
        parts.append(b"}")
        tail = b"".join(parts)
        if len(tail) >= MAX_EVENT_BYTES:
            check_size(tail)
        payload = _new_payload(Payload)
        made: PayloadBytes = payload
        made.tail = tail
        made.anonymous = is_anonymous
        return payload

    def _add_member(self, parts: list[bytes], base64_key: bytes, key: bytes, json: bytes) -> None:
        """Add *json* to the *parts* of an event, as base64 or as a string."""
        parts.append(b",")
        if self._base64:
            parts.append(base64_key)
            parts.append(_base64(json, b"-_"))
            parts.append(b'"')
        else:
            parts.append(key)
            parts.append(_dumps(json.decode()))


class _OwnFields:
    """The fields of a tracker and its own subject; valid as long as neither changes."""

    def __init__(self, subject: Subject, fixed: Mapping[str, str]) -> None:
        self.subject: Subject = subject
        self.revision: int = subject.revision
        self.fields: dict[str, str] = {**fixed, **merge((subject,))}
        self.json: bytes = _dumps(self.fields)[1:-1]


def _draft(
    event: Any,
    context: Any,
    layers: Iterable[Subject],
    page: Mapping[str, str],
    event_id: str,
    is_anonymous: bool,  # noqa: FBT001
) -> Draft:
    if not (context is None or isinstance(context, (list, tuple))):
        raise _no_context(context)
    if schema_of(event) is None:
        raise _not_described(event, "event")
    return Draft(
        event=event.alone() if isinstance(event, PrimitiveEvent) else event,
        context=tuple(context or ()),
        subject=merged(layers),
        anonymous=is_anonymous,
        event_id=event_id,
        page=page,
    )


def _no_context(context: Any) -> InvalidEventError:
    return InvalidEventError.about("context", context, "must be a list of entities, or None")


def _of_item(index: int, error: InvalidEventError) -> InvalidEventError:
    """Return *error* as one about an item: only the items of a transaction are tracked with another event."""
    return InvalidEventError(f"items[{index}].{error}")


def checked_subject(subject: Any) -> Subject:
    """
    Return *subject*.

    Raises:
        InvalidEventError: If it is no `Subject`.
    """
    if not isinstance(subject, Subject):
        raise InvalidEventError.about("subject", subject, "must be a Subject")
    return subject


def _event_id(name: str, event_id: Any) -> str:
    text = str(event_id)
    if not isinstance(event_id, (str, UUID)) or UUID_FORM.fullmatch(text) is None:
        raise InvalidEventError.about(name, event_id, "must be a UUID in its canonical form")
    return text.lower()


# Skips the checks of `Payload`: the fields are known to be right.
_new_payload: Final[Callable[[type[Payload]], Payload]] = PayloadBytes.__new__

# Found out once for each class, because pydantic makes `isinstance` take half a microsecond.
_models: Final[dict[type, bool]] = {}
_wires: Final[dict[type, _WireFields | None]] = {}


class _WireFields:
    """The protocol fields of a class of events."""

    def __init__(self, kind: type[PrimitiveEvent]) -> None:
        self.code: str = kind.event_code
        self.fields = kind.wire_fields
        self.has_followers: bool = kind.has_followers
        self.has_page: bool = any(key == "url" for _, key, _ in kind.wire_fields)


def _wire_fields(kind: type) -> _WireFields | None:
    """Return the protocol fields of events of this *kind*, or None if they are self-describing."""
    if kind not in _wires:
        _wires[kind] = _WireFields(kind) if issubclass(kind, PrimitiveEvent) else None
    return _wires[kind]


def _is_model(kind: type) -> bool:
    """Return whether *kind* is a `SelfDescribing` model."""
    if kind not in _models:
        _models[kind] = issubclass(kind, SelfDescribing)
    return _models[kind]


def _page(event: Any, wire: _WireFields | None, page: Mapping[str, str]) -> Mapping[str, str]:
    """Return the part of a request's *page* that *event* lacks."""
    if wire is None or not wire.has_page:
        return page
    # The referrer of a request led to the page of that request and to no other.
    if not event.referrer and event.page_url == page.get("url") and "refr" in page:
        return {"refr": page["refr"]}
    return _NO_PAGE


def _protocol_fields(event: Any, wire: _WireFields) -> bytes:
    """Return the fields of *event* that are neither None nor empty, as members of a JSON object."""
    values: dict[str, Any] = event.__dict__
    fields: dict[str, str] = {"e": wire.code}
    for name, key, text in wire.fields:
        value = values[name]
        if type(value) is str:
            # An empty string is not sent, because the pipeline cannot read most fields from it.
            if value:
                fields[key] = value
        elif value is not None and value != "":
            fields[key] = text(value)
    try:
        return _dumps(fields)[1:-1]
    except TypeError:
        for name, value in event:
            if isinstance(value, str) and not is_unicode(value):
                raise InvalidEventError.about(name, value, "must not contain a lone surrogate") from None
        raise


def _unstruct_event(event: Any, default: JSONDefault | None) -> bytes:
    described = _described(event)
    if described is None:
        raise _not_described(event, "event")
    whole = {"schema": _UNSTRUCT_EVENT, "data": described}
    json = json_in_one_pass(whole, is_plain(described["data"]), default)
    return json or _envelope(_UNSTRUCT_EVENT, _checked_json(event, described, "event", default))


def _contexts(context: Any, default: JSONDefault | None) -> bytes:
    described: list[dict[str, Any]] = []
    are_plain = True
    for i, entity in enumerate(context):
        both = _described(entity)
        if both is None:
            raise _not_described(entity, f"context[{i}]")
        are_plain = are_plain and is_plain(both["data"])
        described.append(both)
    json = json_in_one_pass({"schema": _CONTEXTS, "data": described}, are_plain, default)
    if json is not None:
        return json
    entities = [
        _checked_json(entity, both, f"context[{i}]", default)
        for i, (entity, both) in enumerate(zip(context, described, strict=True))
    ]
    return _envelope(_CONTEXTS, b"[" + b",".join(entities) + b"]")


def _checked_json(
    value: Any, described: Mapping[str, Any], argument: str, default: JSONDefault | None
) -> bytes:
    """Return one self-describing JSON of several, so that an error can name the place."""
    place = f"{argument}.data" if isinstance(value, SelfDescribingJson) else argument
    return _envelope(described["schema"], to_json(described["data"], place, default))


def _envelope(schema: str, data: bytes) -> bytes:
    return b'{"schema":"' + schema.encode() + b'","data":' + data + b"}"


def _described(value: Any) -> dict[str, Any] | None:
    """Return the schema and the data of *value*, or None if it has no schema."""
    if isinstance(value, SelfDescribingJson):
        # Not by the properties, which are calls of Python functions.
        return {"schema": value._schema, "data": value._data}  # noqa: SLF001
    if not _is_model(type(value)):
        return None
    uri = getattr(value, "schema_uri", None)
    return None if uri is None else {"schema": uri, "data": model_data(value)}


def _not_described(value: Any, argument: str) -> InvalidEventError:
    """Return the error about *value*, which has no schema."""
    if _is_model(type(value)):
        rule = "must be of a class with a schema: class X(SelfDescribing, schema='iglu:...')"
        return InvalidEventError.about(argument, type(value).__name__, rule)
    rule = "must be a SelfDescribingJson or an instance of a SelfDescribing model"
    if argument == "event":
        rule = "must be an event: an instance of PageView or another model, or a SelfDescribingJson"
    return InvalidEventError.about(argument, value, rule)
