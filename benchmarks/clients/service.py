"""
A FastAPI service under uvicorn that tracks one event for each request.

A load asks it, and it tells how many requests it answers, how late the answers
are, and for how long its loop stands still. Parameters: ``tracked_by``
(``nobody``, ``official`` or ``ours``), ``found`` (how the endpoint finds our
tracker: as a ``dependency`` or by the ``request``), ``seconds`` of each of the
two stretches, ``rate`` of the second one, ``connections``, ``loop`` and
``http`` (as uvicorn calls them), ``core``, ``load_core``, ``patience`` of the
load, and ``is_flushed``: whether all events are sent at the end, and counted.
"""

# No `from __future__ import annotations`: FastAPI reads annotations of local classes here.

import asyncio
import gc
import importlib
import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from common import PAGE_TITLE, Stopwatch, Ticker, page_url, parameters, tails, versions_of
from fastapi import FastAPI, Request

sys.path.append(str(Path(__file__).parent.parent))

from processes import talking

# Until all is imported, compiled and connected.
WARM_UP_SECONDS = 0.3
FLUSH_SECONDS = 30.0
SERVERS = ("fastapi", "starlette", "uvicorn", "h11", "httptools", "uvloop", "pydantic")

Given = dict[str, Any]
Loop = asyncio.AbstractEventLoop
# A service, what sends its waiting events (called in a thread beside its loop), and its versions.
Served = tuple[FastAPI, Callable[[Loop], Any], dict[str, str]]


def item(number: int) -> dict[str, Any]:
    return {"sku": f"SKU-{number}", "name": "Trail runner, size 43, blue", "stock": 17}


def tracked_by_nobody(_given: Given) -> Served:
    app = FastAPI()

    @app.get("/items/{number}")
    async def show(number: int) -> dict[str, Any]:
        return item(number)

    return app, lambda _loop: None, {}


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


async def serve(app: FastAPI, given: Given, control: Callable[..., None]) -> None:
    """Serve *app* for ever, and have *control* called with loop and port in a thread beside the loop."""
    config = uvicorn.Config(app, http=given["http"], log_level="warning", access_log=False)
    # With the protocol named, or asyncio would leave Nagle's algorithm on in its connections.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        # Until uvicorn is ready, connections wait in the listener.
        listener.listen(512)
        address = (asyncio.get_running_loop(), listener.getsockname()[1])
        threading.Thread(target=control, args=address, daemon=True).start()
        await uvicorn.Server(config).serve(sockets=[listener])


def measure(given: Given, served: Served, watch: Stopwatch, loop: Loop, port: int) -> None:
    _, flush, versions = served
    settings = {"port": port, "core": given["load_core"]}
    settings |= {name: given[name] for name in ("connections", "patience")}
    with talking("clients/load.py", settings) as (_, tell):

        def ask(**order: float) -> dict[str, Any]:
            answer: dict[str, Any] = tell(json.dumps(order))
            return answer

        warm_up = ask(seconds=min(WARM_UP_SECONDS, given["seconds"]))
        # Collecting all that was imported takes 40 ms, and would delay some request or other.
        gc.collect()
        gc.freeze()
        watch.start()
        full = ask(seconds=given["seconds"])
        cpu_seconds = time.process_time() - watch.cpu_start
        ticker = Ticker(loop, given["seconds"])
        loop.call_soon_threadsafe(ticker.start)
        paced = ask(seconds=given["seconds"], rate=given["rate"])
        ticker.give_up()
    if given["is_flushed"]:
        flush(loop)
    watch.stop()
    figures = {
        "requests_per_second": full["in_time"] / given["seconds"],
        "request_cpu_us": cpu_seconds / max(1, full["answered"]) * 1e6,
        "stall_ms": max(ticker.late, default=0.0) * 1e3,
    }
    details = {name: [one[name] for one in (warm_up, full, paced)] for name in ("answered", "unanswered")}
    watch.report(
        versions | versions_of(*SERVERS),
        figures=figures | tails("", paced["percentiles"], "ms"),
        percentiles=paced["percentiles"],
        events=sum(details["answered"]) if given["is_flushed"] else 0,
        details=details,
    )


def main() -> None:
    given = parameters()
    makers = {"nobody": tracked_by_nobody, "official": tracked_by_official, "ours": tracked_by_ours}
    served = makers[given["tracked_by"]](given)
    watch = Stopwatch()

    def control(loop: Loop, port: int) -> None:
        try:
            measure(given, served, watch, loop, port)
        except BaseException:  # noqa: BLE001 - nobody else would hear of it
            traceback.print_exc()
            os._exit(1)
        # Events that still wait for a collector that is dead or slow are not waited for.
        os._exit(0)

    # `asyncio` or `uvloop`: both modules make their loops by the same name.
    loop_maker = importlib.import_module(given["loop"])
    with asyncio.Runner(loop_factory=loop_maker.new_event_loop) as runner:
        runner.run(serve(served[0], given, control))


if __name__ == "__main__":
    main()
