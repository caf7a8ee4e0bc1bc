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

from sedai.client import target, unfinished
from sedai.client.unfinished import PARTIAL, Progress
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
    BROUGHT = b"B"  # it was brought without rsync, a file with the bytes that it should have
    LINK = b"L"  # another name of the same inode is there: only the name is made
    LEAVE_OUT = b"X"  # a device, which this account can't make
    STAY = b"O"  # something else is there, here or in the place of a directory above, and stays


WRITTEN = frozenset({Action.SEND, Action.REPLACE, Action.ATTRIBUTES, Action.BROUGHT, Action.LINK})
SENT = frozenset({Action.SEND, Action.REPLACE, Action.ATTRIBUTES})
_ACTIONS = {action.value: action for action in Action}
_NOWHERE = b"\0"  # no path begins with it
_DEVICES = frozenset({b"c", b"b"})


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
    """What is done with each entry; ``root`` is prefixed to the paths, ``existing`` says what becomes of what is there.

    :attr:`linked`: the names that are sent of files which have several. :attr:`has_parts_name`: whether something of the
    generation is called like the directory in which rsync keeps the parts of files.
    """

    def __init__(self, path: Path, root: bytes, progress: Progress, existing: Existing) -> None:
        self._file = path
        self._root = root
        self._progress = progress
        self._existing = existing
        self._privileged = target.privileged()
        self._kept: dict[bytes, int] = {}
        self._barred: set[bytes] = set()
        # Where nothing is, nothing need be looked at; where something makes way, rsync has to do it name by name.
        self._absent = self._replaced = _NOWHERE
        self._partial: set[bytes] = {b""}
        self._groups: dict[LinkGroup, list[_Name]] = {}
        self._leaders: dict[bytes, bytes] = {}
        self.linked: set[bytes] = set()
        self.has_parts_name = False
        self.tally = Tally()

    def decide(self, lines: Iterable[Taken]) -> None:
        """Look at the place of each entry. Notes in the progress which directories are made, and which keep their times."""
        with self._file.open("wb") as stream:
            for taken in lines:
                action = self._below_nothing(taken) if taken.path.startswith(self._absent) else self._look(taken)
                stream.write(action.value + taken.line)
        self._settle_links()
        self._keep_groups_together()

    def decide_again(self, rows: Iterable[tuple[Action, bytes]]) -> None:
        """Take ``rows`` for what was decided; they may come from :meth:`rows`."""
        again = self._file.with_name("placement.new")
        with again.open("wb") as stream:
            for action, line in rows:
                stream.write(action.value + line)
        again.rename(self._file)

    def is_made(self, directory: bytes) -> bool:
        """Whether ``directory`` is one that this restore makes, or made before it broke off."""
        return self._progress.is_ours(directory)

    def rows(self) -> Iterator[tuple[Action, bytes]]:
        """What is done, and the manifest's line, of everything that was decided, in walk order."""
        with self._file.open("rb") as stream:
            for stored in stream:
                line = stored[1:]
                yield self.action(stored[:1], line), line

    def action(self, value: bytes, line: bytes) -> Action:
        """What ``value``, as it was noted of the manifest's ``line``, stands for now."""
        return Action.LINK if self._leaders and manifest.line_path(line) in self._leaders else _ACTIONS[value]

    def blocks(self, size: int) -> Iterator[bytes]:
        """The rows as they were noted, about ``size`` bytes at a time: the value of the action, and the line."""
        with self._file.open("rb") as stream:
            while block := b"".join(stream.readlines(size)):
                yield block

    def entries(self) -> Iterator[Placed]:
        """As :meth:`rows`, with the lines decoded."""
        return (Placed(action, manifest.decode(line)) for action, line in self.rows())

    def is_whole(self, directory: bytes) -> bool:
        """Whether ``directory``, which is sent, is sent with all that the generation has below it, and nothing is there yet."""
        return directory not in self._partial

    def leave_out(self, paths: Iterable[bytes]) -> None:
        """``paths`` are not sent, or must not be: they and what lies above them can't be sent as a whole."""
        for path in paths:
            self._partial.add(path)
            self._is_partial(path)
        self._keep_groups_together()

    def links(self) -> Iterable[tuple[bytes, bytes]]:
        """Paths that become further names of a file that is there, and a name of it."""
        return self._leaders.items()

    def _below_nothing(self, taken: Taken) -> Action:
        """As :meth:`_look`, of what lies in a directory that is not there."""
        _, kind, size, _, _, _, _, nlink, _ = taken.line.split(b"\t", 8)
        action = Action.SEND
        if kind in _DEVICES and not self._privileged:
            action = Action.LEAVE_OUT
        if nlink != b"1" or not size.isdigit() or not manifest.is_safe(taken.path):
            self._note_name(manifest.decode(taken.line), action, None)
        if taken.chosen:
            self._count(taken.path, action, int(size) if kind == b"f" else None)
        self._note_partial(taken, action, is_directory=kind == b"d")
        return action

    def _look(self, taken: Taken) -> Action:
        entry = manifest.decode(taken.line)
        action = self._decide(entry, chosen=taken.chosen)
        if taken.chosen:
            self._count(entry.path, action, entry.size if entry.kind == "f" else None)
        if action in WRITTEN and action is not Action.ATTRIBUTES:
            self._will_write(entry, action)
        self._note_partial(taken, action, is_directory=entry.kind == "d")
        if entry.kind == "d" and action is Action.SEND:
            self._absent = entry.path + b"/"
        elif entry.kind == "d" and action is Action.REPLACE:
            self._replaced = entry.path + b"/"
        return action

    def _note_partial(self, taken: Taken, action: Action, *, is_directory: bool) -> None:
        path = taken.path
        if path.endswith(PARTIAL):
            self.has_parts_name = True  # rsync passes over its own
        elif action is Action.SEND and taken.chosen and not path.startswith(self._replaced):
            return
        if is_directory:
            self._partial.add(path)
        self._is_partial(path)

    def _is_partial(self, path: bytes) -> None:
        """Nothing above ``path`` is sent as a whole."""
        while (path := path.rpartition(b"/")[0]) not in self._partial:
            self._partial.add(path)

    def _keep_groups_together(self) -> None:
        """All names of an inode go the same way: as a part of something whole, or by name. Else they would not stay one."""
        settled = False
        while not settled:
            settled = True
            for names in self._groups.values():
                sent = [name.path for name in names if name.action in SENT and name.path not in self._leaders]
                whole = [path.rpartition(b"/")[0] not in self._partial for path in sent]
                if any(whole) and not all(whole):
                    for path in sent:
                        self._is_partial(path)
                    settled = False
        self.linked = {name.path for names in self._groups.values() for name in names
                       if name.action in SENT and name.path not in self._leaders}  # fmt: skip

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
        if entry.kind == "f":
            return made_since and unfinished.is_ours(status) and self._progress.is_ours(entry.path.rpartition(b"/")[0])
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

    def _count(self, path: bytes, action: Action, size: int | None) -> None:
        """``size``: of a file, else None."""
        tally = self.tally
        if action is Action.LEAVE_OUT:
            tally.left_out.append(path)
        if action in (Action.LEAVE_OUT, Action.STAY):
            return
        tally.entries += 1
        if size is None:
            return
        tally.files += 1
        tally.size += size
        if action is Action.SAME:
            tally.there_files += 1
        else:
            tally.send_files += 1
            tally.send_bytes += size

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
                self._is_partial(name.path)
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
