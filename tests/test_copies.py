"""Values can be copied and pickled; what belongs to one process says that it cannot."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from snowplow_aio import (
    CeleryEmitter,
    ConsoleEmitter,
    EmitterStats,
    FileEmitter,
    FlushResult,
    HttpEmitter,
    RedisEmitter,
    Retry,
    Tracker,
)
from snowplow_aio.policies import Batching

COPIES: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    lambda value: pickle.loads(pickle.dumps(value)),
]
WAYS = pytest.mark.parametrize("copied", COPIES, ids=["copy", "deepcopy", "pickle"])


@WAYS
@pytest.mark.parametrize(
    "value",
    [
        Retry(max_delay=30, retry_codes={403: True}),
        Retry.never(),
        Batching(batch_size=3),
        EmitterStats(accepted=2, delivered=1, rejected={"refused": 1}),
        FlushResult.of({"http": FlushResult(delivered=2)}),
    ],
    ids=["Retry", "Retry.never", "Batching", "EmitterStats", "FlushResult"],
)
def test_a_value_can_be_copied_and_pickled(value: Any, copied: Callable[[Any], Any]) -> None:
    assert copied(value) == value
    assert copied(copied(value)) == value


@WAYS
def test_the_copy_of_a_policy_keeps_its_own_rules(copied: Callable[[Any], Any]) -> None:
    copy_of_retry = copied(Retry(retry_codes={403: True}))
    with pytest.raises(TypeError):
        copy_of_retry.retry_codes[404] = True
    assert dict(copy_of_retry.retry_codes) == {403: True}


@WAYS
@pytest.mark.parametrize(
    "make",
    [
        lambda path: HttpEmitter("collector.example.com"),
        lambda path: ConsoleEmitter(),
        lambda path: FileEmitter(path / "events.jsonl"),
        lambda path: RedisEmitter(),
        lambda path: CeleryEmitter(),
        lambda path: Tracker(HttpEmitter("collector.example.com")),
    ],
    ids=["HttpEmitter", "ConsoleEmitter", "FileEmitter", "RedisEmitter", "CeleryEmitter", "Tracker"],
)
def test_an_emitter_and_a_tracker_say_that_they_cannot_be_copied(
    make: Callable[[Any], Any], copied: Callable[[Any], Any], tmp_path: Any
) -> None:
    thing = make(tmp_path)
    rule = f"a {type(thing).__name__} cannot be copied or pickled: it holds connections"
    with pytest.raises(TypeError, match=rule):
        copied(thing)


def test_an_emitter_in_the_arguments_of_another_process_is_named() -> None:
    with pytest.raises(TypeError, match="a HttpEmitter cannot be copied or pickled"):
        pickle.dumps({"emitters": [HttpEmitter("collector.example.com")]})
