"""
The responses of the collector: bodies, cookies, and the headers that browsers ask for.

See docs/explanation/protocol.md, "The collector: requests, sizes and answers"
and "Cookies and anonymous tracking".
"""

from __future__ import annotations

import datetime as dt
import re
from email.utils import format_datetime
from http import HTTPStatus

from aiohttp import web

from snowplow_aio.micro.collector import CollectorRequest

# One transparent pixel, 43 bytes.
PIXEL = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00"
    b"!\xf9\x04\x01\x00\x00\x00\x00"
    b",\x00\x00\x00\x00\x01\x00\x01\x00\x00"
    b"\x02\x02D\x01\x00;"
)

_COOKIE_LIFE = dt.timedelta(days=365)
# RFC 6265, cookie-octet.
_NOT_IN_A_COOKIE = re.compile(r"[^\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]")

_COOKIE_ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=None"


def accepted(request: CollectorRequest, *, user_id: str) -> web.Response:
    """Return the response to a *request* whose events are stored: ``ok`` for a POST, else a pixel."""
    if request.method == "POST":
        response = web.Response(text="ok")
    else:
        response = web.Response(body=PIXEL, content_type="image/gif")
        response.headers["Cache-Control"] = "no-cache, no-store, must-revalidate"
    cookie = _cookie(request, user_id)
    if cookie is not None:
        response.headers["Set-Cookie"] = cookie
    return response


def _cookie(request: CollectorRequest, user_id: str) -> str | None:
    if not request.is_anonymous:
        return _set_cookie(user_id, request.received + _COOKIE_LIFE)
    if request.cookie is None:
        return None
    # An anonymous request that still has the cookie makes the browser remove it.
    return _set_cookie("", dt.datetime.fromtimestamp(0, dt.UTC))


def _set_cookie(value: str, expires: dt.datetime) -> str:
    # The nuid of a query string can be any text.
    safe = _NOT_IN_A_COOKIE.sub("", value)
    return f"sp={safe}; Expires={format_datetime(expires, usegmt=True)}; {_COOKIE_ATTRIBUTES}"


def refused(status: int) -> web.Response:
    """Return a response with *status* and its name."""
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = ""
    return web.Response(status=status, text=reason)


def preflight() -> web.Response:
    """Return the response to the preflight request of a browser."""
    headers = {"Access-Control-Allow-Headers": "Content-Type, SP-Anonymous", "Access-Control-Max-Age": "3600"}
    return web.Response(headers=headers)


def allow_trusted(origin: str, response: web.StreamResponse) -> None:
    """Allow the pages of *origin* to read *response*, which is of the REST API."""
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Allow-Headers"] = "Content-Type"
    response.headers["Vary"] = "Origin"


async def allow_origin(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """
    Allow the page that sent *request* to read *response*. aiohttp calls this for every response.

    Those of the REST API are for the collector's own pages.
    """
    if isinstance(request, web.Request) and request.path.startswith("/micro/"):
        return
    origin = request.headers.get("Origin", "").partition(" ")[0]
    response.headers["Access-Control-Allow-Origin"] = origin if "://" in origin else "*"
    response.headers["Access-Control-Allow-Credentials"] = "true"
