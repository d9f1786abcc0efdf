"""
The fault benchmark: whether it runs, counts, and prints its table.

No test here asserts a time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
COLUMNS = ["tracked", "lost", "duplicated", "reported", "close", "worst stall"]


class Run(NamedTuple):
    """
    What a run printed, the table that it wrote, and its trials by the fault.
    """

    printed: str
    table: str
    trials: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def smoke(run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    table = tmp_path_factory.mktemp("faults") / "faults.md"
    printed, document = run("faults.py", "--smoke", "--markdown", str(table))
    assert document.keys() >= {"command", "started_at", "machine", "events", "seed", "trials"}
    trials = {trial["fault"]: trial for trial in document["trials"]}
    return Run(printed, table.read_text(encoding="utf-8"), trials)


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_smoke_run_makes_a_row_for_each_fault(smoke: Run) -> None:
    assert list(smoke.trials) == ["healthy", "unavailable", "dead", "poison"]
    for trial in smoke.trials.values():
        assert trial["peer"] == "ours"
        assert trial["tracked"] == trial["events"] == 250
        assert "snowplow-aio" in trial["versions"]
    head, rule, *body = rows(smoke.table)
    assert head == ["fault", "tracker", *COLUMNS]
    assert set("".join(rule)) <= {"-", ":"}
    assert [row[1:3] for row in body] == [["snowplow-aio", "250"]] * 4
    assert all(len(row) == len(head) for row in body)
    assert smoke.printed == smoke.table


@pytest.mark.parametrize("fault", ["healthy", "unavailable"])
def test_nothing_is_lost_to_a_collector_that_works_in_the_end(smoke: Run, fault: str) -> None:
    trial = smoke.trials[fault]

    assert (trial["lost"], trial["told"], trial["raised"], trial["blocked"]) == (0, 0, 0, "")
    assert trial["requests"] > 0
    assert rows(smoke.table)[2 + list(smoke.trials).index(fault)][3:6] == ["0", "0", "0"]


def test_events_that_do_not_arrive_are_counted_as_lost(smoke: Run) -> None:
    trial = smoke.trials["dead"]

    assert (trial["tracked"], trial["lost"], trial["told"]) == (250, 250, 250)
    assert rows(smoke.table)[4][2:6] == ["250", "250", "0", "250"]


def test_events_that_the_collector_refuses_are_not_counted_as_lost(smoke: Run) -> None:
    trial = smoke.trials["poison"]

    assert (trial["poisoned"], trial["lost"], trial["told"]) == (1, 0, 1)


def test_published_table_is_that_of_all_faults_and_trackers(bench: Callable[[str], Any]) -> None:
    """
    The page names its command, and the rows are those that the command makes.
    """
    faults = bench("faults")
    page = (ROOT / "docs" / "explanation" / "faults.md").read_text(encoding="utf-8")

    (_, _, *body) = rows("\n".join(line for line in page.splitlines() if line.startswith("|")))

    titles = [
        one.title if one.runs == 1 else f"{one.title} ({one.runs} runs)" for one in faults.CASES.values()
    ]
    assert [row[0] for row in body if row[0]] == titles
    assert [row[1] for row in body] == [peer[0] for peer in faults.PEERS.values()] * len(titles)
    assert "python benchmarks/faults.py --seed 1 --markdown faults.md" in page
