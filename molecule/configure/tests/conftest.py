"""A person at a terminal, or a program without one, that runs `make configure` for the lab."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import testinfra
import yaml
from testinfra.host import Host

from labkit import mail
from labkit.system import scenario_lab

SCENARIO = Path(__file__).parents[1]
PROJECT = SCENARIO.parents[1]
LAB = os.environ.get("SEDAI_TEST_LAB") or scenario_lab(SCENARIO.name)
LAB_DIRECTORY = PROJECT / ".lab" / LAB
VPS = f"sedai-{LAB}-server"
PASSWORD = mail.FIRST_PASSWORD
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SEDAI_")} | {
    "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
    "ANSIBLE_NOCOLOR": "1",
    # molecule by hand asks for colours.
    "ANSIBLE_FORCE_COLOR": "0",
    "LC_ALL": "C.UTF-8",
    "TERM": "xterm",
    "COLUMNS": "1000",
}
ANSWERS = {
    "ssh_arguments": f"-F {LAB_DIRECTORY}/ssh_config",
    "vps_host": VPS,
    "vps_user": "admin",
    "smtp_host": "mail.example.com",
    "smtp_address": "user@example.com",
    "smtp_password": PASSWORD,
    "sources": "/etc, /usr/share",
    "name": "laptop",
    "time": "22:40",
}


def playbook(inventory: Path, *options: str) -> list[str]:
    """The command behind `make configure`, for another place of the inventory."""
    return [
        *("ansible-playbook", "--inventory=localhost,", f"--extra-vars=configure_inventory={inventory}"),
        *(*options, str(PROJECT / "playbooks/configure.yml")),
    ]


@dataclass
class Configure:
    """Runs without a person, with answers from a file as the README of the role tells."""

    directory: Path

    @property
    def inventory(self) -> Path:
        return self.directory / "inventory"

    def __call__(
        self, *options: str, expect: int = 0, environment: Mapping[str, str] | None = None, **answers: str
    ) -> str:
        """All output, unfolded to one blank between words. ``environment``: what a person has set there."""
        path = self.directory / "answers.yml"
        path.write_text(yaml.safe_dump({f"configure_{name}": answer for name, answer in answers.items()}))
        path.chmod(0o600)
        done = subprocess.run(
            playbook(self.inventory, f"--extra-vars=@{path}", *options),
            cwd=PROJECT,
            env=ENVIRONMENT | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == expect, done.stdout
        return " ".join(done.stdout.split())


@dataclass
class Terminal:
    """A program with a terminal, and who types there."""

    command: list[str]
    seen: str = ""
    _place: int = field(default=0, repr=False)

    def __enter__(self) -> Terminal:
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.chdir(PROJECT)
            os.execvpe(self.command[0], self.command, ENVIRONMENT)  # noqa: S606  # this process has the terminal
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.terminal)
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)

    def expect(self, pattern: str, seconds: float = 240) -> None:
        """Read until something appears after what was awaited before."""
        deadline = time.monotonic() + seconds
        while not (found := re.compile(pattern).search(self.seen, self._place)):
            assert time.monotonic() < deadline, f"{pattern!r} did not appear in:\n{self.seen}"
            if select.select([self.terminal], [], [], 1)[0]:
                try:
                    self.seen += os.read(self.terminal, 65536).decode(errors="replace").replace("\r", "")
                except OSError:
                    pytest.fail(f"the program ended without {pattern!r}:\n{self.seen}")
        self._place = found.end()

    def answer(self, question: str, text: str) -> None:
        """Wait for a question, and answer it; what is typed before the program listens would be thrown away."""
        self.expect(question + r"[^\n]*:\n")
        time.sleep(0.5)
        os.write(self.terminal, text.encode() + b"\r")


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    return Configure(tmp_path)


@pytest.fixture(scope="session")
def server() -> Host:
    return testinfra.get_host(f"podman://{VPS}")


@pytest.fixture(scope="session")
def accounts(server: Host) -> Iterator[None]:
    """Beside admin: somebody with a password for sudo, and somebody without sudo; the same key lets in."""
    for name in ("guarded", "powerless"):
        server.run_expect([0], f"useradd --create-home --shell /bin/bash {name}")
        server.run_expect([0], f"cp -r /home/admin/.ssh /home/{name}/ && chown -R {name}: /home/{name}/.ssh")
    server.run_expect(
        [0], "echo 'guarded:s3same open' | chpasswd && echo 'guarded ALL=(ALL:ALL) ALL' >/etc/sudoers.d/guarded"
    )
    yield
    server.run_expect([0], "userdel --remove guarded; userdel --remove powerless; rm /etc/sudoers.d/guarded")
