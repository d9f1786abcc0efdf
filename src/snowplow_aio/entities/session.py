"""An entity for the session that a client keeps by itself."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, WithJsonSchema

from snowplow_aio.model.atomic import refusal
from snowplow_aio.model.fields import CAMEL_CASE, Count, DateTime, Uuid
from snowplow_aio.model.self_describing import SelfDescribing
from snowplow_aio.model.validation import is_validating

StorageMechanism = Literal["SQLITE", "COOKIE_1", "COOKIE_3", "LOCAL_STORAGE", "FLASH_LSO"]

_PATTERN = "^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$|^[0-9a-f]{16}$"


def _user_id(value: object) -> object:
    text = str(value) if isinstance(value, UUID) else value
    if isinstance(text, str) and re.fullmatch(_PATTERN, text) is None and is_validating():
        raise refusal("must be a UUID in lower case, or 16 hexadecimal digits in lower case")
    return text


_UserId = Annotated[
    str,
    BeforeValidator(_user_id),
    WithJsonSchema({"type": "string", "pattern": _PATTERN, "maxLength": 36}),
]


class ClientSession(
    SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow/client_session/jsonschema/1-0-2"
):
    """
    A session of a user, as the client counts it.

    Args:
        user_id: The user on this client: a UUID in lower case, or 16 hexadecimal digits in lower case.

        session_id: A UUID for the session.

        session_index: The number of the session of this user, 0 to 2147483647.

        storage_mechanism: The storage in which the client keeps all this.

        event_index: The number of the event in the session, 0 to 2147483647.

        previous_session_id: The UUID of the session before.

        first_event_id: The UUID of the first event of the session.

        first_event_timestamp: The time of the first event: a datetime with a time zone, or
            its text in ISO 8601.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Send the session with an event::

            session = ClientSession(
                user_id="5cea9899-10df-4ccf-bf66-8c36f4a4bba2",
                session_id=uuid4(),
                session_index=3,
                storage_mechanism="SQLITE",
            )
            await tracker.track(event, context=[session])
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE

    user_id: _UserId
    session_id: Uuid
    session_index: Count
    storage_mechanism: StorageMechanism
    event_index: Count | None = None
    previous_session_id: Uuid | None = None
    first_event_id: Uuid | None = None
    first_event_timestamp: DateTime | None = None
