"""Every scenario, from nothing to nothing. molecule alone exits 0 where it finds no playbook, host or test."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INTERNAL_ROLES = {"sedai_library"}
# Beside one for each role: the whole as it is used, and the day when it is needed.
OTHER_SCENARIOS = {"default", "recovery"}
# Those of OTHER_SCENARIOS take longest: begun last, one of them would be alone.
SCENARIOS = sorted(
    (path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")),
    key=lambda name: (name not in OTHER_SCENARIOS, name),
)
STEPS = ("syntax", "create", "check", "converge", "idempotence", "verify", "destroy")
# A misspelt playbook is passed over in silence.
PLAYBOOKS = {"molecule.yml", "converge.yml", "prepare.yml"}


def test_each_role_has_a_scenario_and_the_whole_has_its_own() -> None:
    roles = {path.name for path in (ROOT / "roles").iterdir() if path.is_dir()}
    assert roles > INTERNAL_ROLES
    assert set(SCENARIOS) == (roles - INTERNAL_ROLES) | OTHER_SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario_has_only_playbooks_that_are_run(scenario: str) -> None:
    assert {path.name for path in (ROOT / "molecule" / scenario).glob("*.y*ml")} <= PLAYBOOKS


def run(scenario: str) -> subprocess.CompletedProcess[str]:
    path = f"{ROOT}/.venv/bin:{ROOT}/molecule/shared/bin:{os.environ['PATH']}"
    return subprocess.run(
        [f"{ROOT}/.venv/bin/molecule", "test", "--scenario-name", scenario],
        cwd=ROOT,
        env=os.environ | {"PATH": path, "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "COLUMNS": "160"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """All that were asked for, two at a time: each spends half its time waiting for its hosts."""
    asked = {item.name for item in request.session.items}
    pool = ThreadPoolExecutor(max_workers=2)
    yield {name: pool.submit(run, name) for name in SCENARIOS if f"test_scenario[{name}]" in asked}
    pool.shutdown(cancel_futures=True)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, runs: dict[str, Future[subprocess.CompletedProcess[str]]]) -> None:
    done = runs[scenario].result()
    output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    sys.stdout.write(output)  # pytest shows it where the scenario fails
    why = "\n".join(re.findall(r"^(?: *FAILED| *UNREACHABLE|ERROR|fatal:|E  ).*", output, re.MULTILINE))
    assert done.returncode == 0, f"the scenario {scenario} failed:\n{why}"
    prepared = ("prepare",) if (ROOT / "molecule" / scenario / "prepare.yml").exists() else ()
    for step in (*STEPS, *prepared):
        assert re.search(rf"{scenario} [>➜] {step}: Executed: Successful", output), f"{step} did not run"
    if not prepared:
        output = re.sub(rf".*{scenario} [>➜] prepare\b.*Missing playbook.*", "", output)
    for empty in ("Missing playbook", "no hosts matched", "Could not match supplied host pattern", "no tests ran"):
        assert empty not in output
    counted = re.search(r"=+ (\d+) passed", output)
    assert counted, "the scenario has no tests"
    assert int(counted[1]) > 0
