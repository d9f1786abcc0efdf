"""Events that the tracker protocol has fields for: each field of the model knows its protocol key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from snowplow_aio.events.fields import Wire


class PrimitiveEvent(BaseModel):
    """
    The base of events with protocol fields of their own; frozen and strict.

    Attributes:
        event_code: The event's ``e`` (PROTOCOL.md §1.4).

        has_followers: Whether some of its kind have followers.

        wire_fields: For each field: attribute, protocol key, and what makes text of it.
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
    has_followers: ClassVar[bool] = False
    wire_fields: ClassVar[tuple[tuple[str, str, Callable[[Any], str]], ...]] = ()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.wire_fields = tuple(
            (name, wire.key, wire.text)
            for name, field in cls.model_fields.items()
            for wire in field.metadata
            if isinstance(wire, Wire)
        )

    def followers(self) -> tuple[Follower, ...]:
        """Return events that are tracked with this one, right after it, each with its context."""
        return ()

    def protocol_fields(self) -> dict[str, str]:
        """Return the event's own protocol fields, without those that are None or empty."""
        values = self.__dict__
        fields = {"e": self.event_code}
        for name, key, text in self.wire_fields:
            value = values[name]
            if type(value) is str:
                # An empty string is not sent: most fields cannot be read from it.
                if value:
                    fields[key] = value
            elif value is not None and value != "":
                fields[key] = text(value)
        return fields


Follower = tuple[PrimitiveEvent, Sequence[Any] | None]
"""An event that is tracked with another one, and its context."""
