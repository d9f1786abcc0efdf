"""
The benchmarks: their statistics, when they refuse a ratio, and whether they run at all.

No test here asserts a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PERFORMANCE = ROOT / "docs" / "explanation" / "performance.md"
PICTURES = ROOT / "docs" / "_static"

# They differ from others that a small run has in a fault or a loop, or in a number.
SAME_ROWS = {"loop-answering", "loop-refusing", "service-refusing", "service-slow", "service-standard"}
SAME_CLIENTS = {
    "tasks-1",
    "tasks-100",
    "events-100k",
    "events-1m",
    *(f"contexts-{more}k" for more in (0, 16, 64)),
}


@pytest.fixture(scope="module")
def measure(bench: Callable[[str], Any]) -> Any:
    return bench("measure")


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


def summary(measure: Any, speeds: list[float] | None = None, **changes: Any) -> Any:
    """
    Return the summary of such repeats, of five at 100 events/s if not told otherwise.
    """
    return measure.summary(repeats(measure, speeds or [100.0] * 5, **changes), 20.0)


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
    ours, theirs = summary(measure, cpu_us=10.0), summary(measure, cpu_us=40.0)

    assert measure.ratio("cpu_us", ours, theirs) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("speeds", "counted", "reason"),
    [
        pytest.param([100.0] * 4, 1000, "too few", id="four good repeats are too few"),
        pytest.param([100.0, 30.0, 170.0, 60.0, 140.0], 1000, "too noisy", id="repeats that disagree"),
        pytest.param([100.0] * 5, 999, "events lost", id="dropping is the fastest way to deliver"),
    ],
)
def test_ratio_is_refused(measure: Any, speeds: list[float], counted: int, reason: str) -> None:
    """
    It would look surer than it is, whichever side is at fault.
    """
    doubtful, good = summary(measure, speeds, counted=counted), summary(measure)

    for pair in ((doubtful, good), (good, doubtful)):
        with pytest.raises(measure.RefusedError) as refused:
            measure.ratio(measure.SPEED, *pair)
        assert str(refused.value) == reason


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
    with pytest.raises(measure.RefusedError, match="too noisy"):
        measure.ratio("cpu_us", found, found)


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
        "ours": summary(measure),
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
        return told(of_rate, {"served-alone": summary(measure), "served-ours": summary(measure, rates)})

    assert judged([96.0] * 5) == ("4 %", True)
    assert judged([94.0] * 5) == ("6 %", False)
    assert judged([90.0, 94.0, 98.0, 102.0, 106.0]) == ("too noisy", None)
    assert judged([96.0] * 4) == ("too few", None)


@pytest.mark.parametrize(
    ("ratios", "said", "code"),
    [
        pytest.param([0.98, 1.02, 0.99, 1.01, 1.0] * 5, "within noise", 0, id="2 % around nothing"),
        pytest.param([1.03, 1.07, 1.04, 1.06, 1.05] * 5, "slower by 5.0%", 1, id="5 % through noise of 2 %"),
        pytest.param(
            [1.01, 1.012, 1.014] * 8, "slower by 1.2%", 0, id="sure but small: for the author to judge"
        ),
        pytest.param([0.8, 1.25, 0.9, 1.2, 1.0], "too noisy", 2, id="the limit lies within the interval"),
    ],
)
def test_change_of_cost_is_judged_by_its_limit(
    bench: Callable[[str], Any], ratios: list[float], said: str, code: int
) -> None:
    """
    Only a slow-down that is both sure and above the limit of 3 % is an error.
    """
    compare = bench("compare")

    text, found = compare.judge(compare.change(ratios))

    assert text.startswith(said)
    assert found == code


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
            for row in bench("rows").ROWS
        ],
    }

    run, drawn = tmp_path / "run.json", tmp_path / "drawn"
    run.write_text(json.dumps(document), encoding="utf-8")

    bench("pictures").main([str(run), str(drawn)])

    assert {path.name for path in drawn.iterdir()} == {path.name for path in PICTURES.glob("*.svg")}
    for path in drawn.iterdir():
        assert "snowplow-aio 0.1</text>" in path.read_text(encoding="utf-8")
        assert path.name in PERFORMANCE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def smoke(bench: Callable[[str], Any], run: Callable[..., Any]) -> dict[str, Any]:
    """
    Return the JSON of a small run with this library alone, whose halves are played side by side.
    """
    rows = bench("rows")
    names = [row.name for row in rows.ROWS if row.name not in SAME_ROWS]
    own = {name for name, client in rows.CLIENTS.items() if client.runs_on in ("ours", "core")} - SAME_CLIENTS

    def play(half: list[str]) -> dict[str, Any]:
        options = ("--scale", "0", "--repeats", "1", "--only", ",".join(half), "--clients", ",".join(own))
        document: dict[str, Any] = run("run.py", *options)[1]
        assert [row["name"] for row in document["rows"]] == half
        return document

    with ThreadPoolExecutor() as pool:
        one, other = pool.map(play, (names[::2], names[1::2]))
    document = one | {part: one[part] + other[part] for part in ("rows", "published")}
    assert {client["name"] for row in document["rows"] for client in row["clients"]} == own
    return document


def test_smoke_run_counts_every_event(smoke: dict[str, Any]) -> None:
    """
    Each row runs with this library alone, and loses nothing.
    """
    for row in smoke["rows"]:
        for client in row["clients"]:
            place = f"{row['name']}, {client['name']}"
            (repeat,) = client["repeats"]
            assert repeat["counted"] == repeat["events"], place
            assert repeat["figures"], place


def test_smoke_run_tells_what_a_reader_must_know(smoke: dict[str, Any]) -> None:
    """
    Its JSON has the machine, the versions and the lines that are published.
    """
    assert smoke.keys() >= {"command", "started_at", "machine", "versions", "rows", "published"}
    assert {line["row"] for line in smoke["published"]} <= {row["name"] for row in smoke["rows"]}
    assert smoke["published"]
    assert "snowplow-aio" in smoke["versions"]["ours"]
