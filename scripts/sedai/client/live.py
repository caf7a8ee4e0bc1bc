"""Live database files in the sources: a copy made while the server writes may be of no use, so a person must know."""

from __future__ import annotations

import os
import re
import stat as st
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sedai.core import wire

_MOUNTS = Path("/proc/self/mountinfo")
SQLITE = "SQLite"
_SQLITE_HEADER = b"SQLite format 3\0"
# So many of several paths are named.
_MOST_NAMED = 3
# The name by which a data directory is known.
_MARKS = {b"ibdata1": "MariaDB/MySQL", b"WiredTiger.wt": "MongoDB", b"dump.rdb": "Redis", b"appendonlydir": "Redis",
          b"appendonly.aof": "Redis"}  # fmt: skip


class Live(NamedTuple):
    """A data directory, or an SQLite file, ``path`` as bytes below the root of the tree."""

    kind: str
    path: bytes


def recognise(path: bytes, name: bytes, location: bytes) -> Live | None:
    """What ``name`` at ``path`` (``location`` on this machine) says of the directory that it lies in, if anything."""
    if name in _MARKS:
        return Live(_MARKS[name], path[: -len(name) - 1])
    if name == b"PG_VERSION":
        directory = path[: -len(name) - 1]
        # Each database below has one too.
        return Live("PostgreSQL", directory) if os.path.isdir(os.path.dirname(location) + b"/global") else None
    if name.endswith(b"-wal"):
        return Live(SQLITE, path[:-4]) if _is_sqlite(location[:-4]) else None
    return None


def _is_sqlite(location: bytes) -> bool:
    try:
        if not st.S_ISREG(os.stat(location).st_mode):  # a FIFO would be waited at for ever
            return False
        with open(location, "rb") as stream:
            return stream.read(len(_SQLITE_HEADER)) == _SQLITE_HEADER
    except OSError:
        return False


def sort_out(found: list[Live], dumped: list[Path], accepted: tuple[Path, ...]) -> tuple[list[Live], list[Live]]:
    """Those of ``found`` that nobody has dealt with, and those that a person accepted; without those that are dumped."""
    known = {os.fsencode(os.path.realpath(path)).strip(b"/") for path in dumped}
    known |= {os.fsencode(path).strip(b"/") for path in dumped}
    open_ones: list[Live] = []
    accepted_ones: list[Live] = []
    for live in dict.fromkeys(found):
        if live.path in known:
            continue
        path = Path(os.fsdecode(b"/" + live.path))
        (accepted_ones if any(path.is_relative_to(place) for place in accepted) else open_ones).append(live)
    return open_ones, accepted_ones


def names(paths: Sequence[bytes]) -> str:
    """The first of ``paths`` (at least one) by name, and how many more there are."""
    shown = ", ".join(f"/{wire.text(path)}" for path in paths[:_MOST_NAMED])
    return f"{shown} and {len(paths) - _MOST_NAMED:,} more" if len(paths) > _MOST_NAMED else shown


def told(found: Iterable[Live]) -> list[str]:
    """What a report lists of ``found``, one line for each kind: they are in the backup, as copies."""
    by_kind: dict[str, list[bytes]] = {}
    for live in found:
        by_kind.setdefault(live.kind, []).append(live.path)
    return [f"{wire.COPIED_OPEN}{names(paths)}: live files of {kind}, not dumped" for kind, paths in by_kind.items()]


def missing_mounts(fstab: str, sources: tuple[Path, ...]) -> list[Path]:
    """Mount points of ``fstab`` at, below or above ``sources`` that are to be mounted at boot and are not (fstab(5))."""
    wanted = []
    for line in fstab.splitlines():
        fields = line.split()
        if len(fields) < 4 or fields[0].startswith("#") or not fields[1].startswith("/"):
            continue
        point = Path(_unescape(fields[1]))
        options = fields[3].split(",")
        if "noauto" in options:
            continue
        if any(point.is_relative_to(source) or source.is_relative_to(point) for source in sources):
            wanted.append(point)
    mounted = _mounted()
    return [point for point in wanted if not os.path.ismount(point) and os.path.realpath(point) not in mounted]


def _mounted() -> set[str]:
    """All mount points: a directory bound to another of the same file system looks like no mount to ``ismount``."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return set()
    return {_unescape(fields[4]) for fields in map(str.split, lines) if len(fields) > 4}


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
