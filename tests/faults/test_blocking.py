"""Programs without a loop, in the worlds that they live in: nothing is lost silently, and nothing hangs."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator

import pytest

from tests.collector import Collector, running_collector
from tests.faults.programs import Ended, end_of, started
from tests.scale import scale

pytestmark = pytest.mark.anyio

DEAD = "http://127.0.0.1:9"

BEGIN = """
import atexit, asyncio, gc, logging, os, signal, sys, threading, time
from snowplow_aio import HttpEmitter, PageView, StructuredEvent
from snowplow_aio.sync import Tracker, from_async

PAGE = PageView(page_url="https://shop.example/")
tracker = Tracker(HttpEmitter(sys.argv[1], drain_timeout=float(sys.argv[2])))
"""


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with running_collector() as running:
        yield running


async def run(program: str, url: str, drain_timeout: float = 30.0) -> Ended:
    async with started(BEGIN + program, url, str(drain_timeout)) as process:
        return await end_of(process)


# --- the end of the interpreter

ENDINGS = {
    "returns": "",
    "exits": "sys.exit(3)",
    "raises": "raise ZeroDivisionError",
    "is interrupted": "signal.signal(2, signal.default_int_handler); os.kill(os.getpid(), 2); time.sleep(50)",
}
CODES = {"returns": 0, "exits": 3, "raises": 1, "is interrupted": -signal.SIGINT}


@pytest.mark.parametrize("ending", scale(["returns", "is interrupted"], list(ENDINGS)))
async def test_a_program_that_forgets_to_close_loses_nothing(ending: str, collector: Collector) -> None:
    program = f"for _ in range(70): tracker.track(PAGE)\n{ENDINGS[ending]}"
    ended = await run(program, collector.url)
    assert (ended.code, collector.accepted.total()) == (CODES[ending], 70)
    assert "RuntimeWarning" not in ended.said


async def test_a_program_says_at_its_end_what_is_lost() -> None:
    ended = await run("for _ in range(3): tracker.track(PAGE)", DEAD, 0.2)
    assert ended.code == 0
    assert "http: ended without close(), with 3 events undelivered" in ended.said


LATE = {
    "a function of atexit": "atexit.register(tracker.track, PAGE)",
    "a thread that goes on": "threading.Timer(0.3, tracker.track, [PAGE]).start()",
    "a finalizer": """
class Last:
    def __del__(self):
        tracker.track(PAGE)
last = Last()
last.self = last
del last
gc.collect()
""",
}


@pytest.mark.parametrize("late", LATE)
async def test_what_is_tracked_at_the_very_end_arrives(late: str, collector: Collector) -> None:
    ended = await run(f"tracker.track(PAGE)\n{LATE[late]}", collector.url)
    assert (ended.code, ended.said, collector.accepted.total()) == (0, "", 2)


# --- calls in the midst of others

HANDLERS = {
    "that tracks": "tracker.track(PAGE)",
    "that flushes": "tracker.flush(timeout=30)",
    "that closes": "signal.setitimer(signal.ITIMER_REAL, 0); tracker.close(timeout=30); sys.exit(0)",
}


@pytest.mark.parametrize("handler", HANDLERS)
async def test_a_signal_handler_never_hangs_the_program(handler: str, collector: Collector) -> None:
    program = f"""
count = 0
def handle(*_):
    {HANDLERS[handler]}
    seen.append(1)
seen = []
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.003)
atexit.register(lambda: print(count, len(seen), flush=True))
while len(seen) < 60:
    tracker.track(PAGE)
    count += 1
signal.setitimer(signal.ITIMER_REAL, 0)
"""
    ended = await run(program, collector.url)
    count, seen = map(int, ended.printed[0].split())
    more = seen if handler == "that tracks" else 0
    # An event whose call the end interrupts may be taken already, or not yet.
    assert collector.accepted.total() - count - more in ({0, 1} if handler == "that closes" else {0})
    assert (ended.code, ended.said) == (0, "")


async def test_a_logging_handler_may_track_what_the_delivery_logs(collector: Collector) -> None:
    program = """
class Tracking(logging.Handler):
    def emit(self, record):
        tracker.track(StructuredEvent(category="log", action=record.name))

logging.getLogger().addHandler(Tracking())
logging.getLogger().setLevel(logging.INFO)
for _ in range(2000):
    logging.getLogger("shop").info("sold")
print(tracker.flush(timeout=30).pending, tracker.close(timeout=30).dropped)
"""
    ended = await run(program, collector.url)
    assert (ended.code, ended.printed, ended.said) == (0, ["0 0"], "")
    assert collector.accepted.total() >= 2000


async def test_a_logging_handler_may_flush_and_close_while_python_holds_its_lock(
    collector: Collector,
) -> None:
    program = """
class Flushing(logging.Handler):
    def emit(self, record):
        tracker.track(StructuredEvent(category="log", action=record.name))
    def flush(self):
        tracker.flush(timeout=5)
    def close(self):
        tracker.close(timeout=5)
        super().close()

logging.getLogger().addHandler(Flushing())
logging.getLogger().setLevel(logging.DEBUG)
logging.getLogger("shop").info("sold")
"""
    ended = await run(program, collector.url)
    assert (ended.code, ended.said) == (0, "")
    assert collector.accepted.total() >= 1


async def test_a_loop_that_runs_in_the_calling_thread_changes_nothing(collector: Collector) -> None:
    program = """
async def cell():
    tracker.track(PAGE)
    print(tracker.flush(timeout=30).delivered, tracker.track_and_confirm(PAGE, timeout=30) != "")

for _ in range(3):
    asyncio.run(cell())
tracker.track(PAGE)
print(tracker.close().delivered)
"""
    ended = await run(program, collector.url)
    assert (ended.printed, ended.said) == (["1 True", "2 True", "2 True", "2"], "")
    assert collector.accepted.total() == 7


async def test_an_interrupted_flush_raises_and_leaves_all_as_it_was(collector: Collector) -> None:
    program = """
signal.signal(2, signal.default_int_handler)
hanging = Tracker(HttpEmitter("http://127.0.0.1:9", drain_timeout=0))
hanging.track(PAGE)
threading.Timer(0.2, os.kill, [os.getpid(), 2]).start()
try:
    hanging.flush()
except KeyboardInterrupt:
    print("interrupted", hanging.health().is_ok, hanging.stats()["http"].accepted)
hanging.close(timeout=0)
tracker.track(PAGE)
print(tracker.close().delivered)
"""
    ended = await run(program, collector.url)
    assert (ended.code, ended.printed) == (0, ["interrupted False 1", "1"])
    assert "never awaited" not in ended.said


# Interrupts `attempt` at every place where Python may call a signal handler: where a function begins, and
# where one of C has ended.
AT_EVERY_PLACE = """
from snowplow_aio import MemoryStore, Overflow, QueueFullError

class OverTime(Exception):
    pass

def handle(frame, event, _argument):
    global left
    if event in ("call", "c_return") and frame.f_code is not attempt.__code__:
        left -= 1
        if left == 0:
            sys.setprofile(None)
            raise OverTime

def attempt():
    sys.setprofile(handle)
    try:
        tracker.track(PAGE)
    finally:
        sys.setprofile(None)

def attempts():
    global left
    places = over = 0
    while over == places:
        places += 1
        left = places
        try:
            attempt()
        except OverTime:
            over += 1
        except QueueFullError:
            # Raised by itself, or while the exception of the handler was on its way.
            over += left <= 0
    return over
"""


@pytest.mark.parametrize("overflow", ["DROP_NEW", "WAIT"])
async def test_an_exception_out_of_a_signal_handler_loses_no_count(
    collector: Collector, overflow: str
) -> None:
    program = f"""{AT_EVERY_PLACE}
tracker = Tracker(HttpEmitter(sys.argv[1], store=MemoryStore(overflow=Overflow.{overflow})))
tracker.track(PAGE)
tracker.flush(timeout=30)
over = attempts()
flushed, stats = tracker.flush(timeout=30), tracker.stats()["http"]
print(over > 40, flushed.pending, stats.accepted - stats.delivered, tracker.close().pending, stats.accepted)
"""
    ended = await run(program, collector.url)
    assert (ended.said, ended.printed[0].split()[:-1]) == ("", ["True", "0", "0", "0"])
    assert collector.accepted.total() == int(ended.printed[0].split()[-1])


@pytest.mark.parametrize("overflow", ["DROP_NEW", "RAISE"])
async def test_an_exception_out_of_a_signal_handler_loses_no_count_of_a_full_store(overflow: str) -> None:
    program = f"""{AT_EVERY_PLACE}
tracker = Tracker(HttpEmitter(sys.argv[1], store=MemoryStore(capacity=5, overflow=Overflow.{overflow})))
for _ in range(5):
    tracker.track(PAGE)
tracker.flush(timeout=0.1)
over = attempts()
tracker.close(timeout=0.1)
stats = tracker.stats()["http"]
print(over > 40, stats.dropped["closed"], stats.accepted - sum(stats.dropped.values()))
"""
    ended = await run(program, DEAD)
    assert ended.printed == ["True 5 0"]


async def test_an_interrupt_while_the_thread_starts_leaves_the_next_call_to_start_it(
    collector: Collector,
) -> None:
    program = """
import _thread
start = _thread.start_new_thread
def interrupted(*arguments):
    _thread.start_new_thread = start
    start(*arguments)
    raise KeyboardInterrupt
_thread.start_new_thread = interrupted
try:
    tracker.track(PAGE)
except KeyboardInterrupt:
    print("interrupted")
tracker.track(PAGE)
print(tracker.flush(timeout=30).pending, tracker.stats()["http"].delivered)
"""
    ended = await run(program, collector.url)
    assert (ended.printed, ended.said) == (["interrupted", "0 1"], "")


async def test_where_no_descriptor_is_free_events_wait_for_one(collector: Collector) -> None:
    program = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True: taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
tracker.track(PAGE)
tracker.track_nowait(PAGE)
print(tracker.flush(timeout=5).pending)
for descriptor in taken: os.close(descriptor)
tracker.track(PAGE)
print(tracker.flush(timeout=30).delivered)
"""
    ended = await run(program, collector.url)
    assert (ended.printed, ended.said) == (["2", "3"], "")


async def test_where_no_thread_can_start_a_call_in_a_running_loop_does_not_raise(
    collector: Collector,
) -> None:
    program = """
import _thread
start = _thread.start_new_thread
def refuse(*arguments):
    raise RuntimeError("can't start new thread")
_thread.start_new_thread = refuse

async def same(draft):
    return draft

async def cell():
    tracker.track(PAGE)
    print(tracker.flush(timeout=5).pending)
    tracker.add_enricher(same)
    tracker.track(PAGE)
    while tracker.stats()["http"].accepted < 2:
        await asyncio.sleep(0)

asyncio.run(cell())
print(tracker.stats()["http"].accepted)
_thread.start_new_thread = start
print(tracker.close().pending)
"""
    ended = await run(program, collector.url)
    assert (ended.printed, ended.said) == (["1", "2", "0"], "")
    assert collector.accepted.total() == 2


async def test_in_a_hook_no_call_of_any_tracker_waits_for_the_thread_that_it_holds(
    collector: Collector,
) -> None:
    program = """
from snowplow_aio import ConfigurationError

def hook(_count):
    for call in (other.flush, other.close, lambda: other.track_and_confirm(PAGE)):
        try:
            call()
        except ConfigurationError as error:
            said.append(str(error).split(":")[0])
    other.track(PAGE)

async def same(draft):
    return draft

said = []
other = Tracker(HttpEmitter(sys.argv[1])).add_enricher(same)
hooked = Tracker(HttpEmitter(sys.argv[1], on_success=hook))
hooked.track(PAGE)
hooked.close()
print(*said, other.close().delivered)
"""
    ended = await run(program, collector.url)
    assert (ended.printed, ended.said) == (["flush close track_and_confirm 1"], "")


# --- threads and processes


async def test_threads_at_once_lose_nothing(collector: Collector) -> None:
    program = """
def work():
    for _ in range(500):
        tracker.track_page_view("https://shop.example/")
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(tracker.close().delivered)
"""
    ended = await run(program, collector.url)
    assert (ended.printed, ended.said, collector.accepted.total()) == (["4000"], "", 4000)


async def test_threads_at_once_do_not_wait_for_each_other_at_each_event() -> None:
    # Each such wait is a change of threads, of which the system keeps count.
    program = """
import resource
def work():
    for _ in range(3000):
        tracker.track_page_view("https://shop.example/")
threads = [threading.Thread(target=work) for _ in range(8)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
for thread in threads: thread.start()
for thread in threads: thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before, tracker.stats()["http"].accepted)
"""
    ended = await run(program, DEAD, 0)
    changes, accepted = map(int, ended.printed[0].split())
    assert accepted == 24_000
    assert changes < accepted / 2


FORKS = {
    "os.fork": """
pid = os.fork()
if pid == 0:
    tracker.track(PAGE)
    print("child", tracker.close().delivered, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
""",
    "multiprocessing": """
import multiprocessing
def child():
    tracker.track(PAGE)
    print("child", tracker.flush(timeout=30).delivered, flush=True)
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join()
""",
}


@pytest.mark.parametrize(
    ("fork", "busy"),
    scale(
        [("os.fork", True), ("multiprocessing", False)], [(fork, busy) for fork in FORKS for busy in (0, 1)]
    ),
)
async def test_a_child_delivers_its_own_events(fork: str, busy: bool, collector: Collector) -> None:
    program = f"""
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
BUSY = {busy}
tracker.track(PAGE)
tracker.flush(timeout=30)
go_on, counts = threading.Event(), []
def work():
    count = 0
    while not go_on.is_set():
        tracker.track(PAGE)
        count += 1
        time.sleep(0)
    counts.append(count)
threads = [threading.Thread(target=work) for _ in range(4 * BUSY)]
for thread in threads: thread.start()
for _ in range(5):
{"".join("    " + line + chr(10) for line in FORKS[fork].strip().splitlines())}
go_on.set()
for thread in threads: thread.join()
tracker.close(timeout=40)
print("parent", sum(counts) + 1)
"""
    ended = await run(program, collector.url)
    assert ended.said == ""
    assert ended.printed[:-1] == ["child 1"] * 5
    assert collector.accepted.total() == int(ended.printed[-1].removeprefix("parent ")) + 5


@pytest.mark.parametrize("emitter", ["HttpEmitter(sys.argv[1])", "Custom()"])
async def test_the_threads_of_a_child_may_all_be_the_first(emitter: str, collector: Collector) -> None:
    # As in a server that has made its tracker before it forks.
    program = f"""
import warnings
from concurrent.futures import ThreadPoolExecutor
warnings.simplefilter("ignore", DeprecationWarning)

class Custom:
    def input(self, payload):
        pass

tracker = Tracker({emitter})
tracker.track(PAGE)
tracker.flush(timeout=30)
sys.setswitchinterval(1e-6)
for _ in range({scale(12, 100)}):
    pid = os.fork()
    if pid == 0:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(tracker.track, [PAGE] * 40))
        result, (stats,) = tracker.flush(timeout=30), tracker.stats().values()
        print(stats.accepted, stats.delivered, result.pending, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
"""
    ended = await run(program, collector.url)
    assert (set(ended.printed), ended.said) == ({"40 40 0"}, "")


async def test_nothing_starts_before_the_first_event() -> None:
    program = """
before = threading.active_count()
import snowplow_aio.sync
second = Tracker(HttpEmitter(sys.argv[1])).set_subject(None)
print(threading.active_count() - before, tracker.health().is_ok, asyncio._get_running_loop())
"""
    ended = await run(program, DEAD)
    assert (ended.printed, ended.said) == (["0 True None"], "")


WORLDS = {
    "a loop policy that fails": """
class Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self): raise OSError
import warnings; warnings.simplefilter("ignore")
asyncio.set_event_loop_policy(Policy())
""",
    "hooks for new threads": "threading.setprofile(lambda *_: None); threading.settrace(lambda *_: None)",
    "a short switch interval": "sys.setswitchinterval(1e-6)",
    "debug mode": "os.environ['PYTHONASYNCIODEBUG'] = '1'",
}


@pytest.mark.parametrize("world", scale(list(WORLDS)[:2], list(WORLDS)))
async def test_the_world_around_changes_nothing(world: str, collector: Collector) -> None:
    program = f"{WORLDS[world]}\nfor _ in range(200): tracker.track(PAGE)\nprint(tracker.close().delivered)"
    ended = await run(program, collector.url)
    assert (ended.printed, collector.accepted.total()) == (["200"], 200)
    # The debug mode of asyncio says how long things took.
    assert [line for line in ended.said.splitlines() if not line.startswith("Executing ")] == []
