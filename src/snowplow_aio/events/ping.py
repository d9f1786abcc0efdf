"""Pings that are tracked while a web page stays in view."""

from __future__ import annotations

from typing import Annotated, ClassVar

from snowplow_aio.events.page import PageView
from snowplow_aio.model.fields import Int32, Wire
from snowplow_aio.model.schema_key import SchemaKey


class PagePing(PageView):
    """
    A web page is still in view.

    Args:
        page_url: The address of the page; not empty, at most 10,000 characters.

        page_title: The title of the page; at most 2,000 characters.

        referrer: The address of the page that linked to it; at most 10,000 characters.

        min_x: Smallest horizontal scroll offset since the last ping; this and all below in
            pixels, -2147483648 to 2147483647. Browsers that scroll beyond the edge report
            negative ones.

        max_x: Largest horizontal scroll offset.

        min_y: Smallest vertical scroll offset.

        max_y: Largest vertical scroll offset.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Track how far a page was scrolled::

            await tracker.track(PagePing(page_url="https://shop.example/shoes", min_y=0, max_y=640))
    """

    event_code: ClassVar[str] = "pp"
    schema_key: ClassVar[SchemaKey] = SchemaKey.parse(
        "iglu:com.snowplowanalytics.snowplow/page_ping/jsonschema/1-0-0"
    )

    min_x: Annotated[Int32 | None, Wire("pp_mix")] = None
    max_x: Annotated[Int32 | None, Wire("pp_max")] = None
    min_y: Annotated[Int32 | None, Wire("pp_miy")] = None
    max_y: Annotated[Int32 | None, Wire("pp_may")] = None
