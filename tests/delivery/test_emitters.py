"""The emitters that send nothing over a network, and an application's own."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from snowplow_aio import (
    ConsoleEmitter,
    FileEmitter,
    HttpEmitter,
    InvalidEventError,
    MemoryEmitter,
    MemoryStore,
    Overflow,
    PageView,
    QueueFullError,
    Retry,
    Tracker,
)

pytestmark = pytest.mark.anyio

PAGE = PageView(page_url="https://shop.example/")


async def test_the_memory_emitter_keeps_events_in_order() -> None:
    emitter = MemoryEmitter()
    async with Tracker(emitter) as tracker:
        ids = [await tracker.track(PAGE), tracker.track_nowait(PAGE)]
        assert (await tracker.flush()).delivered == 2
    assert [payload["eid"] for payload in emitter.payloads] == ids
    emitter.clear()
    assert (emitter.payloads, tracker.stats()["memory"].accepted) == ([], 2)


async def test_the_console_emitter_prints_a_line_of_json_for_each_event() -> None:
    stream = io.StringIO()
    async with Tracker(ConsoleEmitter(stream)) as tracker:
        ids = [await tracker.track(PAGE) for _ in range(3)]
    assert [json.loads(line)["eid"] for line in stream.getvalue().splitlines()] == ids


async def test_the_console_emitter_writes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    async with Tracker(ConsoleEmitter()) as tracker:
        event_id = await tracker.track(PAGE)
    assert json.loads(capsys.readouterr().out)["eid"] == event_id


async def test_a_console_that_cannot_be_written_is_tried_again() -> None:
    stream = io.StringIO()
    stream.close()
    failed = asyncio.Event()
    emitter = ConsoleEmitter(stream, drain_timeout=0, hooks=[lambda _outcome: failed.set()])
    async with Tracker(emitter) as tracker:
        await tracker.track(PAGE)
        await tracker.flush(wait=False)
        await asyncio.wait_for(failed.wait(), 30)
        assert tracker.stats()["console"].pending == 1
        assert tracker.stats()["console"].last_error == "ValueError: the stream cannot be written"


async def test_the_file_emitter_appends_lines_to_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for _ in range(2):
        async with Tracker(FileEmitter(path)) as tracker:
            await tracker.track(PAGE)
    assert [json.loads(line)["e"] for line in path.read_text().splitlines()] == ["pv", "pv"]
    # Windows has no such modes.
    assert os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_file_that_cannot_be_written_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "events.jsonl"
    async with Tracker(FileEmitter(path, retry=Retry(initial_delay=0.01, max_delay=0.02))) as tracker:
        await tracker.track(PAGE)
        assert (await tracker.flush(0.05)).pending == 1
        path.parent.mkdir()
        assert (await tracker.flush()).delivered == 1
    assert len(path.read_text().splitlines()) == 1


class Plain:
    """The least that an emitter can be."""

    def __init__(self) -> None:
        self.inputs: list[Mapping[str, str]] = []

    def input(self, payload: Mapping[str, str]) -> None:
        self.inputs.append(payload)


class Waiting(Plain):
    """One that waits, and counts what else is called."""

    flushed = closed = 0

    async def input(self, payload: Mapping[str, str]) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        self.inputs.append(payload)

    async def flush(self) -> None:
        self.flushed += 1

    def aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("kind", [Plain, Waiting])
async def test_any_object_with_input_is_an_emitter(kind: type[Plain]) -> None:
    own = kind()
    async with Tracker(own) as tracker:
        event_id = await tracker.track(PAGE)
        assert [payload["eid"] for payload in own.inputs] == [event_id]
        assert dict(own.inputs[0])["url"] == "https://shop.example/"
        with pytest.raises(TypeError):
            own.inputs[0]["url"] = "changed"  # type: ignore[index]


async def test_flush_and_close_reach_an_own_emitter_where_it_has_them() -> None:
    own = Waiting()
    async with Tracker([own, Plain()]) as tracker:
        tracker.track_nowait(PAGE)
        await tracker.flush()
        assert (len(own.inputs), own.flushed, own.closed) == (1, 1, 0)
    assert (own.flushed, own.closed) == (1, 1)


def test_an_own_emitter_that_waits_gets_what_was_tracked_before_any_loop_ran() -> None:
    own = Waiting()
    tracker = Tracker(own)
    tracker.track_nowait(PAGE)
    assert (own.inputs, tracker.stats()["Waiting"].pending) == ([], 1)

    async def main() -> None:
        async with tracker:
            await tracker.track(PAGE)

    asyncio.run(main())
    assert len(own.inputs) == 2


class Redacting(MemoryEmitter):
    """One of ours with an `input` of its own."""

    async def input(self, payload: Mapping[str, str]) -> None:
        await super().input({key: value for key, value in payload.items() if key != "url"})


async def test_a_subclass_of_an_emitter_may_have_an_input_of_its_own() -> None:
    own = Redacting()
    async with Tracker(own) as tracker:
        await tracker.track(PAGE)
        await tracker.flush()
    assert ["url" in payload for payload in own.payloads] == [False]


class Broken:
    def input(self, payload: Mapping[str, str]) -> None:
        raise ZeroDivisionError

    def flush(self) -> None:
        raise ZeroDivisionError


class Hanging:
    async def input(self, payload: Mapping[str, str]) -> None:
        await asyncio.Event().wait()


async def test_an_own_emitter_that_raises_or_hangs_keeps_events_from_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = MemoryEmitter()
    async with Tracker([Broken(), Hanging(), kept]) as tracker:
        await tracker.track(PAGE)
        await tracker.flush()
        stats = tracker.stats()
    assert len(kept.payloads) == 1
    assert dict(stats["Broken"].dropped) == {"error": 1}
    assert dict(stats["Hanging"].dropped) == {"timeout": 1}
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


async def test_a_full_emitter_raises_to_the_caller_and_keeps_events_from_no_other() -> None:
    full = HttpEmitter(
        "http://127.0.0.1:9", store=MemoryStore(capacity=1, overflow=Overflow.RAISE), drain_timeout=0
    )
    kept = MemoryEmitter()
    async with Tracker([full, kept]) as tracker:
        await tracker.track(PAGE)
        for track in (tracker.track, tracker.track_nowait):
            with pytest.raises(QueueFullError):
                await wait_if_asked(track(PAGE))
        assert len(kept.payloads) == 3
        assert tracker.stats()["http"].accepted == 1


async def wait_if_asked(result: Any) -> None:
    if not isinstance(result, str):
        await result


async def test_two_emitters_with_one_name_are_told_apart() -> None:
    tracker = Tracker([MemoryEmitter(), MemoryEmitter()]).add_emitter(MemoryEmitter(name="other"))
    assert list(tracker.stats()) == ["memory", "memory-2", "other"]


async def test_input_refuses_what_would_lose_a_whole_request() -> None:
    emitter = MemoryEmitter()
    with pytest.raises(
        InvalidEventError, match="payload: must have keys of the tracker protocol only, got 'bad'"
    ):
        await emitter.input({"e": "pv", "p": "web", "tv": "t", "bad": "1"})
    with pytest.raises(InvalidEventError, match="vid: must be a string"):
        emitter.input_nowait({"e": "pv", "p": "web", "tv": "t", "vid": 1})  # type: ignore[dict-item]
    with pytest.raises(InvalidEventError, match="must have the protocol field 'tv'"):
        await emitter.input({"e": "pv", "p": "web"})
    assert emitter.payloads == []
