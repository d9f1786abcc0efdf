"""Calls in the midst of anything, as signal handlers and finalizers make them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator
from types import FrameType, ModuleType
from typing import Any

import pytest


def needs_lines_of(module: ModuleType) -> pytest.MarkDecorator:
    """Return the mark of a test that interrupts the lines of *module*, which a compiled one has not."""
    is_compiled = not str(module.__file__).endswith(".py")
    return pytest.mark.skipif(is_compiled, reason="compiled, it has no lines to interrupt")


@contextlib.contextmanager
def uninterrupted() -> Generator[None, None, None]:
    """Keep a trace function out."""
    before = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(before)


@contextlib.contextmanager
def interrupted(
    call: Callable[[], None], *modules: ModuleType, depth: int
) -> Generator[set[int], None, None]:
    """
    Have *call* called before each line of *modules*, as a signal handler might be.

    Args:
        call: The call.

        modules: The modules.

        depth: How many of these may interrupt each other.

    Returns:
        The lines that were interrupted.
    """
    lines: set[int] = set()
    files = {module.__file__ for module in modules}
    nested = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal nested
        if frame.f_code.co_filename not in files:
            return None
        if event == "line" and nested < depth:
            lines.add(frame.f_lineno)
            nested += 1
            try:
                # Tracing is off in a trace function, but for what it switches on again.
                sys.settrace(trace)
                call()
            finally:
                nested -= 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)
