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


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where this process is not the one that writes the summary, tell that one."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["told"] = _lines()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was tried, and with which seed."""
    for line in _lines():
        terminalreporter.write_line(line)


def _lines() -> list[str]:
    lines = list(TALLY.lines())
    return [FORM, *lines] if lines else []
