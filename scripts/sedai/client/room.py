"""Room: whether the disks have it for what a restore brings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sedai.client.placement import Action
from sedai.client.unfinished import PARTIAL
from sedai.core import manifest, wire
from sedai.core.errors import UsageError
from sedai.core.manifest import LinkGroup
from sedai.core.progress import size

_BLOCK = 4096
_FULL = ("No space left on device", "Disk quota exceeded")


@dataclass
class Need:
    """What one filesystem is to take, in bytes; ``place``: a directory on it."""

    place: bytes
    bytes: int = 0


def needed(rows: Iterable[tuple[Action, bytes]], root: bytes) -> list[Need]:
    """What each filesystem has to take of the files that are to be sent below ``root``; ``rows``: see ``Placement.rows``.

    Holes count in full, since no manifest knows of them; several names of one inode count once.
    """
    needs: dict[int, Need] = {}
    known: set[LinkGroup] = set()
    directory, need, has_parts = b"", Need(b""), False
    for action, line in rows:
        if action not in (Action.SEND, Action.REPLACE):
            continue
        _, kind, bytes_, _, _, _, _, nlink, _ = line.split(b"\t", 8)
        if kind != b"f":
            continue
        if nlink != b"1" and (group := manifest.decode(line).link_group) is not None:
            if group in known:
                continue
            known.add(group)
        place = root + b"/" + manifest.line_path(line)
        if not need.place or os.path.dirname(place) != directory:
            directory = os.path.dirname(place)
            existing = _existing(directory)
            need = needs.setdefault(os.stat(existing).st_dev, Need(existing))
            has_parts = os.path.lexists(directory + b"/" + PARTIAL)
        blocks = -(-int(bytes_) // _BLOCK) * _BLOCK
        need.bytes += max(0, blocks - _arrived(place)) if has_parts else blocks
    return list(needs.values())


def refuse_without(needs: Iterable[Need]) -> None:
    """Refuse to begin what can't be done.

    Raises:
        UsageError: a filesystem has not enough room.
    """
    for need in needs:
        found = os.statvfs(need.place)
        free = found.f_bavail * found.f_frsize
        if need.bytes > free:
            raise UsageError(
                f"The disk of {wire.text(need.place)} has {size(free)} free, and what is missing needs {size(need.bytes)}: "
                "nothing was restored.",
                "Make room, or restore to another disk with --to DIRECTORY. Where the files have large holes (disk images), "
                "they need less: add --ignore-space.",
            )


def is_lacking(complaints: Sequence[str]) -> bool:
    """Whether rsync's complaints are of a full disk."""
    return any(words in line for line in complaints for words in _FULL)


def _existing(directory: bytes) -> bytes:
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return directory or b"/"


def _arrived(place: bytes) -> int:
    """How much of a file is there already, of a restore that broke off: rsync goes on in that very file."""
    directory, _, name = place.rpartition(b"/")
    try:
        return os.lstat(b"/".join((directory, PARTIAL, name))).st_blocks * 512
    except OSError:
        return 0
