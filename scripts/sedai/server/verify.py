"""Verify: the manifest against what is stored. Each inode is read once, however many generations share it."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat as st
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from sedai.core import lock, manifest, wire
from sedai.core.errors import IntegrityError
from sedai.core.generation import Generation
from sedai.core.selection import Selection
from sedai.core.walk import everything, walk
from sedai.server.store import MANIFEST, NOTE, ClientStore
from sedai.server.stored import Digests, digest, read_stored, sha256

LEVELS = ("quick", "full")
# What is wrong with an entry of the base that goes away when the client sends it again.
_HEALED = frozenset({"missing", "content", "size", "mtime", "kind", "attributes", "unreadable"})


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


class Verifier:
    """Checks generations one after the other, remembering the inodes it has read."""

    def __init__(
        self,
        store: ClientStore,
        level: str,
        progress: Callable[[Tally], None],
        *,
        reads: Callable[[int], bool] = lambda inode: True,
        read: Callable[[bytes], Digests] = digest,
    ) -> None:
        """``reads``: whether the full check reads the file with this inode; ``read``: how."""
        self._store = store
        self._full = level == "full"
        self._progress = progress
        self._reads = reads
        self._digest = read
        self._read: dict[int, Digests] = {}
        self.tally = Tally()

    def generations(self, chosen: Iterable[Generation]) -> Iterator[Problem]:
        """All problems of ``chosen``; paths of the newest generation that lack bytes are noted to be sent again."""
        for generation in chosen:
            yield from self._held(generation, self._generation(generation))

    def paths(self, generation: Generation, paths: Iterable[bytes]) -> Iterator[Problem]:
        """The problems of the entries at or below ``paths`` of ``generation``, and of its manifest; nothing else is read."""
        yield from self._held(generation, self._chosen(generation, paths))

    def _held(self, generation: Generation, problems: Iterator[Problem]) -> Iterator[Problem]:
        record = self._store.record_path(generation)
        if not self._store.directory(generation).exists():
            return  # pruned since it was listed
        if not record.exists():
            yield Problem(str(generation), "manifest", b"", "a record", "none")
            return
        wanted: list[bytes] = []
        with lock.shared(record):
            for problem in problems:
                if problem.code == "manifest":
                    with contextlib.suppress(OSError):  # a full disk: the next check notes it
                        self._store.build_on_no_more(generation)
                if problem.code in _HEALED:
                    wanted.append(problem.path)
                yield problem
        if wanted and generation == self._store.base():
            self._store.want_again(wanted)

    def _chosen(self, generation: Generation, paths: Iterable[bytes]) -> Iterator[Problem]:
        name, stored = str(generation), self._store.manifest(generation)
        root = os.fsencode(self._store.tree(generation))
        try:
            self.tally.manifests[name] = manifest.totals(stored).sha256
        except IntegrityError as error:
            yield Problem(name, "manifest", b"", "a readable manifest", str(error))
            return
        for taken in Selection(paths).take(manifest.read(stored)):
            if not taken.chosen:
                continue
            entry = manifest.decode(taken.line)
            path = root + b"/" + entry.path
            self._count()
            try:
                stat = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                yield _missing(name, entry)
            except OSError as error:
                yield Problem(name, "unreadable", entry.path, "readable", error.strerror or str(error))
            else:
                yield from self._entry(name, path, entry, stat)

    def _count(self) -> None:
        self.tally.entries += 1
        if not self.tally.entries & 0x3FF:
            self._progress(self.tally)

    def _generation(self, generation: Generation) -> Iterator[Problem]:
        name = str(generation)
        try:
            record = self._store.record(generation)
            totals = manifest.totals(self._store.manifest(generation))
        except IntegrityError as error:
            yield Problem(name, "manifest", b"", "a readable manifest and record", str(error))
            return
        self.tally.manifests[name] = totals.sha256
        if totals.sha256 != record.manifest_sha256:
            yield Problem(name, "manifest", b"", f"SHA-256 {record.manifest_sha256}", f"SHA-256 {totals.sha256}")
        yield from self._beside(generation, record.stored_sha256)
        found = 0
        for problem in self._entries(name, generation):
            if isinstance(problem, int):
                found = problem
            else:
                yield problem
        if found != record.entries:
            yield Problem(name, "count", b"", f"{record.entries} entries", f"{found} entries")

    def _beside(self, generation: Generation, expected: dict[str, str]) -> Iterator[Problem]:
        """The files beside the tree, byte for byte: the manifest as it is compressed, and what tells how to restore."""
        for name in (MANIFEST, NOTE):
            if name not in expected:
                continue  # sealed by an earlier version
            try:
                found = f"SHA-256 {sha256(self._store.directory(generation) / name)}"
            except OSError as error:
                found = error.strerror or str(error)
            if found != f"SHA-256 {expected[name]}":
                yield Problem(str(generation), "beside", b"", f"{name} with SHA-256 {expected[name]}", found)

    def _entries(self, name: str, generation: Generation) -> Iterator[Problem | int]:
        root = os.fsencode(self._store.tree(generation))
        unreadable: list[Problem] = []

        def failed(path: bytes, error: OSError) -> None:
            unreadable.append(Problem(name, "unreadable", path, "readable", error.strerror or str(error)))

        stored = walk(root, b"", everything, failed)
        current = next(stored, None)
        count = 0
        for line in manifest.read(self._store.manifest(generation)):
            entry = manifest.decode(line)
            key = manifest.order(entry.path)
            while current is not None and manifest.order(current[0]) < key:
                yield Problem(name, "added", current[0], "nothing", _describe(current[1]))
                current = next(stored, None)
                count += 1
            if current is None or current[0] != entry.path:
                yield _missing(name, entry)
                continue
            yield from self._entry(name, root + b"/" + entry.path, entry, current[1])
            current = next(stored, None)
            count += 1
            self._count()
        while current is not None:
            yield Problem(name, "added", current[0], "nothing", _describe(current[1]))
            current = next(stored, None)
            count += 1
        yield from unreadable
        yield count

    def _entry(self, name: str, path: bytes, entry: manifest.Entry, stat: os.stat_result) -> Iterator[Problem]:
        def problem(code: str, expected: object, found: object) -> Problem:
            return Problem(name, code, entry.path, str(expected), str(found))

        try:
            stored = read_stored(path, stat)
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
        target = _link_target(path) if entry.kind == "l" else stored.device
        if target != entry.target:
            yield problem("content", f"target {wire.text(entry.target)}", f"target {wire.text(target)}")
        if entry.kind != "f":
            return
        self.tally.files += 1
        if stat.st_size != entry.size:
            yield problem("size", f"{entry.size} bytes", f"{stat.st_size} bytes")
        elif self._full and self._reads(stat.st_ino):
            yield from self._content(path, entry, stat, problem)

    def _content(
        self,
        path: bytes,
        entry: manifest.Entry,
        stat: os.stat_result,
        problem: Callable[[str, object, object], Problem],
    ) -> Iterator[Problem]:
        digests = self._read.get(stat.st_ino)
        if digests is None:
            try:
                digests = self._digest(path)
            except OSError as error:
                yield problem("unreadable", "readable", error.strerror)
                return
            self.tally.read_files += 1
            self.tally.read_bytes += digests.size
            if stat.st_nlink > 1:
                self._read[stat.st_ino] = digests
        if digests.crc32 != entry.crc32:
            yield problem("content", f"CRC32 {entry.crc32.decode()}", f"CRC32 {digests.crc32.decode()}")
        elif digests.xxh128 != entry.xxh128:
            yield problem("content", f"XXH128 {entry.xxh128.decode()}", f"XXH128 {digests.xxh128.decode()}")


def rising(generations: list[Generation]) -> Iterator[Problem]:
    """Generations whose times do not rise with their sequence numbers."""
    for earlier, later in itertools.pairwise(generations):
        if later.time < earlier.time:
            yield Problem(str(later), "time", b"", f"later than {earlier}", str(later))


def _link_target(path: bytes) -> bytes:
    try:
        return os.readlink(path)
    except OSError:
        return b"(no symbolic link)"


def _missing(name: str, entry: manifest.Entry) -> Problem:
    return Problem(name, "missing", entry.path, f"{entry.kind}, {entry.size} bytes", "nothing")


def _describe(stat: os.stat_result) -> str:
    kind = "a directory" if st.S_ISDIR(stat.st_mode) else "a file"
    return f"{kind}, {stat.st_size} bytes"
