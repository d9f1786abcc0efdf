"""
An event loop without a tracker: what every other loop is compared with.

Parameters: ``seconds``, ``core``.
"""

from __future__ import annotations

from common import parameters, watch_loop


async def do_nothing(_number: int) -> None:
    return


def main() -> None:
    watch_loop(parameters()["seconds"], do_nothing, {})


if __name__ == "__main__":
    main()
