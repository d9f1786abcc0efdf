"""
A shop that tracks what its visitors do: FastAPI and snowplow_aio together.

`snowplow-aio demo` runs it, and the documentation explains it. It answers with
the ids of the events that it tracked, so that the demo can look for them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Annotated, Literal
from uuid import uuid4

from fastapi import APIRouter, Body, Depends, FastAPI, Query, Request, Response
from pydantic import Field, ValidationError
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

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
    Subject,
    Tracker,
    use_subject,
)


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


class VisitorMiddleware:
    """
    Binds the visitor of each request, so that every event tracked during it is about them.

    It calls the application in its own task: the endpoints see what it binds.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, with its visitor bound."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with use_subject(visitor(HTTPConnection(scope))):
            await self.app(scope, receive, send)


def visitor(request: HTTPConnection) -> Subject:
    """Return whom the events of *request* are about. What it says of itself may be of any length."""
    return Subject(
        user_id=request.cookies.get("user", "")[:255],
        ip_address=request.client.host if request.client else None,
        useragent=request.headers.get("user-agent", "")[:1000],
        lang=request.headers.get("accept-language", "").partition(",")[0][:255],
    )


def page_view(request: Request, title: str) -> PageView:
    """Return the view of the page that *request* asks for."""
    try:
        referrer = request.headers.get("referer")
        return PageView(page_url=str(request.url), page_title=title, referrer=referrer)
    except ValidationError:
        # Whatever query and referrer somebody sends, they get the page.
        return PageView(page_url=str(request.url.replace(query="")), page_title=title)


async def tracker_of(request: Request) -> Tracker:
    """Return the application's tracker."""
    tracker: Tracker = request.app.state.tracker
    return tracker


ShopTracker = Annotated[Tracker, Depends(tracker_of)]
router: APIRouter = APIRouter()


@router.get("/")
async def home(request: Request, tracker: ShopTracker) -> list[str]:
    """Show the home page."""
    return [await tracker.track(page_view(request, "Welcome"))]


@router.get("/products/{sku}")
async def show_product(sku: Sku, request: Request, tracker: ShopTracker) -> list[str]:
    """Show a product: the event goes with an entity."""
    product = PRODUCTS[sku]
    return [await tracker.track(page_view(request, product.name), context=[product])]


@router.get("/search")
async def search(
    q: Annotated[str, Query(min_length=1, max_length=100)], request: Request, tracker: ShopTracker
) -> list[str]:
    """Search: two events, one of them with any number of entities."""
    found = [product for product in PRODUCTS.values() if q.casefold() in product.name.casefold()]
    return [
        await tracker.track(page_view(request, "Search")),
        await tracker.track(SiteSearch(terms=[q], total_results=len(found)), context=found),
    ]


@router.post("/products/{sku}/wish")
async def wish(sku: Sku, tracker: ShopTracker) -> list[str]:
    """Put a product on the wish list: a structured event, for what deserves no schema."""
    event = StructuredEvent(category="wish list", action="add", label=sku, value=PRODUCTS[sku].price)
    return [await tracker.track(event)]


@router.post("/products/{sku}/review")
async def review(sku: Sku, event: Review, tracker: ShopTracker) -> list[str]:
    """Review a product: the body is the event, so FastAPI answers 422 where it breaks a rule."""
    return [await tracker.track(event, context=[PRODUCTS[sku]])]


@router.post("/sign-up")
async def sign_up(
    name: Annotated[str, Body(pattern="^[a-z]{1,40}$")],
    email: Annotated[str, Body(max_length=100)],  # noqa: ARG001 - stays here
    response: Response,
    tracker: ShopTracker,
) -> list[str]:
    """Sign up: from here on, events are about a user with a name. They do not get the e-mail address."""
    response.set_cookie("user", name, httponly=True, samesite="lax")
    elements = [
        FormElement(name="name", value=name, node_name="INPUT", type_="text"),
        FormElement(name="email", value=None, node_name="INPUT", type_="email"),
    ]
    with use_subject(user_id=name):
        return [await tracker.track(FormSubmit(form_id="sign-up", elements=elements))]


@router.post("/cart/{sku}")
async def add_to_cart(sku: Sku, quantity: Quantity, tracker: ShopTracker) -> list[str]:
    """Put a product into the cart: a price is a Decimal, and stays exact."""
    product = PRODUCTS[sku]
    event = AddToCart(sku=sku, quantity=quantity, name=product.name, unit_price=product.price, currency="EUR")
    return [await tracker.track(event, context=[product])]


@router.post("/checkout")
async def check_out(
    cart: Annotated[dict[Sku, Quantity], Body(min_length=1)], tracker: ShopTracker
) -> list[str]:
    """Buy what is in the cart: an event for the order and one for each product, tied by the order's id."""
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
    Return the shop. When it stops it closes *tracker*, which sends what still waits.

    ``create_app(Tracker(HttpEmitter("https://collector.example.com"), app_id="shop", platform="web"))``
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        async with tracker:
            yield

    app = FastAPI(title="Shop", lifespan=lifespan)
    app.state.tracker = tracker
    app.add_middleware(VisitorMiddleware)
    app.include_router(router)
    return app
