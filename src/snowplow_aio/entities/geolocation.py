"""Where somebody is."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict

from snowplow_aio.model.fields import CAMEL_CASE, Between, Number
from snowplow_aio.model.self_describing import SelfDescribing


class Geolocation(
    SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow/geolocation_context/jsonschema/1-1-0"
):
    """
    A place on earth, and how somebody moves there.

    Args:
        latitude: Degrees north, -90 to 90.

        longitude: Degrees east, -180 to 180.

        latitude_longitude_accuracy: How far the two may be off, in metres.

        altitude: Metres above the sea.

        altitude_accuracy: How far that may be off, in metres.

        bearing: Degrees clockwise from north.

        speed: Metres a second.

        timestamp: When it was measured, in milliseconds since the epoch.

    Raises pydantic.ValidationError when a value breaks one of these rules.
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE

    latitude: Annotated[Number, Between(-90, 90)]
    longitude: Annotated[Number, Between(-180, 180)]
    latitude_longitude_accuracy: Number | None = None
    altitude: Number | None = None
    altitude_accuracy: Number | None = None
    bearing: Number | None = None
    speed: Number | None = None
    timestamp: int | None = None
