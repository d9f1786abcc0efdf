"""What goes into a shopping cart and out of it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict

from snowplow_aio.model.fields import ABSENT, CAMEL_CASE, NOT_BLANK, Number
from snowplow_aio.model.self_describing import SelfDescribing


class AddToCart(SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow/add_to_cart/jsonschema/1-0-0"):
    """
    Somebody put something into a cart.

    Args:
        sku: The article's stock keeping unit; not empty.

        quantity: How many of it.

        name: Its name.

        category: Its category.

        unit_price: The price of one.

        currency: The price's currency.

    Raises pydantic.ValidationError when a value breaks one of these rules.
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE

    sku: Annotated[str, NOT_BLANK]
    quantity: Number
    name: str = ABSENT
    category: str = ABSENT
    unit_price: Number = ABSENT
    currency: str = ABSENT


class RemoveFromCart(
    AddToCart, schema="iglu:com.snowplowanalytics.snowplow/remove_from_cart/jsonschema/1-0-0"
):
    """
    Somebody took something out of a cart.

    Args:
        sku: The article's stock keeping unit; not empty.

        quantity: How many of it.

        name: Its name.

        category: Its category.

        unit_price: The price of one.

        currency: The price's currency.

    Raises pydantic.ValidationError when a value breaks one of these rules.
    """
