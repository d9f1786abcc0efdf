"""
A web service under uvicorn and a load: how fast it answers, how late, and how long its loop stands still.

Parameters: ``seconds`` of each of the two stretches, ``rate`` of the second one,
``connections``, ``loop`` and ``http`` (as uvicorn calls them), ``core``,
``load_core``, ``patience`` of the load, and ``is_flushed``: whether all events are
sent at the end, and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from common import SHARES, Stopwatch, Ticker, versions_of
from fastapi import FastAPI

LOAD = Path(__file__).with_name("load.py")
# Until all is imported, compiled and connected.
WARM_UP_SECONDS = 0.3
FLUSH_SECONDS = 30.0
SERVERS = ("fastapi", "starlette", "uvicorn", "h11", "httptools", "uvloop", "pydantic")


def item(number: int) -> dict[str, Any]:
    """
    Return what the service says of item *number*.
    """
    return {"sku": f"SKU-{number}", "name": "Trail runner, size 43, blue", "stock": 17}


class Service:
    """
    The service, measured from a thread beside its loop: that may stand still for long.

    Args:
        flush: Sends what waits; called in that thread, with the service's loop.
    """

    def __init__(
        self,
        given: dict[str, Any],
        versions: dict[str, str],
        flush: Callable[[asyncio.AbstractEventLoop], Any] = lambda _loop: None,
    ) -> None:
        self.given = given
        self.versions = versions | versions_of(*SERVERS)
        self.flush = flush

    def run(self, app: FastAPI) -> None:
        """
        Serve *app*, measure it, print the result and end the process.
        """
        self.watch = Stopwatch()
        # `asyncio` or `uvloop`: both modules make their loops by the same name.
        loop_maker = importlib.import_module(self.given["loop"])
        with asyncio.Runner(loop_factory=loop_maker.new_event_loop) as runner:
            runner.run(self.serve(app))

    async def serve(self, app: FastAPI) -> None:
        config = uvicorn.Config(app, http=self.given["http"], log_level="warning", access_log=False)
        # Named a TCP socket, or asyncio would leave Nagle's algorithm on in its connections.
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
            listener.bind(("127.0.0.1", 0))
            # Until uvicorn is ready, connections wait in it.
            listener.listen(512)
            address = (asyncio.get_running_loop(), listener.getsockname()[1])
            threading.Thread(target=self.control, args=address, daemon=True).start()
            await uvicorn.Server(config).serve(sockets=[listener])

    def control(self, loop: asyncio.AbstractEventLoop, port: int) -> None:
        """
        Measure; whatever happens, the process ends with it.
        """
        try:
            self.measure(loop, port)
        except BaseException:  # noqa: BLE001 - nobody else would hear of it
            traceback.print_exc()
            os._exit(1)
        # What still waits for a collector that is dead or slow is not waited for.
        os._exit(0)

    def measure(self, loop: asyncio.AbstractEventLoop, port: int) -> None:
        given, watch = self.given, self.watch
        with running_load(given, port) as ask:
            warm_up = ask(seconds=min(WARM_UP_SECONDS, given["seconds"]))
            # To collect all that was imported takes 40 ms, and befalls whoever is measured just then.
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
            self.flush(loop)
        watch.stop()
        at = dict(zip(SHARES, paced["percentiles"], strict=True))
        figures = {
            "requests_per_second": full["in_time"] / given["seconds"],
            "request_cpu_us": cpu_seconds / max(1, full["answered"]) * 1e6,
            "p50_ms": at[0.5],
            "p99_ms": at[0.99],
            "max_ms": at[1.0],
            "stall_ms": max(ticker.late, default=0.0) * 1e3,
        }
        details = {name: [one[name] for one in (warm_up, full, paced)] for name in ("answered", "unanswered")}
        watch.report(
            self.versions,
            figures=figures,
            percentiles=paced["percentiles"],
            events=sum(details["answered"]) if given["is_flushed"] else 0,
            details=details,
        )


@contextlib.contextmanager
def running_load(given: dict[str, Any], port: int) -> Iterator[Callable[..., dict[str, Any]]]:
    """
    Start the load; what it is asked it does, and returns what came of it.
    """
    settings = {
        "port": port,
        "connections": given["connections"],
        "core": given["load_core"],
        "patience": given["patience"],
    }
    command = [sys.executable, str(LOAD), json.dumps(settings)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        orders, answers = process.stdin, process.stdout

        def ask(**order: float) -> dict[str, Any]:
            print(json.dumps(order), file=orders, flush=True)
            answer: dict[str, Any] = json.loads(answers.readline())
            return answer

        yield ask
        orders.close()
