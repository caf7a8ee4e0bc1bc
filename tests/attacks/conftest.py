"""The machine under attack, for all attempts, and how many there were."""

from __future__ import annotations

import pytest
from attack_lab import attacker, before, beta, gamma, oldest, protected, server, theirs, unharmed

__all__ = ["attacker", "before", "beta", "gamma", "oldest", "protected", "server", "theirs", "unharmed"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many attempts were made and how many of them changed something."""
    tried = {
        (report.nodeid, outcome)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if "tests/attacks/" in report.nodeid and report.when == "call" and "test_attack_count" not in report.nodeid
    }
    harm = {report.nodeid for report in terminalreporter.getreports("error") if "tests/attacks/" in report.nodeid}
    if tried:
        missed = sum(outcome == "failed" for _, outcome in tried)
        terminalreporter.write_line(
            f"attacks: {len(tried)} attempts, {missed} not refused as they must be, {len(harm)} that changed or left something"
        )
