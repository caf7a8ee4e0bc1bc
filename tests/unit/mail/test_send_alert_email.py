"""The entry, as a real process: exit codes and what a person reads. No provider is reachable here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import send_alert_email
from sedai import __version__
from sedai.mail.deliver import Outcome

ENTRY = Path(__file__).parents[3] / "scripts" / "send_alert_email.py"


@dataclass(frozen=True)
class Host:
    """A configuration whose msmtp has no settings, so that every mail waits."""

    directory: Path

    @property
    def config(self) -> Path:
        return self.directory / "alert_mail.toml"

    def write(self, text: str) -> None:
        self.config.write_text(text, encoding="utf-8")

    def call(self, *words: str | bytes, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        # Nearly no environment, as from cron.
        return subprocess.run(
            [sys.executable, "-E", "-s", "-B", ENTRY, self.config, *words],
            input=stdin.decode("utf-8", "surrogateescape"),
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="surrogateescape",
            env={"HOME": str(self.directory), "PATH": "/usr/bin:/bin"},
        )

    def spooled(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted((self.directory / "mail" / "queue").glob("*.mail"))]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.write(
        f"""
        recipients = ["user@example.com"]
        from_address = "user@example.com"
        from_name = "sedai (vps)"
        spool_directory = "{tmp_path}/mail"
        log_file = "{tmp_path}/logs/alert_mail.log"
        msmtp_config = "{tmp_path}/there-is-none"
        """
    )
    return host


def test_a_mail_that_is_not_taken_waits(host: Host) -> None:
    done = host.call("[TEST] Backup Alert Test", "This is a test email from VPS backup alert system.")
    assert done.returncode == 75
    assert "waits in the spool" in done.stderr
    (mail,) = host.spooled()
    assert b"\nSubject: [TEST] Backup Alert Test\n" in mail
    assert mail.endswith(b"\n\nThis is a test email from VPS backup alert system.\n")
    log = host.directory / "logs" / "alert_mail.log"
    assert log.stat().st_mode & 0o777 == 0o600
    assert "attempt 1 for user@example.com" in log.read_text()


def test_the_body_comes_from_stdin_when_it_is_not_given(host: Host) -> None:
    assert host.call("x", stdin=b"from stdin \xff\n").returncode == 75
    assert host.spooled()[0].endswith(b"\n\nfrom stdin \\xff\n")


def test_an_empty_body_is_a_body(host: Host) -> None:
    assert host.call("x", "", stdin=b"not read").returncode == 75
    assert b"not read" not in host.spooled()[0]


def test_it_tells_its_version_and_every_option_without_a_configuration(host: Host) -> None:
    host.config.unlink(missing_ok=True)
    done = host.call("--version")
    assert (done.returncode, done.stdout) == (0, f"sedai {__version__}\n")
    shown = host.call("--help")
    assert shown.returncode == 0
    for option in {*send_alert_email.OPTIONS} - {"--help"}:
        assert f"\n  {option} " in shown.stdout
    for code in (0, 64, 73, 75, 78):
        assert f"\n  {code} " in shown.stdout


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("",),
        ("--version", "x"),
        (" \n ",),
        ("a", "b", "c"),
        ("--flsh",),
        ("--list", "x", "y"),
        ("--incident",),
        ("--incident", "key"),
        ("--incident", "a b", "s"),
        ("--resolved", "key"),
        ("--incident", "k", "s", "b", "x"),
        ("--incident", "k", ""),
    ],
)
def test_wrong_usage(host: Host, words: tuple[str, ...]) -> None:
    done = host.call(*words)
    assert done.returncode == 64
    assert "usage: send_alert_email.sh" in done.stderr
    assert host.spooled() == []


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (None, "is not there"),
        ("recipients = [", "can't be read"),
        ('recipients = []\nfrom_address = "a@example.com"', "is missing"),
        ("FULL recipients = []", "nobody would get an alert"),
        ('FULL recipients = ["a b@example.com"]', "is not a mail address"),
        ('FULL recipients = ["-oops@example.com"]', "is not a mail address"),
        ('FULL recipients = ["a@example.com\\nBcc: evil@example.net"]', "is not a mail address"),
        ('FULL recipients = ["a@example.com"]\nrecipents = 1', "Did you mean `recipients`?"),
        ('FULL recipients = ["a@example.com"]\nkeep_trying_days = 0', "at least 1"),
    ],
)
def test_wrong_configuration(host: Host, config: str | None, complaint: str) -> None:
    rest = "\n".join(line.strip() for line in host.config.read_text().splitlines() if "recipients" not in line)
    if config is None:
        host.config.unlink()
    else:
        host.write(f"{config.removeprefix('FULL ')}\n{rest}" if config.startswith("FULL") else config)
    done = host.call("x", "y")
    assert done.returncode == 78
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_caller_can_not_bring_another_configuration(host: Host, tmp_path: Path) -> None:
    done = host.call("--config", "/tmp/other.toml")
    assert done.returncode == 75  # a subject and a body like any other
    assert b"Subject: --config" in host.spooled()[0]


def test_list_says_what_waits_and_why(host: Host) -> None:
    assert host.call("--list").stdout == "No mail waits.\n"
    host.call("バックアップ失敗", "本文")
    listed = host.call("--list").stdout
    assert "バックアップ失敗" in listed
    assert "user@example.com" in listed
    assert "tried 1 time," in listed


def test_flush_is_silent(host: Host) -> None:
    assert host.call("--flush").returncode == 0
    host.call("x", "y")
    done = host.call("--flush")
    assert (done.stdout, done.stderr) == ("", "")


def test_an_incident_is_folded_listed_and_ended(host: Host) -> None:
    assert host.call("--resolved", "client:laptop:backup", "over").returncode == 0
    assert host.call("--incident", "client:laptop:backup", "バックアップ失敗", "1").returncode == 75
    assert host.call("--incident", "client:laptop:backup", "バックアップ失敗", stdin=b"2").returncode == 0
    assert len(host.spooled()) == 1
    [listed] = map(json.loads, host.call("--incidents").stdout.splitlines())
    assert (listed["key"], listed["total"], listed["subject"]) == ("client:laptop:backup", 2, "バックアップ失敗")
    assert host.call("--resolved", "client:laptop:backup", "over", "well").returncode == 75
    assert len(host.spooled()) == 2
    assert host.call("--incidents").stdout == ""


def test_help(host: Host) -> None:
    done = host.call("--help")
    assert done.returncode == 0
    assert "--flush" in done.stdout


def test_a_log_that_can_not_be_written_stops_no_mail(host: Host) -> None:
    (host.directory / "logs").write_text("in the way")
    assert host.call("x", "y").returncode == 75
    assert len(host.spooled()) == 1


def test_a_body_without_end_is_cut(host: Host) -> None:
    assert host.call("x", stdin=b"line of the log\n" * 100_000).returncode == 75
    mail = host.spooled()[0]
    assert b"[cut here: the text was longer than 1 MB]" in mail
    assert len(mail) < 1_100_000


def test_a_third_account_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(os, "umask", lambda _: None)  # this process is the tests' own
    assert send_alert_email.main(["/etc/passwd", "x", "y"]) == 78
    assert "/etc/passwd belongs to root, and only root may send with it." in capsys.readouterr().err


def test_what_was_given_up_is_not_said_to_be_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    send_alert_email._report(Outcome(waiting=("a@example.com",), parked=("b@example.com",)))
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "The mail for a@example.com waits in the spool and is tried again by cron.",
        "The mail for b@example.com was given up; it is kept, and --list shows where.",
    ]


def test_the_mail_is_private_whatever_the_umask(host: Host) -> None:
    old = os.umask(0)
    try:
        host.call("x", "y")
    finally:
        os.umask(old)
    for path in (host.directory / "mail").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
