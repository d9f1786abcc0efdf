"""
Run the benchmarks: ``python benchmarks/run.py``.

See README.md beside this file for what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import processes
import published
from clients.common import SHARES, calibrate
from environments import MissingError
from measure import MIN_REPEATS, SPEED, Repeat, Summary, summarise
from processes import ClientError, Collector
from rows import ROWS, Row, chosen

# Further rounds, for clients with too few usable repeats.
EXTRA_ROUNDS = 7
# A repeat has no fewer, however small the scale: some batches, but no time worth measuring.
FEWEST_EVENTS = 120
SHORTEST_SECONDS = 0.1
# When a client has flushed, all is sent; the last bytes only have to be read.
ARRIVAL_SECONDS = 10.0

# By the name of the client.
Repeats = dict[str, list[Repeat]]


def parse(words: list[str]) -> argparse.Namespace:
    def listed(text: str) -> list[str]:
        return [word for word in text.split(",") if word]

    parser = argparse.ArgumentParser(description="Measure this library beside its peers.")
    names = sorted({name for row in ROWS for name in (row.name, row.name.split("-")[0])})
    add = parser.add_argument
    add("--only", type=listed, default=[], metavar="ROWS", help=f"some of {','.join(names)}")
    add("--clients", type=listed, default=[], help="some of 'own', 'peers' and the names of clients")
    add("--scale", type=float, default=1.0, help="the share of the events; with less, figures are rougher")
    add("--repeats", type=int, default=MIN_REPEATS, help=f"below {MIN_REPEATS} there are no ratios")
    add("--json", type=Path, metavar="PATH", help="write all repeats to PATH")
    add("--pictures", type=Path, metavar="FOLDER", help="draw SVG files (needs matplotlib)")
    arguments = parser.parse_args(words)
    if unknown := set(arguments.only) - set(names):
        parser.error(f"no row is called {', '.join(sorted(unknown))}")
    if not chosen(arguments.only, arguments.clients):
        parser.error("no row has such a client")
    return arguments


@dataclass(kw_only=True, slots=True)
class Servers:
    """What the clients of a row talk to, and the variables by which they trust its certificate."""

    collector: Collector
    trusted: dict[str, str] = field(default_factory=dict)
    redis: Any = None
    redis_port: int = 0


@contextlib.contextmanager
def running_servers(row: Row, core: int | None) -> Iterator[Servers]:
    """Start what the clients of *row* talk to; it ends with the block."""
    with contextlib.ExitStack() as stack:
        given, more = {}, {}
        if row.scheme == "https":
            has_peers = any(client.family == "official" for client in row.clients.values())
            made = stack.enter_context(processes.trusted_certificate(has_peers=has_peers))
            given["certificate"], more["trusted"] = made
        if row.name.startswith("redis-"):
            more["redis_port"], more["redis"] = stack.enter_context(processes.running_redis(core))
        collector = stack.enter_context(processes.running_collector(row.fault, core, **given))
        yield Servers(collector=collector, **more)


@dataclass(kw_only=True)
class Run:
    """Has the clients of each row take turns, and keeps what they told."""

    server_core: int | None
    scale: float
    wanted: int
    is_complete: bool = True
    # Why a client has no repeats, or no more of them, by row and client.
    remarks: dict[tuple[str, str], str] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)

    def measure(self, row: Row) -> Repeats:
        """Return the repeats of all clients of *row*; further rounds are for those with too few."""
        repeats: Repeats = {name: [] for name in row.counts}
        names, latest = list(row.counts), time.monotonic() + row.extra_seconds * len(row.counts)
        extra = EXTRA_ROUNDS if self.wanted >= MIN_REPEATS else 0
        try:
            with running_servers(row, self.server_core) as servers:
                for turn in range(self.wanted + extra):
                    if turn >= self.wanted:
                        found = summarise(repeats)
                        names = [name for name in names if found[name].usable < self.wanted]
                    if turn < self.wanted or time.monotonic() < latest:
                        self.take_turns(row, names, servers, repeats)
        except (ImportError, MissingError) as missing:
            self.remarks |= {(row.name, name): f"not run: {missing}" for name in names}
        return repeats

    def take_turns(self, row: Row, names: Sequence[str], servers: Servers, repeats: Repeats) -> None:
        """Add a repeat of each client of *names*, unless it has failed before or does so now."""
        for name in names:
            if (row.name, name) in self.remarks:
                continue
            try:
                repeats[name].append(self.repeat(row, name, servers))
            except MissingError as missing:
                self.remarks[row.name, name] = f"not run: {missing}"
            except ClientError as error:
                self.is_complete = False
                self.remarks[row.name, name] = "failed"
                print(f"\n{row.name}, {name}: {error}", file=sys.stderr)

    def repeat(self, row: Row, name: str, servers: Servers) -> Repeat:
        client = row.clients[name]
        given = self.parameters(row, name, servers)
        # At a scale of 0 no figure counts, so nothing is installed for this library.
        runs_on = "ours" if client.runs_on == "core" and not self.scale else client.runs_on
        servers.collector.ask("reset")
        if servers.redis is not None:
            servers.redis.flushall()
        # Node cannot run the same piece of work.
        before = calibrate() if runs_on == "node" else 0.0
        result = processes.run_client(client.script, runs_on, given, servers.trusted)
        if runs_on == "node":
            result |= {"calibration_before_ms": before, "calibration_after_ms": calibrate()}
        self.versions.setdefault(runs_on, {}).update(result["versions"])
        # How many requests a service answered, and tracked, is known afterwards.
        events = result.get("events", given["events"])
        counted, end_ns = events, result["finished_ns"]
        if row.counted_at == "collector":
            counts = servers.collector.wait(lambda counts: counts["events"] >= events, ARRIVAL_SECONDS)
            # Without any event there is no last one; such a repeat is never used.
            counted, end_ns = counts["events"], counts["last_ns"] or end_ns
        elif row.counted_at == "redis":
            counted = servers.redis.llen("snowplow")
        figures = dict(result["figures"])
        if SPEED in row.metrics.split():
            figures[SPEED] = events / (end_ns - result["started_ns"]) * 1e9
            figures["cpu_us"] = result["cpu_seconds"] / events * 1e6
        same = ("calibration_before_ms", "calibration_after_ms", "percentiles")
        return Repeat(
            events=events, counted=counted, figures=figures, **{name: result[name] for name in same}
        )

    def parameters(self, row: Row, name: str, servers: Servers) -> dict[str, Any]:
        client, events = row.clients[name], row.counts[name]
        # Node's engine compiles code that has run some thousand times, so it always has all events.
        scale = 1.0 if client.runs_on == "node" else self.scale
        given = {fact: getattr(row, fact) for fact in ("work", "event", "method", "scheme")}
        given |= {"port": servers.collector.port, "redis_port": servers.redis_port, "shares": SHARES}
        given |= {"events": max(round(events * scale), min(events, FEWEST_EVENTS))}
        given |= {"seconds": max(row.seconds * scale, min(row.seconds, SHORTEST_SECONDS))}
        given |= {"load_core": self.server_core, "processes": self.wanted}
        return given | row.parameters | client.parameters


def as_json(row: Row, repeats: Repeats, found: dict[str, Summary]) -> dict[str, Any]:
    clients = [
        {"name": name, "title": client.title, "family": client.family, "parameters": client.parameters}
        | {"summary": asdict(found[name])}
        | {"repeats": [asdict(one) | {"is_steady": one.is_steady} for one in repeats[name]]}
        for name, client in row.clients.items()
    ]
    return {"name": row.name, "title": row.title, "clients": clients}


def table(row: Row, repeats: Repeats, found: dict[str, Summary], remarks: dict[tuple[str, str], str]) -> str:
    def line(title: str, *cells: str) -> str:
        return f"  {title:<60}" + "".join(f"{cell:>16}" for cell in cells)

    metrics = row.metrics.split()
    lines = ["", f"{row.title}  [{row.name}]", line("", *map(column, metrics), "spread", "repeats")]
    for name, client in row.clients.items():
        summary, made = found[name], len(repeats[name])
        cells = [number(summary.medians.get(metric)) for metric in metrics]
        apart = summary.spreads.get(metrics[0], inf)
        cells += [f"{apart:.0%}" if apart < inf else "–", f"{summary.usable}/{made}"]
        remark = remarks.get((row.name, name), "")
        # What a reader must know before believing the line.
        missing = f"{summary.lost:,} events missing at the collector" if summary.lost else ""
        lines.append(f"{line(client.title, *cells)}  {remark}{missing}".rstrip())
    return "\n".join(lines)


def column(metric: str) -> str:
    return metric.replace("_per_second", "/s").replace("_us", " µs").replace("cpu", "CPU").replace("_", " ")


def number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def measure(arguments: argparse.Namespace, document: dict[str, Any]) -> bool:
    """Run what *arguments* ask for, add it to *document* and print it; return whether all is complete."""
    client_core, server_core = processes.cores()
    # Clients inherit it, those as well that cannot do it for themselves.
    processes.pin(client_core)
    run, found = Run(server_core=server_core, scale=arguments.scale, wanted=arguments.repeats), {}
    for row in chosen(arguments.only, arguments.clients):
        repeats = run.measure(row)
        summaries = summarise(repeats)
        found[row.name] = {name: one for name, one in summaries.items() if repeats[name]}
        run.is_complete &= not any(summary.lost for summary in summaries.values())
        document["rows"].append(as_json(row, repeats, summaries))
        print(table(row, repeats, summaries, run.remarks), flush=True)
    document |= {"versions": run.versions, "published": published.told(found)}
    print(published.table(document["published"]))
    return run.is_complete


def main(words: list[str]) -> int:
    """Run what *words* ask for; return 1 when an event was lost or a client failed."""
    arguments = parse(words)
    document = processes.document("run.py", words) | {"rows": []}
    machine, begin = document["machine"], time.monotonic()
    pinned = "" if machine["is_pinned"] else "; NOT PINNED: client and collector share their cores"
    place = f"{machine['cpu']}, {machine['cores']} cores, {machine['python']}, {machine['system']}"
    print(f"{place}, load {machine['load']}{pinned}")
    is_complete = measure(arguments, document)
    document["took_seconds"] = round(time.monotonic() - begin, 1)
    print(f"\nTook {document['took_seconds']} s. A spread is the interquartile range over the median.")
    processes.write_json(arguments.json, document)
    if arguments.pictures is not None:
        import pictures  # noqa: PLC0415 - matplotlib is needed for nothing else

        pictures.draw(document, arguments.pictures)
    return 0 if is_complete else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
