"""One tracking method for each kind of event; each returns what can be awaited and chained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from snowplow_aio.events.page import PagePing, PageView
from snowplow_aio.events.screen import MobileScreenView, ScreenView
from snowplow_aio.events.structured import StructuredEvent
from snowplow_aio.payload import Entity, Event
from snowplow_aio.subject import Subject
from snowplow_aio.timestamps import DeviceTimestamp, TrueTimestamp

if TYPE_CHECKING:
    from snowplow_aio.tracker import Tracking

Context = Sequence[Entity] | None
Timestamp = float | datetime | DeviceTimestamp | TrueTimestamp | None


def given(**fields: Any) -> dict[str, Any]:
    """Return *fields* without those that are None: the schemas know absent fields, few know null."""
    return {name: value for name, value in fields.items() if value is not None}


class TrackMethods(ABC):
    """
    What a tracker and what its methods return have in common: tracking one more event.

    Every method takes, after the fields of its event, the same arguments as
    `track`; it validates and encodes at the call, and raises
    `pydantic.ValidationError` or InvalidEventError there.
    """

    __slots__ = ()

    @abstractmethod
    def track(
        self,
        event: Event,
        *,
        context: Context = None,
        tstamp: Timestamp = None,
        true_timestamp: float | datetime | TrueTimestamp | None = None,
        subject: Subject | None = None,
        event_id: str | UUID | None = None,
        anonymous: bool = False,
    ) -> Tracking:
        """
        Track *event*: all work but the handing over is done at the call.

        Args:
            event: An event model, a `SelfDescribing` model or a `SelfDescribingJson`.

            context: The entities that go with it; an empty list is the same as None.

            tstamp: When it happened: milliseconds since the epoch, an aware
                datetime or a `DeviceTimestamp` are sent as ``dtm``, a
                `TrueTimestamp` is sent as ``ttm`` instead; None is now.

            true_timestamp: When it really happened; sent as ``ttm`` beside ``dtm``,
                which the models behind the pipeline need.

            subject: Fields that go before those of the tracker and of `use_subject`.

            event_id: A UUID; a new one where it is None.

            anonymous: Whether what identifies the user is left out and the
                collector is told to keep nothing either (``SP-Anonymous``).

        Returns what must be awaited to hand the event to the emitters; awaiting
        it gives the event id.

        Raises InvalidEventError when something breaks a rule of the protocol or of JSON.
        """

    def track_page_view(
        self,
        page_url: str,
        page_title: str | None = None,
        referrer: str | None = None,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Any,
    ) -> Tracking:
        """Track a `PageView`."""
        event = PageView(page_url=page_url, page_title=page_title, referrer=referrer)
        return self.track(event, context=context, tstamp=tstamp, **metadata)

    def track_page_ping(
        self,
        page_url: str,
        page_title: str | None = None,
        referrer: str | None = None,
        min_x: int | None = None,
        max_x: int | None = None,
        min_y: int | None = None,
        max_y: int | None = None,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Any,
    ) -> Tracking:
        """Track a `PagePing`."""
        event = PagePing(
            page_url=page_url,
            page_title=page_title,
            referrer=referrer,
            min_x=min_x,
            max_x=max_x,
            min_y=min_y,
            max_y=max_y,
        )
        return self.track(event, context=context, tstamp=tstamp, **metadata)

    def track_screen_view(
        self,
        name: str | None = None,
        id_: str | None = None,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Any,
    ) -> Tracking:
        """Track a `ScreenView`."""
        event = ScreenView(**given(name=name, id_=id_))
        return self.track(event, context=context, tstamp=tstamp, **metadata)

    def track_mobile_screen_view(
        self,
        name: str,
        id_: str | UUID | None = None,
        type_: str | None = None,
        previous_name: str | None = None,
        previous_id: str | UUID | None = None,
        previous_type: str | None = None,
        transition_type: str | None = None,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Any,
    ) -> Tracking:
        """Track a `MobileScreenView`."""
        event = MobileScreenView(
            name=name,
            **given(
                id_=id_,
                type_=type_,
                previous_name=previous_name,
                previous_id=previous_id,
                previous_type=previous_type,
                transition_type=transition_type,
            ),
        )
        return self.track(event, context=context, tstamp=tstamp, **metadata)

    def track_struct_event(
        self,
        category: str,
        action: str,
        label: str | None = None,
        property_: str | None = None,
        value: float | Decimal | None = None,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Any,
    ) -> Tracking:
        """Track a `StructuredEvent`."""
        event = StructuredEvent(
            category=category, action=action, label=label, property_=property_, value=value
        )
        return self.track(event, context=context, tstamp=tstamp, **metadata)

    def track_self_describing_event(
        self, event_json: Entity, context: Context = None, tstamp: Timestamp = None, **metadata: Any
    ) -> Tracking:
        """Track an event with a schema of its own."""
        return self.track(event_json, context=context, tstamp=tstamp, **metadata)

    def track_unstruct_event(
        self, event_json: Entity, context: Context = None, tstamp: Timestamp = None, **metadata: Any
    ) -> Tracking:
        """Do the same as `track_self_describing_event`, under its old name."""
        return self.track(event_json, context=context, tstamp=tstamp, **metadata)
