"""What was reached of what is meant to be."""

from __future__ import annotations

import pytest
from figures import figures

from benchmarks.ratios import Medians
from benchmarks.targets import Outcome, outcomes
from benchmarks.tools.tool import Operation


def found(workload: str, operation: Operation, ours: float, other: float, name: str = "rsync") -> dict[str, Medians]:
    """Ours and another; bytes are a million times the seconds, and each uses as much memory."""
    sides = {"sedai": ours, name: other}
    return {
        workload: {
            side: {operation: figures(wall=value, sent=round(value * 1e6), largest_bytes=round(value * 1e6))}
            for side, value in sides.items()
        }
    }


def times(measured: dict[str, Medians]) -> dict[str, Outcome]:
    """What is told, by subject."""
    return {outcome.subject: outcome for outcome in outcomes(measured)}


@pytest.mark.parametrize("workload, operation, ours, other, name, limit, met", [
    ("W3", Operation.NOTHING, 1.0, 2.0, "restic", 0.5, True),
    ("W3", Operation.NOTHING, 1.1, 2.0, "restic", 0.5, False),
    ("W1", Operation.FIRST, 2.0, 2.0, "rsync + SFV", 1.0, True),
    ("W2", Operation.CHANGED, 2.0, 2.0, "rsync", 1.0, True),
    ("W4", Operation.CHANGED, 2.0, 2.0, "rsync", 0.5, False),
    ("W2", Operation.VERIFY_TEN, 1.0, 2.0, "rsync", 0.5, True),
    ("W1", Operation.PRUNE, 2.2, 2.0, "rm -rf", 1.1, True),
])  # fmt: skip
def test_times(
    workload: str, operation: Operation, ours: float, other: float, name: str, limit: float, met: bool
) -> None:
    told = times(found(workload, operation, ours, other, name))[str(operation)]
    assert (told.limit, told.reached, told.met) == (limit, pytest.approx(ours / other), met)


def test_bytes_and_memory() -> None:
    assert times(found("W2", Operation.CHANGED, 1.3, 1.0))["changed, bytes"].met is False
    small = times(found("W3", Operation.NOTHING, 0.04, 1.0))
    assert small["nothing, bytes"].reached == pytest.approx(0.8)
    assert small["memory of a process"].met is True
    large = times(found("W3", Operation.NOTHING, 101.0, 1.0))
    assert large["nothing, bytes"].met is large["memory of a process"].met is False


def test_growth() -> None:
    both = found("W3", Operation.CHANGED, 1.0, 1.0) | found("W4", Operation.CHANGED, 3.5, 1.0)
    told = times(both)
    assert told["changed, growth"].met is True
    assert told["memory of a process"].workload == "W4"
    assert told["memory of a process"].met is False


def test_what_was_not_measured_is_not_told() -> None:
    assert list(outcomes({})) == []
    assert list(outcomes({"W3": {"rsync": {Operation.FIRST: figures(wall=1.0)}}})) == []
