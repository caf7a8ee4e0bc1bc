"""The machine that breaks, for all suites, and how many rounds there were."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("fault_lab")

from fault_lab import FULL, SEED, TALLY, machine

__all__ = ["machine"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was tried, and with which seed."""
    lines = list(TALLY.lines())
    if lines:
        terminalreporter.write_line(f"faults: {'full' if FULL else 'short'} form, SEDAI_SEED={SEED} repeats it")
        for line in lines:
            terminalreporter.write_line(line)
