"""The log file, and a disk that can't take it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

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
