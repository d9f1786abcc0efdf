"""
A FastAPI service under uvicorn that tracks one event for each request.

A load asks it, and it tells how many requests it answers, how late the answers
are, and for how long its loop stands still. Parameters: ``tracked_by``
(``nobody``, ``official`` or ``ours``), ``found`` (how the endpoint finds our
tracker: as a ``dependency`` or by the ``request``), ``seconds`` of each of the
two stretches, ``rate`` of the second one, ``connections``, ``loop`` and
``http`` (as uvicorn calls them), ``load_core``, ``patience`` of the load, and
``is_flushed``: whether all events are sent at the end, and counted.
"""

# No `from __future__ import annotations`: FastAPI reads annotations of local classes here.

import asyncio
import gc
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import uvicorn
from common import PAGE_TITLE, Stopwatch, Ticker, page_url, tails, versions_of
from fastapi import FastAPI, Request
from works import Given, main

sys.path.append(str(Path(__file__).parent.parent))

from environments import SERVERS
from processes import talking

# Until all is imported, compiled and connected.
WARM_UP_SECONDS = 0.3
FLUSH_SECONDS = 30.0

Loop = asyncio.AbstractEventLoop
# A service, what sends its waiting events (called in a thread beside its loop), and its versions.
Served = tuple[FastAPI, Callable[[Loop], Any] | None, dict[str, str]]


def item(number: int) -> dict[str, Any]:
    return {"sku": f"SKU-{number}", "name": "Trail runner, size 43, blue", "stock": 17}


def tracked_by_nobody(_given: Given) -> Served:
    app = FastAPI()

    @app.get("/items/{number}")
    async def show(number: int) -> dict[str, Any]:
        return item(number)

    return app, None, {}


def tracked_by_official(given: Given) -> Served:
    """Return the service with the official tracker, which must be told by hand whom an event is about."""
    from official import VERSIONS, make_emitter  # noqa: PLC0415 - in an environment of its own
    from snowplow_tracker import PageView, Subject, Tracker  # noqa: PLC0415

    emitter = make_emitter(given)
    tracker = Tracker("bench", emitter, app_id="shop")
    app = FastAPI()

    def subject_of(request: Request) -> Any:
        subject = Subject().set_platform("srv")
        address = request.client.host if request.client else ""
        subject.set_ip_address(address).set_useragent(request.headers["user-agent"])
        return subject.set_lang(request.headers["accept-language"].partition(",")[0])

    @app.get("/items/{number}")
    async def show(number: int, request: Request) -> dict[str, Any]:
        event = PageView(
            page_url=page_url(number),
            page_title=PAGE_TITLE,
            referrer=request.headers["referer"],
            event_subject=subject_of(request),
        )
        tracker.track(event)
        return item(number)

    return app, lambda _loop: emitter.sync_flush(), VERSIONS


def tracked_by_ours(given: Given) -> Served:
    """Return the service with this library, in the three lines of the documentation."""
    from ours import VERSIONS  # noqa: PLC0415 - in an environment of its own

    from snowplow_aio import HttpEmitter, PageView, Tracker  # noqa: PLC0415
    from snowplow_aio.integrations.fastapi import (  # noqa: PLC0415
        CurrentTracker,
        SnowplowMiddleware,
        lifespan,
        tracker_of,
    )

    def make_tracker() -> Tracker:
        return Tracker(HttpEmitter(f"http://127.0.0.1:{given['port']}"), app_id="shop")

    app = FastAPI(lifespan=lifespan(make_tracker))
    app.add_middleware(SnowplowMiddleware)

    async def show(number: int, tracker: CurrentTracker) -> dict[str, Any]:
        await tracker.track(PageView(page_url=page_url(number), page_title=PAGE_TITLE))
        return item(number)

    async def show_by_request(number: int, request: Request) -> dict[str, Any]:
        await tracker_of(request).track(PageView(page_url=page_url(number), page_title=PAGE_TITLE))
        return item(number)

    app.get("/items/{number}")(show if given["found"] == "dependency" else show_by_request)

    def flush(loop: Loop) -> None:
        asyncio.run_coroutine_threadsafe(tracker_of(app).flush(FLUSH_SECONDS), loop).result()

    return app, flush, VERSIONS


def measure(given: Given, served: Served, watch: Stopwatch, loop: Loop, port: int) -> NoReturn:
    _, flush, versions = served
    seconds, load = given["seconds"], {name: given[name] for name in ("connections", "patience")}
    with talking("clients/load.py", load | {"port": port}, given["load_core"]) as (_, ask):
        warm_up = ask({"seconds": min(WARM_UP_SECONDS, seconds)})
        # Collecting all that was imported takes 40 ms, and would delay some request or other.
        gc.collect()
        gc.freeze()
        watch.start()
        full = ask({"seconds": seconds})
        cpu_seconds = time.process_time() - watch.cpu_start
        ticker = Ticker(loop, seconds)
        loop.call_soon_threadsafe(ticker.start)
        paced = ask({"seconds": seconds, "rate": given["rate"]})
        ticker.give_up()
    events = 0
    if given["is_flushed"] and flush is not None:
        flush(loop)
        events = sum(one["answered"] for one in (warm_up, full, paced))
    watch.stop()
    figures = {
        "requests_per_second": full["in_time"] / seconds,
        "request_cpu_us": cpu_seconds / max(1, full["answered"]) * 1e6,
        "stall_ms": max(ticker.late, default=0.0) * 1e3,
    }
    watch.report(
        versions | versions_of(*SERVERS),
        figures=figures | tails("", paced["percentiles"], "ms"),
        percentiles=paced["percentiles"],
        events=events,
    )
    # Events that still wait for a collector that is dead or slow are not waited for.
    os._exit(0)


async def serve(make: Callable[[Given], Served], given: Given) -> None:
    """Serve, while a thread beside the loop measures and then ends the process."""
    served, watch = make(given), Stopwatch()
    config = uvicorn.Config(served[0], http=given["http"], log_level="warning", access_log=False)
    # With the protocol named, or asyncio would leave Nagle's algorithm on in its connections.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        # Until uvicorn is ready, connections wait in the listener.
        listener.listen(512)
        serving = asyncio.create_task(uvicorn.Server(config).serve(sockets=[listener]))
        loop, port = asyncio.get_running_loop(), listener.getsockname()[1]
        await asyncio.to_thread(measure, given, served, watch, loop, port)
        await serving


TRACKED_BY = {"nobody": tracked_by_nobody, "official": tracked_by_official, "ours": tracked_by_ours}

if __name__ == "__main__":
    main(lambda given: TRACKED_BY[given["tracked_by"]](given), serve)
