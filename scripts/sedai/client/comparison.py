"""Comparison: everything that a restore wrote, mended and held against the manifest, byte for byte; files in several processes."""

from __future__ import annotations

import os
import stat as st
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass, field

import xxhash

from sedai.client import target
from sedai.client.placement import WRITTEN, Action, Placement
from sedai.client.target import Findings
from sedai.client.unfinished import PARTIAL, drop_partial
from sedai.core import manifest, workers
from sedai.core.beneath import allow_deep_paths
from sedai.core.manifest import Entry

_BLOCK_BYTES = 1 << 18
# What is smaller is read in one piece.
_SMALL = 1 << 20
# Fewer are looked through before a process would have started.
_WORTH_WORKERS = 2000
# A place where nothing is.
_NOWHERE = b"/proc/self/fd/-1/"
_LOOKED_AT = frozenset(Action) - {Action.LEAVE_OUT, Action.STAY}


@dataclass
class _Looked:
    """What became of a block of rows. ``linked``: files with several names, and their device and inode.

    ``children``: how many of its entries each directory has.
    """

    rows: int = 0
    findings: Findings = field(default_factory=Findings)
    linked: list[tuple[Entry, tuple[int, int]]] = field(default_factory=list)
    children: Counter[bytes] = field(default_factory=Counter)


class Comparison:
    """Of what was restored below ``root``.

    ``spared``: paths that could not come back as they were, and are reported elsewhere. ``resumed``: an earlier run may have left
    parts of files. ``is_ours``: whether the restore made a directory, so that nothing else may be in it.
    """

    def __init__(
        self,
        placement: Placement,
        root: bytes,
        *,
        spared: Container[bytes],
        resumed: bool,
        is_ours: Callable[[bytes], bool],
    ) -> None:
        self._placement = placement
        self._root = root
        self._spared = spared
        self._resumed = resumed
        self._is_ours = is_ours
        self._at: bytes | None = None
        self._begin = b""

    def carry_out(self, findings: Findings, advance: Callable[[int], None]) -> None:
        """Compare; what is not as it was goes to ``findings``. The directories come last, when nothing in them changes any more."""
        allow_deep_paths()
        with target.opened(self._root) as self._tree:
            self._compare(findings, advance)

    def _compare(self, findings: Findings, advance: Callable[[int], None]) -> None:
        many = self._placement.tally.entries > _WORTH_WORKERS
        links = target.Links()
        children: Counter[bytes] = Counter()
        done = 0
        blocks = self._placement.blocks(_BLOCK_BYTES)
        for looked in workers.spread(self._look, blocks, workers.count() if many else 0):
            findings.take(looked.findings)
            for entry, inode in looked.linked:
                if not links.are_one(entry, inode):
                    findings.add("links", self._root + b"/" + entry.path)
            children.update(looked.children)
            done += looked.rows
            advance(done)
        self._directories(children, findings)

    def _in(self, directory: bytes) -> bytes:
        """The beginning of the places in ``directory`` of the tree, until another one is asked for."""
        if directory != self._at:
            self._at, self._begin = directory, self._enter(directory)
        return self._begin

    def _enter(self, directory: bytes) -> bytes:
        """What this restore made, by a way on which nobody can have put a symlink meanwhile.

        Else whoever owns the directory above would be given what is behind it.
        """
        try:
            parent, _ = self._tree.parent(directory + b"/x" if directory else b"x")
        except OSError:
            return _NOWHERE if self._is_ours(directory) else self._root + b"/" + directory + b"/" * bool(directory)
        return b"/proc/self/fd/%d/" % parent

    def _look(self, block: bytes) -> _Looked:
        looked = _Looked()
        partial: dict[bytes, bool] = {}
        for row in manifest.lines_of(block):
            line = row[1:]
            fields = line.split(b"\t")
            path = manifest.unescape(fields[0])
            directory, _, name = path.rpartition(b"/")
            action = self._placement.action(row[:1], line)
            looked.rows += 1
            looked.children[directory] += 1
            if fields[manifest.KIND] == b"d":
                continue
            begin = self._in(directory)
            place = begin + name
            if action not in _LOOKED_AT or path in self._spared:
                looked.children[directory] -= not os.path.lexists(place)
                continue
            written = action in WRITTEN
            if not (written and _is_plainly_there(place, fields, proven=action is Action.BROUGHT)):
                entry = manifest.decode(line)
                shown = self._root + b"/" + path
                status = target.compare(place, entry, looked.findings, shown) if written else target.look(place)
                if status is None:
                    looked.children[directory] -= 1
                elif entry.kind == "f" and entry.nlink > 1:
                    looked.linked.append((entry, (status.st_dev, status.st_ino)))
            if fields[manifest.KIND] == b"f" and (written or self._resumed) and not self._placement.has_parts_name:
                if directory not in partial:
                    partial[directory] = os.path.lexists(begin + PARTIAL)
                if partial[directory]:
                    drop_partial(place)
        return looked

    def _directories(self, children: Counter[bytes], findings: Findings) -> None:
        """Compare the directories, and name what is in one of ours and should not be.

        Those further in first: with its own mode a directory may belong to somebody who can put something else in it.
        """
        ours: list[bytes] = []
        lines = [line for action, line in self._placement.rows()
                 if action in WRITTEN and line.split(b"\t", 2)[manifest.KIND] == b"d"]  # fmt: skip
        for line in reversed(lines):
            entry = manifest.decode(line)
            directory, _, name = entry.path.rpartition(b"/")
            place = self._in(directory) + name
            shown = self._root + b"/" + entry.path
            # Damaged or not: nothing else may have come in its place, or into it.
            spared = entry.path in self._spared
            if (target.look(place) if spared else target.compare(place, entry, findings, shown)) is None:
                children[directory] -= 1
            elif self._is_ours(entry.path):
                ours.append(entry.path)
        crowded = {path for path in ours if len(_names(self._root + b"/" + path)) != children[path]}
        if crowded:
            self._name_surplus(crowded, findings)

    def _name_surplus(self, directories: set[bytes], findings: Findings) -> None:
        """What lies in ``directories`` and is none of the generation's."""
        expected: dict[bytes, set[bytes]] = {directory: set() for directory in directories}
        for _, line in self._placement.rows():
            directory, _, name = manifest.line_path(line).rpartition(b"/")
            if directory in expected:
                expected[directory].add(name)
        for directory in sorted(directories):
            place = self._root + b"/" + directory
            for name in sorted(set(_names(place)) - expected[directory]):
                findings.add("surplus", place + b"/" + name)


def _names(directory: bytes) -> list[bytes]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _is_plainly_there(place: bytes, fields: list[bytes], *, proven: bool) -> bool:
    """Whether a small file with one name lies at ``place``, in every respect as the manifest's ``fields`` say.

    ``proven``: the bytes were compared when they were written.

    Where it is not, or anything is in the way of knowing, a closer look tells how.
    """
    try:
        status = os.lstat(place)
        if fields[manifest.KIND] != b"f" or fields[manifest.NLINK] != b"1" or status.st_size >= _SMALL:
            return False
        found = b"%d\t%d\t%o\t%d\t%d" % (
            status.st_size,
            status.st_mtime_ns,
            st.S_IMODE(status.st_mode),
            status.st_uid,
            status.st_gid,
        )
        if not st.S_ISREG(status.st_mode) or found != b"\t".join(fields[manifest.SIZE : manifest.NLINK]):
            return False
        if proven:
            return True
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            content = os.read(descriptor, status.st_size + 1)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return len(content) == status.st_size and xxhash.xxh3_128_hexdigest(content).encode() == fields[manifest.XXH128]
