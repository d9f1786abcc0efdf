"""Clicks on links."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict

from snowplow_aio.model.fields import ABSENT, CAMEL_CASE, NonEmpty, OrAbsent, Strings
from snowplow_aio.model.self_describing import SelfDescribing


class LinkClick(SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow/link_click/jsonschema/1-0-1"):
    """
    A link was clicked.

    Args:
        target_url: The address of the link; not empty.

        element_id: The id of the HTML element.

        element_classes: The classes of the element.

        element_target: The target of the element.

        element_content: The content of the element.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Track a click on a link in the footer::

            await tracker.track(LinkClick(target_url="https://shop.example/", element_classes=["footer"]))
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE

    target_url: NonEmpty
    element_id: OrAbsent[str] = ABSENT
    element_classes: OrAbsent[Strings] = ABSENT
    element_target: OrAbsent[str] = ABSENT
    element_content: OrAbsent[str] = ABSENT
