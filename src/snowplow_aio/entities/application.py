"""Entities for the application that events come from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from snowplow_aio.model.self_describing import SelfDescribing

_Text = Annotated[str, Field(max_length=255)]


class Application(SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow/application/jsonschema/1-0-0"):
    """
    The version of an application.

    Args:
        version: The version, like ``1.1.0``, or the hash of a commit; at most 255 characters.

    Raises:
        pydantic.ValidationError: If *version* breaks this rule.

    Example:
        Send it with all events::

            tracker.add_global_context(Application(version="1.1.0"))
    """

    version: _Text


class MobileApplication(
    SelfDescribing, schema="iglu:com.snowplowanalytics.mobile/application/jsonschema/1-0-0"
):
    """
    The version of a mobile application.

    Args:
        version: The version, like ``1.1.0``; at most 255 characters.

        build: The name of the build; at most 255 characters.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Send it with all events::

            tracker.add_global_context(MobileApplication(version="1.1.0", build="s9f2k2d"))
    """

    version: _Text
    build: _Text
