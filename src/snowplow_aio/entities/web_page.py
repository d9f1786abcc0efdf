"""An entity for the view of a page."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar
from uuid import uuid4

from pydantic import ConfigDict, WithJsonSchema, model_validator

from snowplow_aio.model.fields import ABSENT, CAMEL_CASE, OrAbsent, Uuid
from snowplow_aio.model.self_describing import SelfDescribing

_PATTERN = "^[a-fA-F0-9]{8}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{12}$"


class WebPage(SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow/web_page/jsonschema/1-0-0"):
    """
    The view of a web page that events belong to.

    All events of one view have the same id. The models behind the pipeline group
    them by it.

    Args:
        id_: A UUID for this view; a new one if it is not given.

    Raises:
        pydantic.ValidationError: If *id_* is no UUID.

    Example:
        Send it with all events of one view::

            with use_context(WebPage()):
                await tracker.track(PageView(page_url="https://shop.example/"))
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE | ConfigDict(json_schema_extra={"required": ["id"]})

    id_: OrAbsent[Annotated[Uuid, WithJsonSchema({"type": "string", "pattern": _PATTERN})]] = ABSENT

    @model_validator(mode="before")
    @classmethod
    def _with_id(cls, values: Any) -> Any:
        # None asks for a new one, too.
        if isinstance(values, dict) and values.get("id_") is None and values.get("id") is None:
            given = {name: value for name, value in values.items() if name != "id"}
            return {**given, "id_": str(uuid4())}
        return values
