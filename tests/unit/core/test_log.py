"""The log file, and a disk that can't take it."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from sedai.core import log
from sedai.core.errors import ConfigError
from sedai.core.log import open_log


def test_one_event_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log" / "x.log"
    open_log("test", path).info("two\nlines of %s", "text")
    assert path.read_text().endswith(" INFO two | lines of text\n")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_a_disk_in_trouble_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def touch(path: Path, mode: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "touch", touch)
    open_log("test", tmp_path / "x.log").error("nobody hears it")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_configuration_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="can't be written"):
        open_log("test", tmp_path / "file" / "x.log")


def test_a_disk_that_fills_up_later_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    open_log("test", Path("/dev/full")).error("no room")
    assert capfd.readouterr().err == ""


def test_the_syslog_has_every_line_under_one_identifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "SYSLOG", str(tmp_path / "log"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(log.SYSLOG)
        syslog.settimeout(10)
        logger = open_log("check", tmp_path / "x.log")
        logger.error("rotten:\nname \udcff")
        logger.info("世代")
        said = [syslog.recv(1000).decode() for _ in range(2)]
    assert said == [rf"<27>sedai[{os.getpid()}]: check rotten: | name \udcff", f"<30>sedai[{os.getpid()}]: check 世代"]


@pytest.mark.timeout(60)
def test_a_syslog_that_is_stuck_or_gone_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "SYSLOG", str(tmp_path / "log"))
    logger = open_log("check", tmp_path / "x.log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        logger.info("nobody is there")
        syslog.bind(log.SYSLOG)
        for _ in range(2000):  # nobody takes them away
            logger.info("x" * 1000)
    logger.info("it has gone")
    assert len((tmp_path / "x.log").read_text().splitlines()) == 2002
