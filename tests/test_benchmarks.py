"""
The benchmarks: their statistics, when they refuse a ratio, and whether they run at all.

No test here asserts a time.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="no benchmarks beside an installed package")


@pytest.fixture(scope="module")
def measure() -> ModuleType:
    """
    The module, loaded by its path: benchmarks are no package.
    """
    spec = importlib.util.spec_from_file_location("benchmarks_measure", BENCHMARKS / "measure.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def repeats(measure: ModuleType, speeds: list[float], **changes: Any) -> list[Any]:
    """
    Return one repeat per events/s in *speeds*, steady and complete but for *changes*.
    """
    same = {"events": 1000, "counted": 1000, "cpu_us": 10.0, "p50_us": 8.0, "p99_us": 20.0, "max_us": 90.0}
    same |= {"calibration_before_ms": 20.0, "calibration_after_ms": 20.0} | changes
    return [
        measure.Repeat(round=number, seconds=same["events"] / speed, **same)
        for number, speed in enumerate(speeds)
    ]


def test_spread_is_interquartile_range_over_median(measure: ModuleType) -> None:
    """
    One far outlier among five does not make a spread large.
    """
    assert measure.spread([8.0, 9.0, 10.0, 11.0, 100.0]) == pytest.approx(0.2)
    assert measure.spread([10.0]) is None


def summary(measure: ModuleType, speeds: list[float], **changes: Any) -> Any:
    """
    Return the summary of such repeats at the speed of a calibration of 20 ms.
    """
    return measure.summarise(repeats(measure, speeds, **changes), 20.0)


def test_ratio_is_that_of_the_medians(measure: ModuleType) -> None:
    """
    An outlier on one side changes nothing.
    """
    ours = summary(measure, [100.0, 102.0, 98.0, 100.0, 20.0])

    found = measure.ratio("events_per_second", ours, summary(measure, [10.0] * 5))

    assert found.value == pytest.approx(10.0)
    assert found.refusal is None


def test_ratio_above_one_means_less_of_a_cost(measure: ModuleType) -> None:
    """
    For CPU time the quotient is turned around.
    """
    ours = summary(measure, [100.0] * 5, cpu_us=10.0)
    theirs = summary(measure, [100.0] * 5, cpu_us=40.0)

    assert measure.ratio("cpu_us", ours, theirs).value == pytest.approx(4.0)


def test_fewer_than_five_repeats_give_no_ratio(measure: ModuleType) -> None:
    """
    Four good repeats are too few on either side, however alike they are.
    """
    four, five = summary(measure, [100.0] * 4), summary(measure, [10.0] * 5)

    for pair in ((four, five), (five, four)):
        found = measure.ratio("cpu_us", *pair)
        assert (found.value, found.refusal) == (None, "too few")


def test_repeats_that_disagree_give_no_ratio(measure: ModuleType) -> None:
    """
    A median of figures far apart would look surer than it is.
    """
    ours = summary(measure, [100.0, 30.0, 170.0, 60.0, 140.0])

    found = measure.ratio("events_per_second", ours, summary(measure, [10.0] * 5))

    assert (found.value, found.refusal) == (None, "too noisy")


def test_client_that_loses_events_gets_no_ratio(measure: ModuleType) -> None:
    """
    Dropping is the fastest way to deliver.
    """
    ours = summary(measure, [100.0] * 5, counted=999)

    assert measure.ratio("cpu_us", ours, summary(measure, [10.0] * 5)).refusal == "events lost"


def test_repeat_during_a_speed_flip_is_not_used(measure: ModuleType) -> None:
    """
    A repeat whose calibrations differ ran at no speed that can be named.
    """
    flipped = repeats(measure, [60.0] * 5, calibration_after_ms=35.0)

    assert measure.common_calibration(flipped) is None
    assert measure.usable(flipped, 20.0) == []


def test_summary_takes_the_commonest_speed(measure: ModuleType) -> None:
    """
    Two slow repeats among five do not pull the median down.
    """
    fast = repeats(measure, [100.0, 101.0, 99.0])
    slow = repeats(measure, [57.0, 58.0], calibration_before_ms=35.0, calibration_after_ms=35.0)
    made = [*slow, *fast]

    found = measure.summarise(made, measure.common_calibration(made))

    assert found.usable == 3
    assert found.medians["events_per_second"] == pytest.approx(100.0)


def test_nothing_usable_gives_an_empty_summary(measure: ModuleType) -> None:
    """
    No repeat at all is no error, but no figure either.
    """
    assert measure.common_calibration([]) is None
    assert measure.summarise([], None).medians == {}


def test_smoke_run_counts_every_event_at_the_sink(tmp_path: Path) -> None:
    """
    Each scenario runs with this library alone, loses nothing and writes its JSON.
    """
    path = tmp_path / "smoke.json"
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--smoke", "--only", "ours", "--json", str(path)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document.keys() >= {"format", "command", "started_at", "machine", "versions", "scenarios"}
    assert {"page_view", "structured", "get", "building"} == {s["name"] for s in document["scenarios"]}
    made = [
        (client["name"], repeat)
        for scenario in document["scenarios"]
        for client in scenario["clients"]
        for repeat in client["repeats"]
    ]
    assert made
    for name, repeat in made:
        assert repeat["counted"] == repeat["events"] > 0, name
    assert "snowplow-aio" in document["versions"]["ours"]
