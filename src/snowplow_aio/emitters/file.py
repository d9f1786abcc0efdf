"""Events as JSON lines in a file: for a pipeline that reads files, or for later."""

from __future__ import annotations

from os import PathLike
from typing import Unpack

from snowplow_aio.emitters.buffered import BufferedEmitter
from snowplow_aio.emitters.options import EmitterOptions
from snowplow_aio.policies import Batching, require
from snowplow_aio.transports.file import FileTransport


class FileEmitter(BufferedEmitter):
    """
    Appends each event as one line of JSON to a file that only its owner can read.

    Args:
        path: The file; made when it is missing.

        batch_size: Waiting events that are written at once, from 1.

        flush_interval: Seconds after which a waiting event is written in any case; None for never.

        name: What statistics and logs call the emitter.

        **options: The rest of what `BufferedEmitter` takes.

    Raises ConfigurationError when a value is out of range.
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
        require(is_path, "path", path, "must be the path of a file")
        # One writer, so that the order of the events is kept.
        batching = Batching(batch_size=batch_size, flush_interval=flush_interval, max_connections=1)
        super().__init__(FileTransport(path), batching=batching, name=name, **options)
