"""Real runs of ansible-playbook on this machine, as the project's playbooks are run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
SECRET = "S3cret-and-never-seen"


def ansible_playbook(*arguments: str | Path, expect: int = 0) -> str:
    """What a playbook prints, by the project's own ansible.cfg."""
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", *arguments],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    assert "[WARNING]" not in done.stderr
    return done.stdout


class Run:
    """Runs tasks on this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, *tasks: dict[str, Any], arguments: tuple[str, ...] = (), expect: int = 0) -> str:
        playbook = self.directory / "play.yml"
        play = {"name": "Try it", "hosts": "localhost", "gather_facts": False, "tasks": list(tasks)}
        playbook.write_text(yaml.safe_dump([play]), encoding="utf-8")
        variables = f"place={self.directory} secret={SECRET} ansible_python_interpreter={sys.executable}"
        return ansible_playbook(
            "-ilocalhost,", "-clocal", f"--extra-vars={variables}", *arguments, playbook, expect=expect
        )
