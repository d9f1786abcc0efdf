"""Inputs by chance for everything that a user hands to the library, and the judgement on each."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import ValidationError

import snowplow_aio
from snowplow_aio import (
    ConfigurationError,
    HttpEmitter,
    InvalidEventError,
    MemoryEmitter,
    SelfDescribing,
    Subject,
    Tracker,
    use_context,
    use_subject,
)
from snowplow_aio.http.collector import Collector
from snowplow_aio.iglu.registries import shipped_models
from tests.compat.fuzz.values import Values
from tests.conformance.oracle import Oracle


class Game(SelfDescribing, schema="iglu:com.acme/game/jsonschema/1-0-0"):
    """A user's own model."""

    title: str
    level: int = 1
    is_hard: bool = False
    score: float | None = None
    tags: Sequence[str] = ()
    extra: Mapping[str, Any] | None = None


_ATOMIC: tuple[type[Any], ...] = (
    snowplow_aio.PageView,
    snowplow_aio.PagePing,
    snowplow_aio.StructuredEvent,
    snowplow_aio.EcommerceTransaction,
    snowplow_aio.EcommerceTransactionItem,
)

# Of a subject: the keyword, and how a value for it is made.
_SUBJECT: Mapping[str, Callable[[Values], Any]] = {
    "platform": lambda v: v.chance.choice(("pc", "srv", "app", "web", "xx", "")),
    "user_id": Values.text,
    "screen_resolution": lambda v: v.chance.choice(
        ((1, 2), (0, 1), (2**31, 1), "1x2", [1, 2], (1,), (1.5, 2))
    ),
    "viewport": lambda v: (v.number(), v.number()),
    "color_depth": Values.number,
    "timezone": Values.text,
    "lang": Values.text,
    "ip_address": lambda v: v.chance.choice(("127.0.0.1", "::1", "no", "1.2.3.4, 5.6.7.8", " 1.1.1.1")),
    "useragent": Values.text,
    "domain_user_id": Values.text,
    "network_user_id": Values.text,
    "domain_session_id": Values.uuid,
    "domain_session_index": Values.number,
}

_HEADER_NAMES = (
    "X-Key", "Authorization", "Content-Length", "Transfer-Encoding", "Expect", "Host", "a b", "", "x:y",
    "X-é", "Content-Type", "Cookie", "Connection", "content-length ", "X\r\nY", "Content-Encoding",
)  # fmt: skip


@dataclass
class Tally:
    """
    The results of a run.

    Attributes:
        inputs: How many there were.

        accepted: How many of them became at least one event, or were taken as a setting.

        events: How many events they became.

        faults: What was wrong, each with its input.
    """

    inputs: int = 0
    accepted: int = 0
    events: int = 0
    faults: list[str] = field(default_factory=list)


class Input(NamedTuple):
    """
    One input.

    Attributes:
        said: What it is, for whoever reads of a fault.

        give: Hands it to the library.
    """

    said: str
    give: Callable[[Tracker], Awaitable[object] | None]


# --- how inputs are made


def _metadata(values: Values) -> dict[str, Any]:
    makers: Mapping[str, Callable[[], Any]] = {
        "context": values.context,
        "tstamp": values.stamp,
        "true_timestamp": values.stamp,
        "event_id": values.uuid,
        "anonymous": lambda: values.chance.choice((True, False, True, "yes", 1)),
        "subject": lambda: values.wrong() if values.happens(0.1) else Subject(user_id=values.word()),
    }
    return {name: make() for name, make in makers.items() if values.happens(0.08)}


_TRACK_METHODS = sorted(
    name
    for name in dir(Tracker)
    if name.startswith("track_") and name not in ("track_nowait", "track_and_confirm", "track_exception")
)
_COMMON = {"self", "context", "tstamp", "metadata"}
_BY_NAME: Mapping[str, Callable[[Values], Any]] = {
    "page_url": Values.url,
    "referrer": Values.url,
    "target_url": Values.url,
    "event_json": Values.entity,
    "items": lambda v: [
        v.fields_of(snowplow_aio.EcommerceTransactionItem) for _ in range(v.chance.randrange(3))
    ],
    "elements": lambda v: [v.fields_of(snowplow_aio.FormElement) for _ in range(v.chance.randrange(3))],
    "element_classes": lambda v: v.of(Sequence[str]),
    "form_classes": lambda v: v.of(Sequence[str]),
    "terms": lambda v: v.of(Sequence[str]),
    "filters": lambda v: v.of(Mapping[str, str | bool]),
    "node_name": lambda v: v.chance.choice(("INPUT", "TEXTAREA", "SELECT", "input", "DIV")),
    "type_": lambda v: v.chance.choice(("text", "NUMBER", "number", "week", "x", "screen")),
    "id_": lambda v: v.one_of(v.uuid, v.text, v.word),
    "previous_id": Values.uuid,
    **dict.fromkeys(
        (
            "quantity",
            "unit_price",
            "value",
            "total_value",
            "tax_value",
            "shipping",
            "price",
            "min_x",
            "max_x",
            "min_y",
            "max_y",
            "total_results",
            "page_results",
        ),
        Values.number,
    ),
}


def _argument(values: Values, name: str) -> Any:
    if values.happens(0.02):
        return values.wrong()
    make = _BY_NAME.get(name)
    return make(values) if make is not None else values.one_of(values.text, values.word)


def _method(values: Values) -> Input:
    name = values.chance.choice(_TRACK_METHODS)
    parameters = inspect.signature(getattr(Tracker, name)).parameters
    given = {
        argument: _argument(values, argument)
        for argument, parameter in parameters.items()
        if argument not in _COMMON and (parameter.default is parameter.empty or values.happens(0.4))
    } | _metadata(values)
    return Input(f"{name}(**{said(given)})", lambda tracker: getattr(tracker, name)(**given))


def _model(values: Values) -> Input:
    models: list[type[Any]] = [*shipped_models().values(), *_ATOMIC, Game]
    model = values.chance.choice(models)
    fields, metadata = values.fields_of(model), _metadata(values)
    if values.happens(0.3):
        # As an entity.
        return Input(
            f"an entity {model.__name__}(**{said(fields)})",
            lambda tracker: tracker.track_screen_view("a", id_="b", context=[model(**fields)]),
        )
    return Input(
        f"track({model.__name__}(**{said(fields)}), **{said(metadata)})",
        lambda tracker: tracker.track(model(**fields), **metadata),
    )


def _self_describing(values: Values) -> Input:
    metadata = _metadata(values)

    event = values.entity()
    return Input(
        f"track({said(event)}, **{said(metadata)})", lambda tracker: tracker.track(event, **metadata)
    )


def _subject(values: Values) -> Input:
    given = {name: make(values) for name, make in _SUBJECT.items() if values.happens(0.2)}
    given |= {values.chance.choice(list(_SUBJECT)): values.wrong()} if values.happens(0.1) else {}
    event = snowplow_aio.PageView(page_url="https://shop.example/")

    def by_keyword(tracker: Tracker) -> Awaitable[object]:
        return tracker.track(event, subject=Subject(**given))

    def bound(tracker: Tracker) -> Awaitable[object]:
        with use_subject(**given):
            return tracker.track(event)

    give = by_keyword if values.happens(0.5) else bound
    return Input(f"{give.__name__}(**{said(given)})", give)


def _bound_context(values: Values) -> Input:
    context = values.context()

    def give(tracker: Tracker) -> Awaitable[object]:
        with use_context(context):
            return tracker.track_screen_view("a", id_="b")

    return Input(f"use_context({said(context)})", give)


def _endpoint(values: Values) -> Input:
    endpoint = values.one_of(values.url, values.text, values.wrong, lambda: values.chance.choice(_ENDPOINTS))
    options: dict[str, Any] = {}
    if values.happens(0.2):
        options["protocol"] = values.chance.choice(("http", "https", "ftp", "", 1))
    if values.happens(0.2):
        options["port"] = values.chance.choice((80, 0, 65_536, "80", 443))
    if values.happens(0.2):
        options["post_path"] = values.chance.choice(
            ("com.acme/track", "a", "/a/b/", "a b/c", "a/\r\n", "ä/ö", "a/b?c")
        )

    def give(_tracker: Tracker) -> None:
        HttpEmitter(endpoint, **options)
        addresses = Collector.at(endpoint, **{"protocol": None, "port": None, "post_path": None} | options)
        _check_address(addresses.post_url)
        _check_address(addresses.get_url)

    return Input(f"HttpEmitter({said(endpoint)}, **{said(options)})", give)


_ENDPOINTS = (
    "collector.example.com", "c.example.com:8080", "https://c.example.com/prefix", "http:/h",
    "https//h", "https://https://h", "h:", "c..h", "$COLLECTOR",
    "http://c.example.com/com.snowplowanalytics.snowplow/tp2", "http://c.example.com/i", "[::1]:8080",
    "localhost", "https://user:pw@h", "h\x00", "h\n", " h", "h/\t", "http://",
)  # fmt: skip


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    assert parts.scheme in ("http", "https"), url
    assert parts.hostname, url
    assert parts.port is None or 0 < parts.port < 65_536, url
    assert not re.search(r"[\s\x00-\x20\x7f]", url), url
    assert ".." not in parts.hostname, url
    assert "$" not in parts.hostname, url


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_FRAMING = {
    "content-length",
    "transfer-encoding",
    "expect",
    "connection",
    "content-type",
    "content-encoding",
}


def _headers(values: Values) -> Input:
    names = [values.one_of(lambda: values.chance.choice(_HEADER_NAMES), values.text) for _ in range(2)]
    headers = {name: values.wrong() if values.happens(0.1) else values.text() for name in names}

    def give(_tracker: Tracker) -> None:
        HttpEmitter("c.example.com", headers=headers)
        for name, value in headers.items():
            assert _TOKEN.match(name), name
            assert name.lower() not in _FRAMING, name
            assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value), value
            assert value == value.strip(), value

    return Input(f"headers={said(headers)}", give)


# With how often each is drawn.
_KINDS: Sequence[tuple[Callable[[Values], Input], int]] = (
    (_method, 45),
    (_model, 30),
    (_self_describing, 8),
    (_subject, 8),
    (_bound_context, 2),
    (_endpoint, 5),
    (_headers, 2),
)


def said(value: object) -> str:
    """Return *value* as a reader of a fault sees it."""
    try:
        return repr(value)[:1500]
    except Exception:  # noqa: BLE001 - some values are made to fail
        return f"<{type(value).__name__}>"


# --- the judgement

# The argument, the rule and the value.
_RULES = "must|should|required|is|are|has|needs|looks|contradicts|cannot"
_REFUSAL = re.compile(rf".+?: .*\b({_RULES})\b", re.DOTALL)
_LONGEST_REFUSAL = 1_000

# The events that one request of the oracle has.
_BATCH = 500


class Fuzz:
    """
    Hands inputs to a tracker and judges what becomes of them.

    Args:
        oracle: Says what the pipeline loses.

        seed: The same seed makes the same inputs.
    """

    def __init__(self, oracle: Oracle, seed: int) -> None:
        self._oracle = oracle
        self._values = Values(Random(seed))
        self._emitter = MemoryEmitter()
        self._tracker = Tracker(self._emitter, namespace="fuzz", app_id="fuzz")
        self._made: list[tuple[str, Mapping[str, str]]] = []
        self.tally = Tally()

    async def run(self, inputs: int) -> Tally:
        """Try so many *inputs*."""
        kinds, weights = zip(*_KINDS, strict=True)
        for _ in range(inputs):
            make = self._values.chance.choices(kinds, weights)[0]
            await self._try(make)
        self._judge()
        return self.tally

    async def _try(self, make: Callable[[Values], Input]) -> None:
        self.tally.inputs += 1
        given = Input(make.__name__, lambda _tracker: None)
        try:
            # Some inputs have parts that are refused when they are made.
            given = make(self._values)
            awaited = given.give(self._tracker)
            if awaited is not None:
                await awaited
        except ValidationError as error:
            self._check_models_refusal(given, error)
        except (InvalidEventError, ConfigurationError) as error:
            self._check_refusal(given, str(error))
        except Exception as error:  # noqa: BLE001 - every other kind is a fault
            self._fault(given.said, f"{type(error).__name__}: {said(error)}")
        else:
            self.tally.accepted += 1
        self._made += [(given.said, dict(payload)) for payload in self._emitter.payloads]
        self.tally.events += len(self._emitter.payloads)
        self._emitter.clear()
        if len(self._made) >= _BATCH:
            self._judge()

    def _check_models_refusal(self, given: Input, error: ValidationError) -> None:
        for fault in error.errors(include_url=False, include_context=False, include_input=False):
            # The place has the whole key of a mapping, which pydantic does not cut.
            place = ".".join(str(part)[:100] for part in fault["loc"])
            # A rule about several fields names them itself.
            self._check_refusal(given, f"{place}: must: {fault['msg']}" if place else fault["msg"])

    def _check_refusal(self, given: Input, message: str) -> None:
        if not _REFUSAL.match(message) or len(message) > _LONGEST_REFUSAL:
            self._fault(given.said, f"a refusal that does not say enough, or too much: {message[:300]!r}")

    def _judge(self) -> None:
        made, self._made = self._made, []
        if made and any(self._oracle.losses(*(event for _, event in made))):
            for said_of_input, event in made:
                if losses := self._oracle.losses(event):
                    self._fault(said_of_input, f"accepted and lost: {losses}"[:600])

    def _fault(self, given: str, what: str) -> None:
        self.tally.faults.append(f"{what}\n    by {given}")
