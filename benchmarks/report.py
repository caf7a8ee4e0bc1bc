"""The tables of a run, in Markdown. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import median

from benchmarks.measure import Figures
from benchmarks.ratios import TIMED, Medians, against_best, against_floor, medians
from benchmarks.result import Run
from benchmarks.schedule import Results
from benchmarks.targets import outcomes
from benchmarks.tools.catalog import FLOORS, OURS, peers
from benchmarks.tools.tool import Operation

TITLES = {
    Operation.FIRST: "first",
    Operation.VERIFY_ONE: "verify one",
    Operation.CHANGED: "1 % changed",
    Operation.NOTHING: "nothing changed",
    Operation.VERIFY_TEN: "verify ten",
    Operation.RESTORE: "restore",
    Operation.PRUNE: "prune one",
}


def markdown(*runs: Run) -> str:
    """All tables of ``runs``, none of which measured what another has."""
    lines = [line for run in runs for line in (*_run(run), "")]
    found = {key: medians(results.samples) for run in runs for key, results in run.workloads.items()}
    return "\n".join([*lines, "## Targets", "", *_targets(found)]) + "\n"


def _run(run: Run) -> list[str]:
    lines = [f"`{run.command}`, {run.started}: " + ", ".join(f"{name} {value}" for name, value in run.machine.items())]
    rounds = "one round" if run.rounds == 1 else f"medians of {run.rounds} interleaved rounds"
    lines += ["", f"Scale {run.scale:g}, {rounds}."]
    versions = [f"{tool} {version}" for tool, version in run.versions.items() if version]
    lines += ["", f"Versions: {', '.join(versions)}."]
    lines += [f"\nLeft out: {tool}: {why}" for tool, why in run.left_out.items()]
    for results in run.workloads.values():
        lines += ["", *_workload(results)]
    return lines


def _targets(found: Mapping[str, Medians]) -> list[str]:
    rows = (
        [
            one.workload,
            one.subject,
            f"at most {one.limit:g} x {one.unit}",
            f"{one.reached:.2f}",
            "yes" if one.met else "no",
        ]
        for one in outcomes(found)
    )
    return _table(["workload", "what", "target", "reached", "met"], rows)


def _workload(results: Results) -> list[str]:
    found = medians(results.samples)
    lines = [f"## {results.workload}: {results.title}", ""]
    lines += [f"{results.files:,} files, {results.bytes / 1e6:,.0f} MB."]
    shares = [figures.foreign for by_operation in found.values() for figures in by_operation.values()]
    lines[-1] += f" Others used {median(shares):.0%} of the machine's CPU time (median), at most {max(shares):.0%}."
    lines += [f"\nFailed: {tool}: {why}" for tool, why in results.failures.items()]
    lines += ["", "Wall seconds:", "", *_figures(found, lambda figures: f"{figures.wall:.2f}")]
    lines += ["", "Ours as a multiple of the best peer and of the floor:", "", *_ratios(found)]
    lines += ["", "CPU seconds, client + server:", ""]
    lines += _figures(found, lambda figures: f"{figures.client_cpu:.1f} + {figures.server_cpu:.1f}")
    lines += ["", "Peak memory in MB, largest process / all together:", ""]
    lines += _figures(found, lambda figures: f"{figures.largest_bytes / 1e6:.0f} / {figures.sum_bytes / 1e6:.0f}")
    lines += ["", "Over the wire in MB, there / back:", ""]
    lines += _figures(found, lambda figures: f"{figures.sent / 1e6:.2f} / {figures.received / 1e6:.2f}")
    if results.space:
        lines += ["", "On the server's disk after ten generations, in MB:", ""]
        lines += _table(["", "space"], ([tool, f"{size / 1e6:,.0f}"] for tool, size in results.space.items()))
    late = [
        f"{tool} goes on for {figures.background:.1f} s after {TITLES[operation]}"
        for tool, by_operation in found.items()
        for operation, figures in by_operation.items()
        if figures.background >= 0.05
    ]
    return [*lines, *(["", f"In the background: {'; '.join(late)}."] if late else [])]


def _figures(found: Medians, cell: Callable[[Figures], str]) -> list[str]:
    shown = [operation for operation in TIMED if any(operation in figures for figures in found.values())]
    rows = ([tool, *(cell(figures[key]) if key in figures else "" for key in shown)] for tool, figures in found.items())
    return _table(["", *(TITLES[operation] for operation in shown)], rows)


def _ratios(found: Medians) -> list[str]:
    rows = []
    for operation in TIMED:
        best = against_best(found, OURS, peers(operation), operation)
        floor = against_floor(found, OURS, FLOORS, operation)
        if best or floor:
            cells = [f"{ratio.value:.2f} x {ratio.other}" if ratio else "" for ratio in (best, floor)]
            rows.append([TITLES[operation], *cells])
    return _table(["", "best peer", "floor"], rows)


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in (head, ["---"] * len(head), *rows)]
