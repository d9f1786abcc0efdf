"""Views of web pages."""

from __future__ import annotations

from typing import Annotated, ClassVar

from snowplow_aio.model.fields import NonEmpty, Wire
from snowplow_aio.model.primitive_event import PrimitiveEvent
from snowplow_aio.model.schema_key import SchemaKey


class PageView(PrimitiveEvent):
    """
    A web page was viewed.

    Args:
        page_url: The address of the page; not empty, at most 10,000 characters.

        page_title: The title of the page; at most 2,000 characters.

        referrer: The address of the page that linked to it; at most 10,000 characters.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Track a page view::

            await tracker.track(PageView(page_url="https://shop.example/shoes", page_title="Shoes"))
    """

    event_code: ClassVar[str] = "pv"
    schema_key: ClassVar[SchemaKey] = SchemaKey.parse(
        "iglu:com.snowplowanalytics.snowplow/page_view/jsonschema/1-0-0"
    )

    page_url: Annotated[NonEmpty, Wire("url")]
    page_title: Annotated[str | None, Wire("page")] = None
    referrer: Annotated[str | None, Wire("refr")] = None
