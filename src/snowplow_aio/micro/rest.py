"""
Snowplow Micro's REST API: `/micro/all`, `/micro/good`, `/micro/bad` and `/micro/reset`.

See docs/explanation/protocol.md, "Snowplow Micro's REST API".
"""

from __future__ import annotations

import json

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from snowplow_aio.iglu.json_text import JSONObject, JSONValue
from snowplow_aio.micro.responses import allow_trusted
from snowplow_aio.micro.storage import BadFilter, GoodFilter, Storage
from snowplow_aio.micro.visitors import Visitors

PREFIX = "/micro/"

_NOT_FOUND = "Supported endpoints: /micro/all, /micro/good, /micro/bad, /micro/reset"


def guard(visitors: Visitors) -> Middleware:
    """Return the middleware that lets only *visitors* use the API."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith(PREFIX):
            return await handler(request)
        refusal = visitors.refusal(request.method, request.path, request.headers)
        response = await handler(request) if refusal is None else web.Response(status=403, text=refusal)
        origin = request.headers.get("Origin", "")
        if visitors.trusts(origin):
            allow_trusted(origin, response)
        return response

    return answer


def add_routes(app: web.Application, storage: Storage) -> None:
    """Add the routes of the API to *app*. They show *storage*."""

    async def counts(_request: web.Request) -> web.Response:
        return web.json_response(storage.counts())

    async def reset(_request: web.Request) -> web.Response:
        storage.clear()
        return web.json_response(storage.counts())

    async def good(request: web.Request) -> web.Response:
        try:
            wanted = good_filter(await _filter_text(request))
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        return web.json_response(storage.newest_good(wanted))

    async def bad(request: web.Request) -> web.Response:
        try:
            wanted = bad_filter(await _filter_text(request))
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        return web.json_response(storage.newest_bad(wanted))

    app.router.add_route("OPTIONS", "/micro/{name:.*}", _preflight)
    for name, respond in (("all", counts), ("good", good), ("bad", bad), ("reset", reset)):
        for method in ("GET", "POST"):
            app.router.add_route(method, f"/micro/{name}", respond)
    app.router.add_route("*", "/micro/{name:.*}", _not_found)


async def _preflight(_request: web.Request) -> web.Response:
    # To pages of other origins than the trusted ones it allows nothing.
    return web.Response()


async def _not_found(_request: web.Request) -> web.Response:
    return web.Response(status=404, text=_NOT_FOUND)


async def _filter_text(request: web.Request) -> str:
    return await request.text() if request.method == "POST" else "{}"


def good_filter(text: str) -> GoodFilter:
    """
    Return the filter that the JSON *text* describes.

    Raises:
        ValueError: If *text* is not a JSON object, or a field has the wrong type.
    """
    fields = _fields(text)
    contexts = fields.get("contexts") or []
    if not isinstance(contexts, list) or not all(isinstance(uri, str) for uri in contexts):
        raise ValueError("contexts: must be a list of Iglu URIs")
    return GoodFilter(
        event_type=_text(fields, "event_type"),
        schema=_text(fields, "schema"),
        contexts=tuple(contexts),
        limit=_limit(fields),
    )


def bad_filter(text: str) -> BadFilter:
    """
    Return the filter that the JSON *text* describes.

    Raises:
        ValueError: If *text* is not a JSON object, or a field has the wrong type.
    """
    fields = _fields(text)
    return BadFilter(vendor=_text(fields, "vendor"), version=_text(fields, "version"), limit=_limit(fields))


def _fields(text: str) -> JSONObject:
    try:
        fields: JSONValue = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the filters must be JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ValueError("the filters must be a JSON object")  # noqa: TRY004 - the text has the wrong content
    return fields


def _text(fields: JSONObject, name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name}: must be a string")
    return value


def _limit(fields: JSONObject) -> int | None:
    limit = fields.get("limit")
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        raise ValueError("limit: must be a whole number from 0")
    return limit
