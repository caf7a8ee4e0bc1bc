"""What the picture shows, and who draws it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.packages import UnavailableError, python_packages
from benchmarks.ratios import TIMED, against_floor, medians
from benchmarks.report import TITLES
from benchmarks.result import Run
from benchmarks.schedule import Results
from benchmarks.tools.catalog import FLOORS, OURS, TOOLS


def chart(*runs: Run) -> dict[str, Any]:
    """The input of plot.py."""
    return {
        "title": "Wall time",
        "ours": OURS,
        "panels": [_panel(run, results) for run in runs for results in run.workloads.values()],
    }


def _panel(run: Run, results: Results) -> dict[str, Any]:
    found = medians(results.samples)
    measured = [operation for operation in TIMED if any(operation in figures for figures in found.values())]
    floors = [against_floor(found, OURS, FLOORS, operation) for operation in measured]
    bars = {
        name: [round(found[name][operation].wall, 2) if operation in found[name] else None for operation in measured]
        for name in TOOLS
        if name in found and name not in FLOORS
    }
    return {
        "title": f"{results.workload}: {results.title} ({results.files:,} files, {results.bytes / 1e6:,.0f} MB; "
        + ("one round" if run.rounds == 1 else f"median of {run.rounds} rounds")
        + (f"; caches {run.machine['caches']})" if "caches" in run.machine else ")"),
        "operations": [TITLES[operation] for operation in measured],
        "bars": bars,
        "floor": [ratio.other_seconds if ratio else None for ratio in floors],
    }


def write(runs: Iterable[Run], path: Path) -> None:
    """Draw the picture of ``runs``.

    Raises:
        UnavailableError: matplotlib can't be had.
    """
    python = python_packages("plot", ["matplotlib"]) / "python"
    program = Path(__file__).with_name("plot.py")
    done = subprocess.run(
        [python, program, path], input=json.dumps(chart(*runs)), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise UnavailableError(f"The picture can't be drawn: {done.stderr.strip()[-500:]}")
