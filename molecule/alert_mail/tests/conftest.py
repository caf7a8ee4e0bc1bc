"""The server that sends alerts, the mailboxes that get them, and a provider that can be away."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import pytest
import testinfra
from testinfra.backend.base import CommandResult
from testinfra.host import Host

from labkit import mail
from labkit.system import scenario_lab

SCENARIO = Path(__file__).parents[1]
PROJECT = SCENARIO.parents[1]
LAB = os.environ.get("SEDAI_TEST_LAB") or scenario_lab(SCENARIO.name)
HOME = "/home/admin"
SCRIPT = f"{HOME}/scripts/send_alert_email.sh"
SPOOL = f"{HOME}/.local/state/sedai/mail"


@dataclass
class Server:
    """The host with send_alert_email.sh."""

    host: Host

    def as_user(self, command: str, user: str = "admin") -> CommandResult:
        """Run a command in an environment as bare as cron's."""
        bare = f"env -i PATH=/usr/bin:/bin HOME=/ sh -c {shlex.quote(command)}"
        return self.host.run(f"cd / && runuser -u {user} -- {bare}")

    def alert(self, *words: str, stdin: str | None = None, expect: int = 0) -> CommandResult:
        """Call the script as the seed does; its exit code has to be the one expected."""
        call = shlex.join([SCRIPT, *words])
        done = self.as_user(call if stdin is None else f"printf %s {shlex.quote(stdin)} | {call}")
        assert done.rc == expect, f"{done.rc}: {done.stdout}{done.stderr}"
        return done

    def waiting(self) -> list[str]:
        return self.host.run(f"ls {SPOOL}/queue").stdout.split()


@dataclass
class Provider:
    """The mail provider of the lab."""

    container: str

    @property
    def host(self) -> Host:
        return testinfra.get_host(f"podman://{self.container}")

    def mails(self, subject: str, local_part: str = "user") -> list[EmailMessage]:
        """The mails of a mailbox with exactly this subject."""
        return [message for message in mail.messages(self.container, local_part) if message["Subject"] == subject]

    def wait(self, subject: str, local_part: str = "user", seconds: float = 15) -> EmailMessage:
        deadline = time.monotonic() + seconds
        while not (found := self.mails(subject, local_part)):
            assert time.monotonic() < deadline, f"no mail {subject!r} for {local_part} within {seconds} s"
            time.sleep(0.5)
        assert len(found) == 1
        return found[0]

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """The provider does not answer at all."""
        self.host.run_expect([0], "systemctl stop postfix@-")
        try:
            yield
        finally:
            self.host.run_expect([0], "systemctl start postfix@-")


@pytest.fixture(scope="session")
def server() -> Server:
    return Server(testinfra.get_host(f"podman://sedai-{LAB}-server"))


@pytest.fixture(scope="session")
def provider() -> Provider:
    return Provider(f"sedai-{LAB}-mail")


@pytest.fixture(scope="session", autouse=True)
def nothing_from_before(server: Server, provider: Provider) -> None:
    """Tests find their mails by subject; those of an earlier run in the same lab must not be there."""
    server.host.run_expect([0], f"rm -rf {SPOOL}")
    mail.clear(provider.container)


@pytest.fixture(scope="session")
def alert_in_outage(server: Server, provider: Provider) -> str:
    """The subject of an alert that was sent while the provider was away; cron has to deliver it later."""
    subject = "sent while the provider was away"
    with provider.away():
        done = server.alert(subject, "本文", expect=75)
        assert "cannot connect to mail.example.com" in done.stderr
        assert len(server.waiting()) == 2
        assert subject in server.alert("--list").stdout
    return subject


@pytest.fixture(scope="session")
def caller(server: Server) -> str:
    """An account that may call; it comes after the role, as the one of the gate does on a first run."""
    server.host.run_expect([0, 9], "useradd --system --shell /usr/sbin/nologin caller")  # 9: it is there already
    return "caller"


@pytest.fixture
def configuration(server: Server) -> Iterator[str]:
    """The path of the configuration, for tests that change it."""
    path = f"{HOME}/.config/sedai/alert_mail.toml"
    server.host.run_expect([0], f"cp -a {path} {path}.kept")
    yield path
    server.host.run_expect([0], f"mv {path}.kept {path}")
