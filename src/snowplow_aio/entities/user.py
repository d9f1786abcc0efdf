"""The user of a shop."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from snowplow_aio.model.self_describing import SelfDescribing


def _without_underscore(name: str) -> str:
    return name.rstrip("_")


class User(SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow.ecommerce/user/jsonschema/1-0-0"):
    """
    Who the user is.

    Args:
        id_: The application's id of the user; at most 128 characters.

        is_guest: Whether it is somebody without an account.

        email: The user's e-mail address; at most 256 characters.

    Raises pydantic.ValidationError when a value breaks one of these rules.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(alias_generator=_without_underscore)

    id_: Annotated[str, Field(max_length=128)]
    is_guest: bool | None = None
    email: Annotated[str, Field(max_length=256)] | None = None
