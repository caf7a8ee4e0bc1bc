"""Snapshots as other programs make them: by rsync with --link-dest, in directories of their naming."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

State = Callable[[Path], None]


def rsync(source: Path, target: Path, before: Path | None, *options: str) -> None:
    """One snapshot of ``source``, linked to the one ``before``."""
    target.mkdir(parents=True)
    link = [f"--link-dest={before}"] if before else []
    subprocess.run(["rsync", "-aH", "--numeric-ids", *options, *link, f"{source}/", f"{target}/"], check=True)


def rsnapshot(root: Path, source: Path, states: list[State], days: list[datetime]) -> None:
    """``daily.N`` below ``root``, the newest is 0; below it a machine's name and the full path of the source."""
    before = None
    for number, (state, day) in enumerate(zip(states, days, strict=True)):
        state(source)
        snapshot = root / f"daily.{len(states) - 1 - number}"
        subject = snapshot / "localhost" / str(source)[1:]
        rsync(source, subject, before)
        before = subject
        os.utime(snapshot, (day.timestamp(), day.timestamp()))


def time_backup(root: Path, source: Path, states: list[State], days: list[datetime]) -> None:
    """``YYYY-MM-DD-HHMMSS`` below ``root``, with what lies in the source at once in it."""
    before = None
    for state, day in zip(states, days, strict=True):
        state(source)
        snapshot = root / f"{day.astimezone():%Y-%m-%d-%H%M%S}"
        rsync(source, snapshot, before)
        before = snapshot
    (root / "backup.marker").touch()
    (root / "latest").symlink_to(before.name if before else "nowhere")
