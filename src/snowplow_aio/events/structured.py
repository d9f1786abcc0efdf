"""Structured events: up to five fields, of which two are required."""

from __future__ import annotations

from typing import Annotated, ClassVar

from snowplow_aio.model.atomic import number_text
from snowplow_aio.model.fields import NonEmpty, Number, Wire
from snowplow_aio.model.primitive_event import PrimitiveEvent
from snowplow_aio.model.schema_key import SchemaKey


class StructuredEvent(PrimitiveEvent):
    """
    An event of up to five fields that say what happened.

    Args:
        category: The category of the action; not empty, at most 1,000 characters.

        action: The action; not empty, at most 1,000 characters.

        label: The object of the action; at most 4,096 characters.

        property_: A property of the object; at most 1,000 characters.

        value: A number for the action; finite.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Track a purchase of two pieces::

            await tracker.track(StructuredEvent(category="shop", action="add", label="shoe-7", value=2))
    """

    event_code: ClassVar[str] = "se"
    schema_key: ClassVar[SchemaKey] = SchemaKey.parse("iglu:com.google.analytics/event/jsonschema/1-0-0")

    category: Annotated[NonEmpty, Wire("se_ca")]
    action: Annotated[NonEmpty, Wire("se_ac")]
    label: Annotated[str | None, Wire("se_la")] = None
    property_: Annotated[str | None, Wire("se_pr")] = None
    value: Annotated[Number | None, Wire("se_va", number_text)] = None
