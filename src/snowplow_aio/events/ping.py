"""Pings while a web page stays in view."""

from __future__ import annotations

from typing import Annotated, ClassVar

from snowplow_aio.events.page import PageView
from snowplow_aio.model.fields import Count, Wire
from snowplow_aio.model.schema_key import SchemaKey


class PagePing(PageView):
    """
    Somebody still has a web page in view.

    Args:
        page_url: The page's address; not empty, at most 10,000 characters.

        page_title: Its title; at most 2,000 characters.

        referrer: The address that linked to it; at most 10,000 characters.

        min_x: Smallest horizontal scroll offset since the last ping, in pixels, 0 to 2147483647.

        max_x: Largest horizontal one.

        min_y: Smallest vertical one.

        max_y: Largest vertical one.

    Raises pydantic.ValidationError when a value breaks one of these rules.
    """

    event_code: ClassVar[str] = "pp"
    schema_key: ClassVar[SchemaKey] = SchemaKey.parse(
        "iglu:com.snowplowanalytics.snowplow/page_ping/jsonschema/1-0-0"
    )

    min_x: Annotated[Count | None, Wire("pp_mix")] = None
    max_x: Annotated[Count | None, Wire("pp_max")] = None
    min_y: Annotated[Count | None, Wire("pp_miy")] = None
    max_y: Annotated[Count | None, Wire("pp_may")] = None
