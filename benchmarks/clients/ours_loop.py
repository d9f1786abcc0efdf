"""
This library in an event loop that has other things to do: how late does it make them?

Parameters: those of ``ours.py``, and ``seconds``.
"""

from __future__ import annotations

from typing import Any

from common import parameters, watch_loop
from ours import make_emitter, make_tracker, maker, versions


def main() -> None:
    given = parameters()
    tracker, make = make_tracker(make_emitter(given)), maker(given)

    async def track(number: int) -> Any:
        event, context = make(number)
        return await tracker.track(event, context=context)

    watch_loop(given["seconds"], track, versions())


if __name__ == "__main__":
    main()
