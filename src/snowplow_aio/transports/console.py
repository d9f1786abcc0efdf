"""Events as JSON lines on a text stream."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from anyio import to_thread

from snowplow_aio.abc import Response, Transport
from snowplow_aio.exceptions import TransportError
from snowplow_aio.payload import Payload


class ConsoleTransport(Transport):
    """
    Writes each event as one line of JSON.

    Args:
        stream: Where to; standard output, as it is at the time, where it is None.
    """

    event_bytes: int = 1

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    async def send(self, payloads: Sequence[Payload]) -> Response:
        lines = "".join(f"{payload.json.decode()}\n" for payload in payloads)
        try:
            # A pipe that nobody reads blocks its writer.
            await to_thread.run_sync(self._write, lines)
        except (OSError, ValueError) as error:
            raise TransportError("the stream cannot be written") from error
        return Response(status=200)

    def _write(self, lines: str) -> None:
        stream = self._stream or sys.stdout
        stream.write(lines)
        stream.flush()
