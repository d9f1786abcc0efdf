"""
A shop that tracks the actions of its visitors, with FastAPI and snowplow_aio.

`snowplow-aio demo` runs it, and the documentation explains it. It answers with
the ids of the events that it tracked, so that the demo can look for them.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal
from uuid import uuid4

from fastapi import APIRouter, Body, FastAPI, Query, Request, Response
from pydantic import Field, ValidationError
from starlette.requests import HTTPConnection
from starlette.types import Scope

from snowplow_aio import (
    AddToCart,
    EcommerceTransaction,
    EcommerceTransactionItem,
    FormElement,
    FormSubmit,
    PageView,
    SelfDescribing,
    SiteSearch,
    StructuredEvent,
    Tracker,
    use_subject,
)
from snowplow_aio.integrations.fastapi import CurrentTracker, SnowplowMiddleware, lifespan


class Product(SelfDescribing, schema="iglu:com.example.shop/product/jsonschema/1-0-0"):
    """An entity: a product that an event is about."""

    sku: str
    name: str
    price: Decimal


class Cart(SelfDescribing, schema="iglu:com.example.shop/cart/jsonschema/1-0-0"):
    """An entity: what somebody buys."""

    articles: Annotated[int, Field(ge=1)]
    total: Decimal


class Review(SelfDescribing, schema="iglu:com.example.shop/review/jsonschema/1-0-0"):
    """An event of the shop's own: somebody reviewed a product."""

    stars: Annotated[int, Field(ge=1, le=5)]
    text: Annotated[str, Field(max_length=500)]


Sku = Literal["teapot", "teacup", "lamp"]
Quantity = Annotated[int, Field(ge=1, le=99)]

PRODUCTS: dict[Sku, Product] = {
    "teapot": Product(sku="teapot", name="Teapot", price=Decimal("24.90")),
    "teacup": Product(sku="teacup", name="Tea cup", price=Decimal("6.50")),
    "lamp": Product(sku="lamp", name="Reading lamp", price=Decimal("39.00")),
}


def user_of(scope: Scope) -> str | None:
    """Return the user of a request. It is cut, because the cookie can have any length."""
    return HTTPConnection(scope).cookies.get("user", "")[:255] or None


def page_view(request: Request, title: str) -> PageView:
    """Return the view of the page of *request*. The middleware adds the referrer."""
    try:
        return PageView(page_url=str(request.url), page_title=title)
    except ValidationError:
        # Whatever query somebody sends, they get the page.
        return PageView(page_url=str(request.url.replace(query="")), page_title=title)


router: APIRouter = APIRouter()


@router.get("/")
async def home(request: Request, tracker: CurrentTracker) -> list[str]:
    """Show the home page."""
    return [await tracker.track(page_view(request, "Welcome"))]


@router.get("/products/{sku}")
async def show_product(sku: Sku, request: Request, tracker: CurrentTracker) -> list[str]:
    """Show a product: the event goes with an entity."""
    product = PRODUCTS[sku]
    return [await tracker.track(page_view(request, product.name), context=[product])]


@router.get("/search")
async def search(
    q: Annotated[str, Query(min_length=1, max_length=100)], request: Request, tracker: CurrentTracker
) -> list[str]:
    """Search: two events, one of them with any number of entities."""
    found = [product for product in PRODUCTS.values() if q.casefold() in product.name.casefold()]
    return [
        await tracker.track(page_view(request, "Search")),
        await tracker.track(SiteSearch(terms=[q], total_results=len(found)), context=found),
    ]


@router.post("/products/{sku}/wish")
async def wish(sku: Sku, tracker: CurrentTracker) -> list[str]:
    """Put a product on the wish list: a structured event, which needs no schema."""
    event = StructuredEvent(category="wish list", action="add", label=sku, value=PRODUCTS[sku].price)
    return [await tracker.track(event)]


@router.post("/products/{sku}/review")
async def review(sku: Sku, event: Review, tracker: CurrentTracker) -> list[str]:
    """Review a product: the body is the event, so FastAPI answers 422 if it breaks a rule."""
    return [await tracker.track(event, context=[PRODUCTS[sku]])]


@router.post("/sign-up")
async def sign_up(
    name: Annotated[str, Body(pattern="^[a-z]{1,40}$")],
    email: Annotated[str, Body(max_length=100)],  # noqa: ARG001 - must not be tracked
    response: Response,
    tracker: CurrentTracker,
) -> list[str]:
    """Sign up: later events have the name of the user, and never the e-mail address."""
    response.set_cookie("user", name, httponly=True, samesite="lax")
    elements = [
        FormElement(name="name", value=name, node_name="INPUT", type_="text"),
        FormElement(name="email", value=None, node_name="INPUT", type_="email"),
    ]
    with use_subject(user_id=name):
        return [await tracker.track(FormSubmit(form_id="sign-up", elements=elements))]


@router.post("/cart/{sku}")
async def add_to_cart(sku: Sku, quantity: Quantity, tracker: CurrentTracker) -> list[str]:
    """Put a product into the cart: its price is a Decimal, which stays exact."""
    product = PRODUCTS[sku]
    event = AddToCart(sku=sku, quantity=quantity, name=product.name, unit_price=product.price, currency="EUR")
    return [await tracker.track(event, context=[product])]


@router.post("/checkout")
async def check_out(
    cart: Annotated[dict[Sku, Quantity], Body(min_length=1)], tracker: CurrentTracker
) -> list[str]:
    """Buy the cart: an event for the order and one for each product, all with the id of the order."""
    order_id = str(uuid4())
    total = sum((PRODUCTS[sku].price * quantity for sku, quantity in cart.items()), Decimal(0))
    order = EcommerceTransaction(order_id=order_id, total_value=total, currency="EUR")
    entity = Cart(articles=sum(cart.values()), total=total)
    tracked = [await tracker.track(order, context=[entity])]
    for sku, quantity in cart.items():
        product = PRODUCTS[sku]
        item = EcommerceTransactionItem(
            id_=order_id, sku=sku, price=product.price, quantity=quantity, currency="EUR"
        )
        tracked.append(await tracker.track(item, context=[product]))
    return tracked


def create_app(tracker: Tracker) -> FastAPI:
    """
    Return the shop.

    When the shop stops it closes *tracker*, which sends the events that still wait.

    Example:
        Track to a collector::

            create_app(Tracker(HttpEmitter("https://collector.example.com"), app_id="shop", platform="web"))
    """
    app = FastAPI(title="Shop", lifespan=lifespan(tracker))
    app.add_middleware(SnowplowMiddleware, user_id=user_of)
    app.include_router(router)
    return app
