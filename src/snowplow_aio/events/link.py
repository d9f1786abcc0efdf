"""Clicks on links."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict

from snowplow_aio.model.fields import ABSENT, CAMEL_CASE, NonEmpty, Strings
from snowplow_aio.model.self_describing import SelfDescribing


class LinkClick(SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow/link_click/jsonschema/1-0-1"):
    """
    Somebody clicked on a link.

    Args:
        target_url: Where the link leads; not empty.

        element_id: The id of the HTML element.

        element_classes: Its classes.

        element_target: Its target.

        element_content: Its content.

    Raises pydantic.ValidationError when a value breaks one of these rules.
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE

    target_url: NonEmpty
    element_id: str = ABSENT
    element_classes: Strings = ABSENT
    element_target: str = ABSENT
    element_content: str = ABSENT
