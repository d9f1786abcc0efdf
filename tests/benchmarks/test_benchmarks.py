"""
The benchmarks: their statistics, when they refuse a ratio, and whether they run at all.

No test here asserts a time.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
PERFORMANCE = ROOT / "docs" / "explanation" / "performance.md"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="no benchmarks beside an installed package")


@pytest.fixture(scope="module")
def bench() -> Iterator[Callable[[str], Any]]:
    """
    Import a module of the benchmarks, which are no package, and forget it afterwards.
    """
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path.remove(str(BENCHMARKS))
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture(scope="module")
def measure(bench: Callable[[str], Any]) -> Any:
    return bench("measure")


@pytest.fixture(scope="module")
def compare(bench: Callable[[str], Any]) -> Any:
    return bench("compare")


def repeats(measure: Any, speeds: list[float], **changes: Any) -> list[Any]:
    """
    Return one repeat per events/s in *speeds*, steady and complete but for *changes*.
    """
    figures = {"cpu_us": 10.0, "p50_us": 8.0, "p99_us": 20.0}
    figures |= {name: changes.pop(name) for name in [*figures] if name in changes}
    same = {"events": 1000, "counted": 1000, "calibration_before_ms": 20.0, "calibration_after_ms": 20.0}
    return [
        measure.Repeat(
            figures=figures | {"events_per_second": speed, "requests_per_second": speed}, **same | changes
        )
        for speed in speeds
    ]


def summary(measure: Any, speeds: list[float], **changes: Any) -> Any:
    """
    Return the summary of such repeats at the speed of a calibration of 20 ms.
    """
    return measure.summary(repeats(measure, speeds, **changes), 20.0)


def refusal(measure: Any, metric: str, ours: Any, theirs: Any) -> str:
    with pytest.raises(measure.RefusedError) as refused:
        measure.ratio(metric, ours, theirs)
    return str(refused.value)


def test_spread_is_interquartile_range_over_median(measure: Any) -> None:
    """
    One far outlier among five does not make a spread large.
    """
    assert measure.spread([8.0, 9.0, 10.0, 11.0, 100.0]) == pytest.approx(0.2)
    assert measure.spread([0.0] * 5) == 0.0
    assert measure.spread([10.0]) == float("inf")


def test_ratio_is_that_of_the_medians(measure: Any) -> None:
    """
    An outlier on one side changes nothing.
    """
    ours = summary(measure, [100.0, 102.0, 98.0, 100.0, 20.0])

    assert measure.ratio(measure.SPEED, ours, summary(measure, [10.0] * 5)) == pytest.approx(10.0)


def test_ratio_above_one_means_less_of_a_cost(measure: Any) -> None:
    """
    For CPU time the quotient is turned around.
    """
    ours = summary(measure, [100.0] * 5, cpu_us=10.0)
    theirs = summary(measure, [100.0] * 5, cpu_us=40.0)

    assert measure.ratio("cpu_us", ours, theirs) == pytest.approx(4.0)


def test_fewer_than_five_repeats_give_no_ratio(measure: Any) -> None:
    """
    Four good repeats are too few on either side, however alike they are.
    """
    four, five = summary(measure, [100.0] * 4), summary(measure, [10.0] * 5)

    for pair in ((four, five), (five, four)):
        assert refusal(measure, "cpu_us", *pair) == "too few"


def test_repeats_that_disagree_give_no_ratio(measure: Any) -> None:
    """
    A median of figures far apart would look surer than it is.
    """
    ours = summary(measure, [100.0, 30.0, 170.0, 60.0, 140.0])

    assert refusal(measure, measure.SPEED, ours, summary(measure, [10.0] * 5)) == "too noisy"


def test_client_that_loses_events_gets_no_ratio(measure: Any) -> None:
    """
    Dropping is the fastest way to deliver.
    """
    ours = summary(measure, [100.0] * 5, counted=999)

    assert refusal(measure, "cpu_us", ours, summary(measure, [10.0] * 5)) == "events lost"


def test_repeat_during_a_speed_flip_is_not_used(measure: Any) -> None:
    """
    A repeat whose calibrations differ ran at no speed that can be named.
    """
    flipped = repeats(measure, [60.0] * 5, calibration_after_ms=35.0)

    assert measure.summary(flipped, 20.0).usable == 0
    assert measure.summarise({"ours": flipped})["ours"].usable == 0


def test_summary_takes_the_commonest_speed(measure: Any) -> None:
    """
    Two slow repeats among five do not pull the median down.
    """
    fast = repeats(measure, [100.0, 101.0, 99.0])
    slow = repeats(measure, [57.0, 58.0], calibration_before_ms=35.0, calibration_after_ms=35.0)

    found = measure.summarise({"ours": [*slow, *fast]})["ours"]

    assert found.usable == 3
    assert found.medians["events_per_second"] == pytest.approx(100.0)


def test_nothing_usable_gives_an_empty_summary(measure: Any) -> None:
    """
    No repeat at all is no error, but no figure either.
    """
    assert measure.summarise({"ours": []})["ours"].medians == {}


def test_tail_may_lie_further_apart_than_a_rate(measure: Any) -> None:
    """
    A few of thousands of waits make a 99th percentile.
    """
    tails = [20.0, 14.0, 16.0, 26.0, 24.0]
    made = [one for tail in tails for one in repeats(measure, [100.0], p99_us=tail, cpu_us=tail)]
    found = measure.summary(made, 20.0)

    assert measure.ratio("p99_us", found, found) == 1.0
    assert refusal(measure, "cpu_us", found, found) == "too noisy"


def told(line: Any, found: dict[str, Any]) -> tuple[str, bool | None]:
    verdict = line.told(found)
    return verdict["found"], verdict["is_met"]


def test_target_is_judged_against_the_fastest_of_the_tuned(measure: Any, bench: Callable[[str], Any]) -> None:
    """
    Ten times the slower tuning is no proof of four times the best.
    """
    target = next(
        one for one in bench("published").LINES if "tuning" in one.against and one.row == "page_view"
    )
    found = {
        "emitter-tuned": summary(measure, [10.0] * 5),
        "async-emitter-tuned": summary(measure, [30.0] * 5),
        "ours": summary(measure, [100.0] * 5),
    }

    assert told(target, found) == ("3.3 ×", False)
    assert told(target, found | {"ours": summary(measure, [130.0] * 5)}) == ("4.3 ×", True)
    assert told(target, {"ours": found["ours"]}) == ("not run", None)


def test_service_may_answer_five_per_cent_fewer_requests(measure: Any, bench: Callable[[str], Any]) -> None:
    """
    A loss is told in per cent of the service without tracking, and none from repeats further apart than that.
    """
    (_, of_rate, *_) = bench("published").of_service("slow", "served-ours")

    def judged(rates: list[float]) -> tuple[str, bool | None]:
        return told(
            of_rate, {"served-alone": summary(measure, [100.0] * 5), "served-ours": summary(measure, rates)}
        )

    assert judged([96.0] * 5) == ("4 %", True)
    assert judged([94.0] * 5) == ("6 %", False)
    assert judged([90.0, 94.0, 98.0, 102.0, 106.0]) == ("too noisy", None)
    assert judged([96.0] * 4) == ("too few", None)


def test_same_cost_is_within_noise(compare: Any) -> None:
    """
    Two per cent up and down around nothing are no slow-down.
    """
    text, code = compare.judge(compare.change([0.98, 1.02, 0.99, 1.01, 1.0] * 5), 0.03)

    assert text.startswith("within noise")
    assert code == 0


def test_slow_down_above_the_limit_is_an_error(compare: Any) -> None:
    """
    Five per cent are found through noise of two.
    """
    text, code = compare.judge(compare.change([1.03, 1.07, 1.04, 1.06, 1.05] * 5), 0.03)

    assert text.startswith("slower by 5.0%")
    assert code == 1


def test_slow_down_below_the_limit_is_told_and_no_error(compare: Any) -> None:
    """
    What is sure but small is for the author to judge.
    """
    text, code = compare.judge(compare.change([1.01, 1.012, 1.014] * 8), 0.03)

    assert text.startswith("slower by 1.2%")
    assert code == 0


def test_noise_that_hides_the_limit_is_neither_good_nor_bad(compare: Any) -> None:
    """
    An interval from far below to far above the limit says nothing.
    """
    text, code = compare.judge(compare.change([0.8, 1.25, 0.9, 1.2, 1.0]), 0.03)

    assert text.startswith("too noisy")
    assert code == 2


def tables(page: Path) -> list[list[list[str]]]:
    """
    Return the cells of each Markdown table of *page*, without its heading.
    """
    found, lines = [], iter(page.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith("|"):
            cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in takewhile(is_row, lines)]
            found.append(cells[1:])
    return found


def is_row(line: str) -> bool:
    return line.startswith("|")


def test_every_published_ratio_is_read_off_a_run(bench: Callable[[str], Any]) -> None:
    """
    Each figure of the table has a line of its own, by the name that the table gives it.
    """
    lines = [line.text for line in bench("published").LINES]

    name = ""
    figures: dict[str, int] = {}
    for first, _, values in tables(PERFORMANCE)[0]:
        name = first or name
        figures[name] = figures.get(name, 0) + len(values.split(";"))

    assert figures == {name: lines.count(name) for name in figures}


def test_every_published_cost_for_a_service_is_read_off_a_run(bench: Callable[[str], Any]) -> None:
    """
    Each row of the table is in one or two rows of the benchmarks, for both ways to find the tracker.
    """
    published = [
        (("answering",), "request_cpu_us"),
        (("answering",), "requests_per_second"),
        (("refusing", "slow"), "requests_per_second"),
        (("answering",), "requests_per_second"),
        (("standard",), "requests_per_second"),
        (("answering",), "p99_ms"),
        (("refusing", "slow"), "p99_ms"),
        (("answering",), "stall_ms"),
    ]
    made = {(line.row, line.metric, line.clients[0]) for line in bench("published").LINES}

    assert len(tables(PERFORMANCE)[1]) == len(published)
    for states, metric in published:
        for state in states:
            assert {
                (f"service-{state}", metric, client) for client in ("served-ours", "served-ours-request")
            } <= made


def test_every_figure_in_prose_is_read_off_a_run(bench: Callable[[str], Any]) -> None:
    """
    Growth, the idle tracker, the import and the price of validation.
    """
    rows = {"linear-events", "linear-tasks", "linear-contexts", "idle", "import", "building"}

    assert rows <= {line.row for line in bench("published").LINES}


def test_every_line_names_clients_that_its_row_has(bench: Callable[[str], Any]) -> None:
    """
    A line of a client that is not run would say "not run" for ever.
    """
    rows = {row.name: set(row.clients) for row in bench("rows").ROWS}

    for line in bench("published").LINES:
        assert set(line.clients) <= rows[line.row], line.text


def test_every_published_picture_is_drawn_from_a_run(bench: Callable[[str], Any], tmp_path: Path) -> None:
    """
    Its texts stay texts, so that a change can be read.
    """
    pytest.importorskip("matplotlib")
    pictures, rows = bench("pictures"), bench("rows").ROWS
    medians = {"events_per_second": 1000.0, "p50_us": 8.0, "late_p99_ms": 1.0, "p99_ms": 1.0}
    summary = {"medians": medians, "percentiles": [float(number) for number in range(1, 14)]}
    document = {
        "started_at": "2026-11-30T12:00:00+00:00",
        "machine": {"cpu": "some CPU", "cores": 2, "python": "CPython"},
        "versions": {"ours": {"snowplow-aio": "0.1"}},
        "rows": [
            {
                "name": row.name,
                "clients": [
                    {"title": one.title, "family": one.family, "summary": summary}
                    for one in row.clients.values()
                ],
            }
            for row in rows
        ],
    }

    drawn = pictures.draw(document, tmp_path)

    assert {path.name for path in drawn} == {path.name for path in (ROOT / "docs" / "_static").glob("*.svg")}
    for path in drawn:
        assert "snowplow-aio 0.1</text>" in path.read_text(encoding="utf-8")
        assert path.name in PERFORMANCE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "rows",
    [
        "page_view,structured,get,tls,rtt,building",
        "loop-hanging,memory,idle,import,linear-tasks,linear-contexts,service-answering",
        "redis-emit,redis-drain,redis-latency",
    ],
)
def test_smoke_run_counts_every_event(tmp_path: Path, rows: str) -> None:
    """
    A row runs with this library alone, loses nothing and writes its JSON.
    """
    path = tmp_path / "smoke.json"
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--smoke", "--clients", "ours", "--only", rows]

    done = subprocess.run(
        [*command, "--json", str(path)], capture_output=True, text=True, timeout=170, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(path.read_text(encoding="utf-8"))
    keys = {"command", "started_at", "machine", "versions", "rows", "published"}
    assert document.keys() >= keys
    assert {row["name"] for row in document["rows"]} == set(rows.split(","))
    made = [
        (client["name"], repeat)
        for row in document["rows"]
        for client in row["clients"]
        for repeat in client["repeats"]
    ]
    assert made
    for name, repeat in made:
        assert repeat["counted"] == repeat["events"], name
        assert repeat["figures"], name
    assert "snowplow-aio" in document["versions"]["ours"]
