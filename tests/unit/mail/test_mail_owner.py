"""A mail is always written by the account that cron flushes the spool as."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from sedai.core.errors import ConfigError
from sedai.mail.owner import become_owner

PERSON = pwd.struct_passwd(("person", "x", 4711, 4712, "", "/home/person", "/bin/sh"))


class Process:
    """Stands in for the kernel: who we are, whose the file is, and what we asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.account = 0
        self.file_owner = PERSON.pw_uid
        self.calls: list[tuple[object, ...]] = []
        monkeypatch.setenv("HOME", "/root")
        monkeypatch.setattr(os, "geteuid", lambda: self.account)
        monkeypatch.setattr("sedai.mail.owner._owner", lambda _: self.file_owner)
        monkeypatch.setattr(pwd, "getpwuid", lambda number: {PERSON.pw_uid: PERSON}[number])
        for name in ("initgroups", "setgid", "setuid"):
            monkeypatch.setattr(os, name, lambda *words, name=name: self.calls.append((name, *words)))


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    return Process(monkeypatch)


CONFIG = Path("/home/person/.config/sedai/alert_mail.toml")


def test_root_becomes_the_owner_wholly_and_last_of_all_gives_root_up(process: Process) -> None:
    become_owner(CONFIG)
    assert process.calls == [("initgroups", "person", 4712), ("setgid", 4712), ("setuid", 4711)]
    assert os.environ["HOME"] == "/home/person"


@pytest.mark.parametrize("account", [0, PERSON.pw_uid])
def test_the_owner_stays(process: Process, account: int) -> None:
    process.account = process.file_owner = account
    become_owner(CONFIG)
    assert process.calls == []


def test_a_third_account_is_told_whose_it_is(process: Process) -> None:
    process.account = 4713
    with pytest.raises(ConfigError, match=r"alert_mail.toml belongs to person, and only person may send") as caught:
        become_owner(CONFIG)
    assert "sudo -u person" in caught.value.hint
    assert process.calls == []


def test_an_owner_without_an_account(process: Process) -> None:
    process.file_owner = 4714
    with pytest.raises(ConfigError, match="4714, which is no account"):
        become_owner(CONFIG)
    assert process.calls == []


def test_a_file_that_is_not_there_is_for_its_reader(tmp_path: Path) -> None:
    become_owner(tmp_path / "none.toml")


def test_a_hidden_file_belongs_to_whoever_hides_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        if path.name == "alert_mail.toml":
            raise PermissionError
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr(os, "geteuid", lambda: 4713)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: PERSON)
    with pytest.raises(ConfigError, match="belongs to person"):
        become_owner(tmp_path / "alert_mail.toml")
