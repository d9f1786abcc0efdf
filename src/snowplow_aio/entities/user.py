"""An entity for the user of a shop."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from snowplow_aio.model.self_describing import SelfDescribing


def _without_underscore(name: str) -> str:
    return name.rstrip("_")


class User(SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow.ecommerce/user/jsonschema/1-0-0"):
    """
    A user.

    Args:
        id_: The application's id of the user; at most 128 characters.

        is_guest: Whether the user has no account.

        email: The e-mail address of the user; at most 256 characters.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Send the user of an event::

            await tracker.track(event, context=[User(id_="u-42", is_guest=False)])
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(alias_generator=_without_underscore)

    id_: Annotated[str, Field(max_length=128)]
    is_guest: bool | None = None
    email: Annotated[str, Field(max_length=256)] | None = None
