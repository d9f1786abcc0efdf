"""Events that the tracker protocol has fields for: each field of the model knows its protocol key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from snowplow_aio.model.atomic import TEXT_LIMITS, TextCheck
from snowplow_aio.model.fields import Wire
from snowplow_aio.model.schema_key import SchemaKey


class PrimitiveEvent(BaseModel):
    """
    The base of events with protocol fields of their own; frozen and strict.

    Attributes:
        event_code: The event's ``e`` (PROTOCOL.md §1.4).

        wire_fields: For each field: attribute, protocol key, and what makes text of it.

        has_followers: Whether `followers` may return any.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        populate_by_name=True,
        loc_by_alias=False,
    )

    event_code: ClassVar[str]
    schema_key: ClassVar[SchemaKey]
    schema_uri: ClassVar[str]
    wire_fields: ClassVar[tuple[tuple[str, str, Callable[[Any], str]], ...]] = ()
    has_followers: ClassVar[bool] = False

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.wire_fields = tuple((name, wire.key, wire.text) for name, wire in cls._wires())
        if hasattr(cls, "schema_key"):
            cls.schema_uri = str(cls.schema_key)
        cls.has_followers = cls.followers is not PrimitiveEvent.followers

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        texts = {name: wire.key for name, wire in cls._wires() if wire.key in TEXT_LIMITS}
        schema = handler(source)
        return core_schema.no_info_after_validator_function(TextCheck(texts), schema) if texts else schema

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
        """Return events that are tracked with this one, right after it, each with its context."""
        return ()

    def alone(self) -> Self:
        """Return the event without those that are tracked with it."""
        return self


Follower = tuple[PrimitiveEvent, Sequence[Any] | None]
"""An event that is tracked with another one, and its context."""
