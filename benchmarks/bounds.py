"""What ours may cost beside another tool: recorded once, judged at each quick run. Pure but for reading and writing the file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ratios import Medians, Ratio
from benchmarks.tools.tool import Operation

PATH = Path(__file__).with_name("bounds.json")
# Worse than the bound by a third fails; so many seconds more than the bound are never worth a word.
_TOLERANCE = 4 / 3
_SLACK_SECONDS = 0.5


@dataclass(frozen=True)
class Bound:
    """On ``workload`` ours took ``ratio`` times as long for ``operation`` as ``other`` of that ``version``."""

    workload: str
    operation: Operation
    other: str
    version: str
    ratio: float

    def __str__(self) -> str:
        return f"{self.workload} {self.operation}: {self.ratio:.2f} x {self.other} {self.version}".rstrip()


@dataclass(frozen=True)
class Verdict:
    """What came of a bound: ``exceeded`` None where it could not be judged, and ``words`` say why."""

    bound: Bound
    words: str
    exceeded: bool | None


def record(workload: str, ratios: Iterable[Ratio], versions: Mapping[str, str]) -> list[Bound]:
    """The bounds that what was measured just now keeps exactly."""
    return [
        Bound(workload, ratio.operation, ratio.other, versions.get(ratio.other, ""), round(ratio.value, 2))
        for ratio in ratios
    ]


def judge(bound: Bound, found: Medians, ours: str, versions: Mapping[str, str]) -> Verdict:
    """Compare what was measured with a bound. A tool of another version is another tool."""
    version = versions.get(bound.other, "")
    if version != bound.version:
        return Verdict(bound, f"not judged: here is {bound.other} {version}", None)
    try:
        own, other = found[ours][bound.operation].wall, found[bound.other][bound.operation].wall
    except KeyError:
        return Verdict(bound, "not judged: it was not measured", None)
    exceeded = own > bound.ratio * _TOLERANCE * other + _SLACK_SECONDS
    return Verdict(bound, f"{own:.2f} s / {other:.2f} s = {own / max(other, 1e-9):.2f}", exceeded)


def write(path: Path, bounds: Iterable[Bound], command: str) -> None:
    """Write the file, one bound a line."""
    lines = ",\n  ".join(json.dumps(vars(bound)) for bound in bounds)
    path.write_text(f'{{"recorded_by": {json.dumps(command)}, "bounds": [\n  {lines}\n]}}\n', encoding="utf-8")


def read(path: Path) -> list[Bound]:
    """The recorded bounds."""
    return [
        Bound(**{**line, "operation": Operation(line["operation"])})
        for line in json.loads(path.read_text(encoding="utf-8"))["bounds"]
    ]
