"""What is worse than its bound, and what is not judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from figures import figures

from benchmarks import bounds
from benchmarks.bounds import Bound, Figure
from benchmarks.ratios import Medians, Ratio
from benchmarks.tools.tool import Operation

CALL = 40.0
BOUND = Bound("W3", Operation.CHANGED, Figure.WALL, "rsync", "3.5.0", 2.0, CALL)
VERSIONS = {"sedai": "0.1.0", "rsync": "3.5.0"}


def found(ours: float, other: float, foreign: float = 0.0) -> Medians:
    """Both sides with the same number for each figure."""
    sides = {"sedai": ours, "rsync": other}
    return {
        name: {Operation.CHANGED: figures(wall=value, client_cpu=value, sent=round(value * 1e6), foreign=foreign)}
        for name, value in sides.items()
    }


@pytest.mark.parametrize("ours, other, exceeded", [
    (20.0, 10.0, False),
    (27.0, 10.0, False),  # by a third, and half a second
    (27.3, 10.0, True),
    (0.5, 0.01, False),  # too short to say
    (0.7, 0.01, True),
    (1.0, 10.0, False),
])  # fmt: skip
def test_a_third_worse_fails(ours: float, other: float, exceeded: bool) -> None:
    for figure in (Figure.WALL, Figure.CPU):
        verdict = bounds.judge(replace(BOUND, figure=figure), found(ours, other), "sedai", VERSIONS, CALL)
        assert verdict.exceeded is exceeded, str(verdict)


def test_bytes_have_their_own_slack() -> None:
    wire = replace(BOUND, figure=Figure.WIRE)
    assert bounds.judge(wire, found(0.02, 0.0), "sedai", VERSIONS, CALL).exceeded is False
    assert bounds.judge(wire, found(0.021, 0.0), "sedai", VERSIONS, CALL).exceeded is True


def test_on_a_busy_machine_the_wall_time_is_not_judged_but_the_rest_is() -> None:
    busy = found(90.0, 10.0, foreign=0.4)
    assert bounds.judge(BOUND, busy, "sedai", VERSIONS, CALL).exceeded is None
    assert bounds.judge(replace(BOUND, figure=Figure.CPU), busy, "sedai", VERSIONS, CALL).exceeded is True
    assert bounds.judge(replace(BOUND, figure=Figure.WIRE), busy, "sedai", VERSIONS, CALL).exceeded is True


@pytest.mark.parametrize("bound, versions", [
    (BOUND, {"rsync": "3.2.7"}),
    (BOUND, {}),
    (replace(BOUND, operation=Operation.PRUNE), VERSIONS),
])  # fmt: skip
def test_what_can_not_be_compared_is_not_judged(bound: Bound, versions: dict[str, str]) -> None:
    verdict = bounds.judge(bound, found(90.0, 1.0), "sedai", versions, CALL)
    assert verdict.exceeded is None
    assert "not judged" in str(verdict)


@pytest.mark.parametrize("here, other_machine", [(31.0, False), (52.0, False), (30.0, True), (53.0, True)])
def test_where_system_calls_cost_something_else_only_bytes_are_judged(here: float, other_machine: bool) -> None:
    worse = found(90.0, 1.0)
    for figure in Figure:
        verdict = bounds.judge(replace(BOUND, figure=figure), worse, "sedai", VERSIONS, here)
        assert verdict.exceeded is (None if other_machine and figure is not Figure.WIRE else True), str(verdict)
        assert verdict.exceeded or f"a system call takes {here:g} additions here, 40 where" in str(verdict)


def test_what_is_recorded_is_kept_and_read_again(tmp_path: Path) -> None:
    measured = found(3.0, 2.0)
    recorded = list(
        bounds.record("W3", [Ratio(Operation.CHANGED, "rsync", 3.0, 2.0)], measured, "sedai", VERSIONS, CALL)
    )
    assert [(bound.figure, bound.ratio) for bound in recorded] == [(figure, 1.5) for figure in Figure]
    bounds.write(tmp_path / "bounds.json", recorded, "command")
    assert bounds.read(tmp_path / "bounds.json") == recorded
    assert all(bounds.judge(bound, measured, "sedai", VERSIONS, CALL).exceeded is False for bound in recorded)


def test_no_bound_on_the_wall_time_is_recorded_on_a_busy_machine() -> None:
    busy = found(3.0, 2.0, foreign=0.4)
    recorded = bounds.record("W3", [Ratio(Operation.CHANGED, "rsync", 3.0, 2.0)], busy, "sedai", VERSIONS, CALL)
    assert [bound.figure for bound in recorded] == [Figure.CPU, Figure.WIRE]


def test_a_figure_that_the_other_does_not_have_is_no_bound() -> None:
    measured = {"sedai": {Operation.CHANGED: figures(wall=1.0, sent=5)}, "cp": {Operation.CHANGED: figures(wall=1.0)}}
    recorded = bounds.record("W3", [Ratio(Operation.CHANGED, "cp", 1.0, 1.0)], measured, "sedai", {}, CALL)
    assert [bound.figure for bound in recorded] == [Figure.WALL]
