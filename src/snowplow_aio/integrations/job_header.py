"""
The header that carries the context of a request to a job: what is in it, as text and back.

The text is ``<version>;<permission>;<JSON>``, all of it printable ASCII. The permission stands
in front, so that it can still be read of a header that was cut, or that a later version
of this library has written.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

import orjson

from snowplow_aio.exceptions import SnowplowError
from snowplow_aio.integrations.page_address import mended
from snowplow_aio.integrations.visitor import strictest
from snowplow_aio.model.atomic import URL_PART_LIMITS
from snowplow_aio.model.payload import Entity
from snowplow_aio.model.self_describing import SelfDescribingJson
from snowplow_aio.model.subject import IDENTIFYING_KEYS, Subject, subject_from
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger
from snowplow_aio.tracking.global_contexts import GlobalContext
from snowplow_aio.tracking.json_encoder import model_data, to_json
from snowplow_aio.tracking.scope import Permission

log: QuietLogger = quiet_logger("snowplow_aio.integrations")
_throttled = ThrottledLog(log)

MAX_HEADER_BYTES = 16_384
"""The largest header. It has room for the longest texts that a subject may have, each character escaped."""

_VERSION = "1"
_HEAD = re.compile(r"([0-9]{1,9});(all|anonymous|nothing);")

# The members of the JSON, in the order in which they get the room that there is.
_FRAME = '{"visitor":{%s},"subject":{%s},"page":{%s},"context":[%s]}'


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """
    What a job knows of the request that has caused it.

    Attributes:
        permission: What may be tracked.

        visitor: The protocol fields of the visitor.

        subject: The subject that is bound, in which `CLEAR` is kept; None if none is.

        page: ``url`` and ``refr``, as far as they are known.

        contexts: The entities that are bound.
    """

    permission: Permission = "all"
    visitor: Mapping[str, str] = field(default_factory=dict)
    subject: Subject | None = None
    page: Mapping[str, str] = field(default_factory=dict)
    contexts: tuple[GlobalContext, ...] = ()


# --- writing


def written(context: JobContext) -> str:
    """
    Return *context* as the text of a header; empty if there is nothing to say.

    What does not fit and what cannot be written is left out, counted and logged.
    """
    permission = context.permission
    head = f"{_VERSION};{permission};"
    if permission == "nothing":
        return head
    room = _Room(MAX_HEADER_BYTES - len(head) - len(_FRAME))
    bound = {} if context.subject is None else context.subject.protocol_fields()
    # Nobody rather than somebody else: a field must not come out where that of a nearer layer has no room.
    visitor = {key: text for key, text in context.visitor.items() if key not in bound}
    # An empty text removes what a lower layer has set, as `CLEAR` does.
    subject = {key: text if isinstance(text, str) and text else None for key, text in bound.items()}
    members = [
        room.fitting(_members(_permitted(visitor, permission))),
        room.fitting(_members(_permitted(subject, permission))),
        room.fitting(_members(context.page)),
        room.fitting(_entities(context.contexts)),
    ]
    if room.left_out:
        message = "the context of a request is too large for a job: its last parts were left out"
        _throttled.log("room", logging.WARNING, message, count=room.left_out)
    if permission == "all" and not any(members):
        return ""
    return head + _FRAME % tuple(",".join(group) for group in members)


class _Room:
    """The bytes that are left for a header."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.left_out = 0

    def fitting(self, texts: Iterable[str]) -> list[str]:
        """Return those of *texts* that there is room for, in ASCII."""
        found: list[str] = []
        for text in map(_ascii, texts):
            needed = len(text) + 1
            if needed > self._size:
                self.left_out += 1
            else:
                self._size -= needed
                found.append(text)
        return found


def _permitted(fields: Mapping[str, Any], permission: Permission) -> Mapping[str, Any]:
    """Return those of *fields* that may be in an event."""
    if permission == "all":
        return fields
    return {key: value for key, value in fields.items() if key not in IDENTIFYING_KEYS}


def _members(values: Mapping[str, str | None]) -> Iterator[str]:
    for key, value in values.items():
        yield f"{json.dumps(key)}:{json.dumps(value)}"


def _entities(contexts: Iterable[GlobalContext]) -> Iterator[str]:
    """Return each entity as JSON, with the rules on its events; functions, which need an event, make none."""
    for context in contexts:
        rules = {
            name: [rule.uri for rule in rules]
            for name, rules in (("include", context.rules.include), ("exclude", context.rules.exclude))
            if rules
        }
        end = f",{json.dumps(rules)[1:-1]}}}" if rules else "}"
        if not context.entities:
            _throttled.log("function", logging.INFO, "functions of use_context are not carried to jobs")
        for entity in context.entities:
            if described := _described(entity):
                yield described + end


def _described(entity: Entity) -> str | None:
    """Return schema and data of *entity* as members of a JSON object; None if they are no JSON."""
    try:
        if isinstance(entity, SelfDescribingJson):
            schema, data = entity.schema, entity.data
        else:
            schema, data = entity.schema_uri, model_data(entity)
        text = to_json(data, "context").decode()
    except Exception as error:  # noqa: BLE001 - a serializer of the application may do anything
        # The type alone: the message shows values.
        message = "an entity of use_context cannot be carried to a job: %s"
        _throttled.log("entity", logging.WARNING, message, type(error).__name__)
        return None
    return f'{{"schema":{json.dumps(schema)},"data":{text}'


def _ascii(text: str) -> str:
    """Return JSON *text* with all that a header cannot have escaped; JSON has it in strings only."""
    return text if text.isascii() and text.isprintable() else re.sub(r"[^ -~]", _escaped, text)


def _escaped(character: re.Match[str]) -> str:
    units = character[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


# --- reading


def read(headers: Sequence[object]) -> JobContext:
    """
    Return the context in *headers*, which are the values of all headers of its name.

    Without any, nothing is known, and all may be tracked. Of several, the last counts; what one
    of them forbids is forbidden. If not even the permission can be read, nothing is tracked:
    the visitor may be one of whom nothing may be.
    """
    contexts = [_read(header) for header in headers]
    if not contexts:
        return JobContext()
    last = contexts[-1]
    permissions: list[Permission] = [context.permission for context in contexts]
    permission = strictest(*permissions)
    return last if permission == last.permission else JobContext(permission=permission)


def _read(header: object) -> JobContext:
    text = _text(header)
    head = _HEAD.match(text)
    if head is None:
        message = "the context of a job cannot be read: nothing is tracked in it"
        _throttled.log("unreadable", logging.WARNING, message)
        return JobContext(permission="nothing")
    permission = cast(Permission, head[2])
    if permission == "nothing":
        return JobContext(permission=permission)
    try:
        return _parsed(permission, text[head.end() :], is_known=head[1] == _VERSION)
    except (ValueError, ArithmeticError, RecursionError):
        message = "the context of a job cannot be read: its events are about nobody"
        _throttled.log("half", logging.WARNING, message)
        return JobContext(permission=permission)


def _text(header: object) -> str:
    """Return *header* as text; of one that is too large as much as makes no JSON."""
    if isinstance(header, bytes | bytearray | memoryview):
        header = bytes(header).decode("latin-1")
    return header[: MAX_HEADER_BYTES + 1] if isinstance(header, str) else ""


def _parsed(permission: Permission, text: str, *, is_known: bool) -> JobContext:
    """
    Return the context in the JSON *text*; what is unknown in it, or breaks a rule, is left out.

    Raises:
        ValueError: If it is no JSON object of a known version.
        RecursionError: If it is nested too deeply.
    """
    found = json.loads(text, parse_float=_float, parse_int=_int, parse_constant=_refused)
    if not is_known or not isinstance(found, dict):
        raise ValueError("not a context of this version")
    subject = subject_from(_permitted(_mapping(found, "subject"), permission))
    visitor = subject_from(_permitted(_mapping(found, "visitor"), permission)).protocol_fields()
    page = {
        key: address
        for key, url in _mapping(found, "page").items()
        if key in URL_PART_LIMITS and isinstance(url, str) and (address := mended(key, url))
    }
    given = found.get("context")
    contexts = [_context(entity) for entity in given] if isinstance(given, list) else []
    return JobContext(
        permission=permission,
        visitor={key: value for key, value in visitor.items() if isinstance(value, str)},
        subject=subject if subject.protocol_fields() else None,
        page=page,
        contexts=tuple(context for context in contexts if context is not None),
    )


def _mapping(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = found.get(name)
    return value if isinstance(value, dict) else {}


def _context(found: Any) -> GlobalContext | None:
    """Return an entity with the rules on its events, or None if it breaks a rule."""
    if not isinstance(found, dict) or "data" not in found:
        return None
    try:
        # Data that cannot be sent costs an event this entity only, as everywhere.
        entity = SelfDescribingJson(found["schema"], found["data"])
        return GlobalContext(entity, include=found.get("include"), exclude=found.get("exclude"))
    except (SnowplowError, KeyError, TypeError):
        return None


def _float(text: str) -> Any:
    number = float(text)
    # Decimals are sent on as they were written.
    return number if orjson.dumps(number) == text.encode() else Decimal(text)


def _int(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        # It has more digits than Python reads. That is no reason to lose the rest.
        return Decimal(text)


def _refused(text: str) -> Any:
    raise ValueError(text)
