"""The page that a visitor looks at."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar
from uuid import uuid4

from pydantic import ConfigDict, WithJsonSchema, model_validator

from snowplow_aio.model.fields import ABSENT, CAMEL_CASE, Uuid
from snowplow_aio.model.self_describing import SelfDescribing

_PATTERN = "^[a-fA-F0-9]{8}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{12}$"


class WebPage(SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow/web_page/jsonschema/1-0-0"):
    """
    The view of a web page that events belong to.

    All events of one view have the same id, by which the models behind the
    pipeline put them together.

    Args:
        id_: A UUID for this view; made when it is not given.

    Raises pydantic.ValidationError when it is something else.
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE | ConfigDict(json_schema_extra={"required": ["id"]})

    id_: Annotated[Uuid, WithJsonSchema({"type": "string", "pattern": _PATTERN})] = ABSENT

    @model_validator(mode="before")
    @classmethod
    def _with_id(cls, values: Any) -> Any:
        # Set, not a default: a default would not be sent.
        if isinstance(values, dict) and values.get("id_") is None and values.get("id") is None:
            given = {name: value for name, value in values.items() if name != "id"}
            return {**given, "id_": str(uuid4())}
        return values
