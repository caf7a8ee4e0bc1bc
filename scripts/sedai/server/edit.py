"""Editing the farm into the new tree: what was removed goes, what was checked in the delta is linked in."""

from __future__ import annotations

import os
import stat as st
from collections.abc import Callable, Iterator

from sedai.core import manifest, wire
from sedai.core.errors import IntegrityError
from sedai.core.wire import Change
from sedai.server import arrived
from sedai.server.arrived import Identity
from sedai.server.beneath import Beneath
from sedai.server.stored import copy_attributes

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


class Edit:
    """Applies checked changes to the farm, and remembers which directories must get their times back.

    ``lost``: paths that the base should have and has not.
    """

    def __init__(self, delta: Beneath, tree: Beneath, lost: set[bytes]) -> None:
        self._lost = lost
        self._delta = delta
        self._tree = tree
        self._touched: set[bytes] = set()
        self._ctimes: dict[int, int] = {}
        self.added = self.removed = self.placed = self.dropped = 0

    def apply(self, changes: Callable[[], Iterator[Change]], identities: Iterator[Identity]) -> None:
        """Drop first, then place: a path may change from a directory to a file and back.

        Raises:
            IntegrityError: a change does not fit the tree, or what lies in the delta is no longer what was checked.
        """
        directories: list[bytes] = []
        for change in changes():
            self._drop(change, directories)
        self._tree.forget()
        for path in reversed(directories):
            parent, name = self._tree.parent(path)
            os.rmdir(name, dir_fd=parent)
            self._tree.forget()
        for change in changes():
            if change.line is not None:
                self._place(manifest.decode(change.line), next(identities))

    def _drop(self, change: Change, directories: list[bytes]) -> None:
        try:
            present = self._tree.lstat(change.path)
        except (FileNotFoundError, NotADirectoryError):
            if change.line is None and change.path not in self._lost:
                raise IntegrityError(f"The client removes {wire.text(change.path)}, which the base has not.") from None
            return
        is_directory = st.S_ISDIR(present.st_mode)
        if change.line is not None and is_directory and change.line.split(b"\t", 2)[1] == b"d":
            return  # stays, and gets its new attributes when it is placed
        if change.line is None:
            self.dropped += 1
        self.removed += 1
        self._touch_parent(change.path)
        if is_directory:
            directories.append(change.path)
        else:
            parent, name = self._tree.parent(change.path)
            os.unlink(name, dir_fd=parent)

    def _place(self, entry: manifest.Entry, identity: Identity) -> None:
        target, name = self._tree.parent(entry.path)
        self.placed += 1
        self._touch_parent(entry.path)
        if entry.kind == "d":
            self._place_directory(entry, target, name)
            return
        source, _ = self._delta.parent(entry.path)
        found = Identity.of(os.stat(name, dir_fd=source, follow_symlinks=False))
        # A further name moves the ctime of the inode; we made it, so we know the new one.
        if found != identity._replace(ctime_ns=self._ctimes.get(identity.inode, identity.ctime_ns)):
            raise IntegrityError(f"{wire.text(entry.path)} changed after it was checked.")
        if entry.kind == "l":
            os.symlink(entry.target, name, dir_fd=target)
        else:
            os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        if entry.kind != "f":
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=target, follow_symlinks=False)
        placed = os.stat(name, dir_fd=target, follow_symlinks=False)
        if placed.st_ino == identity.inode:
            if placed.st_nlink > 2:  # the delta has further names of it
                self._ctimes[placed.st_ino] = placed.st_ctime_ns
        elif entry.kind != "l":
            raise IntegrityError(f"{wire.text(entry.path)} changed after it was checked.")
        self.added += 1

    def _place_directory(self, entry: manifest.Entry, target: int, name: bytes) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=target)
            self.added += 1
        except FileExistsError:
            pass  # a directory that stays; opening it below refuses anything else
        source = self._delta.open(entry.path, _DIRECTORY)
        try:
            arrived.check_directory(source, entry)
            placed = self._tree.open(entry.path, _DIRECTORY)
            try:
                copy_attributes(source, placed)
            finally:
                os.close(placed)
        finally:
            os.close(source)
        self._touched.add(entry.path)

    def _touch_parent(self, path: bytes) -> None:
        parent = path.rpartition(b"/")[0]
        if parent:
            self._touched.add(parent)

    def restore_directory_times(self, lines: Iterator[bytes]) -> None:
        """Give the directories that were edited the times that the new manifest says."""
        for line in lines:
            fields = line.split(b"\t", 4)
            if fields[1] == b"d" and (path := manifest.unescape(fields[0])) in self._touched:
                parent, name = self._tree.parent(path)
                os.utime(name, ns=(int(fields[3]), int(fields[3])), dir_fd=parent, follow_symlinks=False)
