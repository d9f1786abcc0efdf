"""What operators look at: a small HTTP server beside a worker, for probes and for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from aiohttp import web

from snowplow_aio.model.arguments import check_argument

if TYPE_CHECKING:
    from snowplow_aio.redis.worker import RedisWorker

# A probe that is under way when the worker ends is not waited for longer.
_LAST_REQUESTS_SECONDS = 0.5

_PREFIX = "snowplow_worker_"

# Values by their labels, which are written as they stand.
Samples = Iterable[tuple[str, float]]


class HealthEndpoint:
    """
    Answers ``/health``, ``/ready`` and ``/metrics`` while its context is open.

    ``/health`` is 200 as long as the worker runs, ``/ready`` while Redis answers
    and the destination takes events; else they are 503. Both say in one line how
    the worker is. ``/metrics`` has its numbers, as Prometheus reads them.

    Args:
        worker: Whose state it shows.

        host: The address to listen on.

        port: The port, 0 for a free one.

    Raises ConfigurationError when *port* is none.
    """

    def __init__(self, worker: RedisWorker, *, host: str = "127.0.0.1", port: int = 0) -> None:
        valid = isinstance(port, int) and not isinstance(port, bool) and 0 <= port <= 65_535
        check_argument(valid, "port", port, "must be a port from 0 to 65535")
        self._worker = worker
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """Where it listens, also where that was left open."""
        if self._runner is not None and self._runner.addresses:
            port: int = self._runner.addresses[0][1]
            return port
        return self._port

    async def __aenter__(self) -> Self:
        """Listen. Raises OSError when the port is taken."""
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_LAST_REQUESTS_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _health(self, _request: web.Request) -> web.Response:
        return self._said(self._worker.is_running)

    async def _ready(self, _request: web.Request) -> web.Response:
        return self._said(self._worker.is_ready)

    def _said(self, is_well: bool) -> web.Response:  # noqa: FBT001 - the only argument
        return web.Response(status=200 if is_well else 503, text=f"{self._worker.summary}\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=metrics(self._worker).encode(), headers=headers)


def metrics(worker: RedisWorker) -> str:
    """Return the numbers of *worker* in the text format of Prometheus."""
    return "".join(f"{line}\n" for family in _families(worker) for line in _lines(*family))


def _families(worker: RedisWorker) -> Iterator[tuple[str, str, Samples]]:
    """Return the names of the numbers, what they are, and their values."""
    stats = worker.stats()
    settled = [(_labels(outcome="delivered"), stats.delivered)]
    for outcome, counts in (("rejected", stats.rejected), ("dropped", stats.dropped)):
        settled += [(_labels(outcome=outcome, reason=reason), count) for reason, count in counts.items()]
    yield "events_total", "Events that have left Redis, by outcome and reason.", settled
    held = [(_labels(state="pending"), stats.pending), (_labels(state="leased"), stats.leased)]
    yield "events_held", "Events that the worker holds: they wait, or are being sent.", held
    yield "queue_length", "Events that waited in Redis when it was last asked.", _one(worker.queue_length)
    yield "requests_total", "Attempts to send.", _one(stats.requests)
    yield "retries_total", "Attempts that failed and are repeated, by reason.", _by_reason(stats.retries)
    yield "taken_over_total", "Events of dead workers that were taken over.", _one(worker.taken_over)
    yield "dead_letters_deleted_total", "Dead letters that made room for newer ones.", _one(worker.trimmed)
    yield "restarts_total", "Parts of the worker that failed and were started again.", _one(stats.restarts)
    yield "hook_errors_total", "Exceptions of hooks.", _one(stats.hook_errors)
    yield "oldest_age_seconds", "How long the oldest held event has been held.", _maybe(stats.oldest_age)
    age = _maybe(stats.last_success_age)
    yield "last_success_age_seconds", "Seconds since the destination last took events.", age
    yield "redis_up", "Whether Redis has answered the latest command.", _one(worker.is_redis_answering)
    yield "ready", "Whether Redis answers and the destination takes events.", _one(worker.is_ready)


def _lines(name: str, what: str, samples: Samples) -> Iterator[str]:
    kind = "counter" if name.endswith("_total") else "gauge"
    yield f"# HELP {_PREFIX}{name} {what}"
    yield f"# TYPE {_PREFIX}{name} {kind}"
    for labels, value in samples:
        yield f"{_PREFIX}{name}{labels} {float(value):.15g}"


def _one(value: float) -> Samples:
    return [("", value)]


def _maybe(value: float | None) -> Samples:
    return [] if value is None else _one(value)


def _by_reason(counts: Mapping[str, int]) -> Samples:
    return [(_labels(reason=reason), count) for reason, count in counts.items()]


def _labels(**values: str) -> str:
    """Return *values* as they stand behind a name; a reason may come from a server."""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
