"""Events of shopping carts."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict

from snowplow_aio.model.fields import ABSENT, CAMEL_CASE, NOT_BLANK, Number, OrAbsent
from snowplow_aio.model.self_describing import SelfDescribing


class AddToCart(SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow/add_to_cart/jsonschema/1-0-0"):
    """
    An article was added to a cart.

    Args:
        sku: The stock keeping unit of the article; not empty.

        quantity: The number of pieces; finite.

        name: The name of the article.

        category: The category of the article.

        unit_price: The price of one piece; finite.

        currency: The currency of the price.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Track two pairs of shoes::

            await tracker.track(AddToCart(sku="shoe-7", quantity=2, unit_price=49.9, currency="EUR"))
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE

    sku: Annotated[str, NOT_BLANK]
    quantity: Number
    name: OrAbsent[str] = ABSENT
    category: OrAbsent[str] = ABSENT
    unit_price: OrAbsent[Number] = ABSENT
    currency: OrAbsent[str] = ABSENT


class RemoveFromCart(
    AddToCart, schema="iglu:com.snowplowanalytics.snowplow/remove_from_cart/jsonschema/1-0-0"
):
    """
    An article was removed from a cart.

    Args:
        sku: The stock keeping unit of the article; not empty.

        quantity: The number of pieces; finite.

        name: The name of the article.

        category: The category of the article.

        unit_price: The price of one piece; finite.

        currency: The currency of the price.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Track that one pair was put back::

            await tracker.track(RemoveFromCart(sku="shoe-7", quantity=1))
    """
