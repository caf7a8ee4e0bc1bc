"""What needs no VPS to be judged; molecule/configure tries the rest on a real one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[3] / "roles/configure/library/check_answer.py"
_SPECIFICATION = importlib.util.spec_from_file_location("check_answer", PATH)
assert _SPECIFICATION is not None and _SPECIFICATION.loader is not None
check_answer = importlib.util.module_from_spec(_SPECIFICATION)
sys.modules["check_answer"] = check_answer
_SPECIFICATION.loader.exec_module(check_answer)


def problem(question: str, **answers: str) -> str:
    """The key of what is wrong with an answer."""
    return str(check_answer.CHECKS[question](check_answer.Case(answers, "", "")).problem)


@pytest.mark.parametrize(
    "question, answer, expected",
    [
        ("language", "ja", ""),
        ("language", "fr", "language"),
        ("vps_host", "-oProxyCommand=x", "vps_host"),
        ("vps_port", "0", "port"),
        ("vps_port", "65536", "port"),
        ("vps_port", "ssh", "port"),
        ("vps_user", "-l", "vps_user"),
        ("smtp_host", "mail example", "smtp_host"),
        ("smtp_port", "", "port"),
        ("smtp_address", "user@example.com", ""),
        ("smtp_address", "user", "address"),
        ("smtp_password", "a\tb", "smtp_password"),
        ("smtp_password", "漢" * 161, "smtp_password"),
        ("recipients", "user@example.com, other@example.com", ""),
        ("recipients", " , ", "missing"),
        ("sources", "/etc", ""),
        ("sources", "etc", "source_not_absolute"),
        ("sources", "/", "source_not_absolute"),
        ("sources", "//", "source_not_absolute"),
        ("sources", "/etc, /not/there", "source_missing"),
        ("name", "laptop-1.home", ""),
        ("name", "Laptop", "name"),
        ("name", "vps", "name_taken"),
        ("time", "03:15", ""),
        ("time", "3:15", ""),
        ("time", "24:00", "time"),
        ("time", "03:60", "time"),
        ("time", "3", "time"),
    ],
)
def test_an_answer(question: str, answer: str, expected: str) -> None:
    assert problem(question, **{question: answer}) == expected


@pytest.mark.parametrize(
    "stderr, expected",
    [
        ("user@vps: Permission denied (publickey,password).\n", "vps_no_key"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.\n", "vps_other_host_key"),
        ("Host key fingerprint is SHA256:x\n+--[ED25519 256]--+\n|  .o |\nConnection closed by vps\n", "vps_ssh"),
        ("", "vps_ssh"),
    ],
)
def test_the_words_of_ssh(stderr: str, expected: str) -> None:
    verdict = check_answer.refused_by_ssh(stderr)
    assert verdict.problem == expected
    assert "Connection closed" in verdict.details.get("reply", "") or "closed" not in stderr


@pytest.mark.parametrize(
    "status, stderr, password, expected",
    [
        (0, "", "", ""),
        (1, "sudo: a password is required", "", "sudo_password_needed"),
        (1, "sudo: 1 incorrect password attempt", "x", "wrong_sudo_password"),
        (1, "user is not in the sudoers file.", "x", "not_in_sudoers"),
        (127, "sudo is not installed", "", "no_sudo"),
    ],
)
def test_the_end_of_sudo(status: int, stderr: str, password: str, expected: str) -> None:
    done = subprocess.CompletedProcess(["sudo"], status, "", stderr)
    assert check_answer.sudo_verdict(done, password).problem == expected


def test_the_password_goes_to_sudo_by_its_input_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text(
        '#!/bin/sh\ncase "$*" in "-k -S -p  true") read -r word && [ "$word" = "s3same open" ] ;; *) exit 1 ;; esac\n'
    )
    sudo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert problem("sudo_password", sudo_password="s3same open") == ""
    assert problem("sudo_password", sudo_password="another") == "wrong_sudo_password"
    assert problem("sudo_password", sudo_password="") == "sudo_password_needed"


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ("", ""),
        ("-J you@bastion.example.com", "ProxyJump=you@bastion.example.com"),
        ("-J none", ""),
        ("-o ProxyCommand='ssh -W %h:%p bastion'", "ProxyCommand=ssh -W %h:%p bastion"),
    ],
)
def test_the_way_by_another_machine_is_told(arguments: str, expected: str) -> None:
    case = check_answer.Case({"vps_host": "127.0.0.1"}, f"-F none {arguments}", "")
    verdict = check_answer.check_vps_host(case)
    assert (verdict.problem, verdict.defaults["vps_way"]) == ("", expected)
    assert check_answer.is_proxied(case.settings_of_ssh()) is bool(expected)
