"""
Pictures of a run, as SVG: ``python benchmarks/pictures.py RUN.json FOLDER``.

Needs matplotlib, from the dependency group ``bench``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from clients.common import SHARES
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Told apart also by those who do not see all colours (Okabe and Ito), and by their order.
COLOURS = {"ours": "#0072B2", "official": "#D55E00", "node": "#009E73", "aio": "#CC79A7", "none": "#777777"}
THROUGHPUT = {
    "page_view": "Page view, POST",
    "structured": "Structured event, POST",
    "get": "Page view, GET",
    "tls": "Page view, POST over TLS",
    "rtt": "Page view, POST, 50 ms of round trip",
}
LOOPS = {
    "loop-answering": "collector answers after 50 ms",
    "loop-refusing": "connections refused",
    "loop-hanging": "collector never answers",
}
SERVICES = {
    "service-answering": "collector answers",
    "service-refusing": "connections refused",
    "service-slow": "collector answers after 2 s",
}
# Where a percentile axis has its marks: at 1 in so many.
MARKS = {2: "50", 10: "90", 100: "99", 1000: "99.9", 10_000: "99.99"}
STYLE = {
    "svg.hashsalt": "snowplow-aio",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.facecolor": "white",
}


def draw(document: dict[str, Any], folder: Path) -> list[Path]:
    """
    Draw what *document*, a run's JSON, has figures for; return the files.
    """
    scenarios = {scenario["name"]: scenario for scenario in document["scenarios"]}
    drawn = []
    with plt.rc_context(STYLE):
        pictures = {"throughput": throughput, "waits": waits, "lateness": lateness, "service": service}
        for name, picture in pictures.items():
            figure = picture(scenarios)
            if figure is not None:
                figure.text(0.01, 0.005, caption(document), fontsize=6.5, color="#555555")
                folder.mkdir(parents=True, exist_ok=True)
                drawn.append(folder / f"{name}.svg")
                # Without a date, and ids from the salt: one run gives one file.
                figure.savefig(drawn[-1], metadata={"Date": None})
                plt.close(figure)
    return drawn


def caption(document: dict[str, Any]) -> str:
    machine = document["machine"]
    libraries = {
        name: version
        for runtime in ("ours", "peers", "node")
        for name, version in document["versions"].get(runtime, {}).items()
        if "snowplow" in name
    }
    told = [document["started_at"][:10], f"{machine['cpu']}, {machine['cores']} cores", machine["python"]]
    return " · ".join([*told, *(f"{name} {version}" for name, version in libraries.items())])


def measured(scenario: dict[str, Any], figure: str) -> list[dict[str, Any]]:
    """
    Return the clients of *scenario* that have that *figure*.
    """
    return [client for client in scenario["clients"] if figure in client["summary"]["medians"]]


def colour(client: dict[str, Any]) -> str:
    # A loop that tracks nothing is of nobody's family.
    is_nobody = client["name"] == "idle"
    return COLOURS["none" if is_nobody else client["family"]]


def throughput(scenarios: dict[str, Any]) -> Figure | None:
    """
    Return bars of the events per second, each scenario with its own scale.
    """
    panels = {
        name: measured(scenarios[name], "events_per_second") for name in THROUGHPUT if name in scenarios
    }
    panels = {name: clients for name, clients in panels.items() if clients}
    if not panels:
        return None
    rows = [len(clients) for clients in panels.values()]
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(8, 0.27 * sum(rows) + 0.62 * len(panels) + 0.3),
        height_ratios=rows,
        squeeze=False,
        layout="constrained",
    )
    figure.get_layout_engine().set(rect=(0, 0.025, 1, 0.97))
    for axis, (name, clients) in zip(axes[:, 0], panels.items(), strict=True):
        bars(axis, clients)
        axis.set_title(f"{THROUGHPUT[name]}: events per second")
    return figure


def bars(axis: Axes, clients: Sequence[dict[str, Any]]) -> None:
    ordered = sorted(clients, key=lambda client: client["summary"]["medians"]["events_per_second"])
    values = [client["summary"]["medians"]["events_per_second"] for client in ordered]
    drawn = axis.barh(
        [client["title"] for client in ordered],
        values,
        color=[colour(client) for client in ordered],
        height=0.7,
    )
    axis.bar_label(drawn, [f"{value:,.0f}" for value in values], padding=3)
    axis.margins(x=0.12, y=0.02)
    axis.xaxis.set_visible(False)
    axis.spines["bottom"].set_visible(False)
    axis.tick_params(axis="y", length=0)


def waits(scenarios: dict[str, Any]) -> Figure | None:
    """
    Return how long one `track` takes, by percentile.
    """
    clients = measured(scenarios["page_view"], "p50_us") if "page_view" in scenarios else []
    if not clients:
        return None
    figure, axis = plt.subplots(figsize=(9, 4.4), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0.03, 1, 0.96))
    percentile_lines(axis, clients, 10_000)
    axis.set_title("Wait of one track at full load, page view by POST")
    axis.set_ylabel("microseconds")
    figure.legend(frameon=False, fontsize=8, loc="outside right upper")
    return figure


def lateness(scenarios: dict[str, Any]) -> Figure | None:
    """
    Return how late a loop's ticks are, by percentile, for each state of the collector.
    """
    return side_by_side(scenarios, LOOPS, "late_p99_ms", "milliseconds that a 1 ms tick is late")


def service(scenarios: dict[str, Any]) -> Figure | None:
    """
    Return how long a service takes to answer, by percentile, for each state of the collector.
    """
    return side_by_side(scenarios, SERVICES, "p99_ms", "milliseconds until the answer")


def side_by_side(
    scenarios: dict[str, Any], titles: dict[str, str], name_of_figure: str, unit: str
) -> Figure | None:
    """
    Return the percentiles of the clients of each of the scenarios in *titles*, on one scale.
    """
    panels = {name: measured(scenarios[name], name_of_figure) for name in titles if name in scenarios}
    panels = {name: clients for name, clients in panels.items() if clients}
    if not panels:
        return None
    figure, axes = plt.subplots(
        1, len(panels), figsize=(9, 3.8), sharey=True, squeeze=False, layout="constrained"
    )
    figure.get_layout_engine().set(rect=(0, 0.035, 1, 0.955))
    for axis, (name, clients) in zip(axes[0], panels.items(), strict=True):
        # Of two seconds of ticks, two are beyond the last mark; of its requests, one.
        percentile_lines(axis, clients, 1000)
        axis.set_title(titles[name])
    axes[0][0].set_ylim(bottom=0.2)
    axes[0][0].set_ylabel(unit)
    figure.legend(
        *axes[0][0].get_legend_handles_labels(), frameon=False, fontsize=8, ncols=2, loc="outside upper left"
    )
    return figure


def percentile_lines(axis: Axes, clients: Sequence[dict[str, Any]], last_mark: int) -> None:
    """
    Draw the percentiles of each of the *clients*, the far tail at full length.
    """
    styles = ["-", "--", ":", "-."]
    used: dict[str, int] = {}
    for client in clients:
        shade = colour(client)
        style = styles[used.get(shade, 0) % len(styles)]
        used[shade] = used.get(shade, 0) + 1
        points = [
            (1 / (1 - share), value)
            for share, value in zip(SHARES, client["summary"]["percentiles"], strict=True)
            if 0.5 <= share < 1
        ]
        axis.plot(*zip(*points, strict=True), style, color=shade, label=client["title"], linewidth=1.6)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(list(MARKS), list(MARKS.values()))
    axis.minorticks_off()
    axis.set_xlim(2, last_mark)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_xlabel("percentile")
    axis.grid(visible=True, color="#dddddd", linewidth=0.6)


def main(words: list[str]) -> int:
    if len(words) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    document = json.loads(Path(words[0]).read_text(encoding="utf-8"))
    for path in draw(document, Path(words[1])):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
