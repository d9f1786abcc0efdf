"""
An exception as text, within limits.

Nothing here keeps an exception or a frame. An exception that cannot be shown (its
`__str__` raises, its text is no Unicode) is no error.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from itertools import islice
from types import CodeType, TracebackType
from typing import NamedTuple

# More of them would not fit: a frame takes at least 60 characters, and each of 8
# exceptions has room for a trace of a thousand.
_MOST_FRAMES = 128
_MOST_ERRORS = 8

# Longer than the largest part of a message that is sent.
_LONGEST = 10_000

# Groups may stand in groups; deeper ones tell nothing new.
_DEEPEST_GROUP = 8

_HEAD = "Traceback (most recent call last):\n"


def error_name(error: BaseException, limit: int) -> str:
    """Return the name of the class of *error* with its module, unless it is built in."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return _ended(_sendable(name), limit)


def error_message(error: BaseException, limit: int) -> str:
    """Return the message of *error*, or its name if the message is empty."""
    return _shortened(_said(error) or error_name(error, limit), limit)


def stack_text(error: BaseException, limit: int) -> str:
    """Return the trace of *error* and, if it is a group, those of its members."""
    return _joined([("", error), *_members(error)], limit)


def cause_text(error: BaseException, limit: int) -> str | None:
    """Return the traces of the causes of *error*, the nearest first, or None if there are none."""
    sections: list[tuple[str, BaseException]] = []
    for headline, cause in _causes(error):
        sections += [(headline, cause), *_members(cause)]
    return _joined(sections, limit) if sections else None


def place_of(error: BaseException, limit: int) -> dict[str, str | int | None]:
    """Return the place in the code where *error* was raised, by field of the event."""
    innermost = error.__traceback__
    if innermost is None:
        return {}
    while innermost.tb_next is not None:
        innermost = innermost.tb_next
    code = innermost.tb_frame.f_code
    owner, _, _ = code.co_qualname.rpartition(".")
    return {
        "file_name": _ended(_sendable(code.co_filename), limit),
        "line_number": innermost.tb_lineno,
        "line_column": _column(code, innermost.tb_lasti),
        # For a function in a function, this is the name of the outer one.
        "class_name": None if not owner or owner.endswith("<locals>") else _ended(_sendable(owner), limit),
    }


def _column(code: CodeType, instruction: int) -> int | None:
    """Return the column of an *instruction*, from 1."""
    position = next(islice(code.co_positions(), max(instruction, 0) // 2, None), None)
    return None if position is None or position[2] is None else position[2] + 1


def _causes(error: BaseException) -> list[tuple[str, BaseException]]:
    """Return the causes of *error*, the nearest first, each with a headline."""
    found: list[tuple[str, BaseException]] = []
    seen = {id(error)}
    while True:
        if error.__cause__ is not None:
            headline, error = "Caused by:\n", error.__cause__
        elif error.__context__ is not None and not error.__suppress_context__:
            headline, error = "Raised while this was handled:\n", error.__context__
        else:
            break
        if id(error) in seen:
            break
        seen.add(id(error))
        found.append((headline, error))
    if len(found) <= _MOST_ERRORS:
        return found
    # The first causes tell the most, then the nearest ones.
    near, first = found[: _MOST_ERRORS // 2], found[-(_MOST_ERRORS // 2) :]
    between = f"[{len(found) - _MOST_ERRORS} others between]\n"
    return [*near, (between + first[0][0], first[0][1]), *first[1:]]


def _members(error: BaseException, number: str = "") -> Iterator[tuple[str, BaseException]]:
    """Yield the members of a group and their causes, each with a headline; nothing for other errors."""
    if not isinstance(error, BaseExceptionGroup) or number.count(".") >= _DEEPEST_GROUP:
        return
    for i, member in enumerate(error.exceptions, 1):
        place = f"{number}{i}"
        yield f"Exception {place} of the group:\n", member
        for headline, cause in _causes(member):
            yield f"Exception {place}. {headline}", cause
        yield from _members(member, f"{place}.")


class _Trace(NamedTuple):
    """
    The trace of one exception.

    Args:
        headline: A line that tells it from the others.

        frames: The innermost frames, the innermost last.

        outer: The number of other frames.

        end: The lines of the exception itself.
    """

    headline: str
    frames: Sequence[str]
    outer: int
    end: str

    @property
    def size(self) -> int:
        """The length of the whole text."""
        return sum(map(len, (self.headline, _HEAD, *self.frames, self.end))) + 40

    def text(self, limit: int) -> str:
        """Return the text in at most *limit* characters; the innermost frames are kept."""
        # The frames, if there are any, get half of it.
        end = _shortened(self.end, limit // 2 if self.frames else limit - len(self.headline) - 1) + "\n"
        room = limit - len(self.headline) - len(_HEAD) - len(end) - 40
        kept: list[str] = []
        for frame in reversed(self.frames):
            if len(frame) > room:
                if not kept:
                    kept.append(_shortened(frame, max(room, 2) - 1) + "\n")
                break
            room -= len(frame)
            kept.append(frame)
        outer = self.outer + len(self.frames) - len(kept)
        left_out = f"  [{outer} outer frames left out]\n" if outer else ""
        head = _HEAD if self.frames else ""
        return (self.headline + head + left_out + "".join(reversed(kept)) + end)[:limit]


def _joined(sections: Sequence[tuple[str, BaseException]], limit: int) -> str:
    """Return the traces of *sections* in at most *limit* characters; each gets a fair share."""
    shown = sections[:_MOST_ERRORS]
    rest = f"[{len(sections) - len(shown)} more exceptions]\n" if len(sections) > len(shown) else ""
    traces = [_trace(headline, error) for headline, error in shown]
    room, texts = limit - len(rest), dict[int, str]()
    # The short ones come first, because the others share the room that they leave.
    for done, i in enumerate(sorted(range(len(traces)), key=lambda i: traces[i].size)):
        texts[i] = traces[i].text(room // (len(traces) - done))
        room -= len(texts[i])
    return "".join(texts[i] for i in range(len(traces))) + rest


def _trace(headline: str, error: BaseException) -> _Trace:
    count = sum(1 for _ in _links(error.__traceback__))
    walk = traceback.walk_tb(error.__traceback__)
    summary = traceback.StackSummary.extract(walk, limit=-_MOST_FRAMES)
    frames = [_sendable(text) for text in summary.format()]
    said, notes = _said(error), getattr(error, "__notes__", None)
    name = error_name(error, 1024)
    lines = [f"{name}: {said}" if said else name]
    if isinstance(notes, list):
        lines += [_sendable(note) for note in notes if isinstance(note, str)]
    return _Trace(headline, frames, max(count - _MOST_FRAMES, 0), "\n".join(lines))


def _links(link: TracebackType | None) -> Iterator[TracebackType]:
    while link is not None:
        yield link
        link = link.tb_next


def _said(error: BaseException) -> str:
    try:
        return _sendable(str(error)[:_LONGEST])
    except Exception:  # noqa: BLE001 - whatever the application's error does
        return "<its __str__ failed>"


def _sendable(text: str) -> str:
    """Return *text* without lone surrogates, which are no Unicode."""
    return text.encode("utf-8", "backslashreplace").decode()


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _ended(text: str, limit: int) -> str:
    """Return the end of *text*, which is the part of a path that tells the most."""
    return text if len(text) <= limit else "…" + text[-(limit - 1) :]
