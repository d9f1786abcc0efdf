"""The demo: a collector, the shop and its visitors, all in this process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator, Callable, Generator

import uvicorn
from fastapi import FastAPI

from snowplow_aio.demo.display import Display, console_for_output
from snowplow_aio.demo.report import Report, compare
from snowplow_aio.demo.shop import Cart, Product, Review, create_app
from snowplow_aio.demo.visitors import VISITORS, send_visitors
from snowplow_aio.http.emitter import HttpEmitter
from snowplow_aio.micro import Micro
from snowplow_aio.tracking.tracker import Tracker

StopSignals = Callable[[Callable[[int], None]], contextlib.AbstractContextManager[None]]

_LOCALHOST = "127.0.0.1"

# In seconds. It is shorter than usual, so that several batches leave during the visits.
_FLUSH_INTERVAL = 0.2


def run_demo(stop_signals: StopSignals | None = None) -> int:
    """
    Run the demo, print its results, and return the exit code.

    Args:
        stop_signals: Makes a context in which a signal that asks the program to end calls a function
            with its number; None for no such signals.
    """
    start = time.perf_counter()
    display = Display(console_for_output(), VISITORS)
    signals: list[int] = []

    async def walk() -> Report:
        walking = asyncio.current_task()
        assert walking is not None  # noqa: S101 - for the type checker

        def stop(number: int) -> None:
            signals.append(number)
            walking.cancel()

        with stop_signals(stop) if stop_signals is not None else contextlib.nullcontext():
            return await walk_through_shop(display)

    try:
        report = asyncio.run(walk())
    except asyncio.CancelledError:
        # The exit status that a shell reports for a program that a signal ended.
        return 128 + signals[0]
    display.finish(report, time.perf_counter() - start)
    return report.exit_code


async def walk_through_shop(display: Display) -> Report:
    """Let all visitors walk through the shop, and return the report on their events."""
    models = (Product, Cart, Review)
    with display.running():
        async with Micro(host=_LOCALHOST, schemas=models, on_event=display.arrived) as collector:
            display.print_line(f"collector on {collector.url}")
            async with serving(create_app(tracker_to(collector.url))) as shop:
                display.print_line(f"shop on {shop}, {len(VISITORS)} visitors")
                visits = await send_visitors(VISITORS, shop, display.visited)
            # The shop has closed its tracker, so all events are sent.
        return compare(visits, [*collector.good, *collector.bad])


def tracker_to(collector: str) -> Tracker:
    """Return a tracker that sends each event to the *collector* twice, once by each method."""
    by_post = HttpEmitter(collector, name="post", flush_interval=_FLUSH_INTERVAL)
    by_get = HttpEmitter(collector, method="get", name="get")
    return Tracker([by_post, by_get], namespace="demo", app_id="shop", platform="web")


@contextlib.asynccontextmanager
async def serving(app: FastAPI) -> AsyncGenerator[str]:
    """Serve *app* on a free port of this machine while the block runs; gives its URL."""
    config = uvicorn.Config(
        app,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        # The visitors send X-Forwarded-For, as a proxy would.
        proxy_headers=True,
        forwarded_allow_ips=_LOCALHOST,
    )
    server = _Server(config)
    # The socket listens from here on, so a request that comes too early waits.
    with socket.create_server((_LOCALHOST, 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield f"http://{_LOCALHOST}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


class _Server(uvicorn.Server):
    """A server that does not handle the signals of the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture no signals."""
        yield
