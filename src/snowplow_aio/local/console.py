"""Prints events as JSON lines, to show what an application tracks."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import TextIO, Unpack

from anyio import to_thread

from snowplow_aio.abc import Response, Transport
from snowplow_aio.delivery.emitter import BufferedEmitter
from snowplow_aio.delivery.options import EmitterOptions
from snowplow_aio.exceptions import TransportError
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.model.payload import Payload
from snowplow_aio.policies import Batching


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

    async def send(self, payloads: Sequence[Payload]) -> Response:
        lines = "".join(f"{payload.json.decode()}\n" for payload in payloads)
        try:
            # A pipe that nobody reads blocks its writer, so it has a thread.
            await to_thread.run_sync(self._write, lines)
        except (OSError, ValueError) as error:
            raise TransportError("the stream cannot be written") from error
        return Response(status=200)

    def _write(self, lines: str) -> None:
        stream = self._stream or sys.stdout
        stream.write(lines)
        stream.flush()
