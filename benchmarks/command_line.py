"""The benchmark's options, and what it does with them."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import bounds, chart, report, result
from benchmarks.data.catalog import WORKLOADS
from benchmarks.lab import Lab, opened
from benchmarks.packages import UnavailableError
from benchmarks.ratios import TIMED, against_best, against_floor, medians
from benchmarks.schedule import MOST_ROUNDS, Course
from benchmarks.tools.catalog import FLOORS, OURS, TOOLS, peers
from benchmarks.tools.tool import Operation, Tool

QUICK_SCALE = 0.1
QUICK = (
    *("--scale", "quick", "--workloads", "W3", "--tools", "sedai,rsync,rsync + SFV,floors"),
    *("--operations", "first,changed,nothing,verify_ten,restore,prune"),
    *("--memory", "4"),
)
WITHIN_BOUNDS, WORSE, FAILED = 0, 1, 3

_EPILOG = """\
It needs root (for the account and the sshd of its own, and for the counters) and asks for it by sudo. Peers that are missing
are installed from their packages. Everything else lies in a directory that is removed at the end.

  run.py --workloads W3 --scale 0.1 --tools sedai,rsync,restic
  run.py --workloads W3 --operations changed,nothing --rounds 4
  run.py --quick             the short run of `make bench-quick`, judged by bounds.json
  run.py --quick --record    the same, recorded as the new bounds

exit codes: 0 done, 1 a ratio is worse than its bound by a third, 2 usage, 3 something failed
"""


def main() -> int:
    """Run the benchmark; the exit code."""
    arguments = parse(sys.argv[1:])
    if os.geteuid() != 0:
        os.execvp("sudo", ["sudo", sys.executable, *sys.argv])  # noqa: S606
    try:
        with opened(arguments.base, arguments.memory) as lab:
            run = _measure(lab, arguments)
    except UnavailableError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("benchmark: stopped; everything was taken away", file=sys.stderr)
        return FAILED
    print(report.markdown(run))
    if arguments.output:
        _publish(run, arguments.output)
    if OURS in run.left_out or any(results.failures for results in run.workloads.values()):
        return FAILED
    if arguments.record:
        _record(run)
    return _judged(run) if arguments.quick and not arguments.record else WITHIN_BOUNDS


def parse(words: Sequence[str]) -> argparse.Namespace:
    """What ``words`` ask for."""
    options = argparse.ArgumentParser(
        description="Measure ours beside what a user would pick instead.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument(
        "--scale", type=_scale, default=1.0, help="share of the full size: `quick` is one tenth (default: 1)"
    )
    options.add_argument(
        "--workloads", type=_among(WORKLOADS), default=list(WORKLOADS), help=f"of {','.join(WORKLOADS)}"
    )
    options.add_argument(
        "--tools", type=_tools, default=list(TOOLS), help=f"of {','.join(TOOLS)}; `floors` stands for all floors"
    )
    operations = [operation.value for operation in Operation]
    options.add_argument("--operations", type=_among(operations), default=operations, help=f"of {','.join(operations)}")
    options.add_argument("--rounds", type=int, choices=range(1, MOST_ROUNDS + 1), default=3, help="default: 3")
    options.add_argument("--base", type=Path, default=Path("/var/tmp"), help="where the data lies (default: /var/tmp)")  # noqa: S108
    options.add_argument(
        "--memory", type=int, default=0, metavar="GIB", help="use a disk in memory of that size instead"
    )
    options.add_argument(
        "--cold",
        action="store_true",
        help="drop the kernel's caches before each operation, as if the day before was long ago",
    )
    options.add_argument(
        "--output",
        type=Path,
        help="directory for a JSON file for each workload, and for results.md and results.png, made from all of them",
    )
    options.add_argument("--quick", action="store_true", help=f"stands for {shlex.join(QUICK)}, judged by the bounds")
    options.add_argument("--record", action="store_true", help="with --quick: make what is measured the new bounds")
    arguments = options.parse_args(words)
    if arguments.record and not arguments.quick:
        options.error("--record needs --quick")
    return options.parse_args([*words, *QUICK]) if arguments.quick else arguments


def _scale(text: str) -> float:
    scale = QUICK_SCALE if text == "quick" else float(text)
    if not 0 < scale <= 1:
        raise argparse.ArgumentTypeError("must be above 0 and at most 1")
    return scale


def _among(known: Sequence[str] | dict[str, type]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        if strangers := [name for name in chosen if name not in known]:
            raise argparse.ArgumentTypeError(f"knows no {', '.join(strangers)}; there are {', '.join(known)}")
        return [name for name in known if name in chosen]

    return parse


def _tools(text: str) -> list[str]:
    words = [name for word in text.split(",") for name in (sorted(FLOORS) if word == "floors" else [word])]
    return _among(TOOLS)(",".join(words))


def _measure(lab: Lab, arguments: argparse.Namespace) -> result.Run:
    command = shlex.join(["benchmarks/run.py", *sys.argv[1:]])
    run = result.Run(command, arguments.scale, arguments.rounds, result.now(), result.machine(lab.base))
    if arguments.cold:
        run.machine["caches"] = "dropped before each operation"
    tools = _available([TOOLS[name] for name in arguments.tools], run.left_out)
    run.versions = {tool.name: tool.version() for tool in tools}
    operations = [Operation(name) for name in arguments.operations]
    for key in arguments.workloads:
        workload = WORKLOADS[key](arguments.scale)
        chosen = [tool for tool in tools if not workload.tools or tool.floor or tool.name in workload.tools]
        run.workloads[key] = Course(lab, workload, chosen, cold=arguments.cold).carry_out(operations, arguments.rounds)
    return run


def _available(tools: Sequence[type[Tool]], left_out: dict[str, str]) -> list[type[Tool]]:
    available = []
    for tool in tools:
        try:
            tool.provide()
        except UnavailableError as error:
            print(f"benchmark: {tool.name} is left out: {error}", file=sys.stderr)
            left_out[tool.name] = str(error)
        else:
            available.append(tool)
    return available


def _publish(run: result.Run, directory: Path) -> None:
    """A file for each workload; the tables and the picture are made from all that are there, whoever measured them."""
    directory.mkdir(parents=True, exist_ok=True)
    for key, results in run.workloads.items():
        dataclasses.replace(run, workloads={key: results}).write(directory / f"{key}.json")
    runs = [result.Run.read(path) for path in sorted(directory.glob("W?.json"))]
    (directory / "results.md").write_text(f"# Results\n\n{report.markdown(*runs)}", encoding="utf-8")
    try:
        chart.write(runs, directory / "results.png")
    except UnavailableError as error:
        print(f"benchmark: no picture: {error}", file=sys.stderr)


def _record(run: result.Run) -> None:
    recorded = [bound for bound in bounds.read(bounds.PATH) if not bound.holds_at(run.system_call)]
    for key, results in run.workloads.items():
        found = medians(results.samples)
        for operation in TIMED:
            best = against_best(found, OURS, peers(operation), operation)
            floor = against_floor(found, OURS, FLOORS, operation)
            ratios = [ratio for ratio in (best, floor) if ratio]
            recorded += bounds.record(key, ratios, found, OURS, run.versions, run.system_call)
    bounds.write(bounds.PATH, recorded, run.command)


def _judged(run: result.Run) -> int:
    verdicts = [
        bounds.judge(bound, medians(run.workloads[bound.workload].samples), OURS, run.versions, run.system_call)
        for bound in bounds.read(bounds.PATH)
    ]
    print(*verdicts, sep="\n")
    if all(verdict.exceeded is None for verdict in verdicts):
        print("benchmark: no bound could be judged", file=sys.stderr)
        return FAILED
    return WORSE if any(verdict.exceeded for verdict in verdicts) else WITHIN_BOUNDS
