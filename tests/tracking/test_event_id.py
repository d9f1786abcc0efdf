"""Event ids, and where they and the time come from."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock
from uuid import UUID

import pytest

from snowplow_aio import InvalidEventError, PageView
from snowplow_aio.tracking.event_id import EventIds, new_event_id
from tests.model.sent import sent, tracker_and_emitter

VIEW = PageView(page_url="https://example.com/")
ID = "5cea9899-10df-4ccf-bf66-8c36f4a4bba2"


def test_an_id_is_a_canonical_random_uuid() -> None:
    form = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    ids = [new_event_id() for _ in range(2_000)]

    assert all(form.fullmatch(event_id) for event_id in ids)
    assert len(set(ids)) == len(ids)
    assert {UUID(event_id).version for event_id in ids} == {4}
    assert {event_id[19] for event_id in ids} == set("89ab")


def test_no_two_threads_get_the_same_id() -> None:
    new_id, found = EventIds(), [list[str]() for _ in range(8)]
    ready = threading.Barrier(len(found))

    def draw(ids: list[str]) -> None:
        ready.wait()
        ids.extend(new_id() for _ in range(5_000))

    threads = [threading.Thread(target=draw, args=(ids,)) for ids in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({event_id for ids in found for event_id in ids}) == 8 * 5_000


def fork() -> int:
    """Fork as Python does."""
    return os.fork()


def fork_without_hooks() -> int:
    """Fork as a server does that is written in C."""
    child: int = ctypes.PyDLL(None).fork()
    return child


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(("fork", "wipes"), [(fork, True), (fork, False), (fork_without_hooks, True)])
def test_a_forked_child_draws_other_ids_than_its_parent(
    monkeypatch: pytest.MonkeyPatch,
    fork: Callable[[], int],
    wipes: bool,
) -> None:
    if fork is fork_without_hooks and sys.platform != "linux":
        pytest.skip("only Linux says so")
    if not wipes:
        monkeypatch.setattr("mmap.mmap", Mock(side_effect=OSError("not here")))
    new_id = EventIds()
    new_id()
    reader, writer = os.pipe()
    child = fork()
    if child == 0:
        os.write(writer, "".join(new_id() for _ in range(100)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()

    of_child = {text[i : i + 36] for i in range(0, len(text), 36)}
    assert len(of_child) == 100
    assert of_child.isdisjoint(new_id() for _ in range(100))


def test_id_and_clock_are_the_trackers_own() -> None:
    tracker, emitter = tracker_and_emitter(new_id=lambda: ID, clock=lambda: 1_700_000_000_999_999_999)

    assert tracker.track_nowait(VIEW) == ID
    assert (emitter.payloads[0]["eid"], emitter.payloads[0]["dtm"]) == (ID, "1700000000999")


@pytest.mark.parametrize("event_id", [ID, ID.upper(), UUID(ID)], ids=["text", "upper case", "UUID"])
def test_the_callers_own_id_is_sent_and_returned(event_id: Any) -> None:
    tracker, emitter = tracker_and_emitter()

    assert tracker.track_nowait(VIEW, event_id=event_id) == ID
    assert emitter.payloads[0]["eid"] == ID


@pytest.mark.parametrize("event_id", ["", "123", ID.replace("-", ""), f"{{{ID}}}", ID + "\n", 5, b"x" * 36])
def test_what_is_no_uuid_is_no_id(event_id: Any) -> None:
    with pytest.raises(InvalidEventError, match=r"^event_id: must be a UUID in its canonical form, got"):
        sent(VIEW, event_id=event_id)


def test_an_event_tracked_twice_has_two_ids() -> None:
    assert sent(VIEW)["eid"] != sent(VIEW)["eid"]


@pytest.mark.anyio
async def test_a_chain_gives_the_id_of_its_last_event() -> None:
    tracker, emitter = tracker_and_emitter()

    event_id = await tracker.track_page_view("https://example.com/").track_screen_view("title")

    assert [event["e"] for event in emitter.payloads] == ["pv", "ue"]
    assert emitter.payloads[1]["eid"] == event_id


def _ids_of_two_copies(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Return the ids that two processes draw which go on from one snapshot, taken after the first event."""
    copies = []
    for _ in range(2):
        with monkeypatch.context() as before:
            # What one process has read before the snapshot, both copies have.
            before.setattr("os.urandom", lambda size: b"s" * size)
            new_id = EventIds()
            new_id()
        copies.append({new_id() for _ in range(40)})
    return copies


def test_processes_that_go_on_from_one_snapshot_draw_ids_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    one, other = _ids_of_two_copies(monkeypatch)
    assert (len(one), one & other) == (40, set())


@pytest.mark.parametrize("kind", ["on-demand", "provisioned-concurrency", ""])
def test_other_functions_make_ids_in_advance(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", kind)
    read = Mock(side_effect=os.urandom)
    monkeypatch.setattr("os.urandom", read)
    new_id = EventIds()
    assert len({new_id() for _ in range(40)}) == 40
    assert read.call_count == 2
