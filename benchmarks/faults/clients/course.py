"""
The course that every client runs: track at a steady pace while a ticker watches the event loop, then end.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from board import Board
from common import parameters, product
from faults import is_poison

# A few events together, as requests of an application make them, a thousand a second. No divisor
# of the usual batch sizes, so that batches do not end where groups do.
GROUP = 7
GROUP_SECONDS = 0.007
TICK_NS = 1_000_000
# Larger than what the collector of the fault takes.
LARGE = 80_000

given = parameters()
Track = Callable[[int], Awaitable[Any]]
# Returns how many events it says it did not deliver; None: it says nothing.
Close = Callable[[], Awaitable[int | None]]


def label(number: int) -> str:
    """
    Return the label of event *number*; the collector may know one that it refuses.
    """
    is_marked = given["poison"] == "marked" and is_poison(number, given["poison_every"])
    return "poison" if is_marked else f"SKU-{number}"


def entity(number: int) -> dict[str, Any]:
    """
    Return the data of the entity of event *number*.
    """
    is_large = given["poison"] == "large" and is_poison(number, given["poison_every"])
    return product(number) | {"name": "x" * LARGE if is_large else "Trail runner"}


async def run(track: Track, close: Close, versions: dict[str, str]) -> None:
    """
    Track all events with *track*, then end as the fault says.
    """
    print(json.dumps(versions), flush=True)
    board = Board(Path(given["board"]))
    stop = asyncio.Event()
    if given["ending"] == "stopped":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    board["started_ns"] = board["last_tick_ns"] = time.monotonic_ns()
    ticker = asyncio.create_task(tick(board))
    await track_all(track, board, stop)
    # Closing has a time of its own.
    ticker.cancel()
    board["tracking_ended_ns"] = time.monotonic_ns()
    if given["ending"] == "return":
        return
    told = await close()
    board["told"] = 0 if told is None else told + 1
    board["closed_ns"] = time.monotonic_ns()


async def track_all(track: Track, board: Board, stop: asyncio.Event) -> None:
    start = time.monotonic()
    for number in range(given["events"]):
        if number % GROUP == 0:
            await asyncio.sleep(max(0.0, start + number / GROUP * GROUP_SECONDS - time.monotonic()))
        if stop.is_set():
            return
        board["tracked"] += 1
        try:
            await track(number)
        except Exception:  # noqa: BLE001 - an application goes on without the event
            board["raised"] += 1


async def tick(board: Board) -> None:
    """
    Note the longest time for which the loop let nobody run.
    """
    last = time.monotonic_ns()
    while True:
        await asyncio.sleep(TICK_NS / 1e9)
        now = time.monotonic_ns()
        board["worst_stall_ns"] = max(board["worst_stall_ns"], now - last - TICK_NS)
        board["last_tick_ns"] = last = now
