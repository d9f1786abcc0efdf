"""The host's own ways: several loops, its contexts, its test runs, and data that cannot be sent."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import json
import math
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snowplow_aio import (
    HttpEmitter,
    InvalidEventError,
    PageView,
    Retry,
    SelfDescribingJson,
    StructuredEvent,
    Subject,
    Tracker,
)
from tests.collector import Answer, Collector, running_collector
from tests.faults.conftest import balance
from tests.faults.programs import loops, output_of, patient
from tests.scale import scale
from tests.waiting import until

PAGE = PageView(page_url="https://shop.example/")
URI = "iglu:com.acme/x/jsonschema/1-0-0"


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with running_collector() as running:
        yield running


# --- what cannot be sent


def circle() -> dict[str, Any]:
    around: dict[str, Any] = {}
    around["again"] = [around]
    return around


# Made anew each time: some are mutable, some compare by identity.
UNSENDABLE: list[Callable[[], Any]] = [
    circle,
    object,
    lambda: {1, 2},
    lambda: b"bytes",
    lambda: math.nan,
    lambda: math.inf,
    lambda: -math.inf,
    lambda: complex(1, 1),
    lambda: "\ud800",
    lambda: {"\udfff": 1},
    lambda: {("a", "tuple"): 1},
    lambda: (x for x in "generator"),
]

GOOD_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@st.composite
def bad_json(draw: st.DrawFn) -> dict[str, Any]:
    """Good data that has something somewhere that JSON does not know."""
    bad = draw(st.sampled_from(UNSENDABLE))()
    for _ in range(draw(st.integers(0, 4))):
        before, after = draw(st.lists(GOOD_JSON, max_size=2)), draw(st.lists(GOOD_JSON, max_size=2))
        bad = draw(st.sampled_from([[*before, bad, *after], {"good": before, "bad": bad}]))
    return {"data": bad}


def as_event(tracker: Tracker, data: Any) -> str:
    return tracker.track_nowait(SelfDescribingJson(URI, data))


def as_context(tracker: Tracker, data: Any) -> str:
    return tracker.track_nowait(PAGE, context=[SelfDescribingJson(URI, data)])


PLACES = {"event": as_event, "context": as_context}


def test_what_cannot_be_sent_fails_at_the_call_and_harms_no_other_event() -> None:
    tracker = Tracker(HttpEmitter("127.0.0.1", protocol="http", port=9))
    good: list[str] = []

    @settings(max_examples=scale(60, 1_000), deadline=None, database=None)
    @given(data=bad_json(), place=st.sampled_from(sorted(PLACES)))
    def refused(data: Any, place: str) -> None:
        with pytest.raises(InvalidEventError, match=place):
            PLACES[place](tracker, data)
        good.append(as_event(tracker, {"good": len(good)}))

    refused()
    stats = tracker.stats()["http"]
    assert (stats.accepted, stats.pending, balance(stats)) == (len(good), len(good), 0)
    asyncio.run(tracker.aclose(0))


@pytest.mark.anyio
async def test_what_was_tracked_between_refused_calls_is_all_delivered(collector: Collector) -> None:
    ids: list[str] = []
    async with Tracker(HttpEmitter(collector.url)) as tracker:
        for make in UNSENDABLE:
            for place in PLACES.values():
                with pytest.raises(InvalidEventError):
                    place(tracker, {"bad": make()})
                ids.append(place(tracker, {"good": [None, "Größe", 2**80]}))
        assert (await tracker.flush(30)).delivered == len(ids)
        assert tracker.stats()["http"].restarts == 0
    assert collector.accepted == dict.fromkeys(ids, 1)


@given(text=st.text(st.characters(categories=["Cs"]), min_size=1))
@settings(max_examples=scale(20, 1_000), deadline=None)
def test_a_lone_surrogate_is_refused_in_every_text_and_its_argument_named(text: str) -> None:
    tracker = Tracker(HttpEmitter("127.0.0.1", protocol="http", port=9))
    calls: dict[str, Callable[[], object]] = {
        "page_url": lambda: PageView(page_url=f"https://a.example/{text}"),
        "label": lambda: tracker.track_nowait(StructuredEvent(category="c", action="a", label=text)),
        "page_title": lambda: tracker.track_nowait(PageView(page_url="https://a.example", page_title=text)),
        "user_id": lambda: Subject(user_id=text),
        "app_id": lambda: Tracker(HttpEmitter("collector.example.com"), app_id=text),
        "referrer": lambda: tracker.track_nowait(PageView(page_url="https://a.example", referrer=text)),
    }
    for argument, call in calls.items():
        # pydantic has an error of its own; what it says is what counts.
        with pytest.raises(ValueError, match=argument):
            call()
    assert tracker.stats()["http"].accepted == 0


# --- one tracker, several loops

SEVERAL_RUNS = """
import asyncio, json, sys
from snowplow_aio import HttpEmitter, PageView, Tracker
if sys.argv[2] == "uvloop":
    import uvloop
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

PAGE = PageView(page_url="https://shop.example/")
tracker = Tracker(HttpEmitter(sys.argv[1]))
tracker.track_nowait(PAGE)

async def some():
    for _ in range(100):
        await tracker.track(PAGE)
    if sys.argv[3] != "left":
        await tracker.flush(float(sys.argv[3]))

for _ in range(5):
    asyncio.run(some())
    tracker.track_nowait(PAGE)
asyncio.run(tracker.aclose())
stats = tracker.stats()["http"]
print(json.dumps([stats.accepted, stats.delivered]))
"""


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("loop", "how"),
    [
        ("asyncio", "30"),
        ("asyncio", "left"),
        *itertools.product(loops()[1:], scale(["left"], ["30", "left"])),
    ],
)
async def test_a_tracker_made_at_import_serves_one_run_after_the_other(
    collector: Collector, loop: str, how: str
) -> None:
    (line,) = await output_of(patient(SEVERAL_RUNS), collector.url, loop, how)
    assert json.loads(line) == [506, 506]
    assert (len(collector.accepted), collector.accepted.total()) == (506, 506)


@pytest.mark.anyio
async def test_what_is_on_its_way_when_a_run_ends_is_sent_in_the_next(collector: Collector) -> None:
    """The first run ends while its request hangs; the collector never took that one."""
    collector.rule = lambda request: Answer(hangs=request.number == 1 and not collector.requests)
    (line,) = await output_of(SEVERAL_RUNS, collector.url, "asyncio", "0.5")
    assert json.loads(line) == [506, 506]
    assert (len(collector.accepted), collector.accepted.total()) == (506, 506)


# --- contexts


class AppRequest:
    """Stands for what a web framework keeps in a context while it answers."""


request_of: contextvars.ContextVar[AppRequest] = contextvars.ContextVar("request_of")


async def handle(work: Callable[[], Any]) -> weakref.ref[AppRequest]:
    """Do *work* as a framework does: in a task, with the request in its context."""

    async def handler() -> weakref.ref[AppRequest]:
        request = AppRequest()
        request_of.set(request)
        await work()
        return weakref.ref(request)

    # A context of its own: the test's must not have the request either.
    return await asyncio.get_running_loop().create_task(handler(), context=contextvars.Context())


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["none", "503", "404", "hangs"])
async def test_no_request_of_the_application_lives_as_long_as_the_delivery(
    collector: Collector, fault: str
) -> None:
    collector.rule = lambda _request: Answer({"503": 503, "404": 404}.get(fault, 200), hangs=fault == "hangs")
    retry = Retry(initial_delay=0.01, max_delay=0.01)
    emitter = HttpEmitter(collector.url, retry=retry, flush_interval=0.01, drain_timeout=0)
    work: dict[str, Callable[[], Any]] = {
        "the first event": lambda: tracker.track(PAGE),
        "a later one": lambda: tracker.track(PAGE),
        "one that does not wait": lambda: asyncio.sleep(0, tracker.track_nowait(PAGE)),
        "a flush": lambda: tracker.flush(0.05),
        "a flush that does not wait": lambda: tracker.flush(wait=False),
    }
    async with Tracker(emitter) as tracker:
        handled = {name: await handle(step) for name, step in work.items()}
        await collector.requested(1)
        await asyncio.sleep(0)
        gc.collect()
        assert [name for name, request in handled.items() if request() is not None] == []


@pytest.mark.anyio
async def test_hooks_do_not_see_the_request_that_happened_to_start_the_delivery(collector: Collector) -> None:
    seen: list[object] = []

    async def hook(_outcome: object) -> None:
        seen.append(request_of.get(None))

    hooks = [lambda _outcome: seen.append(request_of.get(None)), hook]
    tracker = Tracker(HttpEmitter(collector.url, hooks=hooks))
    await handle(lambda: tracker.track(PAGE))
    await tracker.aclose()
    await until(lambda: len(seen) == 2)
    assert seen == [None, None]


# --- a test run of the application

APPLICATION_TESTS = """
import asyncio, gc, os, sys, threading
import pytest
from snowplow_aio import HttpEmitter, PageView, Tracker
from tests.collector import running_collector

PAGE = PageView(page_url="https://shop.example/")

def what_is_open():
    gc.collect()
    return sorted(os.listdir("/proc/self/fd")), threading.active_count()

@pytest.fixture(autouse=True)
def nothing_is_left():
    # What a first import or loop opens for good is not ours.
    asyncio.run(asyncio.sleep(0))
    before = what_is_open()
    yield
    assert what_is_open() == before

async def run(use):
    async with running_collector() as collector:
        tasks = asyncio.all_tasks()
        await use(collector)
        assert asyncio.all_tasks() == tasks

@pytest.mark.parametrize("turn", range(3))
def test_with_a_context_manager(turn):
    async def use(collector):
        async with Tracker(HttpEmitter(collector.url)) as tracker:
            for _ in range(1000):
                await tracker.track(PAGE)
        assert collector.accepted.total() == 1000
    asyncio.run(run(use))

def test_with_a_close_and_a_collector_that_is_gone():
    async def use(collector):
        tracker = Tracker(HttpEmitter("http://127.0.0.1:9"))
        await tracker.track(PAGE)
        assert (await tracker.aclose(0.1)).dropped == 1
    asyncio.run(run(use))

def test_several_trackers_at_once_in_gathered_tasks():
    async def use(collector):
        async def one():
            async with Tracker(HttpEmitter(collector.url)) as tracker:
                await tracker.track(PAGE)
        await asyncio.gather(*[one() for _ in range(20)])
        assert collector.accepted.total() == 20
    asyncio.run(run(use))

def test_a_tracker_that_is_never_used():
    async def use(collector):
        Tracker(HttpEmitter(collector.url))
    asyncio.run(run(use))
"""


@pytest.mark.anyio
@pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="open files are counted where /proc lists them"
)
async def test_a_proper_use_leaves_nothing_behind_in_a_strict_test_run(tmp_path: Path) -> None:
    (tmp_path / "test_application.py").write_text(APPLICATION_TESTS)
    # What is installed beside pytest takes longer to load than these tests.
    program = "import os, sys, pytest; os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'\n"
    program += "sys.exit(pytest.main(sys.argv[1:]))"
    arguments = ["-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    lines = await output_of(program, *arguments)
    assert "6 passed" in lines[-1]
    assert "warning" not in lines[-1]
