"""``snowplow-aio demo``: a shop, its visitors and a collector on this machine."""

from __future__ import annotations

import argparse
import sys

from snowplow_aio.cli.stop_signals import stop_signals

# The packages of the extra `demo`.
_EXTRAS = frozenset({"fastapi", "starlette", "uvicorn", "rich", "jsonschema", "referencing"})


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-command to *subparsers*. `run` takes its parsed arguments."""
    parser = subparsers.add_parser(
        "demo",
        help="run a shop that tracks its visitors, and show every event that arrives",
        description=(
            "Run a shop that tracks its visitors, send visitors, and show every event that arrives."
            " All of it happens on this machine."
        ),
    )
    parser.set_defaults(run=run)


def run(_args: argparse.Namespace) -> int:
    """Run the demo. Return 0 if every event arrived exactly once by each method and is valid, else 1."""
    try:
        from snowplow_aio.demo.run import run_demo  # noqa: PLC0415 - needs an extra
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        print(
            f'snowplow-aio demo: {package} is not installed: pip install "snowplow-aio[demo]"',
            file=sys.stderr,
        )
        return 1
    return run_demo(stop_signals)
