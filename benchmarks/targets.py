"""What ours is meant to reach, and what it reached. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.ratios import Medians, against_best
from benchmarks.tools.catalog import OURS, peers
from benchmarks.tools.floors import Removal
from benchmarks.tools.rsync import Rsync
from benchmarks.tools.tool import Operation

_MANY_FILES = ("W1", "W3", "W4")
_MOST_MEMORY = 100e6
_MOST_WIRE = 50e3
# Three and a third times the files.
_MOST_GROWTH = 3.6
_MOST_MEMORY_GROWTH = 1.3
# Times the fastest peer.
_TIMES = {
    Operation.FIRST: 1.0,
    Operation.CHANGED: 0.5,
    Operation.NOTHING: 0.5,
    Operation.VERIFY_TEN: 0.5,
    Operation.RESTORE: 1.0,
}


@dataclass(frozen=True)
class Outcome:
    """One target: ``limit`` and what was ``reached``, both as multiples of ``unit``."""

    workload: str
    subject: str
    limit: float
    reached: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return self.reached <= self.limit


def outcomes(found: Mapping[str, Medians]) -> Iterator[Outcome]:
    """Of the workloads that were measured, what became of each target that can be judged."""
    for workload, medians in found.items():
        own = medians.get(OURS, {})
        for operation, limit in _TIMES.items():
            if best := against_best(medians, OURS, peers(operation), operation):
                eased = max(limit, 1.0) if workload == "W2" and operation is Operation.CHANGED else limit
                if workload in _MANY_FILES or operation in (Operation.CHANGED, Operation.VERIFY_TEN, Operation.RESTORE):
                    yield Outcome(workload, f"{operation}", eased, best.value, f"time of {best.other}, the best peer")
        if removal := against_best(medians, OURS, {Removal.name}, Operation.PRUNE):
            yield Outcome(workload, "prune", 1.1, removal.value, "time of rm -rf")
        rsync = medians.get(Rsync.name, {}).get(Operation.CHANGED)
        if workload == "W2" and rsync and Operation.CHANGED in own:
            yield Outcome(workload, "changed, bytes", 1.2, own[Operation.CHANGED].wire / rsync.wire, "bytes of rsync")
        if workload == "W3" and own:
            yield Outcome(workload, "memory of a process", 1.0, _memory(medians) / _MOST_MEMORY, "100 MB")
            if Operation.NOTHING in own:
                yield Outcome(workload, "nothing, bytes", 1.0, own[Operation.NOTHING].wire / _MOST_WIRE, "50 KB")
    if OURS in found.get("W3", {}) and OURS in found.get("W4", {}):
        yield from _growth(found["W3"], found["W4"])


def _growth(less: Medians, more: Medians) -> Iterator[Outcome]:
    yield Outcome("W4", "memory of a process", _MOST_MEMORY_GROWTH, _memory(more) / _memory(less), "that of W3")
    for operation in _TIMES:
        if operation in less[OURS] and operation in more[OURS]:
            growth = more[OURS][operation].wall / less[OURS][operation].wall
            yield Outcome("W4", f"{operation}, growth", _MOST_GROWTH, growth, "time of W3")


def _memory(medians: Medians) -> float:
    return max(figures.largest_bytes for figures in medians[OURS].values())
