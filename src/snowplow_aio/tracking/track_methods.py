"""
A tracking method for each kind of event, and the call that each of them returns.

A call can be awaited like a coroutine, and has the same tracking methods, so
that calls can be chained.
"""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import update_wrapper
from types import FunctionType
from typing import Any, Generic, TypedDict, TypeVar, Unpack
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
from snowplow_aio.model.old_names import OldAttributes, explains_arguments, refuse_unknown
from snowplow_aio.model.payload import Entity, Event, Payload
from snowplow_aio.model.subject import Subject
from snowplow_aio.model.timestamps import DeviceTimestamp, TrueTimestamp
from snowplow_aio.runtime.copies import NeverCopied
from snowplow_aio.tracking.payload_builder import PendingPayloads

Context = Sequence[Entity] | None
Timestamp = float | datetime | DeviceTimestamp | TrueTimestamp | None

HandOver = Callable[[tuple[Payload, ...]], Awaitable[None] | None]
"""Hands payloads to every emitter, and returns what must be awaited, or None."""

_T = TypeVar("_T")
_Call = TypeVar("_Call")
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Metadata(TypedDict, total=False):
    """The arguments of every tracking method besides those of its event, `context` and `tstamp`."""

    true_timestamp: float | datetime | TrueTimestamp | None
    subject: Subject | None
    event_id: str | UUID | None
    anonymous: bool


class AllMetadata(Metadata, total=False):
    """The arguments of `track` besides the event."""

    context: Context
    tstamp: Timestamp


def like_coroutine_function(function: _Function) -> _Function:
    """
    Mark *function*, which returns an awaitable, as a coroutine function.

    A framework that is given one for a background task asks what it is. Called
    as a plain function, in a thread, it would track nothing.
    """
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    # Frameworks ask `inspect`, which looks at this flag. A call of Python 3.11 does not look at it.
    code = function.__code__
    function.__code__ = code.replace(co_flags=code.co_flags | inspect.CO_COROUTINE)
    return function


def given(**fields: Any) -> dict[str, Any]:
    """Return *fields* without those that are None, because few schemas know null."""
    return {name: value for name, value in fields.items() if value is not None}


def coroutine_functions(kind: type[_T]) -> type[_T]:
    """Mark the methods that *kind*, a class, has of `TrackMethods` as coroutine functions, in this class."""
    for name, method in vars(TrackMethods).items():
        if name.startswith("track_"):
            setattr(kind, name, like_coroutine_function(_copy(method)))
    return kind


def _copy(f: FunctionType) -> FunctionType:
    copied = FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, f.__closure__)
    copied.__kwdefaults__ = f.__kwdefaults__
    update_wrapper(copied, f)
    return copied


def shown_without(function: _Function, name: str) -> _Function:
    """Have the signature of *function* not show the argument *name*, which is there to be refused."""
    signature = inspect.signature(function)
    parameters = [parameter for parameter in signature.parameters.values() if parameter.name != name]
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return function


class TrackMethods(OldAttributes, ABC, Generic[_Call]):
    """
    The tracking methods that trackers of both kinds and a `TrackCall` have in common.

    Every method takes, after the fields of its event, the same arguments as
    `Tracker.track`. It checks and encodes the event at the call, and raises
    `pydantic.ValidationError` or `InvalidEventError` there.

    Example:
        Track two events in order; the id is that of the last one::

            event_id = await tracker.track_page_view("https://shop.example/").track_screen_view("cart")
    """

    __slots__ = ()

    @abstractmethod
    def _tracked(self, event: Event, context: Context, tstamp: Timestamp, metadata: Metadata) -> _Call:
        """Track *event*, and return what the tracking methods return."""

    @explains_arguments
    def track_page_view(
        self,
        page_url: str,
        page_title: str | None = None,
        referrer: str | None = None,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Unpack[Metadata],
    ) -> _Call:
        """Track a `PageView`."""
        event = PageView(page_url=page_url, page_title=page_title, referrer=referrer)
        return self._tracked(event, context, tstamp, metadata)

    @explains_arguments
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
    ) -> _Call:
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
        return self._tracked(event, context, tstamp, metadata)

    @explains_arguments
    def track_screen_view(
        self,
        name: str | None = None,
        id_: str | None = None,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Unpack[Metadata],
    ) -> _Call:
        """Track a `ScreenView`."""
        event = ScreenView(**given(name=name, id_=id_))
        return self._tracked(event, context, tstamp, metadata)

    @explains_arguments
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
    ) -> _Call:
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
        return self._tracked(event, context, tstamp, metadata)

    @explains_arguments
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
    ) -> _Call:
        """Track a `StructuredEvent`."""
        event = StructuredEvent(
            category=category, action=action, label=label, property_=property_, value=value
        )
        return self._tracked(event, context, tstamp, metadata)

    @explains_arguments
    def track_self_describing_event(
        self,
        event_json: Entity,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Unpack[Metadata],
    ) -> _Call:
        """Track an event with a schema of its own: a `SelfDescribing` model or a `SelfDescribingJson`."""
        try:
            return self._tracked(event_json, context, tstamp, metadata)
        except InvalidEventError as error:
            # The error calls the event by the name of the argument here.
            message = str(error)
            if message.startswith(("event:", "event.")):
                message = f"event_json{message.removeprefix('event')}"
            raise InvalidEventError(message) from None

    @explains_arguments
    def track_unstruct_event(
        self,
        event_json: Entity,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Unpack[Metadata],
    ) -> _Call:
        """Do the same as `track_self_describing_event`, under its old name."""
        return self.track_self_describing_event(event_json, context, tstamp, **metadata)

    @explains_arguments
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
    ) -> _Call:
        """Track a `LinkClick`."""
        optional = given(
            element_id=element_id,
            element_classes=element_classes,
            element_target=element_target,
            element_content=element_content,
        )
        return self._tracked(LinkClick(target_url=target_url, **optional), context, tstamp, metadata)

    @explains_arguments
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
    ) -> _Call:
        """Track an `AddToCart`."""
        optional = given(name=name, category=category, unit_price=unit_price, currency=currency)
        event = AddToCart(sku=sku, quantity=quantity, **optional)
        return self._tracked(event, context, tstamp, metadata)

    @explains_arguments
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
    ) -> _Call:
        """Track a `RemoveFromCart`."""
        optional = given(name=name, category=category, unit_price=unit_price, currency=currency)
        event = RemoveFromCart(sku=sku, quantity=quantity, **optional)
        return self._tracked(event, context, tstamp, metadata)

    @explains_arguments
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
    ) -> _Call:
        """Track a `FormChange`. A *value* of None is sent as null: the element was emptied."""
        event = FormChange(
            form_id=form_id,
            element_id=element_id,
            node_name=node_name,
            value=value,
            **given(type_=type_, element_classes=element_classes),
        )
        return self._tracked(event, context, tstamp, metadata)

    @explains_arguments
    def track_form_submit(
        self,
        form_id: str,
        form_classes: Sequence[str] | None = None,
        elements: Sequence[FormElement | Mapping[str, Any]] | None = None,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Unpack[Metadata],
    ) -> _Call:
        """Track a `FormSubmit`."""
        event = FormSubmit(form_id=form_id, **given(form_classes=form_classes, elements=elements))
        return self._tracked(event, context, tstamp, metadata)

    @explains_arguments
    def track_site_search(
        self,
        terms: Sequence[str],
        filters: Mapping[str, str | bool] | None = None,
        total_results: int | None = None,
        page_results: int | None = None,
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Unpack[Metadata],
    ) -> _Call:
        """Track a `SiteSearch`."""
        optional = given(filters=filters, total_results=total_results, page_results=page_results)
        return self._tracked(SiteSearch(terms=terms, **optional), context, tstamp, metadata)

    @explains_arguments
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
    ) -> _Call:
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
        return self._tracked(event, context, tstamp, metadata)

    @explains_arguments
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
    ) -> _Call:
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
        return self._tracked(event, context, tstamp, metadata)

    @explains_arguments
    def track_exception(
        self,
        error: BaseException,
        is_fatal: bool | None = None,  # noqa: FBT001 - as its siblings
        context: Context = None,
        tstamp: Timestamp = None,
        **metadata: Unpack[Metadata],
    ) -> _Call:
        """
        Track an `ApplicationError` that tells what *error* is, where it was raised and what caused it.

        *is_fatal* says whether it ends the application.
        """
        event = ApplicationError.from_exception(error, is_fatal=is_fatal)
        return self._tracked(event, context, tstamp, metadata)


@coroutine_functions
class AwaitedTrackMethods(TrackMethods["TrackCall"]):
    """Tracking methods whose results must be awaited."""

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
    ) -> Coroutine[Any, Any, str]:
        """
        Track an event: check and encode it at the call, and hand it to the emitters when that is awaited.

        Args:
            event: An event model like `PageView`, a `SelfDescribing` model or a `SelfDescribingJson`.

            context: The entities of the event; None or an empty list for none.

            tstamp: The time of the event: milliseconds since the epoch, an aware `datetime`, a
                `DeviceTimestamp` or a `TrueTimestamp`. None for now.

            true_timestamp: The true time of the event, sent besides that of the device.

            subject: Fields that go before all others.

            event_id: The id of the event, a UUID; None for a new one.

            anonymous: Whether the fields that identify the user are left out.

        Returns:
            A coroutine that gives the id of the event.

        Raises:
            InvalidEventError: If an argument breaks a rule. Raised at the call.
            QueueFullError: If an emitter has no room and its overflow policy is
                `Overflow.RAISE`. Raised when the result is awaited.
        """

    def _tracked(self, event: Event, context: Context, tstamp: Timestamp, metadata: Metadata) -> TrackCall:
        # `track` returns a call that can be chained. It is declared as a coroutine, because type checkers
        # find a forgotten `await` only of these. Without more keywords, no dictionary is made of them.
        if metadata:
            return self.track(event, context=context, tstamp=tstamp, **metadata)  # type: ignore[return-value] # pyright: ignore[reportReturnType]
        return self.track(event, context=context, tstamp=tstamp)  # type: ignore[return-value] # pyright: ignore[reportReturnType]


class TrackCall(NeverCopied, AwaitedTrackMethods, Coroutine[Any, Any, str]):
    """
    Events that are checked and encoded, and reach the emitters when the call is awaited.

    Tracking methods return it. It is a coroutine to everything that takes one
    (`asyncio.create_task`, `gather`, task groups, `wait_for`). A call that is
    never awaited warns as a coroutine does. Awaited, it gives the id of its last event.

    Args:
        prepare: Does the work of `Tracker.track` at the call.

        hand_over: Hands payloads to the emitters.

        first: The payloads of the first event.

    Example:
        Add an event to a call, then await both::

            call = tracker.track(PageView(page_url="https://shop.example/"))
            await call.track_link_click("https://shop.example/cart")
    """

    __slots__ = ("_hand_over", "_pending", "_prepare")

    def __init__(
        self, prepare: Callable[..., PendingPayloads], hand_over: HandOver, first: PendingPayloads
    ) -> None:
        self._prepare = prepare
        self._pending = pending = [first]
        # The coroutine does not refer to this object: when a call is forgotten, it warns at once.
        self._hand_over = _hand_over(hand_over, pending)

    @property
    def event_id(self) -> str:
        """The id of the last event."""
        return self._pending[-1].event_id

    def track(self, event: Event, **metadata: Unpack[AllMetadata]) -> TrackCall:
        """
        Track one more event, after those before.

        Args:
            event: The event.

            **metadata: The other arguments of `Tracker.track`: `context`, `tstamp`, `true_timestamp`,
                `subject`, `event_id` and `anonymous`.

        Returns:
            The same call. Awaited, it gives the id of its last event.

        Raises:
            RuntimeError: If the call was awaited already.
        """
        if inspect.getcoroutinestate(self._hand_over) != inspect.CORO_CREATED:
            raise RuntimeError("these events are tracked already; begin again with the tracker")
        refuse_unknown("track", metadata, AllMetadata.__annotations__)
        self._pending.append(self._prepare(event, **metadata))
        return self

    def __await__(self) -> Generator[Any, Any, str]:
        return self._hand_over.__await__()

    def send(self, value: Any) -> Any:
        """Run until the next wait, as a coroutine does."""
        return self._hand_over.send(value)

    def throw(self, *error: Any) -> Any:
        """Raise an error at the place where it waits, as a coroutine does."""
        return self._hand_over.throw(*error)

    def close(self) -> None:
        """End it at the place where it waits, as a coroutine does."""
        self._hand_over.close()


async def _hand_over(hand_over: HandOver, pending: Sequence[PendingPayloads]) -> str:
    for made in pending:
        payloads = made.ready
        if payloads is None:
            payloads = await made.later()
        wait = hand_over(payloads)
        if wait is not None:
            await wait
    return pending[-1].event_id


# Python uses this name in the warning about a call that is never awaited.
_hand_over.__qualname__ = "Tracker.track"
