"""
Taking events into a store in a thread that a signal handler may interrupt.

A handler that raises, as that of Ctrl-C or of the time limit of a job does, ends a call anywhere. The events
of that call are then in the store and counted, or neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from snowplow_aio.abc import LocalStore
from snowplow_aio.delivery.loop import DeliveryLoop
from snowplow_aio.exceptions import QueueFullError
from snowplow_aio.model.payload import Payload
from snowplow_aio.model.stored_event import StoredEvent
from snowplow_aio.runtime.waiting import LoopEndedError, LoopLateError, result_of


def take_back(
    payloads: Sequence[Payload],
    counted: Sequence[int],
    error: BaseException,
    *,
    store: LocalStore,
    delivery: DeliveryLoop,
) -> None:
    """
    Count out *payloads*, whose caller gets an error, unless they are in the store all the same.

    Args:
        payloads: The events of one call.

        counted: The number of the flush window in which they were counted in; empty if they were not.

        error: QueueFullError, or what a signal handler has raised.

        store: The store.

        delivery: The delivery loop. It has counted them, and may have leased them.
    """
    if not counted:
        return
    is_refused = isinstance(error, QueueFullError)
    if is_refused or not (store.holds(payloads[-1]) or delivery.has_in_hand(payloads[-1])):
        delivery.counters.refuse(counted[0], len(payloads))
    else:
        # It may have been interrupted before it woke the delivery.
        store.notify()


def add_blocking(
    store: LocalStore,
    delivery: DeliveryLoop,
    payloads: Sequence[Payload],
    *,
    now: float,
    dropped: Callable[[Sequence[StoredEvent]], None],
    loop: asyncio.AbstractEventLoop | None,
) -> None:
    """
    Do the same as `store.add` in a thread without a loop: wait for room where there is none.

    Args:
        store: The store.

        delivery: The delivery loop. It counts them, and may lease them at once.

        payloads: The events of one call.

        now: The time on the clock of the loop that delivers.

        dropped: Called with the events that are dropped.

        loop: The loop that delivers; None if there is none, in which case nothing is waited for.
    """
    counted: list[int] = []
    has_begun = has_ended = False

    async def add() -> None:
        nonlocal has_begun
        if has_ended:
            return
        has_begun = True
        await store.add(payloads, now=now, window=counted[0], dropped=dropped)

    try:
        window = delivery.counters.accept(len(payloads), counted)
        if loop is not None:
            if store.add_if_room(payloads, now, window):
                return
            with suppress(LoopEndedError, LoopLateError):
                result_of(add, loop)
            has_ended = True
            if has_begun:
                # Broken off, it says by itself what is dropped.
                return
        dropped(store.add_nowait(payloads, now, window))
    except BaseException as error:
        has_ended = True
        if not has_begun:
            take_back(payloads, counted, error, store=store, delivery=delivery)
        raise
