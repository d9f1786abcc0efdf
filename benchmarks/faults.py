"""
Run trackers into faults: ``python benchmarks/faults.py``.

docs/explanation/faults.md says what is measured and how to read it. Each run is
one case and one tracker, both in fresh processes.
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
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import processes
from clients.common import board_in, is_poison
from collector import WORKING, Fault
from environments import MissingError
from processes import ClientError

# No multiple of any batch size, so that something is always left for the end.
EVENTS = 2005
# The pace of the work `meet_fault` of the clients.
EVENTS_PER_SECOND = 1000
# Seconds after the last event at which a client is killed.
PATIENCE = 15.0
SMOKE_EVENTS = 250
SMOKE_CASES = ["healthy", "unavailable", "dead", "poison"]
# From the start of the interpreter to the first event, on a machine that has other things to do.
START_SECONDS = 30.0
LOOK_SECONDS = 0.01
# The last bytes of a client only have to be read; one that was killed has closed its connections.
LAST_BYTES_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """Something that goes wrong; the defaults are a program that closes."""

    title: str
    fault: Fault = WORKING
    # One in so many events is one that the collector never takes: for its ``label``, or a long ``text``.
    poison_every: int = 0
    poison: str = "label"
    # The end of the client's program: the documented shutdown call (``close``), a plain ``return``, or
    # SIGTERM half-way, without a handler (``killed``) or answered with the shutdown call (``stopped``).
    ending: str = "close"
    # Where chance decides, several are added up.
    runs: int = 1

    @property
    def is_signalled(self) -> bool:
        return self.ending in ("killed", "stopped")


# By the name on the command line.
CASES = {
    "healthy": Case(title="none"),
    "unavailable": Case(title="30 % answered 503", fault=Fault(unavailable=0.3), runs=3),
    "mixed": Case(
        title="30 % answered 503, 5 % processed and then reset, 5 % reset before they are read",
        fault=Fault(unavailable=0.3, reset_after=0.05, reset_before=0.05),
        runs=5,
    ),
    "outage": Case(title="refuses connections for 3 s, then works", fault=Fault(refused_for=3.0), runs=3),
    "dead": Case(title="refuses connections to the end", fault=Fault(refused_for=inf)),
    "hangs": Case(title="takes requests and never answers", fault=Fault(hangs=True)),
    "redirect": Case(
        title="301 to another address for 1 s, then works in its place", fault=Fault(redirected_for=1.0)
    ),
    "poison": Case(title="400 for a batch with a certain event, one in 200", poison_every=200),
    "too_large": Case(
        title="413 for more than 64 KiB; one event in 400 is larger alone",
        fault=Fault(max_bytes=2**16),
        poison_every=400,
        poison="text",
    ),
    "slow": Case(title="works, and answers a byte every 0.1 s", fault=Fault(delay=0.1, is_bytewise=True)),
    "keep_alive": Case(title="closes connections that are idle for 50 ms", fault=Fault(idle_seconds=0.05)),
    "no_close": Case(title="works; the program ends without the shutdown call", ending="return"),
    "sigterm": Case(title="works; SIGTERM half-way, no handler", ending="killed", runs=3),
    "sigterm_close": Case(
        title="works; SIGTERM half-way, whose handler makes the shutdown call", ending="stopped"
    ),
}
# By the name on the command line: title, script, environment, and the emitter that is told to the script.
PEERS = {
    "ours": ("snowplow-aio", "ours.py", "ours", "http"),
    "emitter": ("snowplow-tracker, Emitter", "official.py", "official", "Emitter"),
    "async_emitter": ("snowplow-tracker, AsyncEmitter", "official.py", "official", "AsyncEmitter"),
    "aio": ("aio-snowplow-tracker", "aio.py", "aio", ""),
}
# The state of a client when its time was over, the worst last.
BLOCKED = ("", "ending", "closing", "tracking")
ADDED_UP = ("events", "tracked", "raised", "poisoned", "lost", "duplicated", "requests")
HEADING = ("fault", "tracker", "tracked", "lost", "duplicated", "reported", "close", "worst stall")

# The figures of one client; docs/explanation/faults.md says what they mean.
Trial = dict[str, Any]


def added_up(trials: Sequence[Trial]) -> Trial:
    """Return *trials* of one client as one: numbers are added up, of times the worst counts."""
    told = [trial["told"] for trial in trials if trial["told"] is not None]
    closed = [trial["close_seconds"] for trial in trials]
    return trials[0] | {
        **{name: sum(trial[name] for trial in trials) for name in ADDED_UP},
        "told": sum(told) if told else None,
        "close_seconds": None if None in closed else max(closed),
        "worst_stall_ms": max(trial["worst_stall_ms"] for trial in trials),
        "blocked": max((trial["blocked"] for trial in trials), key=BLOCKED.index),
    }


def follow(client: subprocess.Popen[bytes], board: Any, case: Case, *, events: int, seed: int) -> Trial:
    """Wait for the end of *client*, at most for its time; tell how it ended."""
    terminated_ns, was_killed = 0, False
    planned_ns = int(events / EVENTS_PER_SECOND * 1e9)
    # Not in step with anybody's batches.
    signal_ns = board.started_ns + planned_ns * random.Random(seed).uniform(0.4, 0.6)
    while client.poll() is None and not was_killed:
        now = time.monotonic_ns()
        if case.is_signalled and not terminated_ns and now > signal_ns:
            client.terminate()
            terminated_ns = now
        due_ns = board.tracking_ended_ns or board.started_ns + planned_ns
        if now > due_ns + PATIENCE * 1e9:
            client.kill()
            was_killed = True
        time.sleep(LOOK_SECONDS)
    ended_ns = time.monotonic_ns()
    client.wait()
    blocked, worst_ns = "", board.worst_stall_ns
    if was_killed and not board.tracking_ended_ns:
        # The last stall lasted until the client was killed.
        blocked, worst_ns = "tracking", max(worst_ns, ended_ns - board.last_tick_ns)
    elif was_killed:
        blocked = "ending" if board.closed_ns or case.ending == "return" else "closing"
    close_ns = (board.closed_ns or ended_ns) - (board.tracking_ended_ns or terminated_ns)
    return {
        "close_seconds": None if blocked else close_ns / 1e9,
        "worst_stall_ms": worst_ns / 1e6,
        "blocked": blocked,
    }


def run_trial(name: str, peer: str, *, events: int, seed: int) -> Trial:
    """Run *peer* into the case called *name* once; raise `ClientError` if it fails for its own reasons."""
    case = CASES[name]
    collecting = processes.running_collector(case.fault, seed=f"{seed}/{name}", has_ids=True)
    with tempfile.TemporaryDirectory() as folder, collecting as collector:
        path, output, errors = (Path(folder, file) for file in ("board", "stdout", "stderr"))
        path.touch()
        board = board_in(path)
        parameters = {"work": "meet_fault", "event": "fault", "method": "post", "scheme": "http"}
        parameters |= {"events": events, "port": collector.port, "board": str(path)}
        parameters |= {fact: getattr(case, fact) for fact in ("ending", "poison", "poison_every")}
        # Both go to files, as those of a service do: clients as shipped write to them.
        with (
            output.open("wb") as stdout,
            errors.open("wb") as stderr,
            started(peer, parameters, stdout=stdout, stderr=stderr) as client,
        ):
            try:
                wait_for_start(client, board)
                collector.ask("begin")
                ended = follow(client, board, case, events=events, seed=seed)
            finally:
                client.kill()
        if not ended["blocked"] and client.returncode not in {0, -signal.SIGTERM}:
            tail = errors.read_text(errors="replace")[-2000:]
            raise ClientError(f"{peer} ended with {client.returncode}:\n{tail}")
        counts = collector.wait(lambda counts: not counts["open"], LAST_BYTES_SECONDS)
        poisoned = sum(is_poison(number, case.poison_every) for number in range(board.tracked))
        found = {"fault": name, "peer": peer, "seed": seed, "events": events, "tracked": board.tracked}
        found |= {fact: counts[fact] for fact in ("duplicated", "requests")}
        found |= {"lost": board.tracked - poisoned - counts["arrived"], "poisoned": poisoned}
        found |= {"raised": board.raised, "told": board.told - 1 if board.told else None}
        return found | ended | {"versions": json.loads(output.read_text())}


def started(peer: str, parameters: dict[str, Any], **files: Any) -> subprocess.Popen[bytes]:
    _, script, runs_on, emitter = PEERS[peer]
    command = processes.command(script, runs_on, parameters | {"emitter": emitter})
    return subprocess.Popen(command, env=processes.variables(runs_on), stdin=subprocess.DEVNULL, **files)


def wait_for_start(client: subprocess.Popen[bytes], board: Any) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not board.started_ns and client.poll() is None:
        if time.monotonic() > deadline:
            raise ClientError(f"the client did not start within {START_SECONDS:.0f} s")
        time.sleep(LOOK_SECONDS)


def cells(trial: Trial) -> list[str]:
    """Return the figures of *trial* in the order of `HEADING`."""
    is_all = trial["tracked"] == trial["events"] or CASES[trial["fault"]].is_signalled
    close, stall = trial["close_seconds"], trial["worst_stall_ms"]
    return [
        f"{trial['tracked']:,}" if is_all else f"{trial['tracked']:,} of {trial['events']:,}",
        f"{trial['lost']:,}",
        f"{trial['duplicated']:,}",
        "–" if trial["told"] is None else f"{trial['told']:,}",
        f"blocked {trial['blocked']}" if close is None else f"{close:.2f} s",
        f"{stall / 1e3:.1f} s" if stall >= 1000 else f"{stall:.0f} ms",
    ]


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run trackers into faults.")
    add = parser.add_argument
    add("--faults", nargs="+", choices=CASES, default=list(CASES), metavar="FAULT")
    add("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER")
    add("--seed", type=int, default=1, help="of the collector's chances")
    add("--json", type=Path, metavar="PATH", help="write all figures to PATH")
    add("--markdown", type=Path, metavar="PATH", help="write the table to PATH")
    add("--smoke", action="store_true", help="few events, four faults, no peers: does it run?")
    parser.set_defaults(events=EVENTS)
    arguments = parser.parse_args(words)
    if arguments.smoke:
        arguments.events, arguments.faults, arguments.peers = SMOKE_EVENTS, SMOKE_CASES, ["ours"]
    return arguments


def run_all(arguments: argparse.Namespace) -> tuple[list[Trial], str, list[str]]:
    """Print each row of the table as it is known; return all trials, the table, and what failed."""
    trials: list[Trial] = []
    failures: list[str] = []
    rows: list[str] = []

    def add_row(*cells: str) -> None:
        rows.append(f"| {' | '.join(cells)} |")
        print(rows[-1], flush=True)

    add_row(*HEADING)
    add_row("---", "---", *["---:"] * (len(HEADING) - 2))
    for name in arguments.faults:
        case = CASES[name]
        runs = 1 if arguments.smoke else case.runs
        title = case.title if runs == 1 else f"{case.title} ({runs} runs)"
        for peer in (peer for peer in PEERS if peer in arguments.peers):
            seeds = range(arguments.seed, arguments.seed + runs)
            try:
                made = [run_trial(name, peer, events=arguments.events, seed=seed) for seed in seeds]
            except (ClientError, MissingError) as error:
                failures.append(f"{name}, {peer}: {error}")
                print(failures[-1], file=sys.stderr)
                continue
            trials += made
            add_row(title, PEERS[peer][0], *cells(added_up(made)))
            # Only the first row of a fault names it.
            title = ""
    return trials, "".join(f"{row}\n" for row in rows), failures


def main(words: list[str]) -> int:
    """Run what *words* ask for; return 1 when a client failed for a reason of its own."""
    arguments = parse(words)
    document = processes.document("faults.py", words) | {"events": arguments.events, "seed": arguments.seed}
    trials, table, failures = run_all(arguments)
    processes.write_json(arguments.json, document | {"trials": trials, "failures": failures})
    if arguments.markdown is not None:
        arguments.markdown.write_text(table, encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
