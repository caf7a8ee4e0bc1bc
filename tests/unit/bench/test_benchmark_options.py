"""What can be asked of the benchmark."""

from __future__ import annotations

import pytest

from benchmarks.command_line import parse
from benchmarks.tools.catalog import FLOORS, TOOLS


def test_everything_by_default() -> None:
    arguments = parse([])
    assert arguments.tools == list(TOOLS)
    assert arguments.workloads == ["W1", "W2", "W3", "W4"]
    assert (arguments.scale, arguments.rounds, arguments.memory, arguments.cold) == (1.0, 3, 0, False)


def test_a_choice_keeps_the_order_of_the_tables() -> None:
    arguments = parse(["--tools", "floors,restic,sedai", "--scale", "quick", "--workloads", "W3,W1"])
    assert arguments.tools == [name for name in TOOLS if name in {"restic", "sedai"} | FLOORS]
    assert (arguments.scale, arguments.workloads) == (0.1, ["W1", "W3"])


def test_quick_is_a_tenth_of_one_workload() -> None:
    arguments = parse(["--quick"])
    assert (arguments.scale, arguments.workloads, arguments.rounds) == (0.1, ["W3"], 3)
    assert {"sedai", "rsync"} < set(arguments.tools)


@pytest.mark.parametrize(
    "words",
    [["--tools", "tar"], ["--scale", "2"], ["--scale", "0"], ["--rounds", "5"], ["--record"], ["--workloads", "W9"]],
)
def test_what_makes_no_sense_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(words)
    assert refused.value.code == 2
