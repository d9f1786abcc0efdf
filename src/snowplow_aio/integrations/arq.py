"""
Context across arq jobs: what a job tracks is about the visitor whose request has enqueued it.

arq has no headers. Its jobs are serialized as a dict, in which the context is one more member;
workers that do not know it ignore it.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

from snowplow_aio.integrations.jobs import HEADER, bind, inject
from snowplow_aio.model.arguments import check_argument

__all__ = ["connect"]

_Target = TypeVar("_Target")

# The header of the job that the current task has read last: arq starts a job in the task that has read it.
_read: ContextVar[dict[str, Any] | None] = ContextVar("snowplow_aio.arq", default=None)


def connect(target: _Target) -> _Target:
    """
    Have the jobs of *target* carry the context of what enqueues them.

    Use it on the pool of each process that enqueues jobs, and on the settings of the workers. What jobs
    enqueue themselves, by ``ctx["redis"]``, carries their context. It may come to either first: jobs
    without a context are about nobody, and workers that are not connected ignore it. A
    retry has the context of the job. So do `on_job_end` and `after_job_end`.

    Args:
        target: An `ArqRedis`, as `create_pool` returns it; the settings of a worker, a class or a dict;
            or a `Worker` that does not run yet. Its `job_serializer`, `job_deserializer`, and for a
            worker `on_job_start`, are replaced by functions that call them.

    Returns:
        The same object.

    Raises:
        ConfigurationError: If *target* is nothing of these.

    Example:
        In the service, and in the module of the worker::

            pool = connect(await create_pool(RedisSettings()))

            @connect
            class WorkerSettings:
                functions = [ship_order]
    """
    is_pool = hasattr(target, "enqueue_job")
    is_settings = isinstance(target, dict) or hasattr(target, "functions") or hasattr(target, "cron_jobs")
    rule = "must be a pool of arq, or the settings of a worker: a class or a dict"
    check_argument(is_pool or is_settings, "target", type(target).__name__, rule)
    # arq itself reads of a class what stands in this very class, and nothing of the classes above it.
    given: Mapping[str, Any] = target if isinstance(target, dict) else vars(target)
    replaced: dict[str, Any] = {
        "job_serializer": _Serializer(given.get("job_serializer") or pickle.dumps),
        "job_deserializer": _Deserializer(given.get("job_deserializer") or pickle.loads),
    }
    if not is_pool:
        replaced["on_job_start"] = _Start(given.get("on_job_start"))
    for name, function in replaced.items():
        if isinstance(given.get(name), _Connected):
            continue
        if isinstance(target, dict):
            target[name] = function
        else:
            setattr(target, name, function)
    return target


class _Connected:
    """A function of arq's that has been replaced; a second time would be once too much."""

    def __init__(self, function: Any) -> None:
        self._function = function


class _Serializer(_Connected):
    def __call__(self, job: dict[str, Any]) -> bytes:
        # Results are serialized, too. They have the member "r", and no use for a context.
        whole = job if "r" in job else {**job, **inject()}
        serialized: bytes = self._function(whole)
        return serialized


class _Deserializer(_Connected):
    def __call__(self, serialized: bytes) -> Any:
        job = self._function(serialized)
        # Remembered only: others read jobs as well, to show them for instance.
        _read.set({HEADER: job[HEADER]} if isinstance(job, dict) and HEADER in job else None)
        return job


class _Start(_Connected):
    async def __call__(self, ctx: dict[Any, Any]) -> None:
        # Until the end of the task, which arq makes for each job.
        bind(_read.get())
        _read.set(None)
        if self._function is not None:
            await self._function(ctx)
