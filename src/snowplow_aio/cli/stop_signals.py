"""The signals that ask a program to end, on every system."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

# Windows has one more, of Ctrl+Break and of services that stop.
_NAMES = ("SIGINT", "SIGTERM", "SIGBREAK")
_NUMBERS: list[int] = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


@contextmanager
def stop_signals(stop: Callable[[int], None]) -> Generator[None, None, None]:
    """
    Call *stop* in the running loop, with its number, for the first signal that asks the program to end.

    A second one ends the process at once and silently, also after the block: the loop still closes then.
    For use in the main thread, inside a coroutine, while the program serves.
    """
    loop = asyncio.get_running_loop()

    def take(number: int, _frame: FrameType | None) -> None:
        for each in _NUMBERS:
            signal.signal(each, end_at_once)
        # This also wakes the loop, which may be asleep.
        loop.call_soon_threadsafe(stop, number)

    before = [(number, signal.signal(number, take)) for number in _NUMBERS]
    try:
        yield
    finally:
        for number, handler in before:
            if signal.getsignal(number) is take:
                signal.signal(number, handler)


def end_at_once(number: int, _frame: FrameType | None) -> None:
    """End the process with the exit status of a signal, without a word."""
    # Not with the signal itself, which cannot end the first process of a container.
    os._exit(128 + number)


@contextmanager
def interrupts(*, to_the_end: bool) -> Generator[None, None, None]:
    """
    Leave the handlers of signals as they were, or, *to_the_end* of the process, have Ctrl+C be silent.

    The interpreter ends after the program, and would show where an interrupt met it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(number, signal.getsignal(number)) for number in _NUMBERS]
    try:
        yield
    finally:
        if to_the_end:
            signal.signal(signal.SIGINT, end_at_once)
        else:
            for number, handler in before:
                signal.signal(number, handler)
