"""Entries: what is stored at a path against its line of the manifest, many at a time; what a worker of the verification does."""

from __future__ import annotations

import functools
import os
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from sedai.core import manifest, prefetch, wire
from sedai.core.errors import IntegrityError
from sedai.server.stored import TO_READ, Digests, digest_open, read_stored


class Problem(NamedTuple):
    """One difference: ``code`` for programs; ``expected`` and ``found`` as text for people."""

    generation: str
    code: str
    path: bytes
    expected: str
    found: str


@dataclass
class Tally:
    """What was looked at. ``manifests``: SHA-256 of each generation's manifest, for comparison with the client's."""

    entries: int = 0
    files: int = 0
    read_files: int = 0
    read_bytes: int = 0
    manifests: dict[str, str] = field(default_factory=dict)


class Directory(NamedTuple):
    """One, with the manifest's ``lines`` of what lies in it, and what the generation before had there (as :class:`Seen` has it)."""

    path: bytes
    lines: bytes
    before: array[int]


@dataclass
class Listed:
    """What listing comes to: how many entries and files the manifest names, and how many of these entries were ``found``.

    ``surplus``: paths that the manifest does not name; ``hashes``: of each directory, for the next generation.
    """

    entries: int = 0
    files: int = 0
    found: int = 0
    problems: list[Problem] = field(default_factory=list)
    surplus: list[bytes] = field(default_factory=list)
    hashes: list[tuple[bytes, array[int]]] = field(default_factory=list)


@dataclass
class Piece:
    """Of the check of ``generation``, whose tree is ``root``: ``directories`` to be listed, and ``lines`` to be looked at.

    ``inodes``: those that the directories name for the lines (0: none); ``listed``: what listing has come to so far.
    """

    generation: str
    root: bytes
    directories: list[Directory] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    inodes: list[int] = field(default_factory=list)
    listed: Listed = field(default_factory=Listed)


@dataclass
class Looked:
    """What a piece came to. ``doubted``: paths whose directory does not name the inode that they have."""

    listed: Listed
    problems: list[Problem] = field(default_factory=list)
    read_files: int = 0
    read_bytes: int = 0
    doubted: list[bytes] = field(default_factory=list)


class Entries:
    """Looks at pieces. ``full``: the bytes of files too, of those for whose inode ``reads`` says so.

    ``from_disk``: what lies on the disk counts, and nothing of it that was in memory before; nor is it left there.
    """

    def __init__(self, *, full: bool, reads: Callable[[int], bool], from_disk: bool = False) -> None:
        self._full = full
        self._reads = reads
        self._from_disk = from_disk
        # Of files that have several names on the client, and so in one generation.
        self._read: dict[int, Digests] = {}

    def look(self, piece: Piece) -> Looked:
        """All problems of a piece whose directories were listed, and what was read for it."""
        looked = Looked(piece.listed, piece.listed.problems)
        for (line, place, fields, inode), descriptor in prefetch.opened(_lines(piece), self._begin):
            if not self._is_plainly_well(descriptor, place, fields, inode, looked):
                looked.problems += self._closer(piece.generation, place, manifest.decode(line), inode, looked)
        return looked

    def _begin(self, line: _Line) -> int | None:
        """Open a file whose bytes may be to be read: its path is looked up only once, which is most of what a small one costs."""
        _, place, fields, inode = line
        if not (self._full and _is_plain_file(fields)):
            return None
        try:
            descriptor = os.open(place, TO_READ)
        except OSError:
            return None  # the closer look tells
        if not inode or self._reads(inode):
            self._prepare(descriptor)
        return descriptor

    def _is_plainly_well(
        self, descriptor: int | None, place: bytes, fields: list[bytes], inode: int, looked: Looked
    ) -> bool:
        """Whether a directory, or a file with one name, is as ``fields`` say; where it is not, a closer look tells how."""
        try:
            if descriptor is not None:
                return self._is_read_well(descriptor, fields, inode, looked)
            if fields[manifest.KIND] == b"d" or (not self._full and _is_plain_file(fields)):
                return _is_as_told(place, fields, inode, os.lstat(place))
        except (OSError, IntegrityError):
            pass
        return False

    def _is_read_well(self, descriptor: int, fields: list[bytes], inode: int, looked: Looked) -> bool:
        stat = os.fstat(descriptor)
        if not _is_as_told(descriptor, fields, inode, stat):
            return False
        if not self._reads(stat.st_ino):
            return True
        digests = self._digest(descriptor, stat.st_size)
        if digests.crc32 != fields[manifest.CRC32] or digests.xxh128 != fields[manifest.XXH128]:
            return False
        looked.read_files += 1
        looked.read_bytes += digests.size
        return True

    def _closer(self, name: str, place: bytes, entry: manifest.Entry, inode: int, looked: Looked) -> Iterator[Problem]:
        try:
            stat = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            yield missing(name, entry)
            return
        except OSError as error:
            yield Problem(name, "unreadable", entry.path, "readable", error.strerror or str(error))
            return
        if inode and inode != stat.st_ino:
            looked.doubted.append(entry.path)
        yield from self._differences(name, place, entry, stat, looked)

    def _differences(
        self, name: str, place: bytes, entry: manifest.Entry, stat: os.stat_result, looked: Looked
    ) -> Iterator[Problem]:
        def problem(code: str, expected: object, found: object) -> Problem:
            return Problem(name, code, entry.path, str(expected), str(found))

        try:
            stored = read_stored(place, stat)
        except (IntegrityError, OSError) as error:
            yield problem("unreadable", "readable attributes", error)
            return
        if stored.kind != entry.kind:
            yield problem("kind", entry.kind, stored.kind)
            return
        if stat.st_mtime_ns != entry.mtime_ns:
            yield problem("mtime", f"{entry.mtime_ns} ns", f"{stat.st_mtime_ns} ns")
        if entry.kind != "l" and (stored.mode, stored.uid, stored.gid) != (entry.mode, entry.uid, entry.gid):
            yield problem("attributes", f"{entry.mode:o} {entry.uid}:{entry.gid}",
                          f"{stored.mode:o} {stored.uid}:{stored.gid}")  # fmt: skip
        target = _link_target(place) if entry.kind == "l" else stored.device
        if target != entry.target:
            yield problem("content", f"target {wire.text(entry.target)}", f"target {wire.text(target)}")
        if entry.kind in "dl":
            return
        if stat.st_size != entry.size:  # what stands for a FIFO or a device is an empty file
            yield problem("size", f"{entry.size} bytes", f"{stat.st_size} bytes")
        elif entry.kind == "f" and self._full and self._reads(stat.st_ino):
            yield from self._content(place, entry, stat, problem, looked)

    def _content(
        self,
        place: bytes,
        entry: manifest.Entry,
        stat: os.stat_result,
        problem: Callable[[str, object, object], Problem],
        looked: Looked,
    ) -> Iterator[Problem]:
        digests = self._read.get(stat.st_ino)
        if digests is None:
            try:
                descriptor = os.open(place, TO_READ)
                try:
                    self._prepare(descriptor)
                    digests = self._digest(descriptor, stat.st_size)
                finally:
                    os.close(descriptor)
            except OSError as error:
                yield problem("unreadable", "readable", error.strerror)
                return
            looked.read_files += 1
            looked.read_bytes += digests.size
            if entry.nlink > 1:
                self._read[stat.st_ino] = digests
        if digests.crc32 != entry.crc32:
            yield problem("content", f"CRC32 {entry.crc32.decode()}", f"CRC32 {digests.crc32.decode()}")
        elif digests.xxh128 != entry.xxh128:
            yield problem("content", f"XXH128 {entry.xxh128.decode()}", f"XXH128 {digests.xxh128.decode()}")

    def _prepare(self, descriptor: int) -> None:
        (prefetch.anew if self._from_disk else prefetch.advise)(descriptor)

    def _digest(self, descriptor: int, expected: int) -> Digests:
        try:
            return digest_open(descriptor, expected)
        finally:
            if self._from_disk:
                prefetch.forget(descriptor)


# A line of the manifest, where what it names lies, the fields of the line, and the inode that the directory names for it.
_Line = tuple[bytes, bytes, list[bytes], int]


def _lines(piece: Piece) -> Iterator[_Line]:
    for line, inode in zip(piece.lines, piece.inodes, strict=True):
        fields = line.split(b"\t")
        yield line, piece.root + b"/" + manifest.unescape(fields[0]), fields, inode


def _is_plain_file(fields: list[bytes]) -> bool:
    """Whether it is a file with one name."""
    return fields[manifest.KIND] == b"f" and fields[manifest.NLINK] == b"1"


def _is_as_told(at: bytes | int, fields: list[bytes], inode: int, stat: os.stat_result) -> bool:
    """Whether what is ``at`` a path or behind a descriptor is of the kind, size, time and attributes of ``fields``."""
    kind = fields[manifest.KIND].decode()
    if (inode and inode != stat.st_ino) or fields[manifest.MTIME] != b"%d" % stat.st_mtime_ns:
        return False
    if kind == "f" and fields[manifest.SIZE] != b"%d" % stat.st_size:
        return False
    stored = read_stored(at, stat)
    return stored.kind == kind and _attributes(*stored[1:4]) == fields[manifest.MODE : manifest.NLINK]


@functools.lru_cache(maxsize=256)
def _attributes(mode: int, uid: int, gid: int) -> list[bytes]:
    """As a manifest has them."""
    return [b"%o" % mode, b"%d" % uid, b"%d" % gid]


def missing(name: str, entry: manifest.Entry) -> Problem:
    """The problem that there is nothing at the place of ``entry``."""
    return Problem(name, "missing", entry.path, f"{entry.kind}, {entry.size} bytes", "nothing")


def _link_target(path: bytes) -> bytes:
    try:
        return os.readlink(path)
    except OSError:
        return b"(no symbolic link)"
