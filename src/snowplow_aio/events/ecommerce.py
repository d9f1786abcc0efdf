"""Purchases: a transaction, and an event for each of its items, tied by the order's id."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from snowplow_aio.events.fields import NonEmpty, Number, Wire
from snowplow_aio.events.primitive import PrimitiveEvent
from snowplow_aio.validation import INT32_MAX, INT32_MIN, decimal_text

_Quantity = Annotated[int, Field(ge=INT32_MIN, le=INT32_MAX)]


class EcommerceTransactionItem(PrimitiveEvent):
    """
    One item of a purchase.

    Args:
        order_id: The id of the order it belongs to; not empty, at most 255 characters.

        sku: The article's stock keeping unit; not empty, at most 255 characters.

        price: The price of one, finite.

        quantity: How many, a 32-bit integer.

        name: The article's name; at most 255 characters.

        category: Its category; at most 255 characters.

        currency: The price's currency; at most 3 characters.

    Raises pydantic.ValidationError when a value breaks one of these rules.
    """

    event_code: ClassVar[str] = "ti"

    order_id: Annotated[NonEmpty, Wire("ti_id")]
    sku: Annotated[NonEmpty, Wire("ti_sk")]
    price: Annotated[Number, Wire("ti_pr", decimal_text)]
    quantity: Annotated[_Quantity, Wire("ti_qu")]
    name: Annotated[str | None, Wire("ti_nm")] = None
    category: Annotated[str | None, Wire("ti_ca")] = None
    currency: Annotated[str | None, Wire("ti_cu")] = None


class EcommerceTransaction(PrimitiveEvent):
    """
    A purchase as a whole.

    Args:
        order_id: The order's id; not empty, at most 255 characters.

        total_value: What it costs in all, finite.

        affiliation: Where it was made; at most 255 characters.

        tax_value: The tax in it, finite.

        shipping: The cost of its delivery, finite.

        city: The city it goes to; at most 255 characters.

        state: The state it goes to; at most 255 characters.

        country: The country it goes to; at most 255 characters.

        currency: The currency of its values; at most 3 characters.

    Raises pydantic.ValidationError when a value breaks one of these rules.
    """

    event_code: ClassVar[str] = "tr"

    order_id: Annotated[NonEmpty, Wire("tr_id")]
    total_value: Annotated[Number, Wire("tr_tt", decimal_text)]
    affiliation: Annotated[str | None, Wire("tr_af")] = None
    tax_value: Annotated[Number | None, Wire("tr_tx", decimal_text)] = None
    shipping: Annotated[Number | None, Wire("tr_sh", decimal_text)] = None
    city: Annotated[str | None, Wire("tr_ci")] = None
    state: Annotated[str | None, Wire("tr_st")] = None
    country: Annotated[str | None, Wire("tr_co")] = None
    currency: Annotated[str | None, Wire("tr_cu")] = None
