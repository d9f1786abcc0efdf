"""
The report of each row: JSON for machines, a table for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from measure import Repeat, Summary, common_calibration, summarise
from rows import Row

# Repeats, and reasons why there are none, by the name of the client.
Repeats = dict[str, list[Repeat]]
Absent = Mapping[str, str]


def summaries(row: Row, repeats: Repeats) -> dict[str, Summary]:
    """Return the summary of each client, all at the CPU speed that was the commonest."""
    calibration = common_calibration(repeat for made in repeats.values() for repeat in made)
    return {client.name: summarise(repeats[client.name], calibration) for client in row.clients}


def as_json(row: Row, repeats: Repeats, absent: Absent) -> dict[str, Any]:
    """Return all that was measured in *row*."""
    found = summaries(row, repeats)
    return {
        "name": row.name,
        "title": row.title,
        "clients": [
            {
                "name": client.name,
                "title": client.title,
                "family": client.family,
                "parameters": client.parameters,
                "not_run": absent.get(client.name),
                "summary": asdict(found[client.name]),
                "repeats": [asdict(one) | {"is_steady": one.is_steady} for one in repeats[client.name]],
            }
            for client in row.clients
        ],
    }


def table(row: Row, repeats: Repeats, absent: Absent) -> str:
    """Return the figures of *row* as text. The spread is that of the first metric."""
    found, columns = summaries(row, repeats), [one.column for one in row.metrics]
    lines = ["", f"{row.title}  [{row.name}]", line("", *columns, "spread", "repeats")]
    for client in row.clients:
        made, summary = repeats[client.name], found[client.name]
        apart = summary.spreads.get(row.metrics[0].name)
        cells = [number(summary.medians.get(one.name)) for one in row.metrics]
        cells += ["–" if apart is None else f"{apart:.0%}", f"{summary.usable}/{len(made)}"]
        lines.append(line(client.title, *cells) + remark(made, absent.get(client.name)))
    return "\n".join(lines)


def line(title: str, *cells: str) -> str:
    return f"  {title:<60}" + "".join(f"{cell:>16}" for cell in cells)


def number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def remark(repeats: list[Repeat], reason: str | None) -> str:
    """Return what a reader must know before believing the line."""
    if reason is not None:
        return f"  not run: {reason}"
    if not repeats:
        return "  failed"
    lost = sum(repeat.events - repeat.counted for repeat in repeats)
    return f"  {lost:,} events missing at the sink" if lost > 0 else ""
