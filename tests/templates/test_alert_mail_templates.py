"""What the role alert_mail renders does what it says, for ordinary and for awkward values."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conftest import Evaluate

REQUIRED: dict[str, Any] = {
    "alert_mail_recipients": ["user@example.com"],
    "alert_mail_from": "user@example.com",
}
AWKWARD_HOME = {"__alert_mail_home": "/home/o'brien $x"}


@pytest.mark.parametrize("extra", [{}, {"__alert_mail_home": "/home/o'brien x"}])
def test_the_script_is_clean_shell(render: Evaluate, tmp_path: Path, extra: dict[str, str]) -> None:
    script = tmp_path / "send_alert_email.sh"
    script.write_text(render("alert_mail", "send_alert_email.sh.j2", **REQUIRED, **extra))
    subprocess.run(["shellcheck", "--shell=sh", "--enable=all", script], check=True)


@pytest.mark.parametrize(("extra", "home"), [({}, "/home/person"), (AWKWARD_HOME, "/home/o'brien $x")])
def test_the_script_hands_its_arguments_on(render: Evaluate, tmp_path: Path, extra: dict[str, str], home: str) -> None:
    text = render("alert_mail", "send_alert_email.sh.j2", **REQUIRED, **extra)
    assert text.startswith("#!/bin/sh\n")
    assert text.count("/usr/bin/python3 ") == 1
    script = tmp_path / "send_alert_email.sh"
    script.write_text(text.replace("/usr/bin/python3 ", "printf '%s\\0' ").replace("exec ", ""))
    words = ["件名 with blanks", "line\nline $HOME `id` \"'"]
    said = subprocess.run(["sh", script, *words], check=True, stdout=subprocess.PIPE, env={}).stdout
    assert said.decode().split("\0")[:-1] == [
        "-E",
        "-s",
        "/usr/local/lib/sedai/send_alert_email.py",
        f"{home}/.config/sedai/alert_mail.toml",
        *words,
    ]


def test_the_configuration_is_what_the_program_reads(render: Evaluate) -> None:
    name = '世代 "本番" \\ 🗄'
    table = tomllib.loads(render("alert_mail", "alert_mail.toml.j2", **REQUIRED, alert_mail_from_name=name))
    assert table == {
        "recipients": ["user@example.com"],
        "from_address": "user@example.com",
        "from_name": name,
        "spool_directory": "/home/person/.local/state/sedai/mail",
        "log_file": "/home/person/logs/alert_mail.log",
        "msmtp_config": "/home/person/.msmtprc",
        "keep_trying_days": 7,
        "language": "en",
    }


def test_callers_may_run_exactly_the_script(render: Evaluate) -> None:
    text = render("alert_mail", "sudoers.j2", **REQUIRED, alert_mail_callers=["sedai", "other"])
    rules = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert rules == [
        "sedai ALL=(person) NOPASSWD: /home/person/scripts/send_alert_email.sh",
        "other ALL=(person) NOPASSWD: /home/person/scripts/send_alert_email.sh",
    ]


def test_cron_flushes_as_the_mail_user(render: Evaluate) -> None:
    text = render("alert_mail", "cron.j2", **REQUIRED)
    (line,) = [line for line in text.splitlines() if line.startswith("*")]
    assert line.startswith("* * * * * person /home/person/scripts/send_alert_email.sh --flush ")
    assert text.endswith("\n"), "cron ignores a last line without its end"


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"alert_mail_recipients": []}, "nobody would get an alert"),
        ({"alert_mail_recipients": ["a@example.com", "b c"]}, "b c in alert_mail_recipients is not an address"),
        ({"alert_mail_recipients": ["a@example.com\n"]}, "is not an address"),
        ({"alert_mail_from": ""}, "alert_mail_from must be"),
        ({"alert_mail_keep_trying_days": 0}, "at least 1"),
        ({"alert_mail_language": "fr"}, "must be en or ja"),
        ({"alert_mail_callers": ["ALL"]}, "is not the name of an account"),
        ({"alert_mail_callers": ["x ALL=(ALL) NOPASSWD: ALL"]}, "is not the name of an account"),
        ({"alert_mail_callers": ["x\n"]}, "is not the name of an account"),
    ],
)
def test_what_can_not_work_is_refused(evaluate: Evaluate, wrong: dict[str, Any], complaint: str) -> None:
    (problem,) = evaluate("alert_mail", "__alert_mail_problems | flatten", **REQUIRED | wrong)
    assert complaint in problem
    assert evaluate("alert_mail", "__alert_mail_problems | flatten", **REQUIRED) == []
