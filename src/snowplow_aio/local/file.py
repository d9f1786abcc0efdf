"""Writes events as JSON lines to a file, for a pipeline that reads files or for later."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Unpack

from snowplow_aio.abc import Response, Transport
from snowplow_aio.delivery.emitter import BufferedEmitter
from snowplow_aio.delivery.options import EmitterOptions
from snowplow_aio.local.lines import PipeWriter, append_lines, is_regular
from snowplow_aio.local.thread import WriterThread
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.model.payload import Payload
from snowplow_aio.policies import Batching

# A pipe is opened and written without waiting for its reader. It changes nothing for files.
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)


class FileEmitter(BufferedEmitter):
    """
    Appends each event as one line of JSON to a file that only its owner can read.

    The events of one write are appended as a whole or not at all, so that a full disk leaves no torn
    line. They are written again later. Several processes may append to one file. A file that was
    renamed or removed is made anew. Where *path* is a pipe, events wait until somebody reads it.

    Args:
        path: The file; it is made if it is missing.

        batch_size: Number of waiting events that are written at once, from 1.

        flush_interval: Time after which a waiting event is written in any case, in
            seconds, above 0; None for never.

        name: The name of the emitter in statistics and logs, not empty.

        **options: Other arguments of `BufferedEmitter`.

    Raises:
        ConfigurationError: If a value is out of range or has the wrong type.

    Example:
        ::

            async with Tracker(FileEmitter("events.jsonl")) as tracker:
                await tracker.track(PageView(page_url="https://example.com"))
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        batch_size: int = 50,
        flush_interval: float | None = 1.0,
        name: str = "file",
        **options: Unpack[EmitterOptions],
    ) -> None:
        is_path = isinstance(path, str | PathLike) and path != ""
        check_argument(is_path, "path", path, "must be the path of a file")
        # One writer keeps the order of the events.
        batching = Batching(batch_size=batch_size, flush_interval=flush_interval, max_connections=1)
        super().__init__(FileTransport(path), batching=batching, name=name, **options)


class FileTransport(Transport):
    """
    Appends each event as one line of JSON.

    Args:
        path: The file. If it is missing it is made, readable by its owner only.
    """

    event_bytes: int = 1

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._pipe = PipeWriter()
        self._thread = WriterThread()

    async def send(self, payloads: Sequence[Payload]) -> Response:
        lines = [payload.json + b"\n" for payload in payloads]
        await self._thread.call(partial(self._append, lines), "the file cannot be written")
        return Response(status=200)

    def abandon(self) -> None:
        self._thread.abandon()

    def _append(self, lines: Sequence[bytes]) -> None:
        descriptor = self._open()
        try:
            if is_regular(descriptor):
                append_lines(descriptor, lines)
            else:
                self._pipe.write(descriptor, lines)
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        """Open the file; where it is a pipe that nobody reads, this fails at once."""
        flags = os.O_APPEND | os.O_CREAT | _NONBLOCK
        if self._path.is_fifo():
            return os.open(self._path, os.O_WRONLY | flags, 0o600)
        try:
            # To look whether it ends with a whole line.
            return os.open(self._path, os.O_RDWR | flags, 0o600)
        except PermissionError:
            return os.open(self._path, os.O_WRONLY | flags, 0o600)
