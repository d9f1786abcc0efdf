"""Events with protocol fields of their own: each field of the model knows its protocol key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.model.atomic import TEXT_LIMITS, TextCheck
from snowplow_aio.model.fields import Wire
from snowplow_aio.model.frozen_model import FrozenModel
from snowplow_aio.model.schema_key import SchemaKey


class PrimitiveEvent(FrozenModel):
    """
    The base of events with protocol fields of their own.

    Instances are frozen, unknown fields are refused, and kinds are not mixed
    (``"23"`` is no int).

    Attributes:
        event_code: The protocol field ``e`` of the event
            (docs/explanation/protocol.md, "Kinds of events").

        schema_key: The name that the pipeline gives to the event, in the columns
            ``event_vendor`` to ``event_version``.

        schema_uri: The same name as an Iglu URI.

        wire_fields: For each field: its attribute, its protocol key, and the function
            that makes text of its value.

        has_followers: Whether `followers` may return any.

    Example:
        Every event with protocol fields of its own is one::

            isinstance(PageView(page_url="https://shop.example/"), PrimitiveEvent)  # True
    """

    event_code: ClassVar[str]
    schema_key: ClassVar[SchemaKey]
    schema_uri: ClassVar[str]
    wire_fields: ClassVar[tuple[tuple[str, str, Callable[[Any], str]], ...]] = ()
    has_followers: ClassVar[bool] = False

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls._refuse_own_fields()
        cls.wire_fields = tuple((name, wire.key, _text_of(wire)) for name, wire in cls._wires())
        if hasattr(cls, "schema_key"):
            cls.schema_uri = str(cls.schema_key)
        cls.has_followers = cls.followers is not PrimitiveEvent.followers

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        texts = {name: wire.key for name, wire in cls._wires() if wire.key in TEXT_LIMITS}
        schema = handler(source)
        return core_schema.no_info_after_validator_function(TextCheck(texts), schema) if texts else schema

    @classmethod
    def _refuse_own_fields(cls) -> None:
        """Refuse a user's subclass with a field that no protocol field carries: it would be lost."""
        if PrimitiveEvent in cls.__bases__:
            # A class of the library's reads such a field itself.
            return
        wired = {name for name, _ in cls._wires()}
        of_bases = {name for base in cls.__mro__[1:] for name in getattr(base, "__pydantic_fields__", ())}
        if own := sorted(set(cls.__pydantic_fields__) - wired - of_bases):
            rule = "has no place in this event: send it in an entity, or in a SelfDescribing event"
            raise ConfigurationError(f"{cls.__name__}.{own[0]}: {rule}")

    @classmethod
    def _wires(cls) -> list[tuple[str, Wire]]:
        """Return the fields that travel in a protocol field of their own."""
        return [
            (name, wire)
            for name, field in cls.__pydantic_fields__.items()
            for wire in field.metadata
            if isinstance(wire, Wire)
        ]

    def followers(self) -> tuple[Follower, ...]:
        """Return the events that are tracked right after this one, each with its entities."""
        return ()

    def alone(self) -> Self:
        """Return the event without the events that are tracked with it."""
        return self


Follower = tuple[PrimitiveEvent, Sequence[Any] | None]
"""An event that is tracked with another one, and its entities."""


def _text_of(wire: Wire) -> Callable[[Any], str]:
    """Return what makes text of a value; nothing else than text can be the text of a field of texts."""
    return _same_text if wire.key in TEXT_LIMITS and wire.text is str else wire.text


def _same_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"must be a string, not {type(value).__name__}")
    return str(value)
