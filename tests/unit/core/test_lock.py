"""A lock is the kernel's; what is written into its file is for people."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sedai.core import lock
from sedai.core.errors import LockedError


def test_who_holds_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with (
        lock.exclusive(path, "A backup"),
        pytest.raises(LockedError, match=rf"A backup is already running \(pid {os.getpid()} since "),
        lock.exclusive(path, "A backup"),
    ):
        pass


def test_what_a_dead_process_left_in_it_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("pid 1 since 2001-01-01 00:00:00 +0000 and long gone")
    with lock.exclusive(path, "A backup"):
        assert path.read_text().startswith(f"pid {os.getpid()} since ")
        assert "gone" not in path.read_text()


def test_a_full_disk_can_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pruning needs the lock, and makes room."""

    def full(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    path = tmp_path / "lock"
    with lock.exclusive(path, "A backup"):
        assert lock.in_use(path)
    assert not lock.in_use(path)


@pytest.mark.parametrize("directory", [False, True])
def test_what_nobody_uses_can_be_held(tmp_path: Path, directory: bool) -> None:
    path = tmp_path / "held"
    path.mkdir() if directory else path.touch()
    with lock.shared(path), lock.unless_in_use(path) as free:
        assert not free
    with lock.unless_in_use(path) as free:
        assert free
        assert lock.in_use(path)
    assert not lock.in_use(path)
