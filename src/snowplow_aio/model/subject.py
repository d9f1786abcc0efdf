"""
The subject: the user, the device and the session that an event is about.

A subject is captured by value at each call of a tracking method, so a later
change does not reach an event that was tracked before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, Self, TypedDict, TypeVar, cast, overload
from uuid import UUID

from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.atomic import (
    INT32_MAX,
    PLATFORMS,
    TEXT_LIMITS,
    UUID_FORM,
    exceeds,
    is_unicode,
    stored_length,
)
from snowplow_aio.model.cookies import cookie_fields
from snowplow_aio.model.old_names import OldAttributes, explains_arguments
from snowplow_aio.model.validation import is_validating


class _Clear:
    """The type of `CLEAR`."""

    def __repr__(self) -> str:
        return "CLEAR"

    def __reduce__(self) -> str:
        # A copy is the same object, also in another process.
        return "CLEAR"


CLEAR: Final = _Clear()
"""The value of a field that removes what a lower layer of subjects has set."""


def _check(valid: bool, name: str, value: object, rule: str) -> None:  # noqa: FBT001 - an assertion
    if not valid:
        raise InvalidEventError.about(name, value, rule)


def _is_within(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= INT32_MAX


def protocol_text(key: str, name: str, value: object) -> str:
    """
    Return *value* if it can be the text of the protocol field *key*.

    Args:
        key: The protocol key, one that has a limit in `TEXT_LIMITS`.

        name: The name of the value in errors.

        value: The text.

    Raises:
        InvalidEventError: If *value* is no string, is too long or has a lone surrogate.
    """
    # Nearly every text: well within its limit, and plain.
    if type(value) is str and len(value) * 4 <= TEXT_LIMITS[key] and value.isascii():
        return value
    _check(isinstance(value, str), name, value, "must be a string")
    # The text itself: an enum of strings prints as its name.
    text = str.__str__(cast(str, value))
    _check(is_unicode(text), name, value, "must not contain a lone surrogate")
    limit = TEXT_LIMITS[key]
    if exceeds(text, limit):
        rule = (
            f"must have at most {limit} characters as the pipeline counts them, it has {stored_length(text)}"
        )
        raise InvalidEventError.about(name, value, rule)
    return text


def platform_code(name: str, value: object) -> str:
    """
    Return *value* if it is a platform code that the pipeline knows.

    Raises:
        InvalidEventError: If it is none; the error calls it *name*.
    """
    _check(isinstance(value, str) and value in PLATFORMS, name, value, f"must be one of {sorted(PLATFORMS)}")
    return str.__str__(cast(str, value))


def _dimensions(name: str, value: object) -> str:
    rule = "must be width and height, whole pixels from 1 to 2147483647"
    sides = value if isinstance(value, tuple | list) else ()
    _check(len(sides) == 2 and all(_is_within(side, 1) for side in sides), name, value, rule)
    return "x".join(str(int(side)) for side in sides)


def _sides(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("x")))


def _color_depth(name: str, value: object) -> str:
    _check(_is_within(value, 1), name, value, "must be bits per pixel, a whole number from 1 to 2147483647")
    return int.__repr__(cast(int, value))


def _session_index(name: str, value: object) -> str:
    _check(_is_within(value, 0), name, value, "must be a whole number from 0 to 2147483647")
    return int.__repr__(cast(int, value))


def _session_id(name: str, value: object) -> str:
    text = str(value) if isinstance(value, UUID) else value
    valid = isinstance(text, str) and UUID_FORM.fullmatch(text) is not None
    _check(valid, name, value, "must be a UUID in its canonical form")
    # The pipeline stores it so.
    return str(text).lower()


def _ip_address(name: str, value: object) -> str:
    text = protocol_text("ip", name, value)
    # The pipeline cuts the text at the first of these (docs/explanation/protocol.md, "Fields and limits").
    is_one = "," not in text and " " not in text and "|" not in text
    _check(is_one, name, value, "must be one address, not a list of them")
    return text


@dataclass(frozen=True, slots=True)
class _Kind:
    """
    The rules of one field.

    Args:
        key: The protocol key.

        text: Checks a value, by the name and the value, and returns the text that is sent.

        unchecked: Makes a text of a value that breaks a rule, for when validation is switched off.

        value: Makes a value of the text again.
    """

    key: str
    text: Callable[[str, object], str]
    unchecked: Callable[[Any], str] = str
    value: Callable[[str], Any] = str

    def sent(self, name: str, value: object) -> str:
        """
        Return the text of *value* that is sent.

        Raises:
            InvalidEventError: If the value breaks a rule, unless validation is switched off.
        """
        try:
            return self.text(name, value)
        except InvalidEventError:
            if is_validating():
                raise
            # The pipeline loses the event.
            return self.unchecked(value)


def _text_field(key: str) -> _Kind:
    return _Kind(key, lambda name, value: protocol_text(key, name, value))


def _unchecked_dimensions(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


_FIELDS: Mapping[str, _Kind] = {
    "platform": _Kind("p", platform_code),
    "user_id": _text_field("uid"),
    "screen_resolution": _Kind("res", _dimensions, _unchecked_dimensions, _sides),
    "viewport": _Kind("vp", _dimensions, _unchecked_dimensions, _sides),
    "color_depth": _Kind("cd", _color_depth, value=int),
    "timezone": _text_field("tz"),
    "lang": _text_field("lang"),
    "ip_address": _Kind("ip", _ip_address),
    "useragent": _text_field("ua"),
    "domain_user_id": _text_field("duid"),
    "network_user_id": _text_field("tnuid"),
    "domain_session_id": _Kind("sid", _session_id),
    "domain_session_index": _Kind("vid", _session_index, value=int),
}

IDENTIFYING_KEYS = frozenset({"uid", "duid", "tnuid", "nuid", "sid", "vid", "ip"})
"""
The protocol keys that an anonymous event must not carry.

The collector does not remove them (docs/explanation/protocol.md, "Cookies and anonymous tracking").
"""


_Value = TypeVar("_Value")


class _Field(Generic[_Value]):
    """A field of a subject: read as an attribute, set by a method."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, subject: None, owner: type) -> Self: ...

    @overload
    def __get__(self, subject: Subject, owner: type) -> _Value | None: ...

    def __get__(self, subject: Subject | None, owner: type) -> Self | _Value | None:
        if subject is None:
            return self
        value: _Value | None = subject._values.get(self._name)  # noqa: SLF001 - a part of it
        return value

    def __set__(self, subject: Subject, value: object) -> None:
        raise AttributeError(f"{self._name} is read-only: use set_{self._name}()")


class SubjectFields(TypedDict, total=False):
    """The fields of a `Subject`, as keywords."""

    platform: str | _Clear | None
    user_id: str | _Clear | None
    screen_resolution: tuple[int, int] | _Clear | None
    viewport: tuple[int, int] | _Clear | None
    color_depth: int | _Clear | None
    timezone: str | _Clear | None
    lang: str | _Clear | None
    ip_address: str | _Clear | None
    useragent: str | _Clear | None
    domain_user_id: str | _Clear | None
    network_user_id: str | _Clear | None
    domain_session_id: str | UUID | _Clear | None
    domain_session_index: int | _Clear | None


class Subject(OldAttributes):
    """
    The user, the device and the session of events.

    Each field can be read as an attribute and set by a method. A field that is
    None is not set. The setters return the subject, so that they can be chained.

    Args:
        platform: One of the platform codes, like ``web``, ``mob`` or ``srv``.

        user_id: The application's id of the user; at most 255 characters.

        screen_resolution: Width and height of the screen in pixels, each from 1.

        viewport: Width and height of the window's inside in pixels, each from 1.

        color_depth: Bits per pixel, from 1.

        timezone: The user's time zone, like ``Europe/London``; at most 255 characters.

        lang: The user's language, like ``en``; at most 255 characters.

        ip_address: One address of the user; at most 128 characters.

        useragent: The user's browser string; at most 1,000 characters.

        domain_user_id: The id in the first-party cookie; at most 128 characters.

        network_user_id: The id in the collector's cookie; at most 128 characters.

        domain_session_id: The session's UUID, a string or `uuid.UUID`.

        domain_session_index: The session's number, from 0.

    Attributes:
        revision: A number that grows with every change.

    Raises:
        InvalidEventError: If a value breaks one of these rules.

    Example:
        Set some fields when the subject is made and others later::

            tracker = Tracker(emitter, subject=Subject(platform="web", lang="en"))
            tracker.subject.set_user_id("u-42").set_viewport(1280, 720)
    """

    __slots__ = ("_fields", "_values", "revision")

    platform: _Field[str] = _Field()
    user_id: _Field[str] = _Field()
    screen_resolution: _Field[tuple[int, int]] = _Field()
    viewport: _Field[tuple[int, int]] = _Field()
    color_depth: _Field[int] = _Field()
    timezone: _Field[str] = _Field()
    lang: _Field[str] = _Field()
    ip_address: _Field[str] = _Field()
    useragent: _Field[str] = _Field()
    domain_user_id: _Field[str] = _Field()
    network_user_id: _Field[str] = _Field()
    domain_session_id: _Field[str] = _Field()
    domain_session_index: _Field[int] = _Field()

    @explains_arguments
    def __init__(
        self,
        *,
        platform: str | _Clear | None = None,
        user_id: str | _Clear | None = None,
        screen_resolution: tuple[int, int] | _Clear | None = None,
        viewport: tuple[int, int] | _Clear | None = None,
        color_depth: int | _Clear | None = None,
        timezone: str | _Clear | None = None,
        lang: str | _Clear | None = None,
        ip_address: str | _Clear | None = None,
        useragent: str | _Clear | None = None,
        domain_user_id: str | _Clear | None = None,
        network_user_id: str | _Clear | None = None,
        domain_session_id: str | UUID | _Clear | None = None,
        domain_session_index: int | _Clear | None = None,
    ) -> None:
        self._values: dict[str, Any] = {}
        self._fields: dict[str, str | _Clear] = {}
        self.revision: int = 0
        given: Mapping[str, object] = {
            "platform": platform,
            "user_id": user_id,
            "screen_resolution": screen_resolution,
            "viewport": viewport,
            "color_depth": color_depth,
            "timezone": timezone,
            "lang": lang,
            "ip_address": ip_address,
            "useragent": useragent,
            "domain_user_id": domain_user_id,
            "network_user_id": network_user_id,
            "domain_session_id": domain_session_id,
            "domain_session_index": domain_session_index,
        }
        for name, value in given.items():
            if value is not None:
                self._set(name, value)

    @classmethod
    def from_cookies(cls, cookies: Mapping[str, str], *, prefix: str = "_sp_", network: str = "sp") -> Self:
        """
        Return the subject of a visitor, read from the cookies of a request.

        A field whose cookie is missing or malformed is not set.

        Args:
            cookies: The cookies of the request, by name.

            prefix: The ``cookieName`` of the JavaScript tracker. Its cookie ``<prefix>id.<hash>``
                holds the domain user id, the session's index and its id.

            network: The name of the collector's cookie, which holds the network user id.

        Raises:
            InvalidEventError: If an argument is of another type.
        """
        is_text = isinstance(cookies, Mapping) and all(
            isinstance(name, str) and isinstance(value, str) for name, value in cookies.items()
        )
        # Some cookies are secrets: they are not shown.
        rule = "must be a mapping of names to values, all strings"
        _check(is_text, "cookies", type(cookies).__name__, rule)
        _check(isinstance(prefix, str), "prefix", prefix, "must be a string")
        _check(isinstance(network, str), "network", network, "must be a string")
        return cls._of_fields(valid_fields(cookie_fields(cookies, prefix, network)))

    @classmethod
    def _of_fields(cls, fields: Mapping[str, str]) -> Self:
        texts = {name: fields[kind.key] for name, kind in _FIELDS.items() if kind.key in fields}
        return cls._of({name: _FIELDS[name].value(text) for name, text in texts.items()}, dict(fields))

    @classmethod
    def _of(cls, values: dict[str, Any], fields: dict[str, str | _Clear]) -> Self:
        subject = cls.__new__(cls)
        subject._values, subject._fields, subject.revision = values, fields, 0  # noqa: SLF001 - its own
        return subject

    @classmethod
    def _of_layers(cls, layers: Iterable[Subject]) -> Self:
        values: dict[str, Any] = {}
        fields: dict[str, str | _Clear] = {}
        for layer in layers:
            values.update(layer._values)  # noqa: SLF001 - of its kind
            fields.update(layer._fields)
        return cls._of(values, fields)

    def __repr__(self) -> str:
        return f"Subject({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"

    def _set(self, name: str, value: object) -> Self:
        kind = _FIELDS[name]
        # New mappings, because another thread may be reading the old ones.
        values = {other: kept for other, kept in self._values.items() if other != name}
        fields = {other: kept for other, kept in self._fields.items() if other != kind.key}
        if value is not None:
            fields[kind.key] = value if isinstance(value, _Clear) else kind.sent(name, value)
            values[name] = value
        self._values, self._fields = values, fields
        self.revision += 1
        return self

    def set_platform(self, platform: str | _Clear | None) -> Self:
        """Set the platform, one of the platform codes."""
        return self._set("platform", platform)

    def set_user_id(self, user_id: str | _Clear | None) -> Self:
        """Set the application's id of the user."""
        return self._set("user_id", user_id)

    def set_screen_resolution(self, width: int, height: int) -> Self:
        """Set the size of the screen in pixels, each from 1."""
        return self._set("screen_resolution", (width, height))

    def set_viewport(self, width: int, height: int) -> Self:
        """Set the size of the window's inside in pixels, each from 1."""
        return self._set("viewport", (width, height))

    def set_color_depth(self, depth: int | _Clear | None) -> Self:
        """Set the bits per pixel, from 1."""
        return self._set("color_depth", depth)

    def set_timezone(self, timezone: str | _Clear | None) -> Self:
        """Set the user's time zone, like ``Europe/London``."""
        return self._set("timezone", timezone)

    def set_lang(self, lang: str | _Clear | None) -> Self:
        """Set the user's language, like ``en``."""
        return self._set("lang", lang)

    def set_ip_address(self, ip_address: str | _Clear | None) -> Self:
        """Set the user's address."""
        return self._set("ip_address", ip_address)

    def set_useragent(self, useragent: str | _Clear | None) -> Self:
        """Set the user's browser string."""
        return self._set("useragent", useragent)

    def set_domain_user_id(self, domain_user_id: str | _Clear | None) -> Self:
        """Set the id in the first-party cookie."""
        return self._set("domain_user_id", domain_user_id)

    def set_network_user_id(self, network_user_id: str | _Clear | None) -> Self:
        """Set the id in the collector's cookie."""
        return self._set("network_user_id", network_user_id)

    def set_domain_session_id(self, domain_session_id: str | UUID | _Clear | None) -> Self:
        """Set the session's UUID."""
        return self._set("domain_session_id", domain_session_id)

    def set_domain_session_index(self, domain_session_index: int | _Clear | None) -> Self:
        """Set the session's number, from 0."""
        return self._set("domain_session_index", domain_session_index)

    def protocol_fields(self) -> Mapping[str, str | _Clear]:
        """Return the fields by protocol key; a value may be `CLEAR`."""
        return self._fields


def valid_fields(found: Mapping[str, object]) -> dict[str, str]:
    """
    Return the protocol fields of the subject's fields that were *found*.

    An empty value and one that breaks a rule are left out, also while validation
    is switched off: a visitor can send anything, and no request may fail for it.
    """
    fields: dict[str, str] = {}
    for name, value in found.items():
        if value is None or value == "":
            continue
        kind = _FIELDS[name]
        with suppress(InvalidEventError):
            fields[kind.key] = kind.text(name, value)
    return fields


def subject_with(fields: Mapping[str, str]) -> Subject:
    """Return the subject that has these protocol *fields*, which must be valid."""
    return Subject._of_fields(fields)  # noqa: SLF001 - made by the two of them


def subject_from(found: Mapping[str, object]) -> Subject:
    """
    Return the subject of the protocol fields that were *found*, of which None stands for `CLEAR`.

    A field that is unknown or empty, or breaks a rule, is left out, also while validation is
    switched off.
    """
    values: dict[str, Any] = {}
    fields: dict[str, str | _Clear] = {}
    for name, kind in _FIELDS.items():
        text = found.get(kind.key, "")
        if text is None:
            values[name] = fields[kind.key] = CLEAR
        elif isinstance(text, str) and text:
            # Also a text that is no number raises a ValueError.
            with suppress(ValueError):
                value = kind.value(text)
                fields[kind.key] = kind.text(name, value)
                values[name] = value
    return Subject._of(values, fields)  # noqa: SLF001 - made by the two of them


def merge(layers: Iterable[Subject]) -> dict[str, str]:
    """Return the protocol fields of *layers*; a later layer wins, and empty strings are left out."""
    merged: dict[str, str | _Clear] = {}
    for layer in layers:
        # Not by the method: this is done for each event of a request.
        merged.update(layer._fields)
    return {key: value for key, value in merged.items() if isinstance(value, str) and value}


def layered(layers: Iterable[Subject]) -> Subject:
    """Return a new subject with the fields of *layers*; a later layer wins, and `CLEAR` is kept."""
    return Subject._of_layers(layers)  # noqa: SLF001 - made by the two of them


def merged(layers: Iterable[Subject]) -> Subject:
    """Return a new subject with the fields of *layers*; a later layer wins, and `CLEAR` removes one."""
    whole = layered(layers)
    values = {name: value for name, value in whole._values.items() if value is not CLEAR}  # noqa: SLF001
    fields = {key: text for key, text in whole._fields.items() if text is not CLEAR}
    return Subject._of(values, fields)  # noqa: SLF001 - made by the two of them
