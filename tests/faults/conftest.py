"""The machine that breaks, for all suites, and how many rounds there were."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("fault_lab")

from fault_lab import FULL, SEED, TALLY, machine

__all__ = ["machine"]


FORM = f"faults: {'full' if FULL else 'short'} form, SEDAI_SEED={SEED} repeats it"


def pytest_report_header() -> str:
    """Said beforehand too: a run of hours may be cut off."""
    return FORM


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was tried, and with which seed."""
    lines = list(TALLY.lines())
    if lines:
        terminalreporter.write_line(FORM)
        for line in lines:
            terminalreporter.write_line(line)
