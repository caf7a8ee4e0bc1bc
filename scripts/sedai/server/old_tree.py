"""One snapshot of another program, only ever read: its entries as a manifest has them, and its bytes.

Whoever may write there could put anything in the way: no symlink is followed, and nothing is opened but files and directories.
"""

from __future__ import annotations

import contextlib
import os
import stat as st
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from sedai.core import manifest
from sedai.core.beneath import Beneath
from sedai.core.errors import IntegrityError
from sedai.server.stored import STAT_ATTRIBUTE, Stored, read_stored

Reading = Callable[[], contextlib.AbstractContextManager[None]]
"""Around each look at the old tree: what gives the right to it."""

_CHUNK = 1 << 20
_LONGEST_TARGET = 4096
# ACLs and capabilities. What a security module writes everywhere is no property of a file.
_NOT_STORED = ("system.posix_acl", "security.capability")
_KINDS = frozenset("fdlpcb")


class UnreadableError(Exception):
    """Something of the old tree can't be read; the text says why."""


class OldTree:
    """A snapshot, whose part at ``strip`` stands for the client's directory ``below``; both are paths in a tree.

    The directories above ``below`` are not in it: they are given root's usual attributes, and the time of the snapshot's own.
    :attr:`problems` are what could not be read, by path in words; such an entry is left out.
    """

    def __init__(self, snapshot: Path, strip: bytes, below: bytes, reading: Reading) -> None:
        """Open it.

        Raises:
            OSError: it is not there, or may not be read.
        """
        self._strip = strip
        self._below = below
        self._reading = reading
        self.problems: dict[bytes, str] = {}
        with reading():
            self._old = Beneath(snapshot)
            self._top = self._old.lstat(strip or b".")
        if not st.S_ISDIR(self._top.st_mode):
            self._old.__exit__(None, None, None)
            raise NotADirectoryError(f"{snapshot}/{os.fsdecode(strip)} is no directory")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._old.__exit__(kind, error, trace)

    def entries(self) -> Iterator[manifest.Entry]:
        """Everything in walk order, without digests; ``nlink`` counts names outside of it too.

        Inode and ctime are not those of any client, so that no scan takes an entry for one that it knows: the ctime is 0, and
        so is the inode of a directory.
        """
        parts = self._below.split(b"/") if self._below else []
        for depth in range(1, len(parts)):
            yield _directory(b"/".join(parts[:depth]), self._top.st_mtime_ns, Stored("d", 0o755, 0, 0, b""))
        if parts and (top := self._entry(self._strip or b".", self._below, self._top)) is not None:
            yield top
        yield from self._entries_below()

    def _entries_below(self) -> Iterator[manifest.Entry]:
        waiting = [(self._strip, self._below, iter(self._names(self._strip)))]
        while waiting:
            old, new, names = waiting[-1]
            name = next(names, None)
            if name is None:
                waiting.pop()
                continue
            there, here = _join(old, name), _join(new, name)
            try:
                with self._reading():
                    stat = self._old.lstat(there)
            except OSError as error:
                self.failed(here, error)
                continue
            entry = self._entry(there, here, stat)
            if entry is None:
                continue
            yield entry
            if st.S_ISDIR(stat.st_mode):
                waiting.append((there, here, iter(self._names(there))))

    def _names(self, directory: bytes) -> list[bytes]:
        try:
            with self._reading():
                descriptor = self._old.open(directory or b".", os.O_RDONLY | os.O_DIRECTORY)
            try:
                with os.scandir(descriptor) as found:
                    return sorted(os.fsencode(item.name) for item in found)
            finally:
                os.close(descriptor)
        except OSError as error:
            self.failed(_join(self._below, directory[len(self._strip) :].strip(b"/")), error)
            return []

    def _entry(self, there: bytes, here: bytes, stat: os.stat_result) -> manifest.Entry | None:
        """None for a socket, and for what can't be read."""
        try:
            with self._reading():
                parent, name = self._old.parent(there)
                # Written by rsync --fake-super, it says in an attribute what it stands for.
                stored = read_stored(b"/proc/self/fd/%d/%s" % (parent, name), stat)
                if stored.kind not in _KINDS:
                    return None
                target = self._target(there, parent, name, stored, stat)
        except (OSError, IntegrityError) as error:
            self.failed(here, error)
            return None
        if stored.kind == "d":
            return _directory(here, stat.st_mtime_ns, stored)
        # Inode numbers of another file system say nothing about this one's.
        same = stat.st_dev == self._top.st_dev
        size = {"f": stat.st_size, "l": len(target)}.get(stored.kind, 0)
        return manifest.Entry(here, stored.kind, size, stat.st_mtime_ns, stored.mode, stored.uid, stored.gid,
                              stat.st_nlink if same else 1, stat.st_ino if same else 0, 0,
                              manifest.NO_DIGEST, manifest.NO_DIGEST, target)  # fmt: skip

    def _target(self, there: bytes, parent: int, name: bytes, stored: Stored, stat: os.stat_result) -> bytes:
        if stored.kind in "cb":
            true = b"%d,%d" % (os.major(stat.st_rdev), os.minor(stat.st_rdev))
            return stored.device.replace(b" ", b"") or true
        if stored.kind != "l":
            return b""
        if st.S_ISLNK(stat.st_mode):
            return os.readlink(name, dir_fd=parent)
        descriptor = self._old.open(there)
        try:
            return os.read(descriptor, _LONGEST_TARGET)
        finally:
            os.close(descriptor)

    def has(self, path: bytes) -> bool:
        """Whether ``path`` stands for something of the snapshot, and not for a directory above all of it."""
        return not self._below or manifest.at_or_below(path, self._below)

    @contextlib.contextmanager
    def opened(self, path: bytes) -> Iterator[int]:
        """A descriptor of the file or directory that :meth:`entries` calls ``path``. Its time of access stays where it can.

        Raises:
            UnreadableError: it can't be opened.
        """
        there = _join(self._strip, path[len(self._below) :].lstrip(b"/")) or b"."
        with _telling(), self._reading():
            try:
                descriptor = self._old.open(there, os.O_RDONLY | os.O_NOATIME)
            except PermissionError:  # of somebody else's file, and not as root
                descriptor = self._old.open(there)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def failed(self, path: bytes, error: Exception) -> None:
        """Note that ``path`` could not be read."""
        self.problems[path] = error.strerror or str(error) if isinstance(error, OSError) else str(error)


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error


def chunks(descriptor: int) -> Iterator[bytes]:
    """The bytes behind ``descriptor``.

    Raises:
        UnreadableError: the disk has not got them any more.
    """
    chunk = b"-"
    while chunk:
        with _telling():
            chunk = os.read(descriptor, _CHUNK)
        yield chunk


def attributes(descriptor: int) -> tuple[dict[str, bytes], bool]:
    """The extended attributes that a store can have, rsync's own for owner and mode apart; and whether there are others.

    Raises:
        UnreadableError: they can't be read.
    """
    with _telling():
        names = [name for name in os.listxattr(descriptor) if name != STAT_ATTRIBUTE.decode()]
        found = {name: os.getxattr(descriptor, name) for name in names if name.startswith("user.")}
        return found, any(name.startswith(_NOT_STORED) for name in names)


def _join(above: bytes, name: bytes) -> bytes:
    return above + b"/" + name if above and name else above or name


def _directory(path: bytes, mtime_ns: int, stored: Stored) -> manifest.Entry:
    return manifest.Entry(path, "d", 0, mtime_ns, stored.mode, stored.uid, stored.gid, 1, 0, 0,
                          manifest.NO_DIGEST, manifest.NO_DIGEST, b"")  # fmt: skip
