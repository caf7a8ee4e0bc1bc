#!/usr/bin/env python3
"""Draw wall times as bars: JSON on standard input, a PNG at the path given.

It runs in a virtual environment of its own that has matplotlib, and so imports nothing of ours. The input:
``{"title": …, "ours": …, "panels": [{"title": …, "operations": [name, …], "bars": {tool: [seconds or null, …]},
"floors": {…}}]}``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot

# Okabe and Ito's colours, which people with any kind of colour vision tell apart; ours is the strongest.
_OURS = "#d55e00"
_OTHERS = ("#0072b2", "#56b4e9", "#009e73", "#cc79a7", "#e69f00", "#999999")
_GROUP = 0.84


def draw(chart: dict[str, Any], path: str) -> None:
    """One panel a workload; a dash above which nothing can be faster marks the floor."""
    panels = chart["panels"]
    figure, every = pyplot.subplots(len(panels), 1, figsize=(11, 3.6 * len(panels)), squeeze=False)
    names = list(dict.fromkeys(name for panel in panels for name in panel["bars"]))
    others = iter(_OTHERS)
    colours = {name: _OURS if name == chart["ours"] else next(others) for name in names}
    for axes, panel in zip(every[:, 0], panels, strict=True):
        _panel(axes, panel, colours)
    handles = {
        label: handle for axes in every[:, 0] for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.suptitle(chart["title"])
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=len(handles), frameon=False)
    figure.tight_layout(rect=(0, 0.25 / len(panels) / 2.5, 1, 1))
    figure.savefig(path, dpi=110)


def _panel(axes: Any, panel: dict[str, Any], colours: dict[str, str]) -> None:
    width = _GROUP / len(panel["bars"])
    for place, (name, seconds) in enumerate(panel["bars"].items()):
        known = [(number, value) for number, value in enumerate(seconds) if value is not None]
        left = [number - _GROUP / 2 + (place + 0.5) * width for number, _ in known]
        bars = axes.bar(left, [value for _, value in known], width * 0.92, color=colours[name], label=name, zorder=2)
        axes.bar_label(bars, [f"{value:.3g}" for _, value in known], fontsize=6, padding=1)
    for number, value in enumerate(panel["floor"]):
        if value is not None:
            edges = (number - _GROUP / 2, number + _GROUP / 2)
            axes.hlines(value, *edges, color="black", linewidth=1.2, zorder=3, label="floor" if number == 0 else None)
    axes.set_title(panel["title"], loc="left", fontsize=10)
    axes.set_xticks(range(len(panel["operations"])), panel["operations"])
    axes.set_yscale("log")
    axes.set_ylabel("seconds")
    axes.grid(axis="y", color="0.9", zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.12)


if __name__ == "__main__":
    draw(json.load(sys.stdin), sys.argv[1])
