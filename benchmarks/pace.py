"""What system calls cost on this machine beside the interpreter: no ratio between programs holds where that is another."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

_CALLS = 2_000
_STEPS = 200_000
_TIMES = 101
# Two machines are alike where one's figure is at most so many times the other's.
_ALIKE = 1.3


def system_call() -> float:
    """As many additions in Python take as long as looking at a file, opening and closing it: the median of many tries.

    CPU time, and both by turns, so that it hardly depends on what else the machine does.
    """
    tries = [(_taken(_call) / _CALLS) / (_taken(_step) / _STEPS) for _ in range(_TIMES)]
    return round(median(tries), 1)


def alike(one: float, other: float) -> bool:
    """Whether ratios of machines with these figures can be compared."""
    return max(one, other) <= min(one, other) * _ALIKE


def _taken(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _call() -> None:
    path = os.fspath(Path(__file__))
    for _ in range(_CALLS):
        os.stat(path)
        os.close(os.open(path, os.O_RDONLY))


def _step() -> None:
    total = 0
    for step in range(_STEPS):
        total += step
