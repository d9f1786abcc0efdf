"""
Pictures of a run, as SVG: ``python benchmarks/pictures.py RUN.json FOLDER``.

Needs matplotlib, from the dependency group ``bench``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
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
# The panels of each picture: rows, and their titles.
THROUGHPUT = {
    "page_view": "Page view, POST",
    "structured": "Structured event, POST",
    "get": "Page view, GET",
    "tls": "Page view, POST over TLS",
    "rtt": "Page view, POST, 50 ms of round trip",
}
WAITS = {"page_view": "Wait of one track at full load, page view by POST"}
LATENESS = {
    "loop-answering": "collector answers after 50 ms",
    "loop-refusing": "connections refused",
    "loop-hanging": "collector never answers",
}
SERVICE = {
    "service-answering": "collector answers",
    "service-refusing": "connections refused",
    "service-slow": "collector answers after 2 s",
}
# The ticks of a percentile axis: at 1 in so many.
TICKS = {2: "50", 10: "90", 100: "99", 1000: "99.9", 10_000: "99.99"}
STYLE: Any = {
    "svg.hashsalt": "snowplow-aio",
    # Text stays text: a fifth of the size, and differences that can be read.
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.facecolor": "white",
}
# The clients of each panel that was measured, by its title.
Panels = dict[str, list[dict[str, Any]]]


def throughput(panels: Panels) -> Figure:
    """Return bars of the events per second, each row with its own scale."""
    heights = [len(clients) for clients in panels.values()]
    size = (8, 0.27 * sum(heights) + 0.62 * len(panels) + 0.3)
    figure, axes = plt.subplots(
        len(panels), 1, figsize=size, height_ratios=heights, squeeze=False, layout="constrained"
    )
    for axis, (title, clients) in zip(axes[:, 0], panels.items(), strict=True):
        ordered = sorted(clients, key=speed)
        names, shades = [one["title"] for one in ordered], [COLOURS[one["family"]] for one in ordered]
        drawn = axis.barh(names, [speed(client) for client in ordered], color=shades, height=0.7)
        axis.bar_label(drawn, [f"{speed(client):,.0f}" for client in ordered], padding=3)
        axis.margins(x=0.12, y=0.02)
        axis.xaxis.set_visible(False)
        axis.spines["bottom"].set_visible(False)
        axis.tick_params(axis="y", length=0)
        axis.set_title(f"{title}: events per second")
    return figure


def speed(client: dict[str, Any]) -> float:
    return client["summary"]["medians"]["events_per_second"]


def percentiles(unit: str, last_tick: int = 1000) -> Callable[[Panels], Figure]:
    """Return a function that draws percentiles up to *last_tick*, on one scale of *unit*."""

    def draw_panels(panels: Panels) -> Figure:
        figure, axes = plt.subplots(
            1, len(panels), figsize=(9, 4.2), sharey=True, squeeze=False, layout="constrained"
        )
        for axis, (title, clients) in zip(axes[0], panels.items(), strict=True):
            percentile_lines(axis, clients, last_tick)
            axis.set_title(title)
        first = axes[0][0]
        first.set_ylabel(unit)
        handles = first.get_legend_handles_labels()
        figure.legend(*handles, frameon=False, fontsize=8, ncols=3, loc="outside upper left")
        return figure

    return draw_panels


def percentile_lines(axis: Axes, clients: Sequence[dict[str, Any]], last_tick: int) -> None:
    """Draw the percentiles of each of the *clients*, the far tail at full length."""
    styles, used = ["-", "--", ":", "-."], Counter[str]()
    for client in clients:
        shade = COLOURS[client["family"]]
        style = styles[used[shade] % len(styles)]
        used[shade] += 1
        points = [
            (1 / (1 - share), value)
            for share, value in zip(SHARES, client["summary"]["percentiles"], strict=True)
            if 0.5 <= share < 1
        ]
        axis.plot(*zip(*points, strict=True), style, color=shade, label=client["title"], linewidth=1.6)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(list(TICKS), list(TICKS.values()))
    axis.minorticks_off()
    axis.set_xlim(2, last_tick)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_xlabel("percentile")
    axis.grid(visible=True, color="#dddddd", linewidth=0.6)


# By the name of the file: the rows, the figure that a client must have, and what draws.
PICTURES: dict[str, tuple[dict[str, str], str, Callable[[Panels], Figure]]] = {
    "throughput": (THROUGHPUT, "events_per_second", throughput),
    "waits": (WAITS, "p50_us", percentiles("microseconds", 10_000)),
    # Of two seconds of loop ticks, two are beyond the last tick of the axis; of requests, one.
    "lateness": (LATENESS, "late_p99_ms", percentiles("milliseconds that a 1 ms tick is late")),
    "service": (SERVICE, "p99_ms", percentiles("milliseconds until the answer")),
}


def draw(document: dict[str, Any], folder: Path) -> None:
    """Draw the pictures that *document*, the JSON of a run, has figures for."""
    rows = {row["name"]: row["clients"] for row in document["rows"]}
    folder.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE):
        for name, (titles, needed, picture) in PICTURES.items():
            panels = {
                title: [client for client in rows.get(row, ()) if needed in client["summary"]["medians"]]
                for row, title in titles.items()
            }
            panels = {title: clients for title, clients in panels.items() if clients}
            if not panels:
                continue
            figure = picture(panels)
            # Room for the caption below.
            layout: Any = figure.get_layout_engine()
            layout.set(rect=(0, 0.03, 1, 0.96))
            figure.text(0.01, 0.005, caption(document), fontsize=6.5, color="#555555")
            # Without a date, and with ids from the salt, one run gives one file.
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)


def caption(document: dict[str, Any]) -> str:
    """Return the day, the machine and the versions: without them a figure says nothing."""
    machine, versions = document["machine"], document["versions"]
    libraries = {
        name: version
        for runtime in ("ours", "official", "aio", "node")
        for name, version in versions.get(runtime, {}).items()
        if "snowplow" in name
    }
    told = [document["started_at"][:10], f"{machine['cpu']}, {machine['cores']} cores", machine["python"]]
    return " · ".join([*told, *(f"{name} {version}" for name, version in libraries.items())])


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Draw the pictures of a run.")
    parser.add_argument("run", type=Path, help="its JSON")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    arguments = parser.parse_args(words)
    draw(json.loads(arguments.run.read_text(encoding="utf-8")), arguments.folder)


if __name__ == "__main__":
    main(sys.argv[1:])
