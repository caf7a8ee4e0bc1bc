"""Filling the delta from an old tree, in the form in which rsync --fake-super stores what a client sends."""

from __future__ import annotations

import contextlib
import os
import stat as st
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import xxhash

from sedai.core import manifest
from sedai.core.beneath import Beneath
from sedai.server.old_tree import OldTree, UnreadableError, attributes, chunks
from sedai.server.stored import STAT_ATTRIBUTE, Stored, read_stored

_FORMATS = {"f": st.S_IFREG, "d": st.S_IFDIR, "l": st.S_IFLNK, "p": st.S_IFIFO, "c": st.S_IFCHR, "b": st.S_IFBLK}
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class _First(NamedTuple):
    """The name under which an inode with several came first, and the digest of its bytes."""

    path: bytes
    xxh128: bytes


class Fill:
    """Copies entries of ``old`` into the delta below ``root``; a file that an earlier run has copied whole is only read again.

    :attr:`reduced`: how many had ACLs or capabilities, which are not taken over.
    """

    def __init__(self, root: Path, old: OldTree) -> None:
        self._delta = Beneath(root)
        self._others = Beneath(root)  # for the first name of an inode, while the place of a further one is open
        self._old = old
        self._first: dict[int, _First] = {}
        self.reduced = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._others.__exit__(kind, error, trace)
        self._delta.__exit__(kind, error, trace)

    def place(self, entry: manifest.Entry) -> manifest.Entry:
        """Copy one entry; returns it with the digest of what was read.

        Raises:
            UnreadableError: the old tree has not got it whole.
        """
        parent, name = self._parent(entry.path)
        if entry.kind == "d":
            self._directory(entry, parent, name)
            return entry
        if entry.nlink > 1 and (first := self._first.get(entry.inode)):
            self._link(first.path, parent, name)
            return entry._replace(xxh128=first.xxh128)
        if entry.kind == "f":
            entry = entry._replace(xxh128=self._file(entry, parent, name))
        else:
            self._stand_in(entry, parent, name)
        if entry.nlink > 1:
            self._first[entry.inode] = _First(entry.path, entry.xxh128)
        return entry

    def _parent(self, path: bytes) -> tuple[int, bytes]:
        """The directory of ``path`` in the delta, made with those above it where they are not to be changed."""
        try:
            return self._delta.parent(path)
        except FileNotFoundError:
            above = path.split(b"/")[:-1]
            for depth in range(1, len(above) + 1):
                parent, name = self._delta.parent(b"/".join(above[:depth]))
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=parent)
            return self._delta.parent(path)

    def _directory(self, entry: manifest.Entry, parent: int, name: bytes) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
        extended = {}
        if self._old.has(entry.path):
            try:
                with self._old.opened(entry.path) as source:
                    extended = self._attributes(source)
            except UnreadableError as error:  # what lies in it needs it all the same
                self._old.failed(entry.path, error)
        place = self._delta.open(entry.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fchmod(place, entry.mode & 0o777 | 0o700)
            _attach(place, entry, extended)
        finally:
            os.close(place)

    def _file(self, entry: manifest.Entry, parent: int, name: bytes) -> bytes:
        with self._old.opened(entry.path) as source:
            if self._is_there(entry, parent, name):
                return _copy(source, None, entry)
            _make_way(parent, name)
            extended = self._attributes(source)
            place = os.open(name, _NEW, 0o600, dir_fd=parent)
            try:
                digest = _copy(source, place, entry)
                os.fchmod(place, entry.mode & 0o777 | 0o600)
                _attach(place, entry, extended)
                # The time comes last: by it a file that is whole is known.
                os.utime(place, ns=(entry.mtime_ns, entry.mtime_ns))
            finally:
                os.close(place)
            return digest

    def _stand_in(self, entry: manifest.Entry, parent: int, name: bytes) -> None:
        """A file for what is none: with the target of a symlink in it, else empty."""
        _make_way(parent, name)
        place = os.open(name, _NEW, 0o600, dir_fd=parent)
        try:
            os.write(place, entry.target if entry.kind == "l" else b"")
            _attach(place, entry, {})
        finally:
            os.close(place)

    def _link(self, first: bytes, parent: int, name: bytes) -> None:
        _make_way(parent, name)
        source, known = self._others.parent(first)
        os.link(known, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)

    def _is_there(self, entry: manifest.Entry, parent: int, name: bytes) -> bool:
        try:
            stat = os.stat(name, dir_fd=parent, follow_symlinks=False)
            known = st.S_ISREG(stat.st_mode) and (stat.st_size, stat.st_mtime_ns) == (entry.size, entry.mtime_ns)
            return known and read_stored(b"/proc/self/fd/%d/%s" % (parent, name), stat) == _stored(entry)
        except FileNotFoundError:
            return False

    def _attributes(self, source: int) -> dict[str, bytes]:
        found, others = attributes(source)
        self.reduced += others
        return found


def _copy(source: int, target: int | None, entry: manifest.Entry) -> bytes:
    """Copy all bytes, holes as holes, and return their XXH128; without a target they are only read."""
    strong = xxhash.xxh3_128()
    size = 0
    for chunk in chunks(source):
        strong.update(chunk)
        size += len(chunk)
        if target is not None and chunk.count(0) < len(chunk):
            _write(target, chunk, size - len(chunk))
    if target is not None:
        os.ftruncate(target, size)
    stat = os.fstat(source)
    if (size, stat.st_mtime_ns) != (entry.size, entry.mtime_ns):
        raise UnreadableError("it changed while it was read")
    return strong.hexdigest().encode()


def _write(target: int, chunk: bytes, offset: int) -> None:
    while chunk:
        written = os.pwrite(target, chunk, offset)
        chunk, offset = chunk[written:], offset + written


def _stored(entry: manifest.Entry) -> Stored:
    return Stored(entry.kind, entry.mode, entry.uid, entry.gid, entry.target if entry.kind in "cb" else b"")


def _attach(place: int, entry: manifest.Entry, extended: dict[str, bytes]) -> None:
    """Store what the account of the store can't give to a file: as rsync does it, only where that is needed."""
    for name, value in extended.items():
        os.setxattr(place, name, value)
    wanted = _stored(entry)
    if read_stored(place, os.fstat(place)) != wanted:
        mode = _FORMATS[entry.kind] | entry.mode
        os.setxattr(place, STAT_ATTRIBUTE, b"%o %s %d:%d" % (mode, wanted.device or b"0,0", entry.uid, entry.gid))


def _make_way(parent: int, name: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=parent)
