"""The constructor arguments that all emitters have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from snowplow_aio.abc import Hook, LocalStore
from snowplow_aio.delivery.hooks import OnFailure, OnSuccess
from snowplow_aio.policies import Retry


class EmitterOptions(TypedDict, total=False):
    """The keyword arguments that every `BufferedEmitter` takes, which documents them."""

    retry: Retry | None
    store: LocalStore | None
    on_success: OnSuccess | None
    on_failure: OnFailure | None
    hooks: Iterable[Hook]
    drain_timeout: float


class BatchingOptions(TypedDict, total=False):
    """The arguments of `Batching`, for a function that hands them on; None is the same as leaving one out."""

    batch_size: int | None
    max_batch: int | None
    byte_limit: int | None
    flush_interval: float | None
    max_connections: int | None


def with_short_pauses(options: EmitterOptions) -> EmitterOptions:
    """Return *options*, with short pauses where they have no `retry`: a queue is near, and back soon."""
    if options.get("retry") is not None:
        return options
    return {**options, "retry": Retry(initial_delay=0.1, max_delay=5.0)}
