"""Purchases: a transaction and an event for each of its items, tied together by the id of the order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from snowplow_aio.exceptions import complaint
from snowplow_aio.model.atomic import number_text
from snowplow_aio.model.fields import Int32, ListOf, NonEmpty, Number, Wire
from snowplow_aio.model.primitive_event import Follower, PrimitiveEvent
from snowplow_aio.model.schema_key import SchemaKey


class EcommerceTransactionItem(PrimitiveEvent):
    """
    One item of a purchase.

    Args:
        id_: The id of the order; not empty, at most 255 characters. ``order_id`` is
            another name for it.

        sku: The stock keeping unit of the article; not empty, at most 255 characters.

        price: The price of one piece; finite.

        quantity: The number of pieces, from -2147483648 to 2147483647.

        name: The name of the article; at most 255 characters.

        category: The category of the article; at most 255 characters.

        currency: The currency of the price; at most 3 characters.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Track an item by itself::

            await tracker.track(EcommerceTransactionItem(id_="o-7", sku="shoe-7", price=49.9, quantity=2))
    """

    event_code: ClassVar[str] = "ti"
    schema_key: ClassVar[SchemaKey] = SchemaKey.parse(
        "iglu:com.snowplowanalytics.snowplow/transaction_item/jsonschema/1-0-0"
    )

    id_: Annotated[NonEmpty, Wire("ti_id")] = Field(validation_alias="order_id")
    sku: Annotated[NonEmpty, Wire("ti_sk")]
    price: Annotated[Number, Wire("ti_pr", number_text)]
    quantity: Annotated[Int32, Wire("ti_qu")]
    name: Annotated[str | None, Wire("ti_nm")] = None
    category: Annotated[str | None, Wire("ti_ca")] = None
    currency: Annotated[str | None, Wire("ti_cu")] = None


class EcommerceTransaction(PrimitiveEvent):
    """
    A purchase.

    Args:
        order_id: The id of the order; not empty, at most 255 characters.

        total_value: The price of the whole order; finite.

        affiliation: The shop where it was made; at most 255 characters.

        tax_value: The tax that it includes; finite.

        shipping: The cost of its delivery; finite.

        city: The city of the delivery; at most 255 characters.

        state: The state of the delivery; at most 255 characters.

        country: The country of the delivery; at most 255 characters.

        currency: The currency of its values; at most 3 characters.

        items: The items: `EcommerceTransactionItem` objects of the same order and
            currency, or dicts with the required fields ``sku``, ``price`` and
            ``quantity``, and with ``name``, ``category`` and ``context``, a list of
            entities for the event of the item. Each is tracked as an event of its own
            right after the transaction.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Track a purchase with one item::

            items = [{"sku": "shoe-7", "price": 49.9, "quantity": 2}]
            await tracker.track(EcommerceTransaction(order_id="o-7", total_value=99.8, items=items))
    """

    event_code: ClassVar[str] = "tr"
    schema_key: ClassVar[SchemaKey] = SchemaKey.parse(
        "iglu:com.snowplowanalytics.snowplow/transaction/jsonschema/1-0-0"
    )

    order_id: Annotated[NonEmpty, Wire("tr_id")]
    total_value: Annotated[Number, Wire("tr_tt", number_text)]
    affiliation: Annotated[str | None, Wire("tr_af")] = None
    tax_value: Annotated[Number | None, Wire("tr_tx", number_text)] = None
    shipping: Annotated[Number | None, Wire("tr_sh", number_text)] = None
    city: Annotated[str | None, Wire("tr_ci")] = None
    state: Annotated[str | None, Wire("tr_st")] = None
    country: Annotated[str | None, Wire("tr_co")] = None
    currency: Annotated[str | None, Wire("tr_cu")] = None
    items: Annotated[Sequence[Any], ListOf("dicts, or of EcommerceTransactionItem objects")] | None = None

    _followers: tuple[Follower, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _read_items(self) -> Self:
        self._followers = self._read_followers()
        return self

    def _read_followers(self) -> tuple[Follower, ...]:
        return tuple(self._follower(i, item) for i, item in enumerate(self.items or ()))

    def followers(self) -> tuple[Follower, ...]:
        """Return the events of the items, each with its entities."""
        # A model that was made without any check has items that nobody has read.
        return self._followers if self._followers or not self.items else self._read_followers()

    def alone(self) -> Self:
        """Return the transaction without its items."""
        alone = self.model_copy(update={"items": None})
        alone._followers = ()  # noqa: SLF001 - of a copy
        return alone

    def _follower(self, index: int, item: object) -> Follower:
        if isinstance(item, EcommerceTransactionItem):
            if (item.id_, item.currency) != (self.order_id, self.currency):
                rule = "must have the order id and the currency of the transaction"
                raise _refuse_item(index, (item.id_, item.currency), rule)
            return item, None
        if not isinstance(item, Mapping) or not all(isinstance(name, str) for name in item):
            raise _refuse_item(index, item, "must be an EcommerceTransactionItem or a dict of its fields")
        fields: dict[str, Any] = dict(item)
        context = fields.pop("context", None)
        shared = (
            ("id_", "an id", self.order_id),
            ("order_id", "an order id", self.order_id),
            ("currency", "a currency", self.currency),
        )
        for name, thing, value in shared:
            own = fields.pop(name, value)
            # Of whatever type: some compare in ways of their own.
            if own is not value and not (isinstance(own, str) and own == value):
                raise _refuse_item(index, own, f"must not have {thing} of its own")
        try:
            return EcommerceTransactionItem(**fields, id_=self.order_id, currency=self.currency), context
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(str(part) for part in fault["loc"])
            raise _refuse_item(index, fault["input"], fault["msg"], place) from None


def _refuse_item(index: int, value: object, rule: str, place: str = "") -> PydanticCustomError:
    where = f"items[{index}]" + (f".{place}" if place else "")
    return PydanticCustomError("items", "{message}", {"message": complaint(where, value, rule)})
