"""The command line, `snowplow-aio`. A sub-command imports its modules when it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from snowplow_aio.cli import demo, micro, worker
from snowplow_aio.cli.stop_signals import interrupts
from snowplow_aio.version import __version__

# The exit status that a shell reports for a program that Ctrl+C ended.
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the sub-command in *argv*, and return the exit status.

    Args:
        argv: The arguments; None means those of the process.

    Raises:
        SystemExit: After ``--help`` and ``--version``, and if an argument is unknown, as argparse does.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return 2
    run: Callable[[argparse.Namespace], int] = args.run
    with interrupts(to_the_end=argv is None):
        try:
            return run(args)
        except KeyboardInterrupt:
            return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="snowplow-aio", description="The asyncio-native Snowplow tracker.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for command in (demo, micro, worker):
        command.add_parser(subparsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
