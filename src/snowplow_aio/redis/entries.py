"""Entries of a list or a stream in Redis: one event each, written by us or by another tracker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import orjson

from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.model.payload import Payload

# The two kinds of queue.
Mode = Literal["list", "stream"]

# The field of a stream's entry that holds the event.
STREAM_FIELD = "e"

# Most bytes of an entry that is read: several times what the pipeline takes of one event. Of a longer one,
# and of one that is no JSON object, only the beginning is kept, in its dead letter.
MAX_ENTRY_BYTES = 4 * 2**20
MAX_SHOWN_BYTES = 100_000

# An entry that was taken: its handle and its bytes, or None if Redis has lost them.
Taken = tuple[bytes, bytes | None]


def check_mode(mode: object) -> None:
    """
    Check the argument *mode*.

    Raises:
        ConfigurationError: If it is neither ``list`` nor ``stream``.
    """
    valid = isinstance(mode, str) and mode in get_args(Mode)
    check_argument(valid, "mode", mode, "must be 'list' or 'stream'")


def divided(joined: bytes, sizes: bytes) -> Iterator[bytes]:
    """
    Divide *joined* texts into parts of *sizes* bytes, which are separated by spaces.

    Scripts answer in this form because one text is read much faster than many.
    """
    start = 0
    for size in map(int, sizes.split()):
        yield joined[start : start + size]
        start += size


def is_cut(raw: bytes) -> bool:
    """Return whether *raw* is the beginning of a longer entry, as scripts return it (`scripts.BOUNDED`)."""
    return len(raw) == MAX_SHOWN_BYTES + 1 and raw.startswith(b"\0")


def read_entry(raw: bytes, *, anonymous: bool) -> Payload:
    """
    Return the event of an entry.

    Older trackers write spaces, ``stm`` and numbers; all of them are accepted.

    Args:
        raw: The entry's bytes.

        anonymous: Whether the event travels with ``SP-Anonymous``.

    Raises:
        InvalidEventError: If the entry is no event.
    """
    if is_cut(raw):
        raise InvalidEventError(f"entry: must be at most {MAX_ENTRY_BYTES} bytes")
    try:
        fields: Any = orjson.loads(raw)
    except ValueError:
        raise InvalidEventError("entry: must be JSON in UTF-8") from None
    if not isinstance(fields, dict):
        raise InvalidEventError("entry: must be a JSON object")
    ours = Payload.stored(raw, fields, anonymous=anonymous)
    if ours is not None:
        return ours
    return Payload({key: _text(value) for key, value in fields.items()}, anonymous=anonymous)


def _text(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value
