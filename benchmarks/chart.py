"""What the picture shows, and who draws it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.packages import UnavailableError, python_packages
from benchmarks.ratios import TIMED, against_floor, medians
from benchmarks.report import TITLES
from benchmarks.result import Run
from benchmarks.schedule import Results
from benchmarks.tools.catalog import FLOORS, OURS, TOOLS


def chart(run: Run) -> dict[str, Any]:
    """The input of plot.py."""
    return {
        "title": f"Wall time, scale {run.scale:g}, medians of {run.rounds}",
        "ours": OURS,
        "panels": [_panel(results) for results in run.workloads.values()],
    }


def _panel(results: Results) -> dict[str, Any]:
    found = medians(results.samples)
    floors = [against_floor(found, OURS, FLOORS, operation) for operation in TIMED]
    bars = {
        name: [round(found[name][operation].wall, 2) if operation in found[name] else None for operation in TIMED]
        for name in TOOLS
        if name in found and name not in FLOORS
    }
    return {
        "title": f"{results.workload}: {results.title} ({results.files:,} files, {results.bytes / 1e6:,.0f} MB)",
        "operations": [TITLES[operation] for operation in TIMED],
        "bars": bars,
        "floor": [ratio.other_seconds if ratio else None for ratio in floors],
    }


def write(run: Run, path: Path) -> None:
    """Draw the picture of a run.

    Raises:
        UnavailableError: matplotlib can't be had.
    """
    python = python_packages("plot", ["matplotlib"]) / "python"
    program = Path(__file__).with_name("plot.py")
    done = subprocess.run(
        [python, program, path], input=json.dumps(chart(run)), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise UnavailableError(f"The picture can't be drawn: {done.stderr.strip()[-500:]}")
