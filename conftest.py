"""
Runs every Python block of the documentation.

Each page has an embedded collector, an event loop and a namespace of its own;
its blocks run in their order and may use ``await``. What a page sends to
``COLLECTOR``, the address that all pages give as the reader's own, goes to the
page's collector. No other host's name is looked up meanwhile, so nothing is
sent anywhere else.
"""

import ast
import asyncio
import contextlib
import inspect
import socket
import tempfile
from collections.abc import Iterator
from typing import Any
from unittest import mock

from sybil import Document, Example, Region, Sybil
from sybil.parsers.myst import CodeBlockParser, SkipParser

COLLECTOR = "https://collector.example.com"

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
            runner.run(collector.__aexit__(None, None, None))


def open_page(namespace: dict[str, Any]) -> None:
    """Enter the page, for as long as its blocks run."""
    opened = namespace["opened"] = contextlib.ExitStack()
    opened.enter_context(page(namespace))


def close_page(namespace: dict[str, Any]) -> None:
    """Leave the page."""
    namespace["opened"].close()


def run_block(example: Example) -> None:
    """Run *example*, on the loop of its page where it awaits something."""
    namespace = example.namespace
    source = example.parsed.replace(COLLECTOR, namespace["micro"].url)
    # Tracebacks then have the line numbers of the page.
    source = "\n" * (example.line + example.parsed.line_offset) + source
    code = compile(source, example.path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)

    async def block() -> None:
        await eval(code, namespace)  # noqa: S307 - our own pages

    if code.co_flags & inspect.CO_COROUTINE:
        namespace["runner"].run(block())
    else:
        exec(code, namespace)  # noqa: S102 - likewise


def python_blocks(document: Document) -> Iterator[Region]:
    """Return the Python blocks of *document*, those in comments too."""
    yield from CodeBlockParser("python", run_block)(document)


pytest_collect_file = Sybil(
    parsers=[python_blocks, SkipParser()],
    patterns=["README.md", "docs/**/*.md", "docs/*.md"],
    setup=open_page,
    teardown=close_page,
).pytest()
