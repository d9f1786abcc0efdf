"""One tracking method for each kind of event; each returns what can be awaited and chained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypedDict, Unpack
from uuid import UUID

from snowplow_aio.events.cart import AddToCart, RemoveFromCart
from snowplow_aio.events.ecommerce import EcommerceTransaction, EcommerceTransactionItem
from snowplow_aio.events.error import ApplicationError
from snowplow_aio.events.form import FormChange, FormElement, FormSubmit, InputType, NodeName
from snowplow_aio.events.link import LinkClick
from snowplow_aio.events.page import PageView
from snowplow_aio.events.ping import PagePing
from snowplow_aio.events.screen import MobileScreenView, ScreenView
from snowplow_aio.events.search import SiteSearch
from snowplow_aio.events.structured import StructuredEvent
from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.payload import Entity, Event
from snowplow_aio.model.subject import Subject
from snowplow_aio.model.timestamps import DeviceTimestamp, TrueTimestamp

if TYPE_CHECKING:
    from snowplow_aio.tracking.tracker import Tracking

Context = Sequence[Entity] | None
Timestamp = float | datetime | DeviceTimestamp | TrueTimestamp | None


class Metadata(TypedDict, total=False):
    """The arguments of every tracking method besides the event's own, its context and `tstamp`."""

    true_timestamp: float | datetime | TrueTimestamp | None
    subject: Subject | None
    event_id: str | UUID | None
    anonymous: bool


class AllMetadata(Metadata, total=False):
    """The arguments of `track` besides the event."""

    context: Context
    tstamp: Timestamp


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
        **metadata: Unpack[Metadata],
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
        **metadata: Unpack[Metadata],
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
        **metadata: Unpack[Metadata],
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
        **metadata: Unpack[Metadata],
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
        **metadata: Unpack[Metadata],
    ) -> Tracking:
        """Track a `StructuredEvent`."""
        event = StructuredEvent(
            category=category, action=action, label=label, property_=property_, value=value
        )
        return self.track(event, context=context, tstamp=tstamp, **metadata)

    def track_self_describing_event(
        self,
        event_json: Entity,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Unpack[Metadata],
    ) -> Tracking:
        """Track an event with a schema of its own."""
        try:
            return self.track(event_json, context=context, tstamp=tstamp, **metadata)
        except InvalidEventError as error:
            # Here the event has the manual's name.
            message = str(error)
            if message.startswith(("event:", "event.")):
                message = f"event_json{message.removeprefix('event')}"
            raise InvalidEventError(message) from None

    def track_unstruct_event(
        self,
        event_json: Entity,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Unpack[Metadata],
    ) -> Tracking:
        """Do the same as `track_self_describing_event`, under its old name."""
        return self.track_self_describing_event(event_json, context, tstamp, **metadata)

    def track_link_click(
        self,
        target_url: str,
        element_id: str | None = None,
        element_classes: Sequence[str] | None = None,
        element_target: str | None = None,
        element_content: str | None = None,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Unpack[Metadata],
    ) -> Tracking:
        """Track a `LinkClick`."""
        optional = given(
            element_id=element_id,
            element_classes=element_classes,
            element_target=element_target,
            element_content=element_content,
        )
        return self.track(
            LinkClick(target_url=target_url, **optional), context=context, tstamp=tstamp, **metadata
        )

    def track_add_to_cart(
        self,
        sku: str,
        quantity: float | Decimal,
        name: str | None = None,
        category: str | None = None,
        unit_price: float | Decimal | None = None,
        currency: str | None = None,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Unpack[Metadata],
    ) -> Tracking:
        """Track an `AddToCart`."""
        optional = given(name=name, category=category, unit_price=unit_price, currency=currency)
        event = AddToCart(sku=sku, quantity=quantity, **optional)
        return self.track(event, context=context, tstamp=tstamp, **metadata)

    def track_remove_from_cart(
        self,
        sku: str,
        quantity: float | Decimal,
        name: str | None = None,
        category: str | None = None,
        unit_price: float | Decimal | None = None,
        currency: str | None = None,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Unpack[Metadata],
    ) -> Tracking:
        """Track a `RemoveFromCart`."""
        optional = given(name=name, category=category, unit_price=unit_price, currency=currency)
        event = RemoveFromCart(sku=sku, quantity=quantity, **optional)
        return self.track(event, context=context, tstamp=tstamp, **metadata)

    def track_form_change(
        self,
        form_id: str,
        element_id: str,
        node_name: NodeName,
        value: str | None,
        type_: InputType | None = None,
        element_classes: Sequence[str] | None = None,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Unpack[Metadata],
    ) -> Tracking:
        """Track a `FormChange`. A value of None is sent as null: the element was emptied."""
        event = FormChange(
            form_id=form_id,
            element_id=element_id,
            node_name=node_name,
            value=value,
            **given(type_=type_, element_classes=element_classes),
        )
        return self.track(event, context=context, tstamp=tstamp, **metadata)

    def track_form_submit(
        self,
        form_id: str,
        form_classes: Sequence[str] | None = None,
        elements: Sequence[FormElement | Mapping[str, Any]] | None = None,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Unpack[Metadata],
    ) -> Tracking:
        """Track a `FormSubmit`."""
        event = FormSubmit(form_id=form_id, **given(form_classes=form_classes, elements=elements))
        return self.track(event, context=context, tstamp=tstamp, **metadata)

    def track_site_search(
        self,
        terms: Sequence[str],
        filters: Mapping[str, str | bool] | None = None,
        total_results: int | None = None,
        page_results: int | None = None,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Unpack[Metadata],
    ) -> Tracking:
        """Track a `SiteSearch`."""
        optional = given(filters=filters, total_results=total_results, page_results=page_results)
        return self.track(SiteSearch(terms=terms, **optional), context=context, tstamp=tstamp, **metadata)

    def track_ecommerce_transaction(
        self,
        order_id: str,
        total_value: float | Decimal,
        affiliation: str | None = None,
        tax_value: float | Decimal | None = None,
        shipping: float | Decimal | None = None,
        city: str | None = None,
        state: str | None = None,
        country: str | None = None,
        currency: str | None = None,
        items: Sequence[EcommerceTransactionItem | Mapping[str, Any]] | None = None,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Unpack[Metadata],
    ) -> Tracking:
        """Track an `EcommerceTransaction` and, right after it, an event for each of its items."""
        event = EcommerceTransaction(
            order_id=order_id,
            total_value=total_value,
            affiliation=affiliation,
            tax_value=tax_value,
            shipping=shipping,
            city=city,
            state=state,
            country=country,
            currency=currency,
            items=items,
        )
        return self.track(event, context=context, tstamp=tstamp, **metadata)

    def track_ecommerce_transaction_item(
        self,
        id_: str,
        sku: str,
        price: float | Decimal,
        quantity: int,
        name: str | None = None,
        category: str | None = None,
        currency: str | None = None,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Unpack[Metadata],
    ) -> Tracking:
        """Track an `EcommerceTransactionItem`."""
        event = EcommerceTransactionItem(
            id_=id_,
            sku=sku,
            price=price,
            quantity=quantity,
            name=name,
            category=category,
            currency=currency,
        )
        return self.track(event, context=context, tstamp=tstamp, **metadata)

    def track_exception(
        self,
        error: BaseException,
        is_fatal: bool | None = None,  # noqa: FBT001 - as its siblings
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Unpack[Metadata],
    ) -> Tracking:
        """Track an `ApplicationError` that says what *error* is, where it was raised and what caused it."""
        event = ApplicationError.from_exception(error, is_fatal=is_fatal)
        return self.track(event, context=context, tstamp=tstamp, **metadata)
