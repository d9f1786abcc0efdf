"""The command ``snowplow-aio worker``: delivers the events that emitters have put into Redis."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from snowplow_aio.cli.stop_signals import stop_signals
from snowplow_aio.exceptions import ConfigurationError

if TYPE_CHECKING:
    from snowplow_aio.redis.worker import RedisWorker
    from snowplow_aio.settings import Settings

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-command to *subparsers*; the parsed arguments are for `run`."""
    parser = subparsers.add_parser(
        "worker",
        help="deliver events from Redis to a collector",
        description=(
            "Deliver events from Redis to a collector, until SIGTERM or SIGINT; a second signal ends it at"
            " once. What is not said here is read from the environment, from SNOWPLOW_COLLECTOR and so on."
        ),
    )
    parser.add_argument("--collector", metavar="HOST", help="host or URL of the collector; must be given")
    parser.add_argument("--method", choices=("post", "get"), help="how events are sent (default: post)")
    parser.add_argument(
        "--redis-url",
        metavar="URL",
        help="redis://, rediss:// or unix:// (default: redis://127.0.0.1:6379/0); a password is safer"
        " in the environment",
    )
    parser.add_argument("--key", help="key of the list or stream (default: snowplow)")
    parser.add_argument("--mode", choices=("list", "stream"), help="what the key holds (default: list)")
    parser.add_argument(
        "--takeover-after",
        type=float,
        metavar="SECONDS",
        help="when the events of a worker that is not heard of are given to others (default: 30)",
    )
    parser.add_argument(
        "--drain-timeout",
        type=float,
        metavar="SECONDS",
        help="how long it goes on delivering when it is told to stop (default: 5)",
    )
    parser.add_argument("--health-host", metavar="HOST", help="address of /health, /ready and /metrics")
    parser.add_argument(
        "--health-port", type=_port, metavar="PORT", help="their port, 0 for a free one; none by default"
    )
    parser.add_argument(
        "--log-level", type=str.upper, choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    )
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a port from 0 to 65535, got {text!r}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Deliver until SIGINT or SIGTERM; return the exit status, which is 1 if the worker cannot start."""
    try:
        settings = _settings(args)
        worker = _worker(settings)
    except ConfigurationError as error:
        return _fail(str(error))
    logging.basicConfig(level=settings.log_level, format=_LOG_FORMAT)
    try:
        asyncio.run(_serve(worker, settings))
    except OSError as error:
        address = f"{settings.health_host}:{settings.health_port}"
        return _fail(f"cannot listen on {address}: {error.strerror or error}")
    return 0


def _fail(message: str) -> int:
    print(f"snowplow-aio worker: {message}", file=sys.stderr)
    return 1


def _settings(args: argparse.Namespace) -> Settings:
    """Return the settings of the environment, replaced by those that *args* have."""
    from snowplow_aio.settings import Settings  # noqa: PLC0415 - only this command reads the environment

    names = {field.name for field in dataclasses.fields(Settings)}
    values = vars(args) | {"redis_key": args.key, "redis_mode": args.mode}
    given = {name: value for name, value in values.items() if name in names and value is not None}
    settings = dataclasses.replace(Settings.read(), **given)
    if settings.collector is None:
        raise ConfigurationError("collector: must be given, as --collector or SNOWPLOW_COLLECTOR")
    return settings


def _worker(settings: Settings) -> RedisWorker:
    from snowplow_aio.http.emitter import HttpEmitter  # noqa: PLC0415 - loads aiohttp
    from snowplow_aio.redis.worker import RedisWorker  # noqa: PLC0415 - loads redis-py

    assert settings.collector is not None  # noqa: S101 - for the type checker; `_settings` has checked it
    return RedisWorker(
        HttpEmitter(settings.collector, method=settings.method),
        client=settings.redis_url,
        key=settings.redis_key,
        mode=settings.redis_mode,
        takeover_after=settings.takeover_after,
        drain_timeout=settings.drain_timeout,
    )


async def _serve(worker: RedisWorker, settings: Settings) -> None:
    from snowplow_aio.instrumentation.health import HealthEndpoint  # noqa: PLC0415 - loads a web server

    async with AsyncExitStack() as stack:
        # After a second signal the held events stay noted in Redis, and other workers take them over.
        stack.enter_context(stop_signals(lambda _number: worker.stop()))
        if settings.health_port is not None:
            endpoint = HealthEndpoint(worker, host=settings.health_host, port=settings.health_port)
            await stack.enter_async_context(endpoint)
            print(f"Health: http://{settings.health_host}:{endpoint.port}/health", flush=True)
        await worker.run()
