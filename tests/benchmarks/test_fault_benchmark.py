"""
The fault benchmark: whether it runs, counts, and prints its table.

No test here asserts a time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RUN = ROOT / "benchmarks" / "faults.py"
COLUMNS = ["tracked", "lost", "duplicated", "reported", "close", "worst stall"]

pytestmark = pytest.mark.skipif(not RUN.exists(), reason="no benchmarks beside an installed package")


def run(directory: Path, *words: str) -> tuple[str, str, list[dict[str, Any]]]:
    """
    Return what a run prints, the table that it writes, and its trials.
    """
    written, table = directory / "faults.json", directory / "faults.md"
    command = [sys.executable, str(RUN), *words, "--json", str(written), "--markdown", str(table)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(written.read_text(encoding="utf-8"))
    assert document.keys() >= {"command", "started_at", "machine", "events", "seed", "trials"}
    return done.stdout, table.read_text(encoding="utf-8"), document["trials"]


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_smoke_run_loses_nothing_and_makes_a_row_for_each_fault(tmp_path: Path) -> None:
    printed, table, trials = run(tmp_path, "--smoke")

    assert [(trial["fault"], trial["peer"]) for trial in trials] == [
        ("healthy", "ours"),
        ("unavailable", "ours"),
    ]
    for trial in trials:
        assert trial["tracked"] == trial["events"] == 200
        assert (trial["lost"], trial["told"], trial["raised"], trial["blocked"]) == (0, 0, 0, "")
        assert trial["requests"] > 0
        assert "snowplow-aio" in trial["versions"]
    head, rule, *body = rows(table)
    assert head == ["fault", "tracker", *COLUMNS]
    assert set("".join(rule)) <= {"-", ":"}
    assert [row[1:6] for row in body] == [["snowplow-aio", "200", "0", "0", "0"]] * 2
    assert all(len(row) == len(head) for row in body)
    assert printed == table


def test_events_that_do_not_arrive_are_counted_as_lost(tmp_path: Path) -> None:
    _, table, (trial,) = run(tmp_path, "--faults", "dead", "--peers", "ours", "--events", "30")

    assert (trial["tracked"], trial["lost"], trial["told"]) == (30, 30, 30)
    assert rows(table)[-1][2:6] == ["30", "30", "0", "30"]


def test_events_that_the_collector_refuses_are_not_counted_as_lost(tmp_path: Path) -> None:
    _, _, (trial,) = run(tmp_path, "--faults", "poison", "--peers", "ours", "--events", "250")

    assert (trial["poisoned"], trial["lost"], trial["told"]) == (1, 0, 1)


def test_published_table_is_that_of_all_faults_and_trackers() -> None:
    """
    The page names its command, and the rows are those that the command makes.
    """
    page = (ROOT / "docs" / "explanation" / "faults.md").read_text(encoding="utf-8")
    code = (
        "import json, faults; print(json.dumps([[case.title, case.runs] for case in faults.CASES.values()]))"
    )
    code += "; print(json.dumps([peer[0] for peer in faults.PEERS.values()]))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=RUN.parent, capture_output=True, text=True, check=True
    )
    faults, trackers = (json.loads(line) for line in done.stdout.splitlines())

    (_, _, *body) = rows("\n".join(line for line in page.splitlines() if line.startswith("|")))

    titles = [title if runs == 1 else f"{title} ({runs} runs)" for title, runs in faults]
    assert [row[0] for row in body if row[0]] == titles
    assert [row[1] for row in body] == trackers * len(titles)
    assert f"python benchmarks/{RUN.name} --seed 1 --markdown faults.md" in page
