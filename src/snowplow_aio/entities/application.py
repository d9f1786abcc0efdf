"""The application that events come from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from snowplow_aio.model.self_describing import SelfDescribing

_Text = Annotated[str, Field(max_length=255)]


class Application(SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow/application/jsonschema/1-0-0"):
    """
    The version of the application.

    Args:
        version: ``1.1.0``, or the hash of a commit; at most 255 characters.

    Raises pydantic.ValidationError when it breaks this rule.
    """

    version: _Text


class MobileApplication(
    SelfDescribing, schema="iglu:com.snowplowanalytics.mobile/application/jsonschema/1-0-0"
):
    """
    The version of a mobile application.

    Args:
        version: Its version, like ``1.1.0``; at most 255 characters.

        build: The name of the build; at most 255 characters.

    Raises pydantic.ValidationError when a value breaks one of these rules.
    """

    version: _Text
    build: _Text
