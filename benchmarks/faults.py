"""
Run trackers into faults: ``python benchmarks/faults.py``.

docs/explanation/faults.md says what is measured and how to read it. Each trial
is one fault and one tracker, both in fresh processes.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import processes
from clients.common import Board, is_poison
from fault_collector import BY_NAME, Fault
from processes import ClientError

# Raised when a key of the JSON changes its meaning.
JSON_FORMAT = 1
# No multiple of any batch size, so that something is always left for the end.
EVENTS = 2005
# The pace of the work `meet_fault` of the clients.
EVENTS_PER_SECOND = 1000
PATIENCE = 15.0
SMOKE_EVENTS = 200
SMOKE_FAULTS = ["healthy", "unavailable"]
# From the start of the interpreter to the first event, on a machine that has other things to do.
START_SECONDS = 30.0
LOOK_SECONDS = 0.01

# The state of a client when its time was over, the worst last.
BLOCKED = ("", "ending", "closing", "tracking")
ADDED_UP = (
    *("events", "tracked", "raised", "poisoned", "lost", "duplicated"),
    *("unacknowledged", "requests", "connections"),
)
COLUMNS = ("tracked", "lost", "duplicated", "reported", "close", "worst stall")


# By the name on the command line: title, script, environment, and the emitter that is told to the script.
PEERS = {
    "ours": ("snowplow-aio", "ours.py", "ours", "http"),
    "emitter": ("snowplow-tracker, Emitter", "official.py", "official", "Emitter"),
    "async_emitter": ("snowplow-tracker, AsyncEmitter", "official.py", "official", "AsyncEmitter"),
    "aio": ("aio-snowplow-tracker", "aio.py", "aio", ""),
}
# The figures of one client; docs/explanation/faults.md says what they mean.
Trial = dict[str, Any]


def added_up(trials: Sequence[Trial]) -> Trial:
    """Return *trials* of one client as one: numbers are added up, of times the worst counts."""

    def known(name: str) -> list[Any]:
        return [trial[name] for trial in trials if trial[name] is not None]

    closed = known("close_seconds")
    return trials[0] | {
        **{name: sum(known(name)) for name in ADDED_UP},
        "told": sum(known("told")) if known("told") else None,
        "close_seconds": max(closed) if len(closed) == len(trials) else None,
        "worst_stall_ms": max(known("worst_stall_ms")),
        "blocked": max(known("blocked"), key=BLOCKED.index),
    }


def follow(
    client: subprocess.Popen[bytes], board: Board, fault: Fault, *, events: int, seed: int, patience: float
) -> Trial:
    """Wait for the end of *client*, at most *patience* seconds after its last event; tell how it ended."""
    terminated_ns, was_killed, started_ns = 0, False, board["started_ns"]
    planned_ns = int(events / EVENTS_PER_SECOND * 1e9)
    # Not in step with anybody's batches.
    signal_ns = planned_ns * random.Random(seed).uniform(0.4, 0.6)
    is_signalled = fault.ending in ("killed", "stopped")
    while client.poll() is None:
        now = time.monotonic_ns()
        if is_signalled and not terminated_ns and now > started_ns + signal_ns:
            client.terminate()
            terminated_ns = now
        due = board["tracking_ended_ns"] or started_ns + planned_ns
        if now > due + patience * 1e9:
            client.kill()
            was_killed = True
            break
        time.sleep(LOOK_SECONDS)
    ended_ns = time.monotonic_ns()
    client.wait()
    blocked, worst_ns = "", board["worst_stall_ns"]
    if was_killed and not board["tracking_ended_ns"]:
        # The last stall lasted until the client was killed.
        blocked, worst_ns = "tracking", max(worst_ns, ended_ns - board["last_tick_ns"])
    elif was_killed:
        blocked = "ending" if board["closed_ns"] or fault.ending == "return" else "closing"
    close_ns = (board["closed_ns"] or ended_ns) - (board["tracking_ended_ns"] or terminated_ns)
    return {
        "close_seconds": None if blocked else close_ns / 1e9,
        "worst_stall_ms": worst_ns / 1e6,
        "blocked": blocked,
    }


def run_trial(fault: Fault, peer: str, *, events: int, seed: int, patience: float) -> Trial:
    """
    Run *peer* into *fault* once.

    Raises:
        ClientError: If the client fails for a reason of its own.
    """
    _, script, runs_on, emitter = PEERS[peer]
    collector = processes.talking("fault_collector.py", {"fault": fault.name, "seed": seed})
    with tempfile.TemporaryDirectory() as folder, collector as (address, ask):
        path, output, errors = (Path(folder, name) for name in ("board", "stdout", "stderr"))
        path.touch()
        parameters: dict[str, Any] = {
            "work": "meet_fault",
            "event": "fault",
            "method": "post",
            "scheme": "http",
        }
        parameters |= {"emitter": emitter, "events": events, "port": address["port"], "board": str(path)}
        parameters |= {name: getattr(fault, name) for name in ("ending", "poison", "poison_every")}
        board = Board(path)
        # Both go to files, as those of a service do: clients as shipped write to them.
        with output.open("wb") as stdout, errors.open("wb") as stderr:
            command, env = processes.command(script, runs_on, parameters), processes.variables(runs_on)
            files: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": stdout, "stderr": stderr}
            with subprocess.Popen(command, env=env, **files) as client:
                try:
                    wait_for_start(client, board)
                    ask("begin")
                    ended = follow(client, board, fault, events=events, seed=seed, patience=patience)
                finally:
                    client.kill()
        if not ended["blocked"] and client.returncode not in {0, -signal.SIGTERM}:
            tail = errors.read_text(errors="replace")[-2000:]
            raise ClientError(f"{peer} ended with {client.returncode}:\n{tail}")
        counts, tracked = ask("report"), board["tracked"]
        poisoned = sum(is_poison(number, fault.poison_every) for number in range(tracked))
        return {
            "fault": fault.name,
            "peer": peer,
            "seed": seed,
            "events": events,
            "tracked": tracked,
            "raised": board["raised"],
            "poisoned": poisoned,
            "lost": tracked - poisoned - counts.pop("arrived"),
            **counts,
            "told": board["told"] - 1 if board["told"] else None,
            **ended,
            "versions": json.loads(output.read_text()),
        }


def wait_for_start(client: subprocess.Popen[bytes], board: Board) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not board["started_ns"] and client.poll() is None:
        if time.monotonic() > deadline:
            raise ClientError(f"the client did not start within {START_SECONDS:.0f} s")
        time.sleep(LOOK_SECONDS)


def cells(trial: Trial) -> list[str]:
    """Return the figures of *trial* in the order of `COLUMNS`."""
    is_signalled = BY_NAME[trial["fault"]].ending in ("killed", "stopped")
    of_all = "" if trial["tracked"] == trial["events"] or is_signalled else f" of {trial['events']:,}"
    close, stall = trial["close_seconds"], trial["worst_stall_ms"]
    return [
        f"{trial['tracked']:,}{of_all}",
        f"{trial['lost']:,}",
        f"{trial['duplicated']:,}",
        "–" if trial["told"] is None else f"{trial['told']:,}",
        f"blocked {trial['blocked']}" if close is None else f"{close:.2f} s",
        f"{stall / 1e3:.1f} s" if stall >= 1000 else f"{stall:.0f} ms",
    ]


def line(title: str, figures: Sequence[str]) -> str:
    return f"  {title:<34}" + "".join(f"{figure:>20}" for figure in figures)


def title(fault: str, runs: int) -> str:
    return BY_NAME[fault].title + ("" if runs == 1 else f" ({runs} runs)")


def markdown(trials: Sequence[Trial]) -> str:
    """Return the table of faults.md: a row for each client, and the fault in its first row."""
    rows = [("fault", "tracker", *COLUMNS), ("---", "---", *["---:"] * len(COLUMNS))]
    before = ""
    for (fault, peer), made in groupby(trials, key=lambda trial: (trial["fault"], trial["peer"])):
        added = list(made)
        name = "" if fault == before else title(fault, len(added))
        rows.append((name, PEERS[peer][0], *cells(added_up(added))))
        before = fault
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run trackers into faults.")
    add = parser.add_argument
    add("--faults", nargs="+", choices=BY_NAME, default=list(BY_NAME), metavar="FAULT")
    add("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER")
    add("--events", type=int, default=EVENTS, help="how many each client tracks")
    add("--seed", type=int, default=1, help="of the collector's chances")
    add("--patience", type=float, default=PATIENCE, help="seconds for closing before a client is killed")
    add("--json", type=Path, metavar="PATH", help="write all figures to PATH")
    add("--markdown", type=Path, metavar="PATH", help="write the table to PATH")
    add("--smoke", action="store_true", help="few events, two faults, no peers: does it run?")
    arguments = parser.parse_args(words)
    if arguments.events < 1 or arguments.patience <= 0:
        parser.error("--events and --patience must be positive")
    if arguments.smoke:
        arguments.events, arguments.faults, arguments.peers = SMOKE_EVENTS, SMOKE_FAULTS, ["ours"]
    return arguments


def run_all(arguments: argparse.Namespace) -> tuple[list[Trial], list[str]]:
    """Run what *arguments* ask for and print each line as it is known; return trials and failures."""
    trials: list[Trial] = []
    failures: list[str] = []
    print(line("", COLUMNS))
    for name in arguments.faults:
        runs = 1 if arguments.smoke else BY_NAME[name].runs
        print(f"\n{name}: {title(name, runs)}")
        for peer in (peer for peer in PEERS if peer in arguments.peers):
            options = {"events": arguments.events, "patience": arguments.patience}
            seeds = range(arguments.seed, arguments.seed + runs)
            try:
                made = [run_trial(BY_NAME[name], peer, seed=seed, **options) for seed in seeds]
            except ClientError as error:
                failures.append(f"{name}, {peer}: {error}")
                print(failures[-1], file=sys.stderr)
            else:
                trials += made
                print(line(PEERS[peer][0], cells(added_up(made))), flush=True)
    return trials, failures


def main(words: list[str]) -> int:
    """Run what *words* ask for; return 1 when a client failed for a reason of its own."""
    arguments = parse(words)
    facts = processes.machine()
    document: dict[str, Any] = {
        "format": JSON_FORMAT,
        "command": ["python", "benchmarks/faults.py", *words],
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {name: facts[name] for name in ("cpu", "cores", "load", "python", "system")},
        **{name: getattr(arguments, name) for name in ("events", "seed", "patience")},
    }
    begin = time.monotonic()
    trials, failures = run_all(arguments)
    document |= {"trials": trials, "failures": failures}
    document["took_seconds"] = round(time.monotonic() - begin, 1)
    took, patience = document["took_seconds"], arguments.patience
    print(f"\nTook {took} s. Clients are killed {patience:.0f} s after their last event.")
    processes.write_json(arguments.json, document)
    if arguments.markdown is not None:
        arguments.markdown.write_text(markdown(trials), encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
