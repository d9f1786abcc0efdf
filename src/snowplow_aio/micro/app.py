"""The embeddable collector."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import logging
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

import anyio
from aiohttp import web

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.iglu.json_text import JSONObject
from snowplow_aio.iglu.registries import Registries, SchemaSource
from snowplow_aio.micro import responses, rest
from snowplow_aio.micro.collector import MAX_BODY_BYTES, CollectorRequest, network_user_id, refusal
from snowplow_aio.micro.connections import Connections
from snowplow_aio.micro.pipeline import process
from snowplow_aio.micro.server_log import ServerLog
from snowplow_aio.micro.storage import Storage
from snowplow_aio.micro.visitors import Visitors
from snowplow_aio.model.arguments import check_count, check_function, check_host, check_list, check_port
from snowplow_aio.model.old_names import OldArguments, OnlyAsync
from snowplow_aio.runtime.copies import NeverCopied
from snowplow_aio.runtime.foreign_text import events_text

log: logging.Logger = logging.getLogger("snowplow_aio.micro")

# The limits of aiohttp are far above the collector's, so that the collector's decide.
_SERVER_LIMIT_BYTES = 1 << 20

# A request that is under way when the collector closes has this many seconds to end.
_LAST_REQUESTS_TIMEOUT = 1.0


class Micro(NeverCopied, OldArguments, OnlyAsync):
    """
    A collector on this machine that gives the pipeline's verdict on every event.

    It runs in the event loop of the caller and accepts the same requests as the
    real collector. It keeps the events, good and bad, in memory until it is
    reset, up to a bound. An instance can be started once.

    Args:
        host: The address to listen on.

        port: The port to listen on, from 0 to 65,535; 0 takes a free one.

        schemas: Folders of Iglu schemas
            (``<root>/<vendor>/<name>/jsonschema/<M-R-A>`` or ``<root>/schemas/…``)
            and SelfDescribing classes. They come before the models that the
            library ships.

        record: A function that is called with each request to the collector,
            before the request is judged. It gets a dictionary with ``method``,
            ``path``, ``query`` (raw), ``headers`` (pairs), ``body`` (or
            ``body_b64`` for bytes that are not UTF-8) and, if `answers` decided
            it, ``answered``, the status.

        answers: HTTP statuses from 200 to 599 for the next requests that would
            be accepted, in turn. The events of these requests are not stored.

        on_event: A function that is called with each good or bad event when it
            has arrived. An exception of this function or of `record` is logged
            and has no other effect.

        capacity: The most events that are kept, from 1. When more arrive, the oldest are
            removed.

        capacity_bytes: The most memory for the events, in bytes, from 1. The oldest are
            removed likewise; the newest always stays.

        origins: Origins whose web pages may use the REST API, like ``http://localhost:3000``.
            Other pages than the collector's own may not. The collector may also be reached by
            the host names of these origins.

    Raises:
        ConfigurationError: If a folder does not exist, an answer is not a status, a capacity
            is not a whole number from 1, or an origin is none.

    Example:
        A test that sends one event::

            async with Micro() as micro:
                async with Tracker(HttpEmitter(micro.url), namespace="test", app_id="shop") as tracker:
                    await tracker.track(PageView(page_url="https://shop.example/"))

                assert micro.counts() == {"total": 1, "good": 1, "bad": 0}
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        schemas: Iterable[SchemaSource] = (),
        record: Callable[[JSONObject], object] | None = None,
        answers: Iterable[int] = (),
        on_event: Callable[[JSONObject], object] | None = None,
        capacity: int = 100_000,
        capacity_bytes: int = 2**30,
        origins: Iterable[str] = (),
    ) -> None:
        check_count("capacity", capacity)
        check_count("capacity_bytes", capacity_bytes)
        check_host("host", host)
        check_port("port", port)
        for argument, values in (("schemas", schemas), ("answers", answers), ("origins", origins)):
            check_list(argument, values)
        check_function("record", record, optional=True)
        check_function("on_event", on_event, optional=True)
        self._visitors = Visitors(host, origins)
        self._host = host
        self._port = port
        self._registries = Registries(schemas)
        self._record = record
        self._on_event = on_event
        self._planned_statuses: deque[int] = deque()
        self.fail_next(*answers)
        self._storage = Storage(capacity=capacity, capacity_bytes=capacity_bytes)
        self._arrived = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._connections: Connections | None = None
        self._was_started = False

    def __repr__(self) -> str:
        state = self.url if self._runner is not None else "closed" if self._was_started else "not started"
        counts = self.counts()
        return f"<Micro {state} good={counts['good']} bad={counts['bad']}>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def start(self) -> None:
        """
        Listen for requests. `async with` does the same.

        Raises:
            OSError: If the port is taken.
            RuntimeError: If it was started before.
        """
        if self._was_started:
            state = "is running" if self._runner is not None else "was closed"
            raise RuntimeError(f"this Micro {state}: it runs once, make another one")
        self._was_started = True
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            logger=ServerLog(log),
            shutdown_timeout=_LAST_REQUESTS_TIMEOUT,
            # The real collector stores a compressed body as it is.
            auto_decompress=False,
            max_line_size=_SERVER_LIMIT_BYTES,
            max_field_size=_SERVER_LIMIT_BYTES,
            max_headers=_SERVER_LIMIT_BYTES,
        )
        try:
            await runner.setup()
            assert runner.server is not None  # noqa: S101 - for the type checker
            self._connections = Connections(runner.server)
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self._connections, self._host, self._port)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await runner.cleanup()
            raise
        self._runner = runner
        self._port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """
        Stop listening and close all connections. The events stay readable.

        A request that is under way has one second to end. A second call does
        nothing, nor does a call before the start.
        """
        runner, self._runner = self._runner, None
        if runner is None:
            return
        if self._server is not None:
            self._server.close()
        with anyio.CancelScope(shield=True):
            await runner.cleanup()
            if self._connections is not None:
                self._connections.close()
            # The loop closes the socket of an aborted connection in its next turn.
            await asyncio.sleep(0)

    @property
    def port(self) -> int:
        """
        The port that it listens on, also after it was closed.

        Raises:
            RuntimeError: If it was not started and the port is not fixed.
        """
        if not self._was_started or self._port == 0:
            raise RuntimeError("this Micro has no port yet: start it first")
        return self._port

    @property
    def url(self) -> str:
        """
        The address to give to an emitter, like ``http://127.0.0.1:9090``.

        Raises:
            RuntimeError: If it was not started and the port is not fixed.
        """
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    @property
    def good(self) -> list[JSONObject]:
        """The good events that are kept, in the order of arrival, in the shape of ``GET /micro/good``."""
        return list(self._storage.good)

    @property
    def bad(self) -> list[JSONObject]:
        """The bad events that are kept, in the order of arrival, in the shape of ``GET /micro/bad``."""
        return list(self._storage.bad)

    def counts(self) -> dict[str, int]:
        """
        Return the numbers of events that have arrived: ``total``, ``good`` and ``bad``.

        Where the oldest had to be removed for want of room, ``removed`` is how many.
        """
        return self._storage.counts()

    def reset(self) -> None:
        """Remove all events."""
        self._storage.clear()

    def fail_next(self, *statuses: int) -> None:
        """
        Answer the next requests that would be accepted with *statuses*, in turn.

        The events of these requests are not stored.

        Args:
            *statuses: HTTP statuses from 200 to 599.

        Raises:
            ConfigurationError: If one is not an HTTP status from 200 to 599.
        """
        for status in statuses:
            if type(status) is not int or not 200 <= status <= 599:
                raise ConfigurationError.about("answers", status, "must be an HTTP status from 200 to 599")
        self._planned_statuses += statuses

    async def wait_for(self, n: int, timeout: float = 5.0) -> None:
        """
        Wait until *n* events have arrived, good and bad together.

        Args:
            n: The number of events since the start or the last reset.

            timeout: The longest wait, in seconds.

        Raises:
            TimeoutError: If fewer events arrived in time. The message says how many.
        """
        try:
            async with asyncio.timeout(timeout):
                while self.counts()["total"] < n:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            counts = self.counts()
            raise TimeoutError(
                f"waited {timeout} s for {events_text(n)}, {counts['total']} arrived"
                f" ({counts['good']} good, {counts['bad']} bad)"
            ) from None

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.on_response_prepare.append(responses.allow_origin)
        app.middlewares.append(rest.guard(self._visitors))
        rest.add_routes(app, self._storage)
        app.router.add_route("OPTIONS", "/{path:.*}", _preflight)
        for path in ("/health", "/sink-health", "/robots.txt"):
            app.router.add_route("GET", path, _ROUTES_OF_TEXT[path])
        app.router.add_route("*", "/{path:.*}", self._collect)
        return app

    async def _collect(self, incoming: web.Request) -> web.Response:
        try:
            request = await _read(incoming)
        except (ConnectionError, web.RequestPayloadError):
            # The client went away, or sent chunks that cannot be read.
            return responses.refused(400)
        return self._respond(request)

    def _respond(self, request: CollectorRequest) -> web.Response:
        status = refusal(request)
        planned = None
        if status is None and self._planned_statuses:
            planned = status = self._planned_statuses.popleft()
        if self._record is not None:
            _notify(self._record, raw_record(request, answered=planned))
        if status is not None:
            return responses.refused(status)
        given = network_user_id(request)
        user_id = str(uuid.uuid4()) if given is None else given
        self._process(request, user_id)
        return responses.accepted(request, user_id=user_id)

    def _process(self, request: CollectorRequest, user_id: str) -> None:
        records = process(request, self._registries, user_id=user_id, new_id=lambda: str(uuid.uuid4()))
        self._storage.add(records)
        self._arrived.set()
        if self._on_event is not None:
            for record in records:
                _notify(self._on_event, record.json)


def _notify(listener: Callable[[JSONObject], object], record: JSONObject) -> None:
    try:
        listener(record)
    except Exception:
        log.exception("a listener of the collector failed")


def raw_record(request: CollectorRequest, *, answered: int | None) -> JSONObject:
    """Return *request* as plain JSON, from which it can be judged again."""
    record: JSONObject = {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": [list(pair) for pair in request.headers],
    }
    if request.body is not None:
        try:
            record["body"] = request.body.decode("utf-8")
        except UnicodeDecodeError:
            record["body_b64"] = base64.b64encode(request.body).decode("ascii")
    return record if answered is None else {**record, "answered": answered}


async def _read(incoming: web.Request) -> CollectorRequest:
    path, _, query = incoming.raw_path.partition("?")
    body = None if incoming.method in {"GET", "HEAD"} else await _read_body(incoming)
    return CollectorRequest(
        method=incoming.method,
        path=path,
        query=query,
        headers=tuple((_text(name), _text(value)) for name, value in incoming.raw_headers),
        body=body,
        peer=incoming.remote or "",
        received=dt.datetime.now(dt.UTC),
    )


async def _read_body(incoming: web.Request) -> bytes:
    # The first byte beyond the limit is enough to refuse the body.
    body = bytearray()
    while len(body) <= MAX_BODY_BYTES:
        chunk = await incoming.content.read(MAX_BODY_BYTES + 1 - len(body))
        if not chunk:
            break
        body += chunk
    return bytes(body)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


async def _preflight(_request: web.Request) -> web.Response:
    return responses.preflight()


async def _ok(_request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _robots(_request: web.Request) -> web.Response:
    return web.Response(text="User-agent: *\nDisallow: /\n")


_ROUTES_OF_TEXT = {"/health": _ok, "/sink-health": _ok, "/robots.txt": _robots}
