"""Files and pipes that fail in the midst of a line, that nobody reads, or that somebody else writes to."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from snowplow_aio import ConsoleEmitter, FileEmitter, PageView, Retry, Tracker
from snowplow_aio.local.lines import append_lines
from tests.waiting import until

pytestmark = pytest.mark.anyio

resource = pytest.importorskip("resource", reason="no limits of a process")

PAGE = PageView(page_url="https://shop.example/")
SOON = Retry(initial_delay=0.005, max_delay=0.01)


def ids_in(lines: str) -> list[str]:
    assert lines.endswith("\n")
    return [json.loads(line)["eid"] for line in lines.splitlines()]


@contextmanager
def full_disk(size: int) -> Generator[None, None, None]:
    """Let no file grow beyond *size* bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_disk_that_is_full_for_a_while_tears_no_line_and_repeats_none(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    async with Tracker(FileEmitter(path, batch_size=10, retry=SOON)) as tracker:
        ids = [await tracker.track(PAGE)]
        await tracker.flush()
        # Room for some more lines, and a part of one.
        with full_disk(path.stat().st_size * 5 // 2):
            for _ in range(50):
                ids.append(await tracker.track(PAGE))
                await tracker.flush(wait=False)
            await until(lambda: sum(tracker.stats()["file"].retries.values()) > 5)
            # At every moment there are whole lines only, none of them twice.
            seen = ids_in(path.read_text())
            assert seen == ids[: len(seen)]
        await tracker.flush()
    assert ids_in(path.read_text()) == ids


async def test_writers_of_one_file_leave_whole_lines_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although each write may end in the midst of a line, and fail."""
    draw, write = random.Random(1), os.write

    def fails_at_times(descriptor: int, data: bytes) -> int:
        if draw.random() < 0.3:
            raise OSError(errno.ENOSPC, "no space")
        return write(descriptor, data[: draw.randint(1, len(data))])

    path, ids = tmp_path / "events.jsonl", list[str]()
    trackers = [Tracker(FileEmitter(path, batch_size=3, retry=SOON)) for _ in range(3)]
    monkeypatch.setattr("snowplow_aio.local.lines.os.write", fails_at_times)
    for _ in range(40):
        ids += [await tracker.track(PAGE) for tracker in trackers]
    for tracker in trackers:
        await tracker.flush()
    monkeypatch.undo()
    for tracker in trackers:
        assert (await tracker.aclose()).pending == 0
    assert sorted(ids_in(path.read_text())) == sorted(ids)


async def test_a_line_that_a_killed_process_has_left_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"e":"pv","ei')
    async with Tracker(FileEmitter(path)) as tracker:
        event_id = await tracker.track(PAGE)
    torn, *lines = path.read_text().splitlines()
    assert torn == '{"e":"pv","ei'
    assert [json.loads(line)["eid"] for line in lines] == [event_id]


async def test_a_file_that_is_renamed_is_made_anew_and_private(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    async with Tracker(FileEmitter(path)) as tracker:
        await tracker.track(PAGE)
        await tracker.flush()
        path.rename(tmp_path / "events.1")
        event_id = await tracker.track(PAGE)
    assert ids_in(path.read_text()) == [event_id]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


FULL_DEVICE = pytest.param(
    "/dev/full", marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device")
)


@pytest.mark.parametrize("path", [FULL_DEVICE, "a directory"])
async def test_what_cannot_be_written_is_kept_until_the_close(path: str, tmp_path: Path) -> None:
    tracker = Tracker(FileEmitter(path if path == "/dev/full" else tmp_path, retry=SOON))
    await tracker.track(PAGE)
    assert (await tracker.flush(0.05)).pending == 1
    result = await tracker.aclose(0)
    assert (result.dropped, result.pending) == (1, 0)


async def test_events_wait_until_somebody_reads_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    async with Tracker(FileEmitter(path, retry=SOON)) as tracker:
        ids = [await tracker.track(PAGE) for _ in range(1_000)]
        assert (await tracker.flush(0.05)).pending == 1_000
        read: list[bytes] = []
        # More than a pipe holds, so it is written in parts.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        flushing = asyncio.create_task(tracker.flush())
        while not flushing.done():
            await asyncio.sleep(0.001)
            try:
                read.append(os.read(descriptor, 100_000))
            except BlockingIOError:
                continue
        assert (await flushing).delivered == 1_000
        read.append(os.read(descriptor, 100_000))
        os.close(descriptor)
    assert ids_in(b"".join(read).decode()) == ids


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    # On some systems a pipe has a megabyte.
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            continue


async def test_a_console_that_nobody_reads_keeps_no_close_waiting(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    large = PageView(page_url=f"https://shop.example/{'x' * 900}")
    with os.fdopen(os.dup(writing), "w", encoding="utf-8") as stream:
        tracker = Tracker(ConsoleEmitter(stream, retry=SOON))
        tracked = 3_000
        for _ in range(tracked):
            await tracker.track(large)
        async with asyncio.timeout(20):
            result = await tracker.aclose(0.1)
        assert result.pending == 0
        assert result.dropped > 0
        assert result.delivered + result.dropped == tracked
        # The thread that writes gives up by itself.
        os.close(reading)


async def test_a_write_that_was_given_up_touches_no_file_opened_since(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    other_end, other = os.pipe()
    large = PageView(page_url=f"https://shop.example/{'x' * 900}")
    with os.fdopen(os.dup(writing), "w", encoding="utf-8") as stream:
        number = stream.fileno()
        tracker = Tracker(ConsoleEmitter(stream, retry=SOON))
        for _ in range(3_000):
            await tracker.track(large)
        assert (await tracker.aclose(0.1)).dropped > 0
    os.dup2(other, number)
    try:
        os.close(reading)
        await until(lambda: not any(thread.name == "snowplow_aio" for thread in threading.enumerate()))
        os.set_blocking(other_end, False)
        with pytest.raises(BlockingIOError):
            os.read(other_end, 1)
    finally:
        for descriptor in (other_end, other, number):
            os.close(descriptor)


async def test_a_console_whose_reader_comes_late_gets_whole_lines_in_order(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.set_blocking(reading, False)
    large = PageView(page_url=f"https://shop.example/{'x' * 900}")
    with os.fdopen(os.dup(writing), "w", encoding="utf-8") as stream:
        async with Tracker(ConsoleEmitter(stream, batch_size=50, retry=SOON)) as tracker:
            ids = [await tracker.track(large) for _ in range(1_500)]
            await until(lambda: tracker.stats()["console"].retries, seconds=20)
            read: list[bytes] = []
            flushing = asyncio.create_task(tracker.flush())
            while not flushing.done():
                await asyncio.sleep(0.001)
                try:
                    read.append(os.read(reading, 10_000))
                except BlockingIOError:
                    continue
            assert (await flushing).pending == 0
            # A pipe holds a megabyte at most.
            read.append(os.read(reading, 2**20))
    assert ids_in(b"".join(read).decode()) == ids


async def test_a_console_whose_reader_has_gone_drops_at_the_close_and_says_so(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.close(reading)
    with os.fdopen(os.dup(writing), "w", encoding="utf-8") as stream:
        tracker = Tracker(ConsoleEmitter(stream, retry=SOON))
        await tracker.track(PAGE)
        assert (await tracker.flush(0.05)).pending == 1
        assert (await tracker.aclose(0)).dropped == 1
        assert tracker.stats()["console"].last_error == "BrokenPipeError: the stream cannot be written"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16"])
async def test_a_console_of_another_encoding_gets_every_character_as_json_writes_it(encoding: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    titles = ["plain", "\u00fcber", "\u65e5\u672c", "\U0001f45f"]
    async with Tracker(ConsoleEmitter(stream)) as tracker:
        for title in titles:
            await tracker.track(PageView(page_url="https://shop.example/", page_title=title))
    lines = raw.getvalue().decode(encoding).splitlines()
    assert [json.loads(line)["page"] for line in lines] == titles


async def test_what_stands_in_for_standard_output_needs_no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    class Kept:
        def __init__(self) -> None:
            self.text = ""

        def write(self, text: str) -> None:
            self.text += text

    kept = Kept()
    monkeypatch.setattr(sys, "stdout", kept)
    async with Tracker(ConsoleEmitter(retry=SOON)) as tracker:
        ids = [await tracker.track(PAGE) for _ in range(2)]
    assert ids_in(kept.text) == ids


async def test_a_program_without_standard_output_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    tracker = Tracker(ConsoleEmitter(retry=SOON))
    await tracker.track(PAGE)
    assert (await tracker.flush(0.05)).pending == 1
    assert (await tracker.aclose(0)).dropped == 1
    assert tracker.stats()["console"].last_error == "AttributeError: the stream cannot be written"


PROGRAM = """
import asyncio, sys
from snowplow_aio import ConsoleEmitter, FileEmitter, PageView, Tracker

async def main():
    emitter = FileEmitter(sys.argv[1]) if sys.argv[1:] else ConsoleEmitter()
    tracker = Tracker(emitter)
    for _ in range(3_000):
        await tracker.track(PageView(page_url="https://shop.example/" + "x" * 900))
    await tracker.aclose(0.5)
    print(tracker.health(), file=sys.stderr)

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["a pipe without a reader", "standard output that nobody reads"])
def test_an_interpreter_ends_whatever_is_not_written(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    arguments = [str(path)] if kind == "a pipe without a reader" else []
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=pipe, stderr=pipe) as program:
        try:
            assert program.wait(60) == 0
        finally:
            program.send_signal(signal.SIGKILL)
        assert program.stderr is not None
        said = program.stderr.read().decode()
    assert "closed; 0 waiting" in said
    assert "Fatal" not in said


def test_a_file_is_free_for_others_although_a_forked_child_still_has_it(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "events.jsonl"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    # What a child of a fork has.
    copy = os.dup(descriptor)
    append_lines(descriptor, [b"{}\n"])
    os.close(descriptor)
    other = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(other)
        os.close(copy)
    assert path.read_bytes() == b"{}\n"


def test_nothing_is_written_while_another_process_has_locked_the_file(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"{}\n")
    own, other = os.open(path, os.O_RDWR | os.O_APPEND), os.open(path, os.O_RDWR)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="another process has locked the file"):
            append_lines(own, [b"[]\n"])
        assert path.read_bytes() == b"{}\n"
        fcntl.flock(other, fcntl.LOCK_UN)
        append_lines(own, [b"[]\n"])
    finally:
        os.close(own)
        os.close(other)
    assert path.read_bytes() == b"{}\n[]\n"
