"""What instruments Celery, in the application that hands events over and in the worker that delivers them."""

from __future__ import annotations

from dataclasses import dataclass

from tests.neighbours.neighbour import Neighbour

# Sells, and so tracks, in a request of its own; then says which trace that had.
_SHOP = """
import asyncio, os, sys
from celery import Celery
from snowplow_aio import CeleryEmitter, PageView, Tracker

broker, count = sys.argv[1:]
@INSTRUMENT@

async def sell():
    app = Celery(broker=broker, set_as_current=False)
    async with Tracker(CeleryEmitter(app, drain_timeout=30), app_id="shop") as tracker:
        with request() as request_id:
            for _ in range(int(count)):
                await tracker.track(PageView(page_url="https://shop.example/"))
        assert (await tracker.flush(30)).pending == 0
    print(request_id)

asyncio.run(sell())
"""

# Delivers, and has tasks of its own, of which each says at its end which instrument has seen it.
_WORKER = """
import os
from celery import Celery
from snowplow_aio.celery_app import register

@INSTRUMENT@

app = Celery("shop", broker=@BROKER@, set_as_current=False)
app.conf.task_default_queue = "snowplow"
register(app)

@app.task(name="sell")
def sell():
    print(f"the task is seen as {seen_as()}", flush=True)
"""

_SENTRY = """
import contextlib
import sentry_sdk
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.redis import RedisIntegration
from sentry_sdk.transport import Transport

class Nowhere(Transport):
    def capture_envelope(self, envelope):
        for item in envelope.items:
            told = item.payload.json or {}
            if "exception" in told:
                print(f"Sentry is told of {told['exception']['values'][-1]['type']}", flush=True)

sentry_sdk.init(
    "http://key@127.0.0.1:9/1", transport=Nowhere, traces_sample_rate=1.0,
    integrations=[CeleryIntegration(), RedisIntegration()], auto_enabling_integrations=False,
)

@contextlib.contextmanager
def request():
    with sentry_sdk.start_transaction(op="http.server", name="request") as transaction:
        yield transaction.trace_id

def seen_as():
    return sentry_sdk.get_current_scope().transaction.name
"""

_DATADOG = """
import contextlib
os.environ |= {
    "DD_CRASHTRACKING_ENABLED": "false",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DD_TRACE_AGENT_URL": "http://127.0.0.1:9",
}
import ddtrace
from ddtrace.trace import tracer as tracing

ddtrace.patch(asyncio=True, celery=True, redis=True)

@contextlib.contextmanager
def request():
    with tracing.trace("request") as span:
        yield format(span.trace_id, "x")

def seen_as():
    return tracing.current_root_span().resource
"""


@dataclass(frozen=True, kw_only=True)
class InCelery(Neighbour):
    """
    What instruments Celery.

    Attributes:
        instrument: The part of a program that defines ``request()`` and ``seen_as()``.
    """

    instrument: str

    @property
    def shop(self) -> str:
        """The program of the application; its arguments are the broker, and how many events it tracks."""
        return _SHOP.replace("@INSTRUMENT@", self.instrument.strip())

    def worker(self, broker: str) -> str:
        """Return the module with the app of the workers."""
        return _WORKER.replace("@INSTRUMENT@", self.instrument.strip()).replace("@BROKER@", repr(broker))


IN_CELERY = {
    "Sentry in Celery": InCelery(packages=("sentry-sdk", "celery"), instrument=_SENTRY),
    "Datadog in Celery": InCelery(packages=("ddtrace", "celery"), instrument=_DATADOG),
}
