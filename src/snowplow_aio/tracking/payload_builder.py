"""
Making events complete, and encoding them: what a tracker does at the call.

An event gets its id, its time, what the tracker and the subjects add, and its
context, and becomes the JSON bytes of a `Payload`.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

import orjson

from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.atomic import MAX_EVENT_BYTES, UUID_FORM, is_unicode
from snowplow_aio.model.payload import Payload, check_size
from snowplow_aio.model.payload_bytes import PayloadBytes
from snowplow_aio.model.primitive_event import PrimitiveEvent
from snowplow_aio.model.self_describing import SelfDescribing, SelfDescribingJson
from snowplow_aio.model.subject import IDENTIFYING_KEYS, Subject, merge, subject_with
from snowplow_aio.model.timestamps import DeviceTimestamp, TrueTimestamp, milliseconds
from snowplow_aio.tracking.event_id import new_event_id
from snowplow_aio.tracking.json_encoder import JSONDefault, is_plain, json_in_one_pass, model_data, to_json
from snowplow_aio.tracking.scope import TrackingScope, bound_scope, bound_subject


def _standard_base64(data: bytes, altchars: bytes) -> bytes:
    # Three calls in C; `base64.urlsafe_b64encode` takes twice as long.
    return b2a_base64(data, newline=False).replace(b"+", altchars[:1]).replace(b"/", altchars[1:])


def _quickest_base64() -> Callable[[bytes, bytes], bytes]:
    try:
        # The extra `speed`: a quarter of the time.
        from pybase64 import b64encode  # noqa: PLC0415
    except ImportError:
        return _standard_base64
    return b64encode


# Final, as all that an event's way looks up in a module: compiled, it is no look-up any more.
_base64: Final = _quickest_base64()
_dumps: Final = orjson.dumps
_bound_subject: Final = bound_subject.get
_bound_scope: Final = bound_scope.get

_CONTEXTS: Final = "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-1"
_UNSTRUCT_EVENT: Final = "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0"


class PayloadBuilder:
    """
    Makes events complete, and encodes them.

    Args:
        fixed: The protocol fields of every event: the tracker's version, names and platform.

        encode_base64: Whether self-describing data is sent as URL-safe base64.

        json_default: Turns values that JSON does not know into some that it does.

        is_anonymous: Whether every event is anonymous.

        clock: The wall clock in nanoseconds since the epoch.

        new_id: Makes event ids: UUIDs in their canonical form.
    """

    def __init__(
        self,
        fixed: Mapping[str, str],
        *,
        encode_base64: bool,
        json_default: JSONDefault | None,
        is_anonymous: bool,
        clock: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._fixed = dict(fixed)
        self._base64 = encode_base64
        self._default = json_default
        self._is_anonymous = is_anonymous
        self._clock = clock
        self._new_id = new_id
        self._constant: _Constant | None = None

    def set_platform(self, platform: str) -> None:
        """Set the platform code of events whose subject has none."""
        self._fixed = self._fixed | {"p": platform}
        self._constant = None

    def encode(
        self,
        event: Any,
        tracker_subject: Subject,
        context: Any,
        tstamp: Any,
        true_timestamp: Any,
        subject: Any,
        event_id: Any,
        anonymous: Any,
    ) -> tuple[tuple[Payload, ...], str]:
        """
        Return the payloads of *event*, all to be taken in one piece, and the event id.

        There are none where the occasion permits nothing to be tracked.

        Args:
            event: What happened.

            tracker_subject: Whom the tracker's events are about.

            context: The other arguments are those of `track`.

        Raises InvalidEventError when something in it is not JSON, breaks a rule
        of the protocol, or all of it is too large.
        """
        scope = _bound_scope()
        permission = "all" if scope is None else scope.permission()
        is_anonymous = self._is_anonymous or bool(anonymous) or permission == "anonymous"
        own_id = self._next_id() if event_id is None else _event_id("event_id", event_id)
        times = self._timestamps(tstamp, true_timestamp)
        recipe = _recipe(type(event))
        page = None if scope is None else _page(event, recipe, scope)
        constant = self._constant_fields(tracker_subject, scope, page, subject, is_anonymous)
        payload = self._payload(event, own_id, times, constant, context, is_anonymous)
        if permission == "nothing":
            return (), own_id
        if recipe is None or not recipe.has_followers:
            return (payload,), own_id
        payloads = [payload]
        for i, (follower, its_context) in enumerate(event.followers()):
            try:
                payloads.append(
                    self._payload(follower, self._next_id(), times, constant, its_context, is_anonymous)
                )
            except InvalidEventError as error:
                # Only the items of a transaction follow anything.
                raise InvalidEventError(f"items[{i}].{error}") from None
        return tuple(payloads), own_id

    def _payload(
        self,
        event: Any,
        own_id: str,
        times: str,
        constant: bytes,
        context: Any,
        is_anonymous: bool,  # noqa: FBT001
    ) -> Payload:
        if context is not None and not isinstance(context, (list, tuple)):
            raise InvalidEventError.about("context", context, "must be a list of entities, or None")
        # Joined once: each copy of an event costs as much as its JSON does.
        recipe = _recipe(type(event))
        fields = b'"e":"ue"' if recipe is None else _protocol_fields(event, recipe)
        parts = [fields, f',"eid":"{own_id}",{times},'.encode(), constant]
        if recipe is None:
            self._add_member(parts, b'"ue_px":"', b'"ue_pr":', _unstruct_event(event, self._default))
        if context:
            self._add_member(parts, b'"cx":"', b'"co":', _contexts(context, self._default))
        parts.append(b"}")
        tail = b"".join(parts)
        if len(tail) >= MAX_EVENT_BYTES:
            check_size(tail)
        payload = _new_payload(Payload)
        encoded: PayloadBytes = payload
        encoded.tail = tail
        encoded.anonymous = is_anonymous
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

    def _next_id(self) -> str:
        if self._new_id is new_event_id:
            return new_event_id()
        return _event_id("new_id()", self._new_id())

    def _timestamps(self, tstamp: Any, true_timestamp: Any) -> str:
        """Return the times of an event as members of a JSON object."""
        if tstamp is None and true_timestamp is None:
            return f'"dtm":"{self._clock() // 1_000_000}"'
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

    def _constant_fields(
        self,
        own: Subject,
        scope: TrackingScope | None,
        page: Mapping[str, str] | None,
        subject: Any,
        is_anonymous: bool,  # noqa: FBT001
    ) -> bytes:
        """Return what tracker and subjects add to an event, as members of a JSON object."""
        bound = _bound_subject()
        if bound is None and subject is None and not is_anonymous:
            # Read and replaced as one: another thread may be tracking too.
            constant = self._constant
            if constant is None or constant.subject is not own or constant.revision != own.revision:
                constant = self._constant = _Constant(own, self._fixed)
            if scope is None:
                return constant.json
            return _dumps({**constant.fields, **scope.fields(), **(page or {})})[1:-1]
        given = None if subject is None else checked_subject(subject)
        visitor = None if scope is None else subject_with(scope.fields())
        fields = merge([layer for layer in (own, visitor, bound, given) if layer is not None])
        if is_anonymous:
            fields = {key: value for key, value in fields.items() if key not in IDENTIFYING_KEYS}
        if page is not None:
            fields.update(page)
        return _dumps(self._fixed | fields)[1:-1]


class _Constant:
    """What the tracker and its own subject add to events, as long as neither changes."""

    def __init__(self, subject: Subject, fixed: Mapping[str, str]) -> None:
        self.subject: Subject = subject
        self.revision: int = subject.revision
        self.fields: dict[str, str] = {**fixed, **merge((subject,))}
        self.json: bytes = _dumps(self.fields)[1:-1]


def checked_subject(subject: Any) -> Subject:
    """Return *subject*. Raises InvalidEventError when it is no Subject."""
    if not isinstance(subject, Subject):
        raise InvalidEventError.about("subject", subject, "must be a Subject")
    return subject


def _event_id(name: str, event_id: Any) -> str:
    text = str(event_id)
    if not isinstance(event_id, (str, UUID)) or UUID_FORM.fullmatch(text) is None:
        raise InvalidEventError.about(name, event_id, "must be a UUID in its canonical form")
    return text.lower()


# Past the checks of a mapping of fields: these are known to be right.
_new_payload: Final[Callable[[type[Payload]], Payload]] = PayloadBytes.__new__

# Asked once for each class: pydantic makes `isinstance` take half a microsecond.
_models: Final[dict[type, bool]] = {}
_recipes: Final[dict[type, _Recipe | None]] = {}


class _Recipe:
    """What a class of events with protocol fields of its own says of all its instances."""

    def __init__(self, kind: type[PrimitiveEvent]) -> None:
        self.code: str = kind.event_code
        self.fields = kind.wire_fields
        self.has_followers: bool = kind.has_followers
        self.has_page: bool = any(key == "url" for _, key, _ in kind.wire_fields)


def _recipe(kind: type) -> _Recipe | None:
    """Return the recipe for events of this *kind*, or None where they are self-describing."""
    if kind not in _recipes:
        _recipes[kind] = _Recipe(kind) if issubclass(kind, PrimitiveEvent) else None
    return _recipes[kind]


def _is_model(kind: type) -> bool:
    """Return whether *kind* is a `SelfDescribing` model."""
    if kind not in _models:
        _models[kind] = issubclass(kind, SelfDescribing)
    return _models[kind]


def _page(event: Any, recipe: _Recipe | None, scope: TrackingScope) -> Mapping[str, str]:
    """Return what the page of *occasion* adds to *event*."""
    if recipe is None or not recipe.has_page:
        return scope.page()
    if not event.referrer:
        page = scope.page()
        # What led to the page of a request is no referrer of another page.
        if event.page_url == page.get("url") and "refr" in page:
            return {"refr": page["refr"]}
    return {}


def _protocol_fields(event: Any, recipe: _Recipe) -> bytes:
    """Return the fields of *event* that are not None or empty as members of a JSON object."""
    values: dict[str, Any] = event.__dict__
    fields: dict[str, str] = {"e": recipe.code}
    for name, key, text in recipe.fields:
        value = values[name]
        if type(value) is str:
            # An empty string is not sent: most fields cannot be read from it.
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
    described = _described(event, -1)
    whole = {"schema": _UNSTRUCT_EVENT, "data": described}
    json = json_in_one_pass(whole, is_plain(described["data"]), default)
    return json or _envelope(_UNSTRUCT_EVENT, _checked_json(event, described, "event", default))


def _contexts(context: Any, default: JSONDefault | None) -> bytes:
    described: list[dict[str, Any]] = []
    are_plain = True
    for entity in context:
        both = _described(entity, len(described))
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


def _described(value: Any, place: int) -> dict[str, Any]:
    """Return the two parts of *value*: the entity at *place*, or the event where that is -1."""
    if isinstance(value, SelfDescribingJson):
        # Past the properties: calls of Python functions.
        return {"schema": value._schema, "data": value._data}  # noqa: SLF001
    argument = "event" if place < 0 else f"context[{place}]"
    if _is_model(type(value)):
        uri = getattr(value, "schema_uri", None)
        if uri is None:
            rule = "must be of a class with a schema: class X(SelfDescribing, schema='iglu:...')"
            raise InvalidEventError.about(argument, type(value).__name__, rule)
        return {"schema": uri, "data": model_data(value)}
    rule = "must be a SelfDescribingJson or an instance of a SelfDescribing model"
    if place < 0:
        rule = "must be an event: an instance of PageView or another model, or a SelfDescribingJson"
    raise InvalidEventError.about(argument, value, rule)
