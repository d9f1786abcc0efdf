"""
A table: every place where code of a request can run, and every way in which a visitor objects.

Each framework has one row for each way. All of its places are tried in it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from snowplow_aio.model.subject import IDENTIFYING_KEYS
from tests.integrations.made import Trackers
from tests.integrations.places import aiohttp, asgi, django, fastapi, flask, litestar, quart, starlette, wsgi

pytestmark = pytest.mark.anyio

FRAMEWORKS = {
    "plain ASGI": asgi,
    "Starlette": starlette,
    "FastAPI": fastapi,
    "Quart": quart,
    "Litestar": litestar,
    "aiohttp": aiohttp,
    "plain WSGI": wsgi,
    "Flask": flask,
    "Django": django,
}
frameworks = pytest.mark.parametrize("framework", FRAMEWORKS.values(), ids=FRAMEWORKS)

COOKIE = "sp=ecdff4d0; _sp_id.1fff=c7aadf5c60a5dff9.1.3.4.5.21c2a0dd-892d-42d1-b156-3a9d4e147eef"
HEADERS = {"Host": "shop.example", "User-Agent": "Mozilla/5.0", "Cookie": COOKIE}


async def not_now(_request: Any) -> bool:
    return False


def failing(_request: Any) -> bool:
    raise RuntimeError("no database")


WAYS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "consent": ({}, {"consent": lambda _request: False}),
    "consent of a coroutine function": ({}, {"consent": not_now}),
    "consent that fails": ({}, {"consent": failing}),
    "DNT": ({"DNT": "1"}, {}),
    "GPC": ({"Sec-GPC": "1"}, {}),
    "opt-out cookie": ({"Cookie": f"{COOKIE}; no_thanks=1"}, {"opt_out_cookie": "no_thanks"}),
}
ways = pytest.mark.parametrize(("headers", "options"), WAYS.values(), ids=WAYS)


@frameworks
async def test_who_does_not_object_is_known_at_every_place(framework: Any) -> None:
    trackers = Trackers()
    await framework.visit(trackers, HEADERS, user_id=lambda _request: "ada")
    assert Counter(event["se_ac"] for event in trackers.events) == Counter(framework.PLACES)
    for event in trackers.events:
        assert event["ip"], event
        who = {"ua": "Mozilla/5.0", "duid": "c7aadf5c60a5dff9", "tnuid": "ecdff4d0", "uid": "ada"}
        assert event == event | who
        assert event["url"].partition("://")[2].startswith("shop.example/"), event


@frameworks
@ways
async def test_who_objects_is_tracked_nowhere(
    framework: Any, headers: dict[str, str], options: dict[str, Any]
) -> None:
    trackers = Trackers()
    await framework.visit(trackers, HEADERS | headers, **options)
    assert trackers.events == []


def assert_anonymous_everywhere(framework: Any, trackers: Trackers) -> None:
    payloads = [payload for emitter in trackers.emitters for payload in emitter.payloads]
    assert Counter(payload["se_ac"] for payload in payloads) == Counter(framework.PLACES)
    known = [payload["se_ac"] for payload in payloads if payload.keys() & IDENTIFYING_KEYS]
    assert known == []
    assert all(payload.anonymous for payload in payloads)


# Of its places, those where an exception leaves the application or is answered with 500.
ERRORS = {
    "plain ASGI": 1,
    "Starlette": 3,
    "FastAPI": 2,
    "Quart": 1,
    "Litestar": 1,
    "aiohttp": 1,
}


@pytest.mark.parametrize(("framework", "number"), ERRORS.items())
async def test_an_error_knows_as_much_as_any_other_event(framework: str, number: int) -> None:
    trackers = Trackers()
    await FRAMEWORKS[framework].visit(trackers, HEADERS, errors=True, user_id=lambda _request: "ada")
    errors = [event for event in trackers.events if event["e"] == "ue"]
    for event in errors:
        who = {"ua": "Mozilla/5.0", "duid": "c7aadf5c60a5dff9", "tnuid": "ecdff4d0", "uid": "ada"}
        assert event == event | who
    assert len(errors) == number


@frameworks
async def test_of_who_objects_no_error_is_tracked(framework: Any) -> None:
    trackers = Trackers()
    await framework.visit(trackers, HEADERS | {"DNT": "1"}, errors=True)
    assert trackers.events == []
    await framework.visit(trackers, HEADERS | {"DNT": "1"}, errors=True, without_consent="anonymous")
    payloads = [payload for emitter in trackers.emitters for payload in emitter.payloads]
    assert [payload for payload in payloads if payload.keys() & IDENTIFYING_KEYS] == []
    assert any(payload["e"] == "ue" for payload in payloads)


@frameworks
@ways
async def test_or_is_nobody_everywhere(
    framework: Any, headers: dict[str, str], options: dict[str, Any]
) -> None:
    trackers = Trackers()
    await framework.visit(trackers, HEADERS | headers, without_consent="anonymous", **options)
    assert_anonymous_everywhere(framework, trackers)


@frameworks
async def test_a_service_of_anonymous_events_knows_nobody_anywhere(framework: Any) -> None:
    trackers = Trackers()
    await framework.visit(trackers, HEADERS, anonymous=True, user_id=lambda _request: "ada")
    assert_anonymous_everywhere(framework, trackers)
