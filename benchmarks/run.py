"""
Run the benchmarks: ``python benchmarks/run.py``.

See README.md beside this file for what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import machine
import peers
import report
import trust
from harness import Harness
from measure import MIN_REPEATS
from processes import running_sink
from redis_server import Redis, running_redis
from rows import Scenario
from scenarios import SCENARIOS, chosen

# Raised when a key of the JSON changes its meaning.
JSON_FORMAT = 2
# The share of events (and of seconds) of a quick run.
QUICK_SCALE = 0.2


def words_of(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure this library beside its peers.")
    names = sorted({name for scenario in SCENARIOS for name in (scenario.name, scenario.name.split("-")[0])})
    add = parser.add_argument
    add("--only", type=words_of, default=[], metavar="ROWS", help=f"some of {','.join(names)}")
    add("--clients", type=words_of, default=[], help="some of 'ours', 'peers' and the names of clients")
    add("--repeats", type=int, default=MIN_REPEATS, help="usable repeats wanted of each client")
    add("--extra", type=int, default=7, help="further rounds for clients with unusable repeats")
    add("--scale", type=float, default=1.0, help="factor on the numbers of events")
    add("--quick", action="store_true", help=f"short repeats: --scale {QUICK_SCALE}, rougher figures")
    add("--smoke", action="store_true", help="tiny counts, one repeat: does it run at all?")
    add("--json", type=Path, default=None, metavar="PATH", help="write all repeats to PATH")
    add("--pictures", type=Path, default=None, metavar="FOLDER", help="draw SVG files (needs matplotlib)")
    arguments = parser.parse_args(words)
    if arguments.repeats < 1 or arguments.extra < 0 or arguments.scale <= 0:
        parser.error("--repeats and --scale must be positive, --extra must not be negative")
    if unknown := set(arguments.only) - set(names):
        parser.error(f"no row is called {', '.join(sorted(unknown))}")
    if arguments.quick:
        arguments.scale *= QUICK_SCALE
    if arguments.smoke:
        arguments.repeats, arguments.extra = 1, 0
    return arguments


def opening(words: list[str]) -> dict[str, Any]:
    """
    Return what the JSON tells before anything is measured.
    """
    return {
        "format": JSON_FORMAT,
        "command": ["python", "benchmarks/run.py", *words],
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "scenarios": [],
    }


def headline(facts: dict[str, Any]) -> str:
    """
    Return the machine line.
    """
    line = f"{facts['cpu']}, {facts['cores']} cores, {facts['python']}, {facts['system']}"
    if facts["load"] is not None:
        line += f", load {facts['load']}"
    pinned = facts["client_core"] is not None
    return line + ("" if pinned else "; NOT PINNED: client and sink share their cores")


def peers_of(scenarios: list[Scenario]) -> Path | None:
    """
    Return the peers' interpreter, if one of the *scenarios* needs it and it can be had.
    """
    if all(client.runs_on != "peers" for scenario in scenarios for client in scenario.clients):
        return None
    with contextlib.suppress(peers.MissingError):
        return peers.python()
    return None


def redis_of(scenarios: list[Scenario], core: int | None) -> contextlib.AbstractContextManager[Redis | None]:
    """
    Return the Redis of the *scenarios*, to be started on *core*, if one of them needs it.
    """
    is_needed = any(scenario.queue is not None for scenario in scenarios)
    return running_redis(core) if is_needed else contextlib.nullcontext()


def measure(arguments: argparse.Namespace, scenarios: list[Scenario], document: dict[str, Any]) -> bool:
    """
    Run *scenarios*, print their tables and add all to *document*; return whether nothing failed or got lost.
    """
    client_core, sink_core = machine.cores()
    if client_core is not None:
        # Clients inherit it, those as well that cannot do it for themselves.
        os.sched_setaffinity(0, {client_core})
    is_complete, found = True, {}
    with (
        trust.made_for_this_run(peers_of(scenarios)) as trusted,
        running_sink(sink_core, trusted.certificate if trusted else None) as sink,
        redis_of(scenarios, sink_core) as redis,
    ):
        variables = trusted.environment() if trusted else {}
        harness = Harness(
            arguments=arguments,
            sink=sink,
            client_core=client_core,
            sink_core=sink_core,
            redis=redis,
            variables=variables,
        )
        for scenario in scenarios:
            repeats = harness.measure(scenario)
            absent = {name: why for (place, name), why in harness.absent.items() if place == scenario.name}
            found[scenario.name] = report.summaries(scenario, repeats)
            is_complete &= all(repeat.is_complete for made in repeats.values() for repeat in made)
            print(report.table(scenario, repeats, absent), flush=True)
            document["scenarios"].append(report.as_json(scenario, repeats, absent))
    verdicts = report.judged(found)
    print(report.target_table(verdicts))
    document["targets"] = report.targets_as_json(verdicts)
    document["versions"] = harness.versions | {"sink": {"loop": sink.loop}}
    if redis is not None:
        document["versions"]["redis"] = {"server": redis.version}
    return is_complete and not harness.failures


def main(words: list[str]) -> int:
    """
    Run what *words* ask for; return 1 when an event was lost or a client failed.
    """
    arguments = parse(words)
    scenarios = chosen(arguments.only, arguments.clients)
    if not scenarios:
        print("nothing to run: no row has such a client", file=sys.stderr)
        return 1
    document = opening(words)
    print(headline(document["machine"]))
    begin = time.monotonic()
    document["is_complete"] = measure(arguments, scenarios, document)
    document["took_seconds"] = round(time.monotonic() - begin, 1)
    print(f"\nTook {document['took_seconds']} s. A spread is the interquartile range over the median.")
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if arguments.pictures is not None:
        import pictures  # noqa: PLC0415 - matplotlib is needed for nothing else

        pictures.draw(document, arguments.pictures)
    return 0 if document["is_complete"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
