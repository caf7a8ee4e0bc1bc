"""What the programs are called with in their own examples, and with nothing more than needed, is taken."""

from __future__ import annotations

import importlib
import re
import shlex
from typing import Any

import pytest

PROGRAMS = ("backup_data", "backup_status", "check_backup_integrity", "restore_data", "restore_drill", "sedai_server")
LEAST = {
    "restore_data": ("list", "find x", "diff a b", "restore /x", "databases", "restore-db main/shop"),
    "sedai_server": ("status", "prune", "freeze --client x", "release --client x", "watch", "scrub", "report"),
}


def examples(program: Any) -> list[str]:
    """The calls in the examples of a program, without the program's name."""
    return [
        re.split(r"\s{2,}", call)[0].replace("…", "x")
        for call in re.findall(rf"^  {program.__name__}\.py(.*)$", program.EXAMPLES, re.MULTILINE)
    ]


@pytest.mark.parametrize("name", PROGRAMS)
def test_they_are_taken(name: str) -> None:
    program = importlib.import_module(name)
    calls = [*examples(program), *LEAST.get(name, ("",))]
    assert len(calls) > 2
    for call in calls:
        program.command_line().parse_args(shlex.split(call))


@pytest.mark.parametrize("name", LEAST)
def test_no_verb_is_left_out(name: str) -> None:
    usage = importlib.import_module(name).command_line().format_help()
    known = re.search(r"\{([a-z,-]+)\}", usage)
    verbs = known[1].split(",") if known else re.findall(r"^    ([a-z-]+) ", usage, re.MULTILINE)
    assert set(verbs) == {call.split()[0] for call in LEAST[name]}
