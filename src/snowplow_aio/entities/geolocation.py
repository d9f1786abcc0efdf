"""An entity for the place of a user."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict

from snowplow_aio.model.fields import CAMEL_CASE, Between, Milliseconds, Number
from snowplow_aio.model.self_describing import SelfDescribing


class Geolocation(
    SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow/geolocation_context/jsonschema/1-1-0"
):
    """
    A place on earth, and a movement there.

    Args:
        latitude: Degrees north, -90 to 90.

        longitude: Degrees east, -180 to 180.

        latitude_longitude_accuracy: The largest error of the two, in metres.

        altitude: Metres above the sea.

        altitude_accuracy: The largest error of the altitude, in metres.

        bearing: Degrees clockwise from north.

        speed: Metres per second.

        timestamp: The time of the measurement, in milliseconds since the epoch, at least 100000000000.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Send the place of an event::

            await tracker.track(event, context=[Geolocation(latitude=48.2, longitude=16.4)])
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE

    latitude: Annotated[Number, Between(-90, 90)]
    longitude: Annotated[Number, Between(-180, 180)]
    latitude_longitude_accuracy: Number | None = None
    altitude: Number | None = None
    altitude_accuracy: Number | None = None
    bearing: Number | None = None
    speed: Number | None = None
    timestamp: Milliseconds | None = None
