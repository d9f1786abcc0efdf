"""
Run trackers into faults: ``python benchmarks/faults/run.py``.

What is measured and how to read it stands in docs/explanation/faults.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent))

import machine
import table
from environments import PEERS, Peer
from faults import BY_NAME, Fault
from processes import ClientError
from trial import Trial, run_trial

# Raised when a key of the JSON changes its meaning.
JSON_FORMAT = 1
# No multiple of any batch size, so that something is always left for the end.
EVENTS = 2005
PATIENCE = 15.0
SMOKE_EVENTS = 200
SMOKE_FAULTS = ["healthy", "unavailable"]


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run trackers into faults.")
    names = [peer.name for peer in PEERS]
    parser.add_argument("--faults", nargs="+", choices=BY_NAME, default=list(BY_NAME), metavar="FAULT")
    parser.add_argument("--peers", nargs="+", choices=names, default=names, metavar="PEER")
    parser.add_argument("--events", type=int, default=EVENTS, help="how many each client tracks")
    parser.add_argument("--seed", type=int, default=1, help="of what the collector does by chance")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE, help="seconds for closing before a client is killed"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures to PATH")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the table to PATH")
    parser.add_argument("--smoke", action="store_true", help="few events, two faults, no peers: does it run?")
    arguments = parser.parse_args(words)
    if arguments.events < 1 or arguments.patience <= 0:
        parser.error("--events and --patience must be positive")
    if arguments.smoke:
        arguments.events, arguments.faults, arguments.peers = SMOKE_EVENTS, SMOKE_FAULTS, ["ours"]
    return arguments


def run_all(arguments: argparse.Namespace) -> tuple[list[Trial], list[str]]:
    """
    Run what *arguments* ask for and print each line as it is known; return trials and failures.
    """
    trials: list[Trial] = []
    failures: list[str] = []
    chosen = [peer for peer in PEERS if peer.name in arguments.peers]
    for peer in chosen:
        peer.python()
    print(table.heading())
    for name in arguments.faults:
        fault = BY_NAME[name]
        seeds = range(arguments.seed, arguments.seed + (1 if arguments.smoke else fault.runs))
        print(f"\n{name}: {table.title(fault, len(seeds))}")
        for peer in chosen:
            try:
                made = run_peer(fault, peer, seeds, arguments)
            except ClientError as error:
                failures.append(f"{name}, {peer.name}: {error}")
                print(failures[-1], file=sys.stderr)
            else:
                trials += made
                print(table.text(Trial.added_up(made)), flush=True)
    return trials, failures


def run_peer(fault: Fault, peer: Peer, seeds: range, arguments: argparse.Namespace) -> list[Trial]:
    return [
        run_trial(fault, peer, events=arguments.events, seed=seed, patience=arguments.patience)
        for seed in seeds
    ]


def opening(words: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """
    Return what the JSON tells before anything is run: our own load is not the machine's.
    """
    facts = machine.describe()
    return {
        "format": JSON_FORMAT,
        "command": ["python", "benchmarks/faults/run.py", *words],
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {name: facts[name] for name in ("cpu", "cores", "load", "python", "system")},
        "events": arguments.events,
        "seed": arguments.seed,
        "patience": arguments.patience,
    }


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def main(words: list[str]) -> int:
    """
    Run what *words* ask for; return 1 when a client failed for a reason of its own.
    """
    arguments = parse(words)
    document, begin = opening(words, arguments), time.monotonic()
    trials, failures = run_all(arguments)
    document |= {"trials": [asdict(trial) for trial in trials], "failures": failures}
    document["took_seconds"] = round(time.monotonic() - begin, 1)
    took, patience = document["took_seconds"], arguments.patience
    print(f"\nTook {took} s. A client is killed {patience:.0f} s after its last event.")
    if arguments.json is not None:
        write(arguments.json, json.dumps(document, indent=1) + "\n")
    if arguments.markdown is not None:
        write(arguments.markdown, table.markdown(trials))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
