"""``snowplow-aio micro``: the embeddable collector as a program of its own."""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
from typing import TYPE_CHECKING, Any

from snowplow_aio.cli.stop_signals import stop_signals
from snowplow_aio.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snowplow_aio.micro import Micro

# The port of Snowplow Micro.
_PORT = 9090


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-command to *subparsers*. `run` takes its parsed arguments."""
    parser = subparsers.add_parser(
        "micro",
        help="run a collector that says what the pipeline would make of each event",
        description="Run a collector on this machine that says what the pipeline would make of each event.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=_port, default=_PORT, help="port to listen on, 0 for a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--schemas",
        action="append",
        default=[],
        metavar="PATH",
        help="folder of Iglu schemas, <PATH>/<vendor>/<name>/jsonschema/<version>; may be repeated",
    )
    parser.add_argument(
        "--capacity",
        type=_count,
        default=100_000,
        metavar="EVENTS",
        help="most events that are kept; the oldest go when more arrive (default: %(default)s)",
    )
    parser.add_argument(
        "--capacity-bytes",
        type=_count,
        default=2**30,
        metavar="BYTES",
        help="most memory for them (default: %(default)s)",
    )
    parser.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="URL",
        help="origin whose web pages may read the events, like http://localhost:3000; may be repeated",
    )
    parser.add_argument("--quiet", action="store_true", help="do not print a line for each event")
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a port from 0 to 65535, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text!r}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Run the collector until SIGINT or SIGTERM. Return the exit status, which is 1 if it cannot start."""
    try:
        from snowplow_aio.micro import Micro  # noqa: PLC0415 - needs an extra
        from snowplow_aio.micro.describe import describe  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name not in {"jsonschema", "referencing"}:
            raise
        return _fail('the collector needs jsonschema: pip install "snowplow-aio[micro]"')
    show = None if args.quiet else functools.partial(_show, describe)
    try:
        micro = Micro(
            host=args.host,
            port=args.port,
            schemas=args.schemas,
            on_event=show,
            capacity=args.capacity,
            capacity_bytes=args.capacity_bytes,
            origins=args.origin,
        )
        asyncio.run(_serve(micro))
    except ConfigurationError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"cannot listen on {args.host}:{args.port}: {error.strerror or error}")
    return 0


def _fail(message: str) -> int:
    print(f"snowplow-aio micro: {message}", file=sys.stderr)
    return 1


def _show(describe: Any, record: Mapping[str, Any]) -> None:
    print(describe(record), flush=True)


async def _serve(micro: Micro) -> None:
    stopped = asyncio.Event()
    with stop_signals(lambda _number: stopped.set()):
        async with micro:
            print(f"Listening on {micro.url}")
            print(
                f'Point a tracker at it:  Tracker(HttpEmitter("{micro.url}"), namespace="...", app_id="...")'
            )
            print(f"What has arrived:       {micro.url}/micro/all, /micro/good, /micro/bad", flush=True)
            await stopped.wait()
    counts = micro.counts()
    print(f"Stopped: {counts['good']} good, {counts['bad']} bad events")
