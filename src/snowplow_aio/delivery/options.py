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
