"""
Taking events into a store in a thread that a signal handler may interrupt.

A handler that raises, as that of Ctrl-C or of the time limit of a job does, ends a call anywhere. The events
of that call are then in the store and counted, or neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from snowplow_aio.abc import LocalStore
from snowplow_aio.delivery.counters import Counters
from snowplow_aio.exceptions import QueueFullError
from snowplow_aio.model.payload import Payload
from snowplow_aio.model.stored_event import StoredEvent
from snowplow_aio.runtime.waiting import LoopEndedError, LoopLateError, result_of


class Drop(Protocol):
    """Counts out events that a store has dropped, and empties *counted* as `Counters.drop` does."""

    def __call__(self, events: Sequence[StoredEvent], counted: list[int] | None = None) -> None:
        """Do it."""


def add_nowait(
    store: LocalStore, counters: Counters, payloads: Sequence[Payload], now: float, drop: Drop
) -> None:
    """
    Count *payloads* in and put them into *store* at once.

    Args:
        store: The store.

        counters: What counts them in.

        payloads: The events of one call.

        now: The time on the clock of the loop that delivers.

        drop: Called with the events that are dropped, if there are any.

    Raises:
        QueueFullError: If there is no room and the overflow policy is RAISE.
    """
    counted: list[int] = []
    try:
        dropped = store.add_nowait(payloads, now, counters.accept(len(payloads), counted))
        if dropped:
            drop(dropped, counted)
    except BaseException as error:
        # No call before this `try`: another signal handler may raise after any.
        try:
            _take_back(payloads, counted, error, store, counters)
        finally:
            _take_back(payloads, counted, error, store, counters)
        raise


def add_blocking(
    store: LocalStore,
    counters: Counters,
    payloads: Sequence[Payload],
    *,
    now: float,
    drop: Drop,
    loop: asyncio.AbstractEventLoop | None,
) -> None:
    """
    Do the same as `store.add` in a thread without a loop: wait for room where there is none.

    Args:
        store: The store.

        counters: What counts them in.

        payloads: The events of one call.

        now: The time on the clock of the loop that delivers.

        drop: Called with the events that are dropped.

        loop: The loop that delivers; None if there is none, in which case nothing is waited for.
    """
    counted: list[int] = []
    has_begun = has_ended = False

    async def add() -> None:
        nonlocal has_begun
        if has_ended:
            return
        has_begun = True
        await store.add(payloads, now=now, window=counted[0], dropped=drop)

    try:
        window = counters.accept(len(payloads), counted)
        if loop is not None:
            if store.add_if_room(payloads, now, window):
                return
            with suppress(LoopEndedError, LoopLateError):
                result_of(add, loop)
            has_ended = True
            if has_begun:
                # Broken off, it says by itself what is dropped.
                return
        drop(store.add_nowait(payloads, now, window), counted)
    except BaseException as error:
        has_ended = True
        if not has_begun:
            try:
                _take_back(payloads, counted, error, store, counters)
            finally:
                _take_back(payloads, counted, error, store, counters)
        raise


def _take_back(
    payloads: Sequence[Payload],
    counted: list[int],
    error: BaseException,
    store: LocalStore,
    counters: Counters,
) -> None:
    """
    Count *payloads* out again, whose caller gets an error, unless they are in the store all the same.

    Args:
        payloads: The events of one call.

        counted: The number of the flush window in which they were counted in; empty if they were not, or
            are counted out. It is empty afterwards.

        error: QueueFullError, or what a signal handler has raised.

        store: The store.

        counters: What has counted them in.
    """
    if not counted:
        return
    is_refused = isinstance(error, QueueFullError)
    if is_refused or not store.has_taken(payloads[-1]):
        counters.refuse(counted[0], len(payloads), counted)
    else:
        # It may have been interrupted before it woke the delivery.
        store.notify()
        counted.clear()
