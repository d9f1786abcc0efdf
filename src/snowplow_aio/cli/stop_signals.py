"""The signals that ask a program to end, on every system."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from types import FrameType

# Windows has one more, of Ctrl+Break and of services that stop.
_NAMES = ("SIGINT", "SIGTERM", "SIGBREAK")


@contextmanager
def stop_signals(stop: Callable[[int], None]) -> Generator[None, None, None]:
    """
    Call *stop* in the running loop, with its number, for each signal that asks the program to end.

    For use in the main thread, inside a coroutine, while the program serves.
    """
    loop = asyncio.get_running_loop()
    numbers: list[int] = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    with ExitStack() as undone:
        for number in numbers:
            try:
                loop.add_signal_handler(number, stop, number)
                undone.callback(loop.remove_signal_handler, number)
            except NotImplementedError:
                # The loops of Windows have no signals.
                undone.callback(signal.signal, number, signal.signal(number, _handing_over(loop, stop)))
        yield


def _handing_over(
    loop: asyncio.AbstractEventLoop, stop: Callable[[int], None]
) -> Callable[[int, FrameType | None], None]:
    def hand_over(number: int, _frame: FrameType | None) -> None:
        # This also wakes the loop, which may be asleep.
        loop.call_soon_threadsafe(stop, number)

    return hand_over
