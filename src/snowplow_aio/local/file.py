"""Writes events as JSON lines to a file, for a pipeline that reads files or for later."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Unpack

from anyio import to_thread

from snowplow_aio.abc import Response, Transport
from snowplow_aio.delivery.emitter import BufferedEmitter
from snowplow_aio.delivery.options import EmitterOptions
from snowplow_aio.exceptions import TransportError
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.model.payload import Payload
from snowplow_aio.policies import Batching


class FileEmitter(BufferedEmitter):
    """
    Appends each event as one line of JSON to a file that only its owner can read.

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

    async def send(self, payloads: Sequence[Payload]) -> Response:
        lines = b"".join([payload.json + b"\n" for payload in payloads])
        try:
            await to_thread.run_sync(self._append, lines)
        except OSError as error:
            raise TransportError("the file cannot be written") from error
        return Response(status=200)

    def _append(self, lines: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(lines)
