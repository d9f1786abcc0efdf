"""
Run the benchmarks: ``python benchmarks/run.py``.

See README.md beside this file for what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import machine
import peers
import report
from measure import MIN_REPEATS, Repeat
from processes import ClientError, Sink, run_client, running_sink
from scenarios import SCENARIOS, SMOKE_EVENTS, Client, Scenario, chosen

# Raised when a key of the JSON changes its meaning.
JSON_FORMAT = 1
# No further round begins after so many seconds for each client of a scenario: all in all below four minutes.
EXTRA_SECONDS = 12.0


class Harness:
    """
    Runs scenarios, one round of all clients after the other.
    """

    def __init__(self, arguments: argparse.Namespace, sink: Sink) -> None:
        self.arguments = arguments
        self.sink = sink
        self.client_core, _ = machine.cores()
        self.failures: dict[tuple[str, str], str] = {}
        self.versions: dict[str, dict[str, str]] = {}

    def measure(self, scenario: Scenario) -> report.Repeats:
        """
        Return the repeats of all clients.

        After the asked-for rounds, further ones are for clients with too few usable repeats.
        """
        repeats: report.Repeats = {client.name: [] for client in scenario.clients}
        wanted = self.arguments.repeats
        clients = scenario.clients
        latest = time.monotonic() + EXTRA_SECONDS * len(clients)
        for turn in range(wanted + self.arguments.extra):
            if turn >= wanted and time.monotonic() > latest:
                break
            if turn >= wanted:
                found = report.summaries(scenario, repeats)
                clients = tuple(client for client in scenario.clients if found[client.name].usable < wanted)
            for client in clients:
                progress(f"{scenario.name}: round {turn + 1}, {client.title}")
                self.take_turn(scenario, client, turn, repeats[client.name])
        progress("")
        return repeats

    def take_turn(self, scenario: Scenario, client: Client, turn: int, repeats: list[Repeat]) -> None:
        """
        Add a repeat of *client* to *repeats*, unless it has failed before or does so now.
        """
        place = (scenario.name, client.name)
        if place in self.failures:
            return
        try:
            repeats.append(self.repeat(scenario, client, turn))
        except ClientError as error:
            # Clients of one library mostly fail for one reason; it is told once.
            text = "the same" if str(error) in self.failures.values() else str(error)
            self.failures[place] = str(error)
            print(f"\n{scenario.name}, {client.title}: {text}", file=sys.stderr)

    def repeat(self, scenario: Scenario, client: Client, turn: int) -> Repeat:
        """
        Run *client* once.
        """
        events = self.events(client)
        self.sink.reset()
        result = run_client(
            self.interpreter(client), client.script, self.parameters(scenario, client, events)
        )
        self.versions.setdefault("ours" if client.is_ours else "peers", {}).update(result["versions"])
        counts = self.sink.wait(events) if scenario.at_sink else None
        return as_repeat(result, counts, turn, events)

    def events(self, client: Client) -> int:
        if self.arguments.smoke:
            return SMOKE_EVENTS
        scale: float = self.arguments.scale
        return max(1, round(client.events * scale))

    def parameters(self, scenario: Scenario, client: Client, events: int) -> dict[str, Any]:
        return client.parameters | {
            "event": scenario.event,
            "method": scenario.method,
            "events": events,
            "port": self.sink.port,
            "core": self.client_core,
        }

    def interpreter(self, client: Client) -> Path:
        return Path(sys.executable) if client.is_ours else peers.python()


def as_repeat(result: dict[str, Any], counts: dict[str, int] | None, turn: int, events: int) -> Repeat:
    """
    Return what a client's *result* and the sink's *counts* (None: nothing was sent) tell together.
    """
    at_sink = {"counted": events if result["taken"] is None else result["taken"]}
    end_ns = result["finished_ns"]
    if counts is not None:
        at_sink = {"counted": counts["events"], "bytes_at_sink": counts["bytes"]}
        at_sink |= {name: counts[name] for name in ("requests", "connections")}
        # Without any event there is no last one; such a repeat is never used.
        end_ns = counts["last_ns"] or end_ns
    names = ("p50_us", "p99_us", "max_us", "calibration_before_ms", "calibration_after_ms")
    return Repeat(
        round=turn,
        events=events,
        seconds=(end_ns - result["started_ns"]) / 1e9,
        cpu_us=result["cpu_seconds"] / events * 1e6,
        **at_sink,
        **{name: result[name] for name in names},
    )


def progress(text: str) -> None:
    """
    Show on a terminal what runs now.
    """
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure this library beside its peers.")
    parser.add_argument(
        "--repeats", type=int, default=MIN_REPEATS, help="usable repeats wanted of each client"
    )
    parser.add_argument(
        "--extra", type=int, default=7, help="further rounds for clients with unusable repeats"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the numbers of events")
    parser.add_argument(
        "--scenario", action="append", default=[], choices=[scenario.name for scenario in SCENARIOS]
    )
    parser.add_argument(
        "--only", action="append", default=[], help="'ours', 'peers' or the name of a client; may be repeated"
    )
    parser.add_argument("--json", type=Path, default=None, metavar="PATH", help="write all repeats to PATH")
    parser.add_argument("--smoke", action="store_true", help="tiny counts, one repeat: does it run at all?")
    arguments = parser.parse_args(words)
    if arguments.repeats < 1 or arguments.extra < 0 or arguments.scale <= 0:
        parser.error("--repeats and --scale must be positive, --extra must not be negative")
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


def main(words: list[str]) -> int:
    """
    Run what *words* ask for; return 1 when an event was lost or a client failed.
    """
    arguments = parse(words)
    scenarios = chosen(arguments.scenario, arguments.only)
    if not scenarios:
        print("nothing to run: no scenario has such a client", file=sys.stderr)
        return 1
    if any(not client.is_ours for scenario in scenarios for client in scenario.clients):
        peers.python()
    document = opening(words)
    print(headline(document["machine"]))
    begin = time.monotonic()
    is_complete = True
    with running_sink(machine.cores()[1]) as sink:
        harness = Harness(arguments, sink)
        for scenario in scenarios:
            repeats = harness.measure(scenario)
            is_complete &= all(repeat.is_complete for made in repeats.values() for repeat in made)
            print(report.table(scenario, repeats), flush=True)
            document["scenarios"].append(report.as_json(scenario, repeats))
    is_complete &= not harness.failures
    document |= {"versions": harness.versions | {"sink": {"loop": sink.loop}}, "is_complete": is_complete}
    document["took_seconds"] = round(time.monotonic() - begin, 1)
    print(f"\nTook {document['took_seconds']} s. A spread is the interquartile range over the median.")
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0 if is_complete else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
