"""Run records: which program made them, and the last of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PROGRAMS = ("backup", "check", "full check", "restore drill")


@dataclass(frozen=True)
class Run:
    """The last run of a program: ``started`` and ``ended`` in seconds since the epoch, ``exit`` its code."""

    started: float
    ended: float
    exit: int
    lines: tuple[str, ...] = ()


def program(record: Mapping[str, Any]) -> str:
    """Which of ``PROGRAMS`` made a run record; another name where it was none of them."""
    name = str(record.get("program"))
    if name == "check" and record.get("level") == "full":
        return "full check"
    return "restore drill" if name == "drill" else name


def last_runs(runs: Sequence[Mapping[str, Any]]) -> dict[str, Run]:
    """The last record of each program among ``runs``, which are oldest first."""
    found = {}
    for record in runs:
        lines = tuple(str(line) for line in record.get("lines", ()))
        found[program(record)] = Run(float(record["started"]), float(record["ended"]), int(record["exit"]), lines)
    return {name: found[name] for name in PROGRAMS if name in found}
