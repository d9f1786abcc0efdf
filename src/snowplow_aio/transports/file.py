"""Events as JSON lines in a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from anyio import to_thread

from snowplow_aio.abc import Response, Transport
from snowplow_aio.exceptions import TransportError
from snowplow_aio.payload import Payload


class FileTransport(Transport):
    """
    Appends each event as one line of JSON.

    Args:
        path: The file; made when it is missing, readable by its owner only.
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
