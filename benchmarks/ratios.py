"""Medians, and how many times as long ours takes as another. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.measure import Figures
from benchmarks.tools.tool import Operation

Medians = Mapping[str, Mapping[Operation, Figures]]
TIMED = tuple(operation for operation in Operation if operation is not Operation.SPACE)


@dataclass(frozen=True)
class Ratio:
    """The wall time of ours as a multiple of that of ``other``."""

    operation: Operation
    other: str
    ours_seconds: float
    other_seconds: float

    @property
    def value(self) -> float:
        """The ratio; infinite where the other took no time."""
        return self.ours_seconds / self.other_seconds if self.other_seconds else float("inf")


def middle(samples: Sequence[Figures]) -> Figures:
    """The median of each figure by itself; the largest process is that of the sample with the most memory."""
    largest = max(samples, key=lambda sample: sample.largest_bytes)
    return replace(
        largest,
        wall=median(sample.wall for sample in samples),
        background=median(sample.background for sample in samples),
        client_cpu=median(sample.client_cpu for sample in samples),
        server_cpu=median(sample.server_cpu for sample in samples),
        foreign=median(sample.foreign for sample in samples),
        sum_bytes=max(sample.sum_bytes for sample in samples),
        sent=round(median(sample.sent for sample in samples)),
        received=round(median(sample.received for sample in samples)),
    )


def medians(samples: Mapping[str, Mapping[str, Sequence[Figures]]]) -> Medians:
    """By tool and operation."""
    return {
        tool: {Operation(operation): middle(taken) for operation, taken in by_operation.items()}
        for tool, by_operation in samples.items()
    }


def against_best(found: Medians, ours: str, others: Collection[str], operation: Operation) -> Ratio | None:
    """Ours beside the fastest of ``others``; None where one of the sides has no figures."""
    return _against(found, ours, others, operation, fastest=True)


def against_floor(found: Medians, ours: str, floors: Collection[str], operation: Operation) -> Ratio | None:
    """Ours beside the slowest of ``floors``: each of them has to be done."""
    return _against(found, ours, floors, operation, fastest=False)


def _against(
    found: Medians, ours: str, others: Collection[str], operation: Operation, *, fastest: bool
) -> Ratio | None:
    walls = {name: found[name][operation].wall for name in others if operation in found.get(name, {})}
    if not walls or operation not in found.get(ours, {}):
        return None
    other = (min if fastest else max)(walls, key=lambda name: walls[name])
    return Ratio(operation, other, found[ours][operation].wall, walls[other])
