"""The three hosts of the end-to-end scenario, and what a person would do with them."""

from __future__ import annotations

import base64
import email
import email.message
import email.policy
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import testinfra
from testinfra.host import Host

from labkit.system import scenario_lab

PROJECT = Path(__file__).parents[3]
# Another lab with the same hosts, for work on the tests: SEDAI_TEST_LAB=demo pytest molecule/default/tests
LAB = os.environ.get("SEDAI_TEST_LAB") or scenario_lab("default")
PROGRAMS = "/root/project/scripts"
CONFIGURATION = "/root/.config/sedai/client.toml"
STORE = "/srv/sedai/client/generations"
MAILBOX = "/var/mail/example.com/user/Maildir"

T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T], seconds: float = 120.0) -> T:
    """Look until there is something, at most so long."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.25)
    return found


def playbook(name: str, *arguments: str, expect: int = 0) -> str:
    """Run a playbook over the scenario's inventory and return what it said."""
    program, inventory = Path(sys.executable).parent / "ansible-playbook", PROJECT / "molecule/default/inventory"
    done = subprocess.run(
        [program, "-i", inventory, name, *arguments],
        cwd=PROJECT,
        env=os.environ | {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout


@dataclass
class Client:
    """The machine that is backed up, and its programs."""

    host: Host

    def program(self, name: str, *arguments: str, expect: int = 0) -> str:
        """Run one of our programs; its exit code has to be the one expected."""
        done = self.host.run(shlex.join([f"{PROGRAMS}/{name}", *arguments]))
        assert done.rc == expect, f"{name} ended with {done.rc}:\n{done.stdout}\n{done.stderr}"
        output: str = done.stdout + done.stderr
        return output

    def backup(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        """Back up and return the run record."""
        record: dict[str, Any] = json.loads(
            self.program("backup_data.py", "--json", *arguments, expect=expect).splitlines()[0]
        )
        return record

    def check(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        """Check and return the run record."""
        output = self.program("check_backup_integrity.py", "--json", *arguments, expect=expect)
        record: dict[str, Any] = json.loads(output.splitlines()[0])
        return record

    def generations(self) -> list[str]:
        """The generations that the server lists, oldest first."""
        return [record["generation"] for record in json.loads(self.program("restore_data.py", "list", "--json"))]

    def write(self, path: str, text: str) -> None:
        """Write a file as root."""
        encoded = base64.b64encode(text.encode()).decode()
        assert self.host.run(f"echo {encoded} | base64 -d > {shlex.quote(path)}").rc == 0

    def configuration(self, path: str, changes: dict[str, str]) -> str:
        """A copy of the configuration with some lines replaced; for --config."""
        text = self.host.file(CONFIGURATION).content_string
        for key, value in changes.items():
            lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in text.splitlines()]
            assert lines != text.splitlines(), key
            text = "\n".join(lines) + "\n"
        self.write(path, text)
        return path


@dataclass
class Mailbox:
    """The mailbox of the person who gets the alerts."""

    host: Host

    def names(self) -> set[str]:
        """The messages in it."""
        return set(self.host.check_output(f"find {MAILBOX}/new {MAILBOX}/cur -type f 2>/dev/null || true").split())

    def read(self, name: str) -> email.message.EmailMessage:
        """One message, decoded."""
        raw = base64.b64decode(self.host.check_output(f"base64 -w0 {shlex.quote(name)}"))
        message = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(message, email.message.EmailMessage)
        return message


@pytest.fixture(scope="session")
def client() -> Client:
    return Client(testinfra.get_host(f"podman://sedai-{LAB}-client"))


@pytest.fixture(scope="session")
def server() -> Host:
    return testinfra.get_host(f"podman://sedai-{LAB}-server")


@pytest.fixture(scope="session")
def mailbox() -> Mailbox:
    return Mailbox(testinfra.get_host(f"podman://sedai-{LAB}-mail"))


@pytest.fixture
def new_mail(mailbox: Mailbox) -> Callable[[str], str]:
    """Waits for the mail that arrives in this test and has a word in its subject; returns its text."""
    before = mailbox.names()

    def wait(word: str) -> str:
        def look() -> str:
            for name in sorted(mailbox.names() - before):
                message = mailbox.read(name)
                if word in str(message["Subject"]):
                    body = message.get_body(("plain",))
                    assert body is not None
                    return f"{message['Subject']}\n{body.get_content()}"
            return ""

        return wait_for(f"a mail about {word!r}", look)

    return wait


@pytest.fixture(scope="session")
def data(client: Client) -> str:
    """A source with ordinary files, beside the hard ones."""
    directory = "/srv/data/ordinary"
    script = f"mkdir -p {directory} && for i in $(seq 200); do seq $i 500 > {directory}/$i; done"
    assert client.host.run(script).rc == 0
    return directory


@pytest.fixture(scope="session")
def hard_tree(client: Client) -> str:
    """A source of everything that is hard to back up."""
    client.write("/root/hard_tree.py", (Path(__file__).parent / "hard_tree.py").read_text(encoding="utf-8"))
    assert (
        client.host.run(
            "rm -rf /srv/data/hard && mkdir -p /srv/data && python3 /root/hard_tree.py make /srv/data/hard"
        ).rc
        == 0
    )
    return "/srv/data/hard"


@pytest.fixture(scope="session")
def first(client: Client, data: str, hard_tree: str) -> dict[str, Any]:
    """The first backup."""
    return client.backup()
