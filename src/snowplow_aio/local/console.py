"""Prints events as JSON lines, to show what an application tracks."""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from typing import TextIO, Unpack

from snowplow_aio.abc import Response, Transport
from snowplow_aio.delivery.emitter import BufferedEmitter
from snowplow_aio.delivery.options import EmitterOptions
from snowplow_aio.local.lines import PipeWriter, wait_for_room
from snowplow_aio.local.thread import WriterThread
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.model.payload import Payload
from snowplow_aio.policies import Batching

_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


class ConsoleEmitter(BufferedEmitter):
    """
    Prints each event as one line of JSON.

    Args:
        stream: A text stream; standard output by default.

        batch_size: Number of waiting events that are printed at once, from 1.

        flush_interval: Time after which a waiting event is printed in any case, in
            seconds, above 0; None for never.

        name: The name of the emitter in statistics and logs, not empty.

        **options: Other arguments of `BufferedEmitter`.

    Raises:
        ConfigurationError: If a value is out of range or has the wrong type.

    Example:
        ::

            async with Tracker(ConsoleEmitter()) as tracker:
                await tracker.track(PageView(page_url="https://example.com"))
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        batch_size: int = 1,
        flush_interval: float | None = 1.0,
        name: str = "console",
        **options: Unpack[EmitterOptions],
    ) -> None:
        is_text = hasattr(stream, "write") and not isinstance(stream, io.RawIOBase | io.BufferedIOBase)
        check_argument(stream is None or is_text, "stream", stream, "must be a text stream, like sys.stderr")
        # One writer keeps the order of the events.
        batching = Batching(batch_size=batch_size, flush_interval=flush_interval, max_connections=1)
        super().__init__(ConsoleTransport(stream), batching=batching, name=name, **options)


class ConsoleTransport(Transport):
    """
    Writes each event as one line of JSON.

    Args:
        stream: A text stream; by default the standard output of the moment.
    """

    event_bytes: int = 1

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._pipe = PipeWriter()
        self._thread = WriterThread()

    async def send(self, payloads: Sequence[Payload]) -> Response:
        lines = [payload.json + b"\n" for payload in payloads]
        # A pipe that nobody reads blocks its writer, so it has a thread.
        await self._thread.call(partial(self._write, lines), "the stream cannot be written")
        return Response(status=200)

    def abandon(self) -> None:
        self._thread.abandon()

    def _write(self, lines: Sequence[bytes]) -> None:
        stream = self._stream or sys.stdout
        descriptor = _copy_of_descriptor(stream)
        if descriptor is None:
            stream.write(_text_for(stream, b"".join(lines)))
            # Not every object that stands in for standard output has one.
            if hasattr(stream, "flush"):
                stream.flush()
            return
        try:
            # Around the stream: its lock would be held for as long as nobody reads, and keep the
            # interpreter from its end.
            wait_for_room(descriptor)
            stream.flush()
            self._pipe.write(descriptor, lines)
        finally:
            os.close(descriptor)


def _text_for(stream: TextIO, lines: bytes) -> str:
    """Return *lines* of JSON as text that *stream* can encode: other characters as JSON escapes them."""
    text = lines.decode()
    encoding = getattr(stream, "encoding", None)
    # One that has none, such as io.StringIO, takes all characters.
    return text if encoding is None or _is_utf_8(encoding) else _BEYOND_ASCII.sub(_escape, text)


def _escape(character: re.Match[str]) -> str:
    # JSON has two escapes for a character that UTF-16 has two units for.
    units = character[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def _is_utf_8(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding).name == "utf-8"
    except LookupError:
        return False


def _copy_of_descriptor(stream: TextIO) -> int | None:
    """
    Return a copy of the descriptor behind *stream* if the bytes of JSON can be written to it as they are.

    The stream may be closed while they are written, and another file then gets its number: events
    would be written into that file.

    Raises:
        OSError: If the process has no descriptor left.
        ValueError: If the stream is closed.
    """
    if sys.platform == "win32" or type(stream) is not io.TextIOWrapper:
        return None
    try:
        descriptor = stream.fileno() if _is_utf_8(stream.encoding) else None
    except OSError:
        return None
    if descriptor is None:
        return None
    copy = os.dup(descriptor)
    if stream.closed:
        # Perhaps before the copy was made.
        os.close(copy)
        raise ValueError("the stream is closed")
    return copy
