"""Medians, and who is compared with whom."""

from __future__ import annotations

import pytest
from figures import figures

from benchmarks.ratios import Ratio, against_best, against_floor, medians, middle
from benchmarks.tools.catalog import FLOORS, OURS, TOOLS, peers
from benchmarks.tools.tool import Operation


def test_each_figure_has_its_own_median() -> None:
    taken = [
        figures(wall=3.0, client_cpu=1.0, sent=10, largest_bytes=5, largest_name="a", sum_bytes=7),
        figures(wall=1.0, client_cpu=9.0, sent=30, largest_bytes=8, largest_name="b", sum_bytes=6),
        figures(wall=2.0, client_cpu=2.0, sent=20, largest_bytes=6, largest_name="c", sum_bytes=5),
    ]
    expected = figures(wall=2.0, client_cpu=2.0, sent=20, largest_bytes=8, largest_name="b", sum_bytes=7)
    assert middle(taken) == expected


FOUND = medians({
    "ours": {"changed": [figures(wall=4.0)], "first": [figures(wall=1.0)]},
    "slow": {"changed": [figures(wall=8.0)]},
    "fast": {"changed": [figures(wall=2.0)], "prune": [figures(wall=1.0)]},
})  # fmt: skip


def test_the_best_peer_is_the_fastest_and_the_floor_is_the_slowest() -> None:
    best = against_best(FOUND, "ours", {"slow", "fast", "absent"}, Operation.CHANGED)
    assert best == Ratio(Operation.CHANGED, "fast", 4.0, 2.0)
    assert best.value == 2.0
    floor = against_floor(FOUND, "ours", {"slow", "fast"}, Operation.CHANGED)
    assert floor == Ratio(Operation.CHANGED, "slow", 4.0, 8.0)


@pytest.mark.parametrize("operation", [Operation.FIRST, Operation.PRUNE, Operation.RESTORE])
def test_where_a_side_is_missing_there_is_no_ratio(operation: Operation) -> None:
    assert against_best(FOUND, "ours", {"slow", "fast"}, operation) is None


def test_a_ratio_to_nothing_is_infinite() -> None:
    assert Ratio(Operation.FIRST, "x", 1.0, 0.0).value == float("inf")


def test_the_first_backup_is_compared_with_those_that_prove_it_too() -> None:
    assert peers(Operation.FIRST) == {"rsync + SFV", "restic", "borg"}
    assert peers(Operation.CHANGED) == TOOLS.keys() - FLOORS - {OURS}


def test_every_timed_operation_of_ours_has_a_peer_and_a_floor() -> None:
    for operation in Operation:
        assert any(operation in TOOLS[name].operations for name in peers(operation))
        assert operation is Operation.SPACE or any(operation in TOOLS[name].operations for name in FLOORS)
