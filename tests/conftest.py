"""What all tests share: two halves of a run that may go side by side, and what the suites say at its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Tests on hosts: containers, their networks and this machine's disks. They come one after the other in any case.
HOSTS = ("attacks", "browser", "faults", "lab", "project/test_molecule.py", "project/test_benchmark.py")
# What the workers say for the summary: the process that writes it runs no test itself.
TOLD = pytest.StashKey[list[str]]()

# How long an example takes says more about the machine than about the code.
settings.register_profile("sedai", deadline=None)
settings.load_profile("sedai")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The benchmark comes last: by then nothing runs beside it."""
    items.sort(key=lambda item: item.path.name == "test_benchmark.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Of several processes (``-n``) one has the tests on hosts; xdist's own marks keep none together with pytest 9.2."""
    return _Halves(config, log)


class _Halves(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0]).relative_to("tests")
        return "hosts" if any(path.is_relative_to(hosts) for hosts in HOSTS) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Keep what a worker says."""
    node.config.stash.setdefault(TOLD, []).extend(getattr(node, "workeroutput", {}).get("told", []))  # type: ignore[attr-defined]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the suites on hosts tried."""
    for line in (*_attacks(terminalreporter), *terminalreporter.config.stash.get(TOLD, [])):
        terminalreporter.write_line(line)


def _attacks(reporter: pytest.TerminalReporter) -> Iterator[str]:
    """How many attempts were made and how many of them changed something."""
    tried = {
        (report.nodeid, outcome)
        for outcome in ("passed", "failed")
        for report in reporter.getreports(outcome)
        if report.nodeid.startswith("tests/attacks/")
        and report.when == "call"
        and "test_attack_count" not in report.nodeid
    }
    harm = {report.nodeid for report in reporter.getreports("error") if report.nodeid.startswith("tests/attacks/")}
    if tried:
        missed = sum(outcome == "failed" for _, outcome in tried)
        yield f"attacks: {len(tried)} attempts, {missed} not refused as they must be, {len(harm)} that changed or left something"
