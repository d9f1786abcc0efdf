"""
Run the benchmarks: ``python benchmarks/run.py``.

See README.md beside this file for what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import environments
import processes
import published
import report
from clients.common import SHARES, calibrate
from measure import MIN_REPEATS, Repeat
from processes import ClientError, Sink, cores
from rows import ROWS, Client, Row, chosen

# Raised when a key of the JSON changes its meaning.
JSON_FORMAT = 3
# The share of events (and of seconds) of a quick run.
QUICK_SCALE = 0.2
# The events per repeat of a smoke run: some batches, but no time worth measuring.
SMOKE_EVENTS = 120
SMOKE_SECONDS = 0.2
# How long after the end of a load an answer is waited for. A smoke run compares the answers with the
# tracked events, so it waits until the service has handled all.
PATIENCE_SECONDS = 2.0
SMOKE_PATIENCE_SECONDS = 30.0


def parse(words: list[str]) -> argparse.Namespace:
    def listed(text: str) -> list[str]:
        return [word for word in text.split(",") if word]

    parser = argparse.ArgumentParser(description="Measure this library beside its peers.")
    names = sorted({name for row in ROWS for name in (row.name, row.name.split("-")[0])})
    add = parser.add_argument
    add("--only", type=listed, default=[], metavar="ROWS", help=f"some of {','.join(names)}")
    add("--clients", type=listed, default=[], help="some of 'ours', 'peers' and the names of clients")
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


def few(rows: list[Row]) -> list[Row]:
    """Return *rows* for a smoke run, without clients whose works and parameters others have already."""
    seen: set[tuple[str, ...]] = set()
    found = []
    for row in rows:
        kept: list[Client] = []
        for client in row.clients:
            # Of a number, only that it is given counts.
            given = {name: str(value) for name, value in client.parameters.items() if type(value) is not int}
            facts = {*client.parameters, *given.items(), row.work}
            news = {(client.script, str(fact)) for fact in facts} - seen
            seen |= news
            if news or client.name == "ours":
                kept.append(client)
        found.append(replace(row, clients=tuple(kept)))
    return found


@dataclass(kw_only=True)
class Run:
    """
    Has the clients of a row take turns, and keeps what they measured.

    Args:
        trusted: The variables by which clients trust the sink's certificate.

        absent: Why a client was not run, by row and client.
    """

    arguments: argparse.Namespace
    sink: Sink
    redis: Any
    redis_port: int
    trusted: dict[str, str]
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    absent: dict[tuple[str, str], str] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)

    def measure(self, row: Row) -> report.Repeats:
        """
        Return the repeats of all clients.

        After the asked-for rounds, further ones are for clients with too few usable repeats.
        """
        repeats: report.Repeats = {client.name: [] for client in row.clients}
        wanted = self.arguments.repeats
        clients = [client for client in row.clients if self.is_there(row, client)]
        latest = time.monotonic() + row.extra_seconds * len(clients)
        for turn in range(wanted + self.arguments.extra):
            if turn >= wanted:
                if time.monotonic() > latest:
                    break
                found = report.summaries(row, repeats)
                clients = [client for client in clients if found[client.name].usable < wanted]
            for client in clients:
                progress(f"{row.name}: round {turn + 1}, {client.title}")
                self.take_turn(row, client, turn, repeats[client.name])
        progress("")
        return repeats

    def is_there(self, row: Row, client: Client) -> bool:
        """Whether *client* has here what it needs; notes what is missing."""
        reason = None
        if client.needs is not None and importlib.util.find_spec(client.needs) is None:
            reason = f"no {client.needs}"
        elif row.scheme == "https" and not processes.has_certificates():
            reason = "no trustme"
        elif row.queue is not None and self.redis is None:
            reason = "no redis-server"
        else:
            try:
                environments.node() if client.runs_on == "node" else environments.python(self.runs_on(client))
            except environments.MissingError as missing:
                reason = str(missing)
        if reason is not None:
            self.absent[row.name, client.name] = reason
        return reason is None

    def runs_on(self, client: Client) -> str:
        # A smoke run installs nothing for this library.
        return "ours" if client.runs_on == "core" and self.arguments.smoke else client.runs_on

    def take_turn(self, row: Row, client: Client, turn: int, repeats: list[Repeat]) -> None:
        """Add a repeat of *client* to *repeats*, unless it has failed before or does so now."""
        place = (row.name, client.name)
        if place in self.failures:
            return
        try:
            repeats.append(self.repeat(row, client, turn))
        except ClientError as error:
            self.failures[place] = str(error)
            print(f"\n{row.name}, {client.title}: {error}", file=sys.stderr)

    def repeat(self, row: Row, client: Client, turn: int) -> Repeat:
        """Run *client* once."""
        given = self.parameters(row, client)
        self.sink.begin(row.state, row.delay)
        if self.redis is not None:
            self.redis.flushall()
        # Node cannot run the same piece of work.
        before = calibrate() if client.runs_on == "node" else 0.0
        result = processes.run_client(client.script, self.runs_on(client), given, self.trusted)
        if client.runs_on == "node":
            result |= {"calibration_before_ms": before, "calibration_after_ms": calibrate()}
        self.versions.setdefault(client.runs_on, {}).update(result["versions"])
        # How many requests a service answered, and tracked, is known afterwards.
        events = result.get("events", given["events"])
        counts = self.sink.wait(events) if row.at_sink else None
        if row.queue == "written" and self.redis is not None:
            result["taken"] = processes.length(self.redis)
        return as_repeat(row, result, counts, turn, events)

    def parameters(self, row: Row, client: Client) -> dict[str, Any]:
        is_smoke, scale = self.arguments.smoke, self.arguments.scale if client.is_scaled else 1.0
        events = SMOKE_EVENTS if is_smoke else max(1, round(client.events * scale))
        seconds = min(client.seconds, SMOKE_SECONDS) if is_smoke else client.seconds * min(1.0, scale)
        given = {name: getattr(row, name) for name in ("work", "event", "method", "scheme")}
        given |= client.parameters | ({"processes": 1} if is_smoke else {})
        client_core, sink_core = cores()
        return given | {
            "events": events if client.events else 0,
            "seconds": seconds,
            "redis_port": self.redis_port,
            "port": self.sink.refusing_port if row.state == "refusing" else self.sink.ports.get(row.scheme),
            "core": client_core,
            "load_core": sink_core,
            "patience": SMOKE_PATIENCE_SECONDS if is_smoke else PATIENCE_SECONDS,
            "shares": SHARES,
        }


def as_repeat(
    row: Row, result: dict[str, Any], counts: dict[str, int] | None, turn: int, events: int
) -> Repeat:
    """Return what a client's *result* and the sink's *counts*, if it counts, tell together."""
    figures, details, end_ns = dict(result["figures"]), dict(result["details"]), result["finished_ns"]
    taken = result.get("taken")
    counted = events if taken is None else taken
    if counts is not None:
        counted = counts["events"]
        details |= {name: counts[name] for name in ("requests", "connections", "bytes")}
        figures["bytes_per_event"] = counts["bytes"] / max(1, counted)
        # Without any event there is no last one; such a repeat is never used.
        end_ns = counts["last_ns"] or end_ns
    if row.is_timed:
        figures["events_per_second"] = events / (end_ns - result["started_ns"]) * 1e9
        figures["cpu_us"] = result["cpu_seconds"] / events * 1e6
    kept = ("calibration_before_ms", "calibration_after_ms", "percentiles")
    more = {name: result[name] for name in kept}
    return Repeat(round=turn, events=events, counted=counted, figures=figures, details=details, **more)


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def measure(arguments: argparse.Namespace, rows: list[Row], document: dict[str, Any]) -> bool:
    """Run *rows*, print their tables and add all to *document*; return whether nothing failed or got lost."""
    client_core, sink_core = cores()
    if client_core is not None:
        # Clients inherit it, those as well that cannot do it for themselves.
        os.sched_setaffinity(0, {client_core})
    is_complete, found = True, {}
    has_peers = any(client.runs_on == "official" for row in rows for client in row.clients)
    is_secure = any(row.scheme == "https" for row in rows)
    has_queue = any(row.queue is not None for row in rows)
    with (
        processes.trusted_certificate(is_needed=is_secure, with_peers=has_peers) as (certificate, trusted),
        processes.running_sink(sink_core, certificate) as sink,
        processes.running_redis(sink_core, is_needed=has_queue) as (redis_port, redis),
    ):
        run = Run(arguments=arguments, sink=sink, redis=redis, redis_port=redis_port, trusted=trusted)
        for row in rows:
            repeats = run.measure(row)
            absent = {name: why for (place, name), why in run.absent.items() if place == row.name}
            found[row.name] = report.summaries(row, repeats)
            is_complete &= all(repeat.is_complete for made in repeats.values() for repeat in made)
            print(report.table(row, repeats, absent), flush=True)
            document["rows"].append(report.as_json(row, repeats, absent))
        if redis is not None:
            told = redis.info("server")
            run.versions["redis"] = {name: told[name] for name in told if name.endswith("_version")}
    print(published.table(found))
    document["published"] = published.as_json(found)
    document["versions"] = run.versions | {"sink": {"loop": sink.ports["loop"]}}
    return is_complete and not run.failures


def headline(facts: dict[str, Any]) -> str:
    pinned = "" if facts["client_core"] is not None else "; NOT PINNED: client and sink share their cores"
    place = f"{facts['cpu']}, {facts['cores']} cores, {facts['python']}, {facts['system']}"
    return f"{place}, load {facts['load']}{pinned}"


def main(words: list[str]) -> int:
    """Run what *words* ask for; return 1 when an event was lost or a client failed."""
    arguments = parse(words)
    rows = chosen(arguments.only, arguments.clients)
    if arguments.smoke:
        rows = few(rows)
    if not rows:
        print("nothing to run: no row has such a client", file=sys.stderr)
        return 1
    document: dict[str, Any] = {
        "format": JSON_FORMAT,
        "command": ["python", "benchmarks/run.py", *words],
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": processes.machine(),
        "rows": [],
    }
    print(headline(document["machine"]))
    begin = time.monotonic()
    document["is_complete"] = measure(arguments, rows, document)
    document["took_seconds"] = round(time.monotonic() - begin, 1)
    print(f"\nTook {document['took_seconds']} s. A spread is the interquartile range over the median.")
    processes.write_json(arguments.json, document)
    if arguments.pictures is not None:
        import pictures  # noqa: PLC0415 - matplotlib is needed for nothing else

        pictures.draw(document, arguments.pictures)
    return 0 if document["is_complete"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
