"""The hosts of this scenario, the provider, and a person who runs the role again with other settings."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml
from testinfra.host import Host

from labkit import mail
from labkit.system import PODMAN, scenario_lab

SCENARIO = Path(__file__).parents[1]
PROJECT = SCENARIO.parents[1]
LAB = os.environ.get("SEDAI_TEST_LAB") or scenario_lab(SCENARIO.name)
PASSWORD = mail.FIRST_PASSWORD


class Secret(str):
    """A password as a person writes it into the vault: in quotes, `!unsafe` where Ansible would see a template.

    Not always `!unsafe`: Ansible 2.19 takes the quotes off then, and reads "~" as nothing and "123" as a number.
    """


def _represent(dumper: yaml.SafeDumper, secret: Secret) -> yaml.Node:
    tag = "!unsafe" if "{" in secret else "tag:yaml.org,2002:str"
    return dumper.represent_scalar(tag, str(secret), style='"')


yaml.SafeDumper.add_representer(Secret, _represent)


@dataclass
class Person:
    """Runs playbooks of this scenario from a terminal and reads what they print."""

    directory: Path
    seen: list[str] = field(default_factory=list)

    def play(self, text: Any, *options: str, expect: int = 0, **variables: Any) -> str:
        """Run a playbook given as data; secrets go by a file, as with the vault. Returns all output."""
        playbook, settings = self.directory / "play.yml", self.directory / "vars.yml"
        playbook.write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
        settings.write_text(yaml.safe_dump(variables, allow_unicode=True), encoding="utf-8")
        settings.chmod(0o600)
        done = subprocess.run(
            ["ansible-playbook", f"--inventory={SCENARIO}/inventory", f"--extra-vars=@{settings}", *options, playbook],
            cwd=PROJECT,
            env=os.environ | {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert "no hosts matched" not in done.stdout
        assert done.returncode == expect, done.stdout
        return done.stdout

    def provision(self, *options: str, hosts: str = "senders", expect: int = 0, **variables: Any) -> str:
        """Run the role as a playbook of a person does."""
        play = [{"hosts": hosts, "become": True, "roles": ["msmtp"]}]
        return self.play(play, *options, expect=expect, **variables)


@dataclass
class Provider:
    """The mail provider of the lab."""

    container: str

    def set_password(self, password: str) -> None:
        mail.set_password(self.container, password)

    def set_accounts(self, passwords: dict[str, str]) -> None:
        """Further accounts, each with its own password, beside the ordinary one."""
        lines = b"".join(mail.password_file(password, account) for account, password in passwords.items())
        content = mail.password_file(PASSWORD) + lines
        subprocess.run(
            [PODMAN, "exec", "-i", self.container, "sh", "-c", "cat >/etc/lab/passwords"], input=content, check=True
        )

    def mails(self, local_part: str = "user") -> list[EmailMessage]:
        return mail.messages(self.container, local_part)

    def wait(self, count: int, local_part: str = "user") -> list[EmailMessage]:
        return mail.wait_for_messages(self.container, count, local_part=local_part)

    def said(self, word: str) -> int:
        """How many lines of the provider's log have a word."""
        return testinfra.get_host(f"podman://{self.container}").check_output("journalctl --no-pager").count(word)


@pytest.fixture(scope="session")
def server() -> Host:
    return testinfra.get_host(f"podman://sedai-{LAB}-server")


@pytest.fixture(scope="session")
def occupied() -> Host:
    return testinfra.get_host(f"podman://sedai-{LAB}-occupied")


@pytest.fixture(scope="session")
def provider() -> Provider:
    return Provider(f"sedai-{LAB}-mail")


@pytest.fixture(scope="session")
def person(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return Person(tmp_path_factory.mktemp("person"))


@pytest.fixture
def rotated(server: Host, provider: Provider) -> Iterator[None]:
    """For tests that change the password: afterwards everything is as the scenario made it."""
    server.run_expect([0], "cp -a /home/admin/.msmtprc /root/msmtprc")
    yield
    provider.set_password(PASSWORD)
    server.run_expect([0], "cp -a /root/msmtprc /home/admin/.msmtprc && rm /root/msmtprc")
