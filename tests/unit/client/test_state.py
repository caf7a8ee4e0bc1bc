"""What the client keeps, and a disk that is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sedai.client.state import State

FIRST, SECOND = "20260101T000000Z-000001", "20260102T000000Z-000002"


def test_what_a_full_disk_cut_short_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            state.remember_unsigned(FIRST, "a record")
    assert state.unsigned() == []
    state.remember_unsigned(SECOND, "another")
    assert state.unsigned() == [(SECOND, b"another")]
    state.forget_unsigned(SECOND)
    assert list((tmp_path / "unsigned").iterdir()) == []
