"""The snapshots of another program: which directories they are, when they were made, which are wanted, what their paths are.

Pure. Two layouts are known, by the names of the directories: ``rsnapshot`` (``daily.0``, ``hourly.3``), whose time is the
directory's own, and ``dated`` (``2026-01-31-031500`` of rsync-time-backup, ``2026-01-31``, ``backup_20260131T0315``), whose
time is in the name, by this machine's clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sedai.core.errors import UsageError
from sedai.core.generation import Generation, Retention, decide

# A word before the dot: python3.13 is none.
_NUMBERED = re.compile(r"[A-Za-z0-9_-]*[A-Za-z]\.(\d{1,4})\Z")
_DATED = re.compile(
    r"(?:.*[^0-9])?(\d{4})([-_.]?)(\d\d)\2(\d\d)(?:[-_.T ]?(\d\d)[-_:.]?(\d\d)(?:[-_:.]?(\d\d))?(Z)?)?\Z", re.DOTALL
)
_FIRST_YEAR = 1970
# Directories of a root: where one of them is all that a snapshot has, it is no machine's name.
_OF_A_ROOT = frozenset(
    (b"bin", b"boot", b"data", b"etc", b"home", b"media", b"mnt", b"opt", b"root", b"srv", b"usr", b"var")
)


class Snapshot(NamedTuple):
    """A directory that holds one state of the files."""

    name: str
    time: datetime


class LeftOut(NamedTuple):
    """A snapshot that is not wanted, and why in words."""

    snapshot: Snapshot
    why: str


Directory = tuple[str, float]
"""A directory's name and its mtime."""


def _numbered(name: str, mtime: float) -> datetime | None:
    """rsnapshot gives each of its directories the time at which it was filled; a rotation keeps it."""
    if not _NUMBERED.match(name):
        return None
    try:
        return datetime.fromtimestamp(int(mtime), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _dated(name: str, mtime: float) -> datetime | None:
    match = _DATED.match(name)
    if match is None:
        return None
    year, _, month, day, hour, minute, second, utc = match.groups()
    if int(year) < _FIRST_YEAR:
        return None
    try:
        moment = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))
        return moment.replace(tzinfo=UTC) if utc else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


LAYOUTS: Mapping[str, Callable[[str, float], datetime | None]] = {"rsnapshot": _numbered, "dated": _dated}


def find(directories: Iterable[Directory], layout: str, place: str) -> tuple[str, list[Snapshot]]:
    """The layout (``auto``: the one that fits) and the snapshots among ``directories``, oldest first.

    Of several snapshots of one second the last one by rsnapshot's numbers, or by name, counts as the oldest.

    Raises:
        UsageError: there are none at ``place``, or those of two layouts.
    """
    found = {name: _of(directories, LAYOUTS[name]) for name in (LAYOUTS if layout == "auto" else [layout])}
    fitting = {name: snapshots for name, snapshots in found.items() if snapshots}
    if not fitting:
        raise UsageError(
            f"There is no snapshot in {place}.",
            "Name the directory that holds daily.0, daily.1 …, or directories with a date in their names.",
        )
    if len(fitting) > 1:
        told = ", ".join(f"--layout {name}: {len(snapshots)}" for name, snapshots in fitting.items())
        raise UsageError(f"{place} has snapshots of two layouts.", f"Say which are meant ({told}).")
    return next(iter(fitting.items()))


def _of(directories: Iterable[Directory], time_of: Callable[[str, float], datetime | None]) -> list[Snapshot]:
    dated = ((name, time_of(name, mtime)) for name, mtime in directories)
    snapshots = [Snapshot(name, time) for name, time in dated if time is not None]
    return sorted(snapshots, key=lambda one: (one.time, -_number(one.name), one.name))


def _number(name: str) -> int:
    match = _NUMBERED.match(name)
    return int(match[1]) if match else 0


def choose(
    snapshots: Sequence[Snapshot], rule: Retention, now: datetime, unfit: Mapping[str, str]
) -> tuple[list[Snapshot], list[LeftOut]]:
    """Those of ``snapshots`` (oldest first) that ``rule`` would keep if they were generations, and the others.

    ``unfit``: the names of those that can't be taken, with the reason.
    """
    usable: list[Snapshot] = []
    left_out: list[LeftOut] = []
    for snapshot in snapshots:
        if snapshot.name in unfit:
            left_out.append(LeftOut(snapshot, unfit[snapshot.name]))
        elif snapshot.time > now:
            left_out.append(LeftOut(snapshot, "its time is in the future"))
        elif usable and usable[-1].time == snapshot.time:
            left_out.append(LeftOut(snapshot, f"it has the time of {usable[-1].name}"))
        else:
            usable.append(snapshot)
    verdicts = decide([Generation(number, snapshot.time) for number, snapshot in enumerate(usable)], rule)
    wanted = []
    for snapshot, verdict in zip(usable, verdicts, strict=True):
        if verdict.keep:
            wanted.append(snapshot)
        else:
            left_out.append(LeftOut(snapshot, "the rule of what is kept does not keep it"))
    return wanted, left_out


def strip_of(tops: Mapping[str, Sequence[bytes]], layout: str) -> bytes:
    """What stands before the paths in each snapshot and has to go; ``tops``: the directories at the top of each one.

    rsnapshot has a directory for each machine there.

    Raises:
        UsageError: it has several.
    """
    names = sorted({name for found in tops.values() for name in found})
    if layout != "rsnapshot" or not names or not _OF_A_ROOT.isdisjoint(names):
        return b""
    if len(names) > 1:
        told = ", ".join(name.decode(errors="backslashreplace") for name in names[:8])
        raise UsageError(
            f"The snapshots hold several machines or backup points: {told}.",
            "Say which one is this client's, as --strip NAME; --strip '' takes all as they are.",
        )
    return names[0]


def tree_path(text: str) -> bytes:
    """A path that a person gave for a part of a tree, ``/home`` or ``home/``, as it stands in one: ``home``.

    Raises:
        UsageError: it leads up.
    """
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in text:
        raise UsageError(f"{text!r} is no path below a root.")
    return "/".join(parts).encode("utf-8", "surrogateescape")
