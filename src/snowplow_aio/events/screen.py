"""Views of screens, which have no address."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self
from uuid import uuid4

from pydantic import ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from snowplow_aio.model.fields import ABSENT, CAMEL_CASE, NOT_BLANK, OrAbsent, Uuid
from snowplow_aio.model.self_describing import SelfDescribing


class ScreenView(SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow/screen_view/jsonschema/1-0-0"):
    """
    A screen was viewed. One of the two fields is needed.

    Args:
        name: The name of the screen, for people; not empty.

        id_: The identifier of the screen.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Track a view of the cart::

            await tracker.track(ScreenView(name="cart"))
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE | ConfigDict(json_schema_extra={"minProperties": 1})

    name: OrAbsent[Annotated[str, NOT_BLANK]] = ABSENT
    id_: OrAbsent[str] = ABSENT

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if self.name is None and self.id_ is None:
            raise PydanticCustomError("missing", "name or id_: one of them is needed")
        return self


class MobileScreenView(
    SelfDescribing, schema="iglu:com.snowplowanalytics.mobile/screen_view/jsonschema/1-0-0"
):
    """
    A screen of a mobile application was viewed.

    Args:
        name: The name of the screen; not empty.

        id_: A UUID for this view of the screen; a new one if it is not given.

        type_: The kind of screen.

        previous_name: The name of the screen before.

        previous_id: The UUID of the screen before.

        previous_type: The kind of the screen before.

        transition_type: The kind of transition between the two.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Track a change of screens::

            await tracker.track(MobileScreenView(name="cart", previous_name="shoes"))
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE | ConfigDict(
        json_schema_extra={"required": ["name", "id"]}
    )

    name: Annotated[str, NOT_BLANK]
    id_: OrAbsent[Uuid] = ABSENT
    type_: OrAbsent[str] = ABSENT
    previous_name: OrAbsent[str] = ABSENT
    previous_id: OrAbsent[Uuid] = ABSENT
    previous_type: OrAbsent[str] = ABSENT
    transition_type: OrAbsent[str] = ABSENT

    @model_validator(mode="before")
    @classmethod
    def _with_id(cls, values: Any) -> Any:
        # None asks for a new one, too.
        if isinstance(values, dict) and values.get("id_") is None and values.get("id") is None:
            given = {name: value for name, value in values.items() if name != "id"}
            return {**given, "id_": str(uuid4())}
        return values
