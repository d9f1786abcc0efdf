"""A lending library: an aiohttp service that tracks what its readers look at and borrow."""

import os

from aiohttp import web

from snowplow_aio import HttpEmitter, PageView, StructuredEvent, Tracker, use_subject
from snowplow_aio.integrations.aiohttp import setup, tracker_of

COLLECTOR = os.environ.get("COLLECTOR", "http://127.0.0.1:9090")
PORT = int(os.environ.get("PORT", "8000"))
SITE = "https://library.example"

BOOKS = {"emma": "Emma", "moby-dick": "Moby-Dick; or, The Whale"}

routes = web.RouteTableDef()


@routes.get("/books/{book}")
async def look_at(request: web.Request) -> web.Response:
    """Show a book."""
    book = book_of(request)
    page = PageView(page_url=f"{SITE}/books/{book}", page_title=BOOKS[book])
    await tracker_of(request).track(page)
    return web.json_response({"title": BOOKS[book]})


@routes.post("/books/{book}/loans")
async def borrow(request: web.Request) -> web.Response:
    """Lend a book to a reader."""
    book = book_of(request)
    reader = (await request.post()).get("reader")
    if not isinstance(reader, str) or not 0 < len(reader) <= 40:
        raise web.HTTPBadRequest(text="who borrows it?")
    with use_subject(user_id=reader):
        await tracker_of(request).track(StructuredEvent(category="loan", action="begin", label=book))
    return web.json_response({"title": BOOKS[book], "reader": reader}, status=201)


def book_of(request: web.Request) -> str:
    """Return which book *request* is about."""
    book = request.match_info["book"]
    if book not in BOOKS:
        raise web.HTTPNotFound
    return book


def make_tracker() -> Tracker:
    """Return the tracker of a process that serves."""
    return Tracker(HttpEmitter(COLLECTOR), namespace="library", app_id="library")


def make_app() -> web.Application:
    """Return the service. Its end closes the tracker, which sends what still waits."""
    app = web.Application()
    setup(app, make_tracker)
    app.add_routes(routes)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=PORT)
