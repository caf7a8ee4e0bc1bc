"""Placement: for each entry to be restored, what is at its place already and what is to be done about it.

Decided in one pass over the manifest and written to a file, so that memory does not grow with the number of entries.
"""

from __future__ import annotations

import enum
import os
import stat as st
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sedai.client import target
from sedai.client.unfinished import Progress
from sedai.core import manifest, wire
from sedai.core.manifest import Entry, LinkGroup
from sedai.core.selection import Taken, ancestors

SHOWN = 50


class Existing(enum.Enum):
    """What becomes of something else that is at the place of an entry."""

    REFUSE = "refuse"  # nothing at all is restored
    KEEP = "keep"  # it stays as it is, and the rest is restored
    REPLACE = "replace"


class Action(enum.Enum):
    """What is done with an entry; the first byte of a line of the placement."""

    SEND = b"S"  # nothing is there
    REPLACE = b"R"  # something else is there
    ATTRIBUTES = b"A"  # a directory that is there gets its old attributes
    KEEP = b"K"  # a directory that is there stays as it is
    SAME = b"="  # exactly this is there
    LINK = b"L"  # another name of the same inode is there: only the name is made
    LEAVE_OUT = b"X"  # a device, which this account can't make
    STAY = b"O"  # something else is there, here or in the place of a directory above, and stays


WRITTEN = frozenset({Action.SEND, Action.REPLACE, Action.ATTRIBUTES, Action.LINK})
SENT = frozenset({Action.SEND, Action.REPLACE, Action.ATTRIBUTES})


class Placed(NamedTuple):
    """An entry and what is done with it."""

    action: Action
    entry: Entry


@dataclass
class Tally:
    """How many of the chosen entries, but for those that stay or are left out; ``size``: bytes of the files.

    ``in_the_way``: entries at whose place something else is; the first of them by name.
    """

    entries: int = 0
    files: int = 0
    size: int = 0
    send_files: int = 0
    send_bytes: int = 0
    there_files: int = 0
    in_the_way: int = 0
    first_in_the_way: list[bytes] = field(default_factory=list)
    left_out: list[bytes] = field(default_factory=list)


class _Name(NamedTuple):
    """One name of a hard-linked file."""

    path: bytes
    action: Action
    inode: tuple[int, int]
    size: int


class Placement:
    """What is done with each entry; ``root`` is prefixed to the paths, ``existing`` says what becomes of what is there."""

    def __init__(self, path: Path, root: bytes, progress: Progress, existing: Existing) -> None:
        self._file = path
        self._root = root
        self._progress = progress
        self._existing = existing
        self._privileged = target.privileged()
        self._kept: dict[bytes, int] = {}
        self._barred: set[bytes] = set()
        self._groups: dict[LinkGroup, list[_Name]] = {}
        self._leaders: dict[bytes, bytes] = {}
        self.tally = Tally()

    def decide(self, lines: Iterable[Taken]) -> None:
        """Look at the place of each entry. Notes in the progress which directories are made, and which keep their times."""
        with self._file.open("wb") as stream:
            for taken in lines:
                entry = manifest.decode(taken.line)
                action = self._decide(entry, chosen=taken.chosen)
                if taken.chosen:
                    self._count(entry, action)
                stream.write(action.value + taken.line)
                if action in WRITTEN and action is not Action.ATTRIBUTES:
                    self._will_write(entry, action)
        self._settle_links()

    def entries(self) -> Iterator[Placed]:
        """Everything that was decided, in walk order."""
        with self._file.open("rb") as stream:
            for line in stream:
                entry = manifest.decode(line[1:])
                action = Action.LINK if entry.path in self._leaders else Action(line[:1])
                yield Placed(action, entry)

    def leader(self, path: bytes) -> bytes:
        """The name that ``path`` becomes a further name of."""
        return self._leaders[path]

    def _decide(self, entry: Entry, *, chosen: bool) -> Action:
        place = self._root + b"/" + entry.path
        if self._barred and not self._barred.isdisjoint(ancestors(entry.path)):
            return self._stays(entry)
        try:
            status = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            if entry.kind in "cb" and not self._privileged:
                return Action.LEAVE_OUT
            return Action.SEND
        if not chosen and os.path.isdir(place):  # perhaps behind a symlink: the way to the chosen path is as it is now
            return self._directory(entry, status, restored=self._progress.is_ours(entry.path))
        if entry.kind == "d" and st.S_ISDIR(status.st_mode):
            return self._directory(
                entry, status, restored=self._existing is Existing.REPLACE or self._progress.is_ours(entry.path)
            )
        if target.is_there(place, status, entry):
            self._note_name(entry, Action.SAME, status)
            return Action.SAME
        if entry.kind in "cb" and not self._privileged:
            return Action.LEAVE_OUT
        if self._came_before(place, status, entry):
            return Action.SEND
        if self._existing is Existing.KEEP:
            return self._stays(entry)
        self._in_the_way(entry.path)
        self._note_name(entry, Action.REPLACE, status)
        return Action.REPLACE

    def _stays(self, entry: Entry) -> Action:
        """Nothing is done at this place; below what should be a directory there is no place for anything."""
        self._in_the_way(entry.path)
        if entry.kind == "d":
            self._barred.add(entry.path)
        return Action.STAY

    def _came_before(self, place: bytes, status: os.stat_result, entry: Entry) -> bool:
        """Whether the restore that broke off made this: only what rsync leaves to the comparison is not set yet."""
        made_since = status.st_ctime >= self._progress.began
        return made_since and entry.kind in "lpcb" and set(target.differs(place, status, entry)) <= target.MENDED

    def _directory(self, entry: Entry, status: os.stat_result, *, restored: bool) -> Action:
        if restored:
            return Action.ATTRIBUTES
        self._kept[entry.path] = status.st_mtime_ns
        return Action.KEEP

    def _in_the_way(self, path: bytes) -> None:
        self.tally.in_the_way += 1
        if len(self.tally.first_in_the_way) < SHOWN:
            self.tally.first_in_the_way.append(path)

    def _count(self, entry: Entry, action: Action) -> None:
        tally = self.tally
        if action is Action.LEAVE_OUT:
            tally.left_out.append(entry.path)
        if action in (Action.LEAVE_OUT, Action.STAY):
            return
        tally.entries += 1
        if entry.kind != "f":
            return
        tally.files += 1
        tally.size += entry.size
        if action is Action.SAME:
            tally.there_files += 1
        else:
            tally.send_files += 1
            tally.send_bytes += entry.size

    def _will_write(self, entry: Entry, action: Action) -> None:
        if action is Action.SEND:
            self._note_name(entry, action, None)
            if entry.kind == "d" and not self._progress.is_ours(entry.path):
                self._progress.made.add(entry.path)
        parent = entry.path.rpartition(b"/")[0]
        if parent in self._kept:
            self._progress.times.setdefault(parent, self._kept[parent])

    def _note_name(self, entry: Entry, action: Action, status: os.stat_result | None) -> None:
        group = entry.link_group
        if group is not None and entry.kind == "f":
            inode = (status.st_dev, status.st_ino) if status else (0, 0)
            self._groups.setdefault(group, []).append(_Name(entry.path, action, inode, entry.size))

    def _settle_links(self) -> None:
        """Where one name of an inode is there, the others are made names of it and not files of their own."""
        for names in self._groups.values():
            leader = next((name for name in names if name.action is Action.SAME), None)
            if leader is None:
                continue
            for name in names:
                if name.inode == leader.inode:
                    continue
                if name.action is Action.SAME and self._existing is Existing.KEEP:
                    continue  # the comparison tells that it is no name of the other
                self._leaders[name.path] = leader.path
                if name.action is Action.SAME:
                    # A file of its own with the same bytes: it is replaced by a name.
                    self._in_the_way(name.path)
                    self.tally.there_files -= 1
                else:
                    self.tally.send_files -= 1
                    self.tally.send_bytes -= name.size


def shown(paths: Iterable[bytes]) -> str:
    """Paths of a tree for people."""
    return ", ".join("/" + wire.text(path) for path in paths)
