"""
The report: JSON for machines, a table for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from measure import METRICS, Ratio, Repeat, Summary, common_calibration, ratio, summarise
from scenarios import Client, Scenario

# Repeats by the name of their client.
Repeats = dict[str, list[Repeat]]

COLUMNS = {"events_per_second": "events/s", "cpu_us": "CPU µs", "p50_us": "p50 µs", "p99_us": "p99 µs"}
TITLE_WIDTH = 60


def summaries(scenario: Scenario, repeats: Repeats) -> dict[str, Summary]:
    """
    Return the summary of each client, all at the CPU speed that was the commonest.
    """
    calibration = common_calibration(repeat for of_client in repeats.values() for repeat in of_client)
    return {client.name: summarise(repeats[client.name], calibration) for client in scenario.clients}


def comparisons(scenario: Scenario, repeats: Repeats) -> Iterator[tuple[Client, Client, dict[str, Ratio]]]:
    """
    Yield each client of ours with each peer that it is compared with.
    """
    found = summaries(scenario, repeats)
    baselines = [client for client in scenario.clients if client.role == "shipped"]
    baselines += best_tuned(scenario, found)
    for client in scenario.clients:
        for baseline in baselines if client.is_ours else ():
            pair = (found[client.name], found[baseline.name])
            yield client, baseline, {metric: ratio(metric, *pair) for metric in METRICS}


def best_tuned(scenario: Scenario, found: dict[str, Summary]) -> list[Client]:
    """
    Return the fastest of the tuned peers; an empty list when there is none.
    """
    tuned = [client for client in scenario.clients if client.role == "tuned"]
    speeds = {client.name: found[client.name].medians.get("events_per_second", 0.0) for client in tuned}
    return [max(tuned, key=lambda client: speeds[client.name])] if tuned else []


def as_json(scenario: Scenario, repeats: Repeats) -> dict[str, Any]:
    """
    Return all that was measured in *scenario*.
    """
    found = summaries(scenario, repeats)
    return {
        "name": scenario.name,
        "title": scenario.title,
        "clients": [
            {
                "name": client.name,
                "title": client.title,
                "role": client.role,
                "parameters": client.parameters,
                "summary": asdict(found[client.name]),
                "repeats": [
                    asdict(repeat)
                    | {"events_per_second": repeat.events_per_second, "is_steady": repeat.is_steady}
                    for repeat in repeats[client.name]
                ],
            }
            for client in scenario.clients
        ],
        "ratios": [
            {"client": client.name, "baseline": baseline.name}
            | {metric: asdict(value) for metric, value in ratios.items()}
            for client, baseline, ratios in comparisons(scenario, repeats)
        ],
    }


def table(scenario: Scenario, repeats: Repeats) -> str:
    """
    Return the figures of *scenario*, then the ratios, as text.
    """
    found = summaries(scenario, repeats)
    lines = ["", scenario.title, line("", [*COLUMNS.values(), "spread", "repeats"])]
    for client in scenario.clients:
        cells = figures(found[client.name], len(repeats[client.name]))
        lines.append(line(client.title, cells) + remark(repeats[client.name]))
    ratios = [
        line(f"{client.title} / {baseline.name}", [ratio_cell(values[metric]) for metric in METRICS])
        for client, baseline, values in comparisons(scenario, repeats)
    ]
    if ratios:
        lines += [line("  times better than", COLUMNS.values()), *ratios]
    return "\n".join(lines)


def line(title: str, cells: Sequence[str] | Any) -> str:
    return f"  {title:<{TITLE_WIDTH}}" + "".join(f"{cell:>12}" for cell in cells)


def figures(summary: Summary, made: int) -> list[str]:
    """
    Return the cells of one client.
    """
    cells = [number(summary.medians.get(metric)) for metric in METRICS]
    apart = summary.spreads.get("events_per_second")
    cells.append("–" if apart is None else f"{apart:.0%}")
    cells.append(f"{summary.usable}/{made}")
    return cells


def number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def ratio_cell(value: Ratio) -> str:
    if value.value is None:
        return value.refusal or "–"
    return f"{value.value:.1f} ×"


def remark(repeats: list[Repeat]) -> str:
    """
    Return what a reader must know before believing the line.
    """
    if not repeats:
        return "  failed"
    lost = sum(repeat.events - repeat.counted for repeat in repeats)
    return f"  {lost:,} events missing at the sink" if lost > 0 else ""
