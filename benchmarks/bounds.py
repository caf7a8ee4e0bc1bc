"""What ours may cost beside another tool: recorded once, judged at each quick run. Pure but for reading and writing the file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from benchmarks import pace
from benchmarks.measure import Figures
from benchmarks.ratios import Medians, Ratio
from benchmarks.tools.tool import Operation

PATH = Path(__file__).with_name("bounds.json")
# Worse than its bound by a third fails.
_TOLERANCE = 4 / 3
# On a busy machine the wall time tells how busy it is: more than this share of its CPU time used by others.
_QUIET = 0.15


class Figure(StrEnum):
    """What is bounded. CPU time and bytes hardly depend on what else the machine does."""

    WALL = "wall"
    CPU = "cpu"
    WIRE = "wire"


# So much more than the bound is never worth a word.
_SLACK = {Figure.WALL: 0.5, Figure.CPU: 0.5, Figure.WIRE: 20_000}


@dataclass(frozen=True)
class Bound:
    """On ``workload`` ours took ``ratio`` times the ``figure`` of ``other`` (of that ``version``) for ``operation``.

    ``system_call``: what :func:`pace.system_call` gave where it was recorded. Bytes are the same everywhere.
    """

    workload: str
    operation: Operation
    figure: Figure
    other: str
    version: str
    ratio: float
    system_call: float

    def holds_at(self, system_call: float) -> bool:
        """Whether it can be judged on a machine with that figure."""
        return self.figure is Figure.WIRE or pace.alike(self.system_call, system_call)

    def __str__(self) -> str:
        return (
            f"{self.workload} {self.operation}, {self.figure}: {self.ratio:.2f} x {self.other} {self.version}".rstrip()
        )


@dataclass(frozen=True)
class Verdict:
    """What came of a bound: ``exceeded`` None where it could not be judged, and ``words`` say why."""

    bound: Bound
    words: str
    exceeded: bool | None

    def __str__(self) -> str:
        return f"{_MARKS[self.exceeded]:6}{self.bound}: {self.words}"


_MARKS = {True: "WORSE", False: "ok", None: "-"}


def record(
    workload: str, ratios: Iterable[Ratio], found: Medians, ours: str, versions: Mapping[str, str], system_call: float
) -> Iterator[Bound]:
    """The bounds that what was measured just now keeps exactly; of ``ratios`` only who was compared counts.

    There is none for the wall time where others kept the machine busy.
    """
    for ratio in ratios:
        own, other = found[ours][ratio.operation], found[ratio.other][ratio.operation]
        for figure in Figure:
            if _value(other, figure) > 0 and (figure is not Figure.WALL or _quiet(own, other)):
                value = round(_value(own, figure) / _value(other, figure), 2)
                version = versions.get(ratio.other, "")
                yield Bound(workload, ratio.operation, figure, ratio.other, version, value, system_call)


def judge(bound: Bound, found: Medians, ours: str, versions: Mapping[str, str], system_call: float) -> Verdict:
    """Compare what was measured with a bound. A tool of another version is another tool, and so is another machine."""
    if not bound.holds_at(system_call):
        words = f"not judged, a system call takes {system_call:g} additions here, {bound.system_call:g} where it was recorded"
        return Verdict(bound, words, None)
    version = versions.get(bound.other, "")
    if version != bound.version:
        return Verdict(bound, f"not judged, here is version {version or 'none'}", None)
    try:
        own, other = found[ours][bound.operation], found[bound.other][bound.operation]
    except KeyError:
        return Verdict(bound, "not judged, it was not measured", None)
    if bound.figure is Figure.WALL and not _quiet(own, other):
        return Verdict(bound, f"not judged, others used {max(own.foreign, other.foreign):.0%} of the machine", None)
    mine, theirs = _value(own, bound.figure), _value(other, bound.figure)
    exceeded = mine > bound.ratio * _TOLERANCE * theirs + _SLACK[bound.figure]
    return Verdict(bound, f"{mine:.2f} / {theirs:.2f} = {mine / theirs if theirs else float('inf'):.2f}", exceeded)


def _quiet(*both: Figures) -> bool:
    return all(figures.foreign <= _QUIET for figures in both)


def _value(figures: Figures, figure: Figure) -> float:
    return float(getattr(figures, figure))


def write(path: Path, bounds: Iterable[Bound], command: str) -> None:
    """Write the file, one bound a line."""
    lines = ",\n  ".join(json.dumps(vars(bound)) for bound in bounds)
    path.write_text(f'{{"recorded_by": {json.dumps(command)}, "bounds": [\n  {lines}\n]}}\n', encoding="utf-8")


def read(path: Path) -> list[Bound]:
    """The recorded bounds."""
    return [
        Bound(**{**line, "operation": Operation(line["operation"]), "figure": Figure(line["figure"])})
        for line in json.loads(path.read_text(encoding="utf-8"))["bounds"]
    ]
