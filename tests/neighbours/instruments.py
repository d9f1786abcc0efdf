"""Programs that track beside what instruments asyncio, aiohttp or the loop itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.neighbours.neighbour import Neighbour

# Tracks in every way that there is, within a request of the application: ten events.
EVENTS = 10

_PROGRAM = """
import asyncio, json, os, sys, time

case, url, agent = sys.argv[1:]
os.environ.update(@VARIABLES@, DD_TRACE_AGENT_URL=agent)

from snowplow_aio import HttpEmitter, PageView, RedisEmitter, Retry, Tracker, track_once

PAGE = PageView(page_url="https://shop.example/")
own = {}

@BEFORE@

def make_tracker():
    emitter = RedisEmitter(url) if case == "redis" else HttpEmitter(
        url, batch_size=5, drain_timeout=30, retry=Retry(initial_delay=0.01, max_delay=0.05)
    )
    # freezegun replaces the name of the function: it is to be looked up for each event.
    return Tracker(emitter, app_id="shop", clock=lambda: time.time_ns())

async def answer(tracker):
    await tracker.track(PAGE)
    await asyncio.create_task(tracker.track(PAGE))
    await asyncio.gather(tracker.track(PAGE), tracker.track(PAGE))
    async with asyncio.TaskGroup() as group:
        group.create_task(tracker.track(PAGE))
    await asyncio.wait_for(tracker.track(PAGE), 30)
    tracker.track_nowait(PAGE)
    await asyncio.to_thread(tracker.track_nowait, PAGE)
    await tracker.track_page_view("https://shop.example/").track_screen_view("home")

async def delivers():
    async with make_tracker() as tracker:
        await own_work(tracker)
        assert (await tracker.flush(30)).pending == 0
        assert tracker.health(), tracker.health()
        await own_work(tracker)
    (stats,) = tracker.stats().values()
    own["restarts"] = stats.restarts

async def ends():
    HttpEmitter.last_drain_seconds = 20
    await own_work(make_tracker())

async def is_cancelled():
    tracker = make_tracker()
    await own_work(tracker)
    # As a framework's shutdown does, or a test's: all that it did not start itself.
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await own_work(tracker)
    await tracker.aclose()

async def meets_an_outage():
    tracker = make_tracker()
    await own_work(tracker)
    # The first request of a busy machine may find no answer at all, in time.
    while "503" not in (health := str(tracker.health())):
        await asyncio.sleep(0.01)
    own["health"] = health
    async with asyncio.timeout(30):
        await tracker.aclose(0.3)
    (stats,) = tracker.stats().values()
    own["dropped"] = dict(stats.dropped)

async def sends_one():
    await track_once(url, PAGE, timeout=30)

async def redis():
    await delivers()

async def play():
    @INSIDE@
    await {case.__name__.replace("_", " "): case for case in (
        delivers, ends, is_cancelled, meets_an_outage, sends_one, redis
    )}[case]()

@RUN@
@AFTER@
print(json.dumps(own))
"""

_RUN = "asyncio.run(play())"
_UVLOOP = "import uvloop\nuvloop.run(play())"
_EAGER = "asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)"

_PLAIN_WORK = """
async def own_work(tracker):
    await answer(tracker)
"""


@dataclass(frozen=True, kw_only=True)
class Instrument(Neighbour):
    """
    What instruments a program, and how the program shows that it still does.

    Attributes:
        before: What stands at the top of the program. It defines ``own_work(tracker)``: a request of the
            application, which asserts that the instrument sees it as it is, and keeps in ``own`` what the
            test is to see. The names of traces are among it, as ``traces``.

        inside: What stands first in the loop.

        run: What runs the loop.

        after: What stands behind the loop.

        variables: The environment.
    """

    before: str = _PLAIN_WORK
    inside: str = "pass"
    run: str = _RUN
    after: str = ""
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def program(self) -> str:
        """The text of the program; its arguments are a case, the address it sends to, and an agent's."""
        parts = {
            "VARIABLES": repr(self.variables),
            "BEFORE": self.before,
            "INSIDE": self.inside,
            "RUN": self.run,
            "AFTER": self.after,
        }
        text = _PROGRAM
        for name, part in parts.items():
            indent = "    " if name == "INSIDE" else ""
            text = text.replace(f"@{name}@", part.strip().replace("\n", f"\n{indent}"))
        return text


_SENTRY = """
import sentry_sdk
from sentry_sdk.integrations.aiohttp import AioHttpIntegration
from sentry_sdk.integrations.asyncio import AsyncioIntegration
from sentry_sdk.integrations.redis import RedisIntegration
from sentry_sdk.transport import Transport

seen = []

class Kept(Transport):
    def capture_envelope(self, envelope):
        seen.extend(item.payload.json for item in envelope.items)

async def own_task():
    return sentry_sdk.get_current_span()

async def own_work(tracker):
    with sentry_sdk.start_transaction(op="http.server", name="request") as transaction:
        sentry_sdk.add_breadcrumb(message="looked at shoes")
        await answer(tracker)
        assert sentry_sdk.get_current_span() is transaction
        child = await asyncio.create_task(own_task())
        assert child.trace_id == transaction.trace_id
        sentry_sdk.capture_message("bought shoes")
    own.setdefault("traces", []).append(transaction.trace_id)
"""

_SENTRY_INSIDE = """
sentry_sdk.init(
    "http://key@127.0.0.1:9/1", transport=Kept, traces_sample_rate=1.0,
    integrations=[AsyncioIntegration(), AioHttpIntegration(), RedisIntegration()],
    # It would import every package that it knows, which takes longer than all else.
    auto_enabling_integrations=False,
)
"""

_SENTRY_AFTER = """
sentry_sdk.flush()
requests = [item for item in seen if item.get("type") == "transaction" and item["transaction"] == "request"]
assert len(requests) == len(own.get("traces", []))
for request in requests:
    spans = [span["description"] for span in request["spans"]]
    assert "own_task" in spans
    # The sending belongs to all whose events are in the batch, and so to the request of none.
    assert [span for span in request["spans"] if span["op"] == "http.client"] == []
messages = [item for item in seen if item.get("message") == "bought shoes"]
assert len(messages) == len(requests)
for message in messages:
    assert "looked at shoes" in [crumb["message"] for crumb in message["breadcrumbs"]["values"]]
own["errors"] = [item["exception"]["values"][-1]["type"] for item in seen if "exception" in item]
"""

_OPENTELEMETRY = """
from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.asyncio import AsyncioInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
AsyncioInstrumentor().instrument()
AioHttpClientInstrumentor().instrument()
tracing = trace.get_tracer("shop")

async def own_task():
    return trace.get_current_span()

async def own_work(tracker):
    with tracing.start_as_current_span("request") as span:
        await answer(tracker)
        assert trace.get_current_span() is span
        assert await asyncio.create_task(own_task()) is span
    own.setdefault("traces", []).append(format(span.get_span_context().trace_id, "032x"))
"""

_OPENTELEMETRY_AFTER = """
spans = exporter.get_finished_spans()
requests = [span for span in spans if span.name == "request"]
assert len(requests) == len(own.get("traces", []))
# Its own wrapper of a coroutine is asked to show itself.
tasks = [span for span in spans if span.name == "asyncio coro-own_task"]
assert [task.parent.span_id for task in tasks] == [request.context.span_id for request in requests]
sent = [span for span in spans if {"http.method", "http.request.method"} & set(span.attributes)]
traces = {request.context.trace_id for request in requests}
assert [span for span in sent if span.context.trace_id in traces] == []
own["sent"] = len(sent)
"""

_DATADOG = """
import ddtrace
from ddtrace.trace import tracer as tracing

ddtrace.patch(asyncio=True, aiohttp=True, redis=True)
assert asyncio._datadog_patch

async def own_task():
    with tracing.trace("task") as span:
        return span

async def own_work(tracker):
    with tracing.trace("request") as span:
        await answer(tracker)
        assert tracing.current_span() is span
        child = await asyncio.create_task(own_task())
        assert (child.trace_id, child.parent_id) == (span.trace_id, span.span_id)
    own.setdefault("traces", []).append(format(span.trace_id, "032x"))
"""

# No agent but the test's; it is asked for nothing, and told nothing, but traces.
_DATADOG_VARIABLES = {
    "DD_TRACE_ENABLED": "true",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DD_CRASHTRACKING_ENABLED": "false",
    "DD_TRACE_STARTUP_LOGS": "false",
    "DD_TRACE_STATS_COMPUTATION_ENABLED": "false",
}

# It is told of nothing: in this mode its agent asks nobody.
_NEW_RELIC_VARIABLES = {
    "NEW_RELIC_APP_NAME": "shop",
    "NEW_RELIC_DEVELOPER_MODE": "true",
    "NEW_RELIC_HOST": "127.0.0.1",
    "NEW_RELIC_LICENSE_KEY": "0" * 40,
}

_NEW_RELIC = """
import newrelic.agent

newrelic.agent.initialize()
newrelic.agent.register_application(timeout=30)

async def own_task():
    return newrelic.agent.current_transaction()

@newrelic.agent.background_task(name="request")
async def own_work(tracker):
    transaction = newrelic.agent.current_transaction()
    assert transaction is not None
    await answer(tracker)
    assert newrelic.agent.current_transaction() is transaction
    assert await asyncio.create_task(own_task()) is transaction
    own.setdefault("traces", []).append(newrelic.agent.current_trace_id())
"""

_ELASTIC = """
import elasticapm
from elasticapm.traces import execution_context

# Sends nothing, and asks no cloud where it is.
client = elasticapm.Client(
    service_name="shop", disable_send=True, central_config=False, cloud_provider="none",
    metrics_interval="0s", transport_class="elasticapm.transport.base.Transport",
)
elasticapm.instrument()

async def own_task():
    return execution_context.get_transaction()

async def own_work(tracker):
    transaction = client.begin_transaction("request")
    await answer(tracker)
    assert execution_context.get_transaction() is transaction
    assert await asyncio.create_task(own_task()) is transaction
    client.end_transaction("request")
    own.setdefault("traces", []).append(transaction.trace_parent.trace_id)
"""

_NESTED = """
import nest_asyncio

nest_asyncio.apply()

async def own_work(tracker):
    # As in the cell of a notebook: a loop within the one that runs.
    asyncio.run(answer(tracker))
    assert asyncio.run(asyncio.sleep(0, "slept")) == "slept"
"""

_FREEZEGUN = """
import freezegun

async def own_work(tracker):
    # Otherwise the clock of the loop would stand still too.
    with freezegun.freeze_time("2030-01-01", real_asyncio=True):
        await answer(tracker)
        own["dtm"] = str(time.time_ns() // 1_000_000)
"""

_TIME_MACHINE = """
import time_machine

async def own_work(tracker):
    with time_machine.travel("2030-01-01T00:00Z", tick=False):
        await answer(tracker)
        own["dtm"] = str(time.time_ns() // 1_000_000)
"""

# The first moment of 2030, in milliseconds.
FROZEN = "1893456000000"

# A busy machine is no slow callback.
_DEBUG = """
asyncio.get_running_loop().set_debug(True)
asyncio.get_running_loop().slow_callback_duration = 1000
"""

_BLOCKBUSTER_INSIDE = """
from blockbuster import BlockBuster
watching = BlockBuster()
for watched in watching.functions.values():
    # Each new connection of redis-py reads from the disk which version it is.
    watched.can_block_in("redis/utils.py", {"get_lib_version"})
watching.activate()
"""

_BLOCKBUSTER = """
import time
from blockbuster import BlockingError

async def own_work(tracker):
    await answer(tracker)
    try:
        time.sleep(0)
    except BlockingError:
        return
    raise AssertionError
"""

_SENTRY_OPTIONS: dict[str, Any] = {"before": _SENTRY, "inside": _SENTRY_INSIDE, "after": _SENTRY_AFTER}

_EAGER_SENTRY_OPTIONS: dict[str, Any] = {
    **_SENTRY_OPTIONS,
    "inside": f"{_EAGER}\n{_SENTRY_INSIDE.strip()}",
}

# Each is a world of its own: what one patches stays patched for as long as the process lives.
INSTRUMENTS = {
    "Sentry": Instrument(packages=("sentry-sdk",), is_quick=True, **_SENTRY_OPTIONS),
    "Sentry over eager tasks": Instrument(
        packages=("sentry-sdk",),
        since=(3, 12),
        is_quick=True,
        **_EAGER_SENTRY_OPTIONS,
    ),
    "Sentry in uvloop": Instrument(packages=("sentry-sdk", "uvloop"), run=_UVLOOP, **_SENTRY_OPTIONS),
    "Datadog": Instrument(packages=("ddtrace",), before=_DATADOG, variables=_DATADOG_VARIABLES),
    "OpenTelemetry": Instrument(
        packages=(
            "opentelemetry-instrumentation-asyncio",
            "opentelemetry-instrumentation-aiohttp-client",
            "opentelemetry-sdk",
        ),
        before=_OPENTELEMETRY,
        after=_OPENTELEMETRY_AFTER,
        variables={"OTEL_PYTHON_ASYNCIO_COROUTINE_NAMES_TO_TRACE": "own_task"},
    ),
    "New Relic": Instrument(packages=("newrelic",), before=_NEW_RELIC, variables=_NEW_RELIC_VARIABLES),
    "Elastic APM": Instrument(packages=("elastic-apm",), before=_ELASTIC, after="client.close()"),
    "uvloop": Instrument(packages=("uvloop",), run=_UVLOOP),
    "nest_asyncio": Instrument(packages=("nest-asyncio",), before=_NESTED),
    "blockbuster": Instrument(packages=("blockbuster",), before=_BLOCKBUSTER, inside=_BLOCKBUSTER_INSIDE),
    "freezegun": Instrument(packages=("freezegun",), before=_FREEZEGUN),
    "time-machine": Instrument(packages=("time-machine",), before=_TIME_MACHINE),
    "asyncio's debug mode": Instrument(inside=_DEBUG),
    "eager tasks": Instrument(since=(3, 12), inside=_EAGER),
}
