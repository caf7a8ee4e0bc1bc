"""Editing the farm into the new tree: what was removed goes, what was checked in the delta is linked in."""

from __future__ import annotations

import errno
import os
import stat as st
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from sedai.core import manifest, wire, workers
from sedai.core.beneath import Beneath
from sedai.core.errors import IntegrityError
from sedai.server import arrived
from sedai.server.arrived import Identity
from sedai.server.stored import copy_attributes

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_PIECE = 500
# Fewer are placed before a process would have started.
_WORTH_WORKERS = 2000
# What a line of the list of edits begins with.
_NEW, _REPLACED, _REMOVED = b"+", b"*", b"-"


class Edits:
    """The list of edits in a file, in walk order: paths to drop, and checked entries to place with what they are known by.

    A context manager while it is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = path.open("wb")
        self.placements = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def remove(self, path: bytes) -> None:
        """``path`` goes."""
        self._stream.write(b"%s%s\n" % (_REMOVED, manifest.escape(path)))

    def place(self, line: bytes, identity: Identity, *, replaces: bool) -> None:
        """The entry of ``line`` comes; ``replaces``: something has its name."""
        self.placements += 1
        self._stream.write(b"%s%d %d\t%s" % (_REPLACED if replaces else _NEW, *identity, line))

    def dropped(self) -> Iterator[tuple[bytes, bool, bool]]:
        """Each path that is in the way, whether it goes for good, and whether a directory comes in its place."""
        for line in self._lines():
            if line[:1] == _REMOVED:
                yield manifest.unescape(line[1:-1]), True, False
            elif line[:1] == _REPLACED:
                _, path, kind, _ = line.split(b"\t", 3)
                yield manifest.unescape(path), False, kind == b"d"

    def placed(self) -> Iterator[bytes]:
        """The line of each entry that comes; see :func:`_read`."""
        return (line for line in self._lines() if line[:1] != _REMOVED)

    def paths(self) -> Iterator[bytes]:
        """The paths of all edits."""
        for line in self._lines():
            yield manifest.unescape(line[1:-1] if line[:1] == _REMOVED else line.split(b"\t", 2)[1])

    def _lines(self) -> Iterator[bytes]:
        with self._path.open("rb") as stream:
            yield from stream

    def forget(self) -> None:
        """Remove the file."""
        self._path.unlink()


def _read(line: bytes) -> tuple[manifest.Entry, Identity]:
    """The entry that comes, and what it is known by."""
    known_by, rest = line[1:].split(b"\t", 1)
    return manifest.decode(rest), Identity(*map(int, known_by.split()))


def _is_plain(line: bytes) -> bool:
    """Whether a file with one name comes: it has nothing to do with any other entry but its directory."""
    fields = line.split(b"\t", 2 + manifest.NLINK)[1:]
    return fields[manifest.KIND] == b"f" and fields[manifest.NLINK] == b"1"


def _changed(path: bytes) -> IntegrityError:
    return IntegrityError(f"{wire.text(path)} changed after it was checked.")


def _link(name: bytes, source: int, target: int) -> None:
    try:
        os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EMLINK:
            raise
        # A file with so many names that the file system has none for both; the delta goes after the seal in any case.
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)


class Edit:
    """Applies edits to the farm.

    ``lost``: paths that the base should have and has not.
    """

    def __init__(self, delta: Beneath, tree: Beneath, lost: set[bytes]) -> None:
        self._lost = lost
        self._delta = delta
        self._tree = tree
        self._times: dict[bytes, int] = {}
        self._ctimes: dict[int, int] = {}
        self.added = self.removed = self.placed = self.dropped = 0

    def apply(self, edits: Edits) -> None:
        """Drop first, then place: a path may change from a directory to a file and back.

        Raises:
            IntegrityError: an edit does not fit the tree, or what lies in the delta is no longer what was checked.
        """
        directories: list[bytes] = []
        for path, for_good, for_directory in edits.dropped():
            self._drop(path, for_good, for_directory, directories)
        for path in reversed(directories):
            parent, name = self._tree.parent(path)
            os.rmdir(name, dir_fd=parent)
            self._times.pop(path, None)
        self._tree.forget()
        crew = workers.count() if edits.placements > _WORTH_WORKERS else 0
        for added in workers.spread(self._place_files, self._files(edits.placed()), crew):
            self.added += added
        self._restore_directory_times()

    def _files(self, lines: Iterator[bytes]) -> Iterator[list[bytes]]:
        """The lines of plain files, many at a time; all else is placed on the way, before what lies in it."""
        piece: list[bytes] = []
        for line in lines:
            self.placed += 1
            if not _is_plain(line):
                self._place(*_read(line))
                continue
            path = manifest.line_path(line[line.index(b"\t") + 1 :])
            if path.rpartition(b"/")[0] not in self._times:
                self._touch(path, self._tree.parent(path)[0])
            piece.append(line)
            if len(piece) == _PIECE:
                yield piece
                piece = []
        yield piece

    def _place_files(self, lines: list[bytes]) -> int:
        """What a worker does; how many entries were added."""
        for line in lines:
            known_by, rest = line[1:].split(b"\t", 1)
            inode, ctime_ns = map(int, known_by.split())
            path = manifest.line_path(rest)
            target, name = self._tree.parent(path)
            source, _ = self._delta.parent(path)
            found = os.stat(name, dir_fd=source, follow_symlinks=False)
            ctime_ns = self._ctimes.get(inode, ctime_ns)
            if (found.st_ino, found.st_ctime_ns) != (inode, ctime_ns):
                raise _changed(path)
            _link(name, source, target)
            placed = os.stat(name, dir_fd=target, follow_symlinks=False)
            if placed.st_ino != found.st_ino:
                raise _changed(path)
            if placed.st_nlink > 2:  # see _place_at
                self._ctimes[placed.st_ino] = placed.st_ctime_ns
        return len(lines)

    def _drop(self, path: bytes, for_good: bool, for_directory: bool, directories: list[bytes]) -> None:
        try:
            parent, name = self._tree.parent(path)
            is_directory = st.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            if for_good and path not in self._lost:
                raise IntegrityError(f"The client removes {wire.text(path)}, which the base has not.") from None
            return
        if for_directory and is_directory:
            return  # stays, and gets its new attributes when it is placed
        self.dropped += for_good
        self.removed += 1
        self._touch(path, parent)
        if is_directory:
            directories.append(path)
        else:
            os.unlink(name, dir_fd=parent)

    def _place(self, entry: manifest.Entry, identity: Identity) -> None:
        target, name = self._tree.parent(entry.path)
        self._touch(entry.path, target)
        if entry.kind == "d":
            self._place_directory(entry, target, name)
        else:
            self._place_at(target, name, entry, identity)
            self.added += 1

    def _place_at(self, target: int, name: bytes, entry: manifest.Entry, identity: Identity) -> None:
        source, _ = self._delta.parent(entry.path)
        found = Identity.of(os.stat(name, dir_fd=source, follow_symlinks=False))
        # A further name moves the ctime of the inode; we made it, so we know the new one.
        if found != (identity.inode, self._ctimes.get(identity.inode, identity.ctime_ns)):
            raise _changed(entry.path)
        if entry.kind == "l":
            os.symlink(entry.target, name, dir_fd=target)
        else:
            _link(name, source, target)
        if entry.kind != "f":
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=target, follow_symlinks=False)
        placed = os.stat(name, dir_fd=target, follow_symlinks=False)
        if placed.st_ino == identity.inode:
            if placed.st_nlink > 2:  # the delta has further names of it
                self._ctimes[placed.st_ino] = placed.st_ctime_ns
        elif entry.kind != "l":
            raise _changed(entry.path)

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
        self._times[entry.path] = entry.mtime_ns

    def _touch(self, path: bytes, parent: int) -> None:
        """Note the time of the directory that holds ``path``, whose descriptor is ``parent``, before it is edited."""
        directory = path.rpartition(b"/")[0]
        if directory and directory not in self._times:
            self._times[directory] = os.fstat(parent).st_mtime_ns

    def _restore_directory_times(self) -> None:
        """Give the directories that were edited the times they had, or those of their own entries where they have changed."""
        for path, mtime_ns in self._times.items():
            parent, name = self._tree.parent(path)
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent, follow_symlinks=False)
