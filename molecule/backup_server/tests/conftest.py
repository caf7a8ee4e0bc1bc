"""The server of this scenario, the role run anew with other settings, and a client that is the control node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

from labkit.system import scenario_lab

SCENARIO = Path(__file__).parents[1]
PROJECT = SCENARIO.parents[1]
# Another lab with the same host, for work on the tests.
LAB = os.environ.get("SEDAI_TEST_LAB") or scenario_lab(SCENARIO.name)

Play = Callable[..., str]


@pytest.fixture(scope="session")
def server() -> Host:
    return testinfra.get_host(f"podman://sedai-{LAB}-server")


@pytest.fixture(scope="session")
def play() -> Play:
    """Runs the role, or a playbook, with some variables changed; the exit code has to be the one expected. Returns the output."""

    def run(
        variables: dict[str, Any], expect: int = 0, playbook: Path = SCENARIO / "converge.yml", *options: str
    ) -> str:
        done = subprocess.run(
            [
                *(Path(sys.executable).parent / "ansible-playbook", "--inventory", SCENARIO / "inventory"),
                *("--extra-vars", json.dumps(variables), *options, playbook),
            ],
            cwd=PROJECT,
            env=os.environ | {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def alpha() -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Asks the server something with the key of the client alpha."""

    def ask(command: str, request: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *("ssh", "-F", PROJECT / ".lab" / LAB / "ssh_config", "-o", "BatchMode=yes"),
                "-l",
                "sedai",
                "server",
                command,
            ],
            input=request,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return ask
