"""
The report: JSON for machines, tables for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from measure import Metric, Ratio, Repeat, Summary, common_calibration, ratio, summarise
from rows import Client, Scenario
from targets import TARGETS, Target, Verdict

# Repeats by the name of their client.
Repeats = dict[str, list[Repeat]]
# Why there are none, by the name of the client.
Absent = Mapping[str, str]

TITLE_WIDTH = 60
VERDICTS = {True: "yes", False: "NO", None: "–"}


def summaries(scenario: Scenario, repeats: Repeats) -> dict[str, Summary]:
    """
    Return the summary of each client, all at the CPU speed that was the commonest.
    """
    calibration = common_calibration(repeat for of_client in repeats.values() for repeat in of_client)
    return {client.name: summarise(repeats[client.name], calibration) for client in scenario.clients}


def comparisons(
    scenario: Scenario, found: dict[str, Summary]
) -> Iterator[tuple[Client, Client, dict[str, Ratio]]]:
    """
    Yield each client of ours with each client that it is compared with.
    """
    baselines = [client for client in scenario.clients if client.role == "baseline"]
    baselines += best_tuned(scenario, found)
    for client in scenario.clients:
        for baseline in baselines if client.is_ours else ():
            ours, theirs = found[client.name], found[baseline.name]
            if ours.medians and theirs.medians:
                yield (
                    client,
                    baseline,
                    {metric.name: ratio(metric, ours, theirs) for metric in scenario.metrics},
                )


def best_tuned(scenario: Scenario, found: dict[str, Summary]) -> list[Client]:
    """
    Return the fastest of the tuned clients of each family.
    """
    speeds = {name: summary.medians.get("events_per_second", 0.0) for name, summary in found.items()}
    best: dict[str, Client] = {}
    for client in scenario.clients:
        known = best.get(client.family)
        if client.role == "tuned" and (known is None or speeds[client.name] > speeds[known.name]):
            best[client.family] = client
    return list(best.values())


def as_json(scenario: Scenario, repeats: Repeats, absent: Absent) -> dict[str, Any]:
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
                "family": client.family,
                "parameters": client.parameters,
                "not_run": absent.get(client.name),
                "summary": asdict(found[client.name]),
                "repeats": [
                    asdict(repeat) | {"is_steady": repeat.is_steady} for repeat in repeats[client.name]
                ],
            }
            for client in scenario.clients
        ],
        "ratios": [
            {"client": client.name, "baseline": baseline.name}
            | {metric: asdict(value) for metric, value in ratios.items()}
            for client, baseline, ratios in comparisons(scenario, found)
        ],
    }


def table(scenario: Scenario, repeats: Repeats, absent: Absent) -> str:
    """
    Return the figures of *scenario*, then the ratios, as text.
    """
    found, columns = summaries(scenario, repeats), [metric.column for metric in scenario.metrics]
    lines = ["", f"{scenario.title}  [{scenario.name}]", line("", [*columns, "spread", "repeats"])]
    for client in scenario.clients:
        made = repeats[client.name]
        cells = figures(scenario.metrics, found[client.name], len(made))
        lines.append(line(client.title, cells) + remark(made, absent.get(client.name)))
    ratios = [
        line(f"{client.title} / {baseline.name}", [ratio_cell(value) for value in values.values()])
        for client, baseline, values in comparisons(scenario, found)
    ]
    if ratios:
        lines += [line("  times better than", columns), *ratios]
    return "\n".join(lines)


def line(title: str, cells: Sequence[str]) -> str:
    return f"  {title:<{TITLE_WIDTH}}" + "".join(f"{cell:>14}" for cell in cells)


def figures(metrics: Sequence[Metric], summary: Summary, made: int) -> list[str]:
    """
    Return the cells of one client; the spread is that of the first of the *metrics*.
    """
    cells = [number(summary.medians.get(metric.name)) for metric in metrics]
    apart = summary.spreads.get(metrics[0].name)
    cells.append("–" if apart is None else f"{apart:.0%}")
    cells.append(f"{summary.usable}/{made}")
    return cells


def number(value: float | None) -> str:
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio_cell(value: Ratio) -> str:
    if value.value is None:
        return value.refusal or "–"
    return f"{value.value:.1f} ×" if value.value >= 10 else f"{value.value:.2f} ×"


def remark(repeats: list[Repeat], reason: str | None) -> str:
    """
    Return what a reader must know before believing the line.
    """
    if reason is not None:
        return f"  not run: {reason}"
    if not repeats:
        return "  failed"
    lost = sum(repeat.events - repeat.counted for repeat in repeats)
    return f"  {lost:,} events missing at the sink" if lost > 0 else ""


def judged(found: Mapping[str, dict[str, Summary]]) -> list[tuple[Target, Verdict]]:
    """
    Return what was *found*, by scenario, about each target whose scenario was run.
    """
    return [(target, target.judge(found[target.scenario])) for target in TARGETS if target.scenario in found]


def target_table(verdicts: Sequence[tuple[Target, Verdict]]) -> str:
    lines = ["", "Targets", f"  {'what':<36}{'against':<38}{'asked':>14}{'found':>28}{'met':>6}"]
    lines += [
        f"  {target.what:<36}{target.against:<38}{target.asked:>14}{verdict.found:>28}"
        f"{VERDICTS[verdict.is_met]:>6}"
        for target, verdict in verdicts
    ]
    return "\n".join(lines)


def targets_as_json(verdicts: Sequence[tuple[Target, Verdict]]) -> list[dict[str, Any]]:
    return [
        {
            "what": target.what,
            "against": target.against,
            "asked": target.asked,
            "scenario": target.scenario,
            "found": verdict.found,
            "is_met": verdict.is_met,
        }
        for target, verdict in verdicts
    ]
