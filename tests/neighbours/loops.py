"""Programs in which each call has a loop of its own, as sync frameworks give it to coroutines."""

from __future__ import annotations

from dataclasses import dataclass

from tests.neighbours.neighbour import Neighbour

# Reads orders from its standard input, one a line: how many calls; or the end. It says when each is done.
_PROGRAM = """
import asyncio, sys, threading
from concurrent.futures import ThreadPoolExecutor
from snowplow_aio import HttpEmitter, PageView, Retry, Tracker

url, is_closed = sys.argv[1:]
PAGE = PageView(page_url="https://shop.example/")
HttpEmitter.last_drain_seconds = 20
emitter = HttpEmitter(
    url, batch_size=5, request_timeout=0.5, drain_timeout=30, retry=Retry(initial_delay=0.01, max_delay=0.05)
)
tracker = Tracker(emitter, app_id="shop")

@BEFORE@

for line in sys.stdin:
    match line.split():
        case ["call", number]:
            said = [call() for _ in range(int(number))]
        case ["call", number, "in", threads]:
            with ThreadPoolExecutor(int(threads)) as pool:
                said = list(pool.map(lambda _: call(), range(int(number))))
    assert len(set(said)) == int(number)
    print("done", flush=True)

if is_closed == "closed":
    asyncio.run(tracker.aclose())
"""


@dataclass(frozen=True, kw_only=True)
class PerCall(Neighbour):
    """
    What makes a loop for each call.

    Attributes:
        before: The part of the program that defines ``call()``, which tracks and returns the event id.

        threads: How many calls there may be at once.
    """

    before: str
    threads: int = 4

    @property
    def program(self) -> str:
        """The text of the program; its arguments are the collector, and whether it closes the tracker."""
        return _PROGRAM.replace("@BEFORE@", self.before.strip())


_ASGIREF = """
from asgiref.sync import async_to_sync

@async_to_sync
async def call():
    return await tracker.track(PAGE)
"""

# Sync code in the one thread of its coroutine, from which it goes back to the loop of that.
_THREAD_SENSITIVE = """
from asgiref.sync import async_to_sync, sync_to_async

def in_between():
    return async_to_sync(tracker.track)(PAGE)

@async_to_sync
async def call():
    return await sync_to_async(in_between, thread_sensitive=True)()
"""

_DJANGO = """
import django
from django.conf import settings
from django.http import HttpResponse
from django.test import Client
from django.urls import path

async def view(request):
    return HttpResponse(await tracker.track(PAGE))

urlpatterns = [path("", view)]
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="for tests")
django.setup()

def call():
    return Client().get("/").content.decode()
"""

_FLASK = """
from flask import Flask

app = Flask("shop")

@app.get("/")
async def view():
    return await tracker.track(PAGE)

def call():
    return app.test_client().get("/").text
"""

_RUN = """
async def job():
    return await tracker.track(PAGE)

def call():
    return asyncio.run(job())
"""

LOOPS = {
    "asgiref: async_to_sync": PerCall(packages=("asgiref",), before=_ASGIREF),
    "asgiref: thread_sensitive": PerCall(packages=("asgiref",), before=_THREAD_SENSITIVE),
    "Django: async views under WSGI": PerCall(packages=("django", "asgiref"), before=_DJANGO),
    "Flask: async views": PerCall(packages=("flask", "asgiref"), before=_FLASK),
    "anyio.run": PerCall(
        packages=("anyio",), before=_RUN.replace("asyncio.run(job())", "anyio.run(job)") + "\nimport anyio"
    ),
    "asyncio.run": PerCall(before=_RUN),
    "uvloop.run": PerCall(
        packages=("uvloop",), before=_RUN.replace("asyncio.run", "uvloop.run") + "\nimport uvloop"
    ),
}
