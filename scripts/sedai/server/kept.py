"""What was sent again although the base has it to the last byte: the base's inode stays, so that no room is used twice.

Each file has another inode and ctime after a restore, on a new machine, and for the first backup upon imported generations.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from sedai.core import manifest
from sedai.core.beneath import Beneath
from sedai.core.errors import IntegrityError
from sedai.server.stored import STAT_ATTRIBUTE, Digests, digest_open, read_stored

# What of a line is the client's own: how it knows the file again.
_OWN = (manifest.INODE, manifest.CTIME)


class Kept:
    """Compares what arrived in ``delta`` with the tree of the base. ``bytes``: of the files that stay, so far."""

    def __init__(self, delta: Beneath, base_tree: Path) -> None:
        self._delta = delta
        self._base_tree = base_tree
        self._base: Beneath | None = None
        self.bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._base is not None:
            self._base.__exit__(kind, error, trace)

    def has(self, old: bytes, new: bytes) -> bool:
        """Whether the base has what arrived for the line ``new``, in place of the line ``old``, with all its attributes.

        The stored bytes are read, not believed: a file that has rotted there is to be replaced.
        """
        if not _same_lines(old, new):
            return False
        entry = manifest.decode(new)
        try:
            if self._base is None:
                self._base = Beneath(self._base_tree)
            stored, arrived = self._base.open(entry.path), self._delta.open(entry.path)
        except OSError:
            return False
        try:
            same = same_files(stored, arrived, entry)
        except (OSError, IntegrityError):
            same = False
        finally:
            os.close(stored)
            os.close(arrived)
        self.bytes += entry.size if same else 0
        return same


def _same_lines(old: bytes, new: bytes) -> bool:
    """Whether both are a file of one name which differ in nothing but how the client knows it.

    Of names of one inode all would have to stay, or none.
    """
    before, after = old.split(b"\t"), new.split(b"\t")
    for field in _OWN:
        before[field] = after[field]
    return before == after and after[manifest.KIND] == b"f" and after[manifest.NLINK] == b"1"


def same_files(stored: int, arrived: int, entry: manifest.Entry) -> bool:
    """Whether ``stored`` is to the last byte the file of ``entry``, with the attributes of ``arrived``."""
    stat = os.fstat(stored)
    return (
        stat.st_mtime_ns == entry.mtime_ns
        and read_stored(stored, stat) == read_stored(arrived, os.fstat(arrived))
        and _attributes(stored) == _attributes(arrived)
        and digest_open(stored, entry.size) == Digests(entry.crc32, entry.xxh128, entry.size)
    )


def _attributes(descriptor: int) -> dict[str, bytes]:
    """The extended attributes that a restore brings back, ACLs among them; the owner and mode are compared by themselves."""
    names = [name for name in os.listxattr(descriptor) if name.startswith("user.")]
    return {name: os.getxattr(descriptor, name) for name in names if name != STAT_ATTRIBUTE.decode()}
