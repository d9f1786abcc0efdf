"""Errors of requests: which are tracked, how often, and about whom, whatever the framework is."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import suppress
from typing import Any, NoReturn

import litestar.exceptions
import pytest
import starlette.exceptions
import werkzeug.exceptions
from aiohttp import web

from snowplow_aio import MemoryEmitter, Tracker
from snowplow_aio.events.error import ApplicationError
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.integrations.asgi import SnowplowMiddleware, tracker_of
from snowplow_aio.integrations.request_head import RequestHead
from snowplow_aio.integrations.request_scope import RequestScope
from snowplow_aio.integrations.setup_options import Setup
from snowplow_aio.integrations.visitor import VisitorPolicy
from snowplow_aio.model.subject import IDENTIFYING_KEYS
from tests.integrations.failing import CardError, NetworkError, data_of, errors_of, visit
from tests.integrations.made import Trackers, request

pytestmark = pytest.mark.anyio


def raising(error: BaseException, *, after: int | None = None) -> Any:
    """Return an application that raises *error*, after a response of status *after* has started."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        if after is not None:
            await send({"type": "http.response.start", "status": after, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise error

    return app


def answering(status: int, error: Exception, *, message: str = "http.response.start") -> Any:
    """Return an application that answers *error* with *status*, as frameworks do: while it handles it."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        try:
            await raising(error)(None, None, None)
        except CardError:
            if message == "websocket.close":
                await send({"type": message, "code": status})
                return
            await send({"type": message, "status": status, "headers": []})
            await send({"type": message.replace("start", "body")})

    return app


async def after(app: Any, error: type[BaseException] | None = None, /, **options: Any) -> Trackers:
    """Return the trackers after a request that *app* lets fail with *error*."""
    trackers = Trackers()
    given: Any = {"errors": True} | options
    middleware = SnowplowMiddleware(app, trackers, **given)
    scope = visit("/cards/42?a=b")
    if error is None:
        await request(middleware, scope)
    else:
        with pytest.raises(error):
            await request(middleware, scope)
    return trackers


# --- which


async def test_an_exception_that_nobody_handles_is_tracked_about_visitor_and_page() -> None:
    trackers = await after(raising(CardError("no money")), CardError, user_id=lambda _scope: "ada")
    (event,) = trackers.events
    assert event == event | {
        "e": "ue",
        "p": "srv",
        "url": "http://shop.example/cards/42?a=b",
        "refr": "https://search.example/",
        "ua": "Mozilla/5.0",
        "uid": "ada",
    }
    data = data_of(event)
    assert data["message"] == "no money"
    assert data["exceptionName"] == "tests.integrations.failing.CardError"
    assert "raise error" in data["stackTrace"]


async def test_unless_asked_for_there_are_no_errors() -> None:
    assert (await after(raising(CardError()), CardError, errors=False)).events == []
    assert Setup().errors is None


@pytest.mark.parametrize("status", [200, 302, 404, 422, 499, 500, 503, 599])
async def test_an_exception_that_is_answered_is_an_error_from_status_500_on(status: int) -> None:
    trackers = await after(answering(status, CardError()))
    assert errors_of(trackers) == ([("CardError", None)] if status >= 500 else [])


async def test_an_answer_of_500_without_an_exception_is_no_error() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        with suppress(CardError):
            await raising(CardError())(None, None, None)
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body"})

    assert (await after(app)).events == []


async def test_an_exception_that_is_handled_around_the_service_is_not_its_own(trackers: Trackers) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": []})

    middleware = SnowplowMiddleware(app, trackers, errors=True)
    try:
        await raising(CardError())(None, None, None)
    except CardError:
        await request(middleware, visit("/"))
    assert trackers.events == []


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), GeneratorExit(), SystemExit(3), KeyboardInterrupt()]
)
async def test_the_end_of_a_task_or_a_process_is_no_error(error: BaseException, trackers: Trackers) -> None:
    middleware = SnowplowMiddleware(raising(error), trackers, errors=True)
    steps = middleware(visit("/"), None, None).__await__()
    with pytest.raises(type(error)):
        next(iter(steps))
    assert trackers.events == []


@pytest.mark.parametrize(
    ("error", "is_tracked"),
    [
        (starlette.exceptions.HTTPException(503), False),
        (web.HTTPServiceUnavailable(), False),
        (werkzeug.exceptions.ServiceUnavailable(), False),
        (litestar.exceptions.NotAuthorizedException(), False),
        (litestar.exceptions.InternalServerException(), True),
        (ExceptionGroup("", [starlette.exceptions.HTTPException(503), web.HTTPGone()]), False),
        (ExceptionGroup("", [starlette.exceptions.HTTPException(503), CardError()]), True),
    ],
)
async def test_the_answers_of_frameworks_are_no_errors(error: Exception, *, is_tracked: bool) -> None:
    assert len((await after(raising(error), type(error))).events) == is_tracked


async def test_a_client_that_has_left_is_no_error(trackers: Trackers) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(_message: Any) -> None:
        raise ConnectionResetError("the client is gone")

    with pytest.raises(ConnectionResetError):
        await SnowplowMiddleware(app, trackers, errors=True)(visit("/"), None, send)
    assert trackers.events == []
    with pytest.raises(ConnectionResetError):
        await request(SnowplowMiddleware(raising(ConnectionResetError()), trackers, errors=True), visit("/"))
    assert errors_of(trackers) == [("ConnectionResetError", None)]


async def test_an_error_whose_answer_finds_no_client_is_tracked_all_the_same(trackers: Trackers) -> None:
    async def send(_message: Any) -> None:
        raise OSError("the client is gone")

    middleware = SnowplowMiddleware(answering(500, CardError()), trackers, errors=True)
    with pytest.raises(OSError, match="gone"):
        await middleware(visit("/"), None, send)
    assert errors_of(trackers) == [("CardError", None)]


async def test_a_body_that_breaks_off_is_an_error() -> None:
    assert errors_of(await after(raising(CardError(), after=200), CardError)) == [("CardError", None)]


@pytest.mark.parametrize(
    ("code", "is_error"), [(1000, False), (1008, False), (1011, True), (4500, True), (4404, False)]
)
async def test_a_websocket_that_is_closed_as_failed_answers_an_error(code: int, *, is_error: bool) -> None:
    trackers = Trackers()
    app = answering(code, CardError(), message="websocket.close")
    scope = visit("/ws", type="websocket", scheme="ws")
    await request(SnowplowMiddleware(app, trackers, errors=True), scope)
    assert len(trackers.events) == is_error


async def test_an_exception_of_a_websocket_is_tracked(trackers: Trackers) -> None:
    middleware = SnowplowMiddleware(raising(CardError()), trackers, errors=True)
    with pytest.raises(CardError):
        await request(middleware, visit("/ws", type="websocket", scheme="ws"))
    app = answering(500, CardError(), message="websocket.http.response.start")
    await request(SnowplowMiddleware(app, trackers, errors=True), visit("/ws", type="websocket", scheme="ws"))
    assert errors_of(trackers) == [("CardError", None)] * 2


async def test_what_a_lifespan_raises_is_no_error_of_a_request(trackers: Trackers) -> None:
    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        raise CardError

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    with pytest.raises(CardError):
        await SnowplowMiddleware(app, trackers, errors=True)({"type": "lifespan"}, receive, None)
    assert trackers.events == []


# --- how often


async def test_however_many_layers_see_an_exception_it_is_tracked_once(trackers: Trackers) -> None:
    inner = SnowplowMiddleware(raising(CardError()), trackers, errors=True)

    async def between(scope: Any, receive: Any, send: Any) -> None:
        try:
            await inner(scope, receive, send)
        except CardError:
            await send({"type": "http.response.start", "status": 500, "headers": []})
            raise

    with pytest.raises(CardError):
        await request(SnowplowMiddleware(between, trackers, errors=True), visit("/"))
    assert errors_of(trackers) == [("CardError", None)]


async def test_two_exceptions_of_a_request_are_two_errors(trackers: Trackers) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> NoReturn:
        await answering(500, CardError())(scope, receive, send)
        raise NetworkError

    with pytest.raises(NetworkError):
        await request(SnowplowMiddleware(app, trackers, errors=True), visit("/"))
    assert errors_of(trackers) == [("CardError", None), ("NetworkError", None)]


async def test_one_exception_of_two_requests_is_two_errors(trackers: Trackers) -> None:
    middleware = SnowplowMiddleware(raising(CardError()), trackers, errors=True)
    for _ in range(2):
        with pytest.raises(CardError):
            await request(middleware, visit("/"))
    assert errors_of(trackers) == [("CardError", None)] * 2


async def test_the_only_exception_of_a_group_is_tracked_as_itself(trackers: Trackers) -> None:
    error = CardError("no money")
    inner = SnowplowMiddleware(raising(error), trackers, errors=True)

    async def grouping(*arguments: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(inner(*arguments))

    with pytest.raises(ExceptionGroup):
        await request(SnowplowMiddleware(grouping, trackers, errors=True), visit("/"))
    assert errors_of(trackers) == [("CardError", None)]


async def test_an_exception_and_its_frames_live_no_longer_than_the_request(trackers: Trackers) -> None:
    class Big:
        pass

    kept: list[weakref.ref[Big]] = []
    goes_on = asyncio.Event()
    tasks: list[asyncio.Task[Any]] = []

    async def app(_scope: Any, _receive: Any, _send: Any) -> NoReturn:
        big = Big()
        kept.append(weakref.ref(big))
        # It keeps the scope of the request.
        tasks.append(asyncio.create_task(goes_on.wait()))
        raise CardError

    with pytest.raises(CardError):
        await request(SnowplowMiddleware(app, trackers, errors=True), visit("/"))
    gc.collect()
    assert [ref() for ref in kept] == [None]
    goes_on.set()
    await asyncio.gather(*tasks)


# --- about whom


async def test_of_a_visitor_who_objects_no_error_is_tracked_nor_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(ApplicationError, "from_exception", made.append)
    trackers = await after(raising(CardError()), CardError, consent=lambda _scope: False)
    assert trackers.events == made == []


async def test_or_an_anonymous_one() -> None:
    options = {
        "consent": lambda _scope: False,
        "without_consent": "anonymous",
        "user_id": lambda _scope: "ada",
    }
    trackers = await after(raising(CardError()), CardError, **options)
    (payload,) = [payload for emitter in trackers.emitters for payload in emitter.payloads]
    assert payload.anonymous
    assert not payload.keys() & IDENTIFYING_KEYS


async def test_the_inner_of_two_applications_decides_what_its_visitor_permits(trackers: Trackers) -> None:
    inner = SnowplowMiddleware(raising(CardError()), trackers, errors=True, consent=lambda _scope: False)
    with pytest.raises(CardError):
        await request(SnowplowMiddleware(inner, trackers, errors=True), visit("/"))
    assert trackers.events == []


async def test_global_contexts_and_enrichers_that_are_coroutine_functions_are_awaited(
    trackers: Trackers,
) -> None:
    seen: list[Any] = []

    async def enricher(draft: Any) -> Any:
        await asyncio.sleep(0)
        seen.append(dict(draft.page))
        return draft.replace(page=draft.page | {"url": "http://shop.example/cards"})

    tracker = trackers()
    tracker.add_enricher(enricher)
    middleware = SnowplowMiddleware(raising(CardError()), tracker, errors=True)
    with pytest.raises(CardError):
        await request(middleware, visit("/cards/42", path_template="/cards/{number:int}"))
    await request(SnowplowMiddleware(answering(500, CardError()), tracker, errors=True), visit("/"))
    assert errors_of(trackers) == [("CardError", "/cards/{number}"), ("CardError", None)]
    assert trackers.events[0]["url"] == "http://shop.example/cards"
    assert seen[0]["page"] == "/cards/{number}"


# --- faults


async def test_a_fault_of_it_never_reaches_the_request(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Tracker):
        def track(self, *_args: Any, **_metadata: Any) -> NoReturn:
            raise RuntimeError("no room")

    broken = Broken(MemoryEmitter())
    for _ in range(3):
        with pytest.raises(CardError):
            await request(SnowplowMiddleware(raising(CardError()), broken, errors=True), visit("/"))
    with pytest.raises(CardError):
        await request(SnowplowMiddleware(raising(CardError()), errors=True), visit("/"))
    await request(SnowplowMiddleware(answering(500, CardError()), errors=True), visit("/"))
    assert "an error of a request could not be tracked: an error" in caplog.text
    assert "no room" in caplog.text


async def test_a_fault_is_counted_and_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    errors = Setup(errors=True).errors
    assert errors is not None

    def found() -> NoReturn:
        raise RuntimeError("no tracker")

    head = RequestHead([], None, "http", "/")
    for _ in range(3):
        assert errors.track(RequestScope(VisitorPolicy(), head, None), found, CardError()) is None
    assert errors.untracked == 3
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("value", [None, 1, "yes", CardError])
def test_the_option_must_be_true_or_false(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^errors: must be True or False"):
        Setup(errors=value)


async def test_what_an_application_tracks_of_an_exception_itself_is_its_own_affair(
    trackers: Trackers,
) -> None:
    async def app(scope: Any, _receive: Any, _send: Any) -> NoReturn:
        error = CardError()
        await tracker_of(scope).track_exception(error)
        raise error

    with pytest.raises(CardError):
        await request(SnowplowMiddleware(app, trackers, errors=True), visit("/"))
    assert len(trackers.events) == 2
