"""
Runs every Python block of the documentation.

Each page has an embedded collector, an event loop and a namespace of its own;
its blocks run in their order and may use ``await``. What a page sends to
``COLLECTOR``, the address that all pages give as the reader's own, goes to the
page's collector; ``REDIS`` is a server of its own likewise. No other host's
name is looked up meanwhile, so nothing is sent anywhere else.
"""

import ast
import asyncio
import contextlib
import gc
import inspect
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from sybil import Document, Example, Region, Sybil
from sybil.integration.pytest import SybilItem
from sybil.parsers.myst import CodeBlockParser, SkipParser

COLLECTOR = "https://collector.example.com"
REDIS = "redis://redis.example.com:6379/0"

# A shell starts what runs in the background (`nohup nox &`) with interrupts ignored, and every child
# inherits that: the programs of tests could not be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_look_up = socket.getaddrinfo


def look_up_locally(host: str | None, *args: Any, **kwargs: Any) -> Any:
    """Stand in for the name service, which knows this machine only."""
    if host not in {"127.0.0.1", "::1", "localhost"}:
        raise socket.gaierror(f"the documentation may not look up {host!r}")
    return _look_up(host, *args, **kwargs)


@contextlib.contextmanager
def page(namespace: dict[str, Any]) -> Iterator[None]:
    """Give the blocks of one page what they share."""
    # Late: what a module does when it is imported counts in the coverage of the tests.
    from snowplow_aio.micro import Micro  # noqa: PLC0415

    with (
        # Some blocks write files.
        tempfile.TemporaryDirectory() as directory,
        contextlib.chdir(directory),
        mock.patch("socket.getaddrinfo", look_up_locally),
        asyncio.Runner() as runner,
    ):
        collector = Micro(port=0)
        namespace |= {"micro": runner.run(collector.__aenter__()), "runner": runner}
        try:
            yield
        finally:
            # What a block dropped unclosed fails its own page: left alone, the garbage collector
            # comes by in any test, or in none. Before the loop ends, which closes such things.
            gc.collect()
            runner.run(collector.__aexit__(None, None, None))


def open_page(namespace: dict[str, Any]) -> None:
    """Enter the page, for as long as its blocks run."""
    opened = namespace["opened"] = contextlib.ExitStack()
    opened.enter_context(page(namespace))


def close_page(namespace: dict[str, Any]) -> None:
    """Leave the page."""
    namespace["opened"].close()


def redis_of(namespace: dict[str, Any]) -> str:
    """Return the URL of the page's Redis, which is started for the first block that needs it."""
    from tests.redis.servers import RedisServer  # noqa: PLC0415 - few pages need it

    if "server" not in namespace:
        folder = namespace["opened"].enter_context(tempfile.TemporaryDirectory())
        namespace["server"] = namespace["opened"].enter_context(RedisServer(Path(folder)))
    url: str = namespace["server"].url
    return url


def run_block(example: Example) -> None:
    """Run *example*, on the loop of its page where it awaits something."""
    namespace = example.namespace
    source = example.parsed.replace(COLLECTOR, namespace["micro"].url)
    if REDIS in source:
        source = source.replace(REDIS, redis_of(namespace))
    # Tracebacks then have the line numbers of the page.
    source = "\n" * (example.line + example.parsed.line_offset) + source
    code = compile(source, example.path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)

    async def block() -> None:
        await eval(code, namespace)  # noqa: S307 - our own pages

    if code.co_flags & inspect.CO_COROUTINE:
        namespace["runner"].run(block())
    elif "snowplow_aio.sync" in example.document.text:
        # It may block, and the collector of the page must answer meanwhile.
        namespace["runner"].run(asyncio.to_thread(exec, code, namespace))
    else:
        exec(code, namespace)  # noqa: S102 - likewise


def python_blocks(document: Document) -> Iterator[Region]:
    """Return the Python blocks of *document*, those in comments too."""
    yield from CodeBlockParser("python", run_block)(document)


def from_the_block(_item: SybilItem, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:
    """Leave out of a traceback what leads to the block."""
    return excinfo.traceback.cut(path=__file__)


# Sybil's own raises IndexError for a traceback of one entry, which the cause of an error may have. That
# ends the whole run, and nothing is said of the block: https://github.com/simplistix/sybil/issues/118
SybilItem._traceback_filter = from_the_block  # noqa: SLF001

pytest_collect_file = Sybil(
    parsers=[python_blocks, SkipParser()],
    patterns=["README.md", "docs/**/*.md", "docs/*.md"],
    setup=open_page,
    teardown=close_page,
).pytest()
