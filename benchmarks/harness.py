"""
Runs clients in turns and keeps what they measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peers
import report
import trust
from clients.common import SHARES, calibrate
from measure import Repeat
from processes import ClientError, Sink, run_client
from redis_server import Redis
from rows import PATIENCE_SECONDS, SMOKE_EVENTS, SMOKE_PATIENCE_SECONDS, SMOKE_SECONDS, Client, Scenario


@dataclass(kw_only=True)
class Harness:
    """
    Runs scenarios, one round of all clients after the other.

    Args:
        redis: The server of the rows with a queue; None where none can be had.

        variables: What tells clients whom to trust, by the names of the environment.
    """

    arguments: argparse.Namespace
    sink: Sink
    client_core: int | None
    sink_core: int | None = None
    redis: Redis | None = None
    variables: dict[str, str] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    # Why a client was not run, by scenario and client.
    absent: dict[tuple[str, str], str] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)

    def measure(self, scenario: Scenario) -> report.Repeats:
        """
        Return the repeats of all clients.

        After the asked-for rounds, further ones are for clients with too few usable repeats.
        """
        repeats: report.Repeats = {client.name: [] for client in scenario.clients}
        wanted = self.arguments.repeats
        clients = tuple(client for client in scenario.clients if self.is_there(scenario, client))
        latest = time.monotonic() + scenario.extra_seconds * len(clients)
        for turn in range(wanted + self.arguments.extra):
            if turn >= wanted and time.monotonic() > latest:
                break
            if turn >= wanted:
                found = report.summaries(scenario, repeats)
                clients = tuple(client for client in clients if found[client.name].usable < wanted)
            for client in clients:
                progress(f"{scenario.name}: round {turn + 1}, {client.title}")
                self.take_turn(scenario, client, turn, repeats[client.name])
        progress("")
        return repeats

    def is_there(self, scenario: Scenario, client: Client) -> bool:
        """
        Whether *client* has here what it needs; notes what is missing.
        """
        reason = None
        if client.needs is not None and importlib.util.find_spec(client.needs) is None:
            reason = f"no {client.needs}"
        elif scenario.scheme == "https":
            reason = trust.reason_against()
        elif scenario.queue is not None and self.redis is None:
            reason = "no redis-server"
        try:
            self.interpreter(client)
        except peers.MissingError as missing:
            reason = str(missing)
        if reason is not None:
            self.absent[scenario.name, client.name] = reason
        return reason is None

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
        given = self.parameters(scenario, client)
        self.sink.behave(scenario.state, scenario.delay)
        self.sink.reset()
        if self.redis is not None:
            self.redis.empty()
        # A client that is not Python's cannot run the same piece of work.
        before = calibrate() if client.runs_on == "node" else 0.0
        result = run_client(self.interpreter(client), client.script, given, self.environment(client))
        if client.runs_on == "node":
            result |= {"calibration_before_ms": before, "calibration_after_ms": calibrate()}
        self.versions.setdefault(client.runs_on, {}).update(result["versions"])
        # How many requests a service answered, and tracked, is known afterwards.
        events = result.get("events", given["events"])
        counts = self.sink.wait(events) if scenario.at_sink else None
        if scenario.queue == "written" and self.redis is not None:
            result["taken"] = self.redis.length()
        return as_repeat(scenario, result, counts, turn, events)

    def parameters(self, scenario: Scenario, client: Client) -> dict[str, Any]:
        is_smoke, scale = self.arguments.smoke, self.arguments.scale if client.is_scaled else 1.0
        seconds = min(client.seconds, SMOKE_SECONDS) if is_smoke else client.seconds * min(1.0, scale)
        events = SMOKE_EVENTS if is_smoke else max(1, round(client.events * scale))
        given = client.parameters | {
            "event": scenario.event,
            "method": scenario.method,
            "scheme": scenario.scheme,
            "events": events if client.events else 0,
            "seconds": seconds,
            "redis_port": self.redis.port if self.redis is not None else None,
            "port": self.sink.address(scenario.scheme, scenario.state),
            "core": self.client_core,
            "load_core": self.sink_core,
            "patience": SMOKE_PATIENCE_SECONDS if is_smoke else PATIENCE_SECONDS,
            "shares": SHARES,
        }
        if is_smoke and "processes" in given:
            given["processes"] = 1
        return given

    def interpreter(self, client: Client) -> Path:
        match client.runs_on:
            case "ours":
                return Path(sys.executable)
            case "core":
                return Path(sys.executable) if self.arguments.smoke else peers.python_with_core()
            case "peers":
                return peers.python()
            case "redis_peers":
                return peers.python_with_redis()
            case "service_peers":
                return peers.python_with_service()
            case "node":
                return peers.node()[0]

    def environment(self, client: Client) -> dict[str, str]:
        if client.runs_on == "node":
            return self.variables | {"NODE_PATH": str(peers.node()[1])}
        return self.variables


def as_repeat(
    scenario: Scenario, result: dict[str, Any], counts: dict[str, int] | None, turn: int, events: int
) -> Repeat:
    """
    Return what a client's *result* and the sink's *counts* (None: nothing is counted there) tell together.
    """
    figures, details, end_ns = dict(result["figures"]), dict(result["details"]), result["finished_ns"]
    taken = result.get("taken")
    counted = events if taken is None else taken
    if counts is not None:
        counted = counts["events"]
        details |= {name: counts[name] for name in ("requests", "connections", "bytes")}
        figures["bytes_per_event"] = counts["bytes"] / max(1, counted)
        # Without any event there is no last one; such a repeat is never used.
        end_ns = counts["last_ns"] or end_ns
    if scenario.is_timed:
        figures["events_per_second"] = events / (end_ns - result["started_ns"]) * 1e9
        figures["cpu_us"] = result["cpu_seconds"] / events * 1e6
    return Repeat(
        round=turn,
        events=events,
        counted=counted,
        figures=figures,
        calibration_before_ms=result["calibration_before_ms"],
        calibration_after_ms=result["calibration_after_ms"],
        percentiles=result["percentiles"],
        details=details,
    )


def progress(text: str) -> None:
    """
    Show on a terminal what runs now.
    """
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
