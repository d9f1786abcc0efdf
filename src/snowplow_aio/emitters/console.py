"""Events as JSON lines on the console: to see what an application tracks."""

from __future__ import annotations

import io
from typing import TextIO, Unpack

from snowplow_aio.emitters.buffered import BufferedEmitter
from snowplow_aio.emitters.options import EmitterOptions
from snowplow_aio.policies import Batching, require
from snowplow_aio.transports.console import ConsoleTransport


class ConsoleEmitter(BufferedEmitter):
    """
    Prints each event as one line of JSON.

    Args:
        stream: A text stream; standard output where it is None.

        batch_size: Waiting events that are printed at once, from 1.

        flush_interval: Seconds after which a waiting event is printed in any case; None for never.

        name: What statistics and logs call the emitter.

        **options: The rest of what `BufferedEmitter` takes.

    Raises ConfigurationError when a value is out of range.
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
        require(stream is None or is_text, "stream", stream, "must be a text stream, like sys.stderr")
        # One writer, so that the order of the events is kept.
        batching = Batching(batch_size=batch_size, flush_interval=flush_interval, max_connections=1)
        super().__init__(ConsoleTransport(stream), batching=batching, name=name, **options)
