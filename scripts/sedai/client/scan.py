"""Scan: the sources, walked in manifest order, as signatures; what could not be read is told, never skipped silently."""

from __future__ import annotations

import functools
import os
import stat as st
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
from typing import NamedTuple

import pathspec

from sedai.client.config import ClientConfig, Source
from sedai.client.live import Live, recognise
from sedai.core import manifest, wire
from sedai.core.errors import ConfigError
from sedai.core.walk import Choose, Visit, walk

CACHE_TAG = b"CACHEDIR.TAG"
CACHE_TAG_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"

_PARTIAL = b"/" + os.fsencode(wire.PARTIAL_DIRECTORY)
# A smaller file without its holes takes little more than with them.
LEAST_HOLE = 64 << 10
_KINDS = {st.S_IFREG: b"f", st.S_IFDIR: b"d", st.S_IFLNK: b"l", st.S_IFIFO: b"p", st.S_IFCHR: b"c", st.S_IFBLK: b"b"}


class Problem(NamedTuple):
    """Something that is not in the backup as it should be: ``code`` for programs, ``detail`` for people."""

    code: str
    path: bytes
    detail: str


class Scanned(NamedTuple):
    """One path found. ``signature``: the manifest line up to ctime_ns; empty: keep what the base has at and below it."""

    path: bytes
    signature: bytes
    target: bytes


def signature(path: bytes, stat: os.stat_result) -> bytes | None:
    """The manifest line of ``path`` up to ``ctime_ns``, or None for a socket."""
    kind = _KINDS.get(st.S_IFMT(stat.st_mode))
    if kind is None:
        return None
    directory = kind == b"d"
    return b"%s\t%s\t%d\t%d\t%o\t%d\t%d\t%d\t%d\t%d\t" % (
        manifest.escape(path),
        kind,
        stat.st_size if kind in b"fl" else 0,
        stat.st_mtime_ns,
        st.S_IMODE(stat.st_mode),
        stat.st_uid,
        stat.st_gid,
        1 if directory else stat.st_nlink,
        stat.st_ino,
        stat.st_ctime_ns,
    )


def _file_signature(path: bytes, stat: os.stat_result) -> bytes:
    """As :func:`signature`, of a regular file with one name."""
    return b"%s\tf\t%d\t%d\t%o\t%d\t%d\t1\t%d\t%d\t" % (
        manifest.escape(path),
        stat.st_size,
        stat.st_mtime_ns,
        stat.st_mode & 0o7777,
        stat.st_uid,
        stat.st_gid,
        stat.st_ino,
        stat.st_ctime_ns,
    )


def target(path: bytes, stat: os.stat_result) -> bytes:
    """What a symlink at ``path`` points to, a device's numbers, else nothing."""
    if st.S_ISLNK(stat.st_mode):
        return os.readlink(path)
    if st.S_ISCHR(stat.st_mode) or st.S_ISBLK(stat.st_mode):
        return b"%d,%d" % (os.major(stat.st_rdev), os.minor(stat.st_rdev))
    return b""


class Subtree(NamedTuple):
    """All that lies below the directory ``path`` of ``source``, which is on ``device``."""

    path: bytes
    source: Source
    device: int


class Scan:
    """One scan of all sources. :attr:`problems` is complete when :meth:`entries` is exhausted.

    :attr:`devices` tells on which device each source was seen, by its path. :attr:`live` are the live database files
    that were seen, :attr:`not_entered` the file systems that were not entered. :attr:`partial` are the directories that must
    not be sent by their name alone: something in them was left out, or would be if it appeared, or has further names.
    """

    def __init__(self, config: ClientConfig, had_entries: Callable[[bytes], bool], root: bytes = b"/") -> None:
        """``had_entries(path)`` tells whether the base has anything below ``path``; ``root`` is where the tree begins."""
        self._config = config
        self._had_entries = had_entries
        self._root = root
        self.problems: list[Problem] = []
        self.devices: dict[bytes, int] = {}
        self.live: list[Live] = []
        self.not_entered: list[bytes] = []
        self.partial: set[bytes] = set()
        self._unlisted: list[bytes] = []

    def entries(self) -> Iterator[Scanned]:
        """Everything in the sources and the directories above them, in walk order."""
        return self.walked(self.steps())

    def walked(self, steps: Iterable[Scanned | Subtree]) -> Iterator[Scanned]:
        """``steps``, and what lies below those that are subtrees."""
        for step in steps:
            if isinstance(step, Subtree):
                yield from self.walked(self._below(step))
            else:
                yield step

    def steps(self, apart: Container[bytes] = ()) -> Iterator[Scanned | Subtree]:
        """As :meth:`entries`, but what lies below the directories ``apart`` is left to whoever walks it."""
        above: set[bytes] = set()
        for source in sorted(self._config.scanned, key=lambda source: manifest.order(source.tree_path)):
            barred = yield from self._ancestors(source.tree_path, above)
            if barred is None:
                yield from self._source(source, apart)
            else:
                self.problems.append(barred._replace(path=source.tree_path))
                yield Scanned(barred.path, b"", b"")

    def _ancestors(self, path: bytes, above: set[bytes]) -> Generator[Scanned, None, Problem | None]:
        """The directories above ``path`` that were not told yet; returns the one that bars the way, if one does."""
        parts = path.split(b"/")
        for depth in range(1, len(parts)):
            parent = b"/".join(parts[:depth])
            if parent in above:
                continue
            try:
                stat = os.lstat(self._root + parent)
            except OSError as error:
                return Problem("source_missing", parent, f"/{wire.text(parent)}: {error.strerror}")
            if not st.S_ISDIR(stat.st_mode):
                real = wire.text(os.path.realpath(self._root + path))
                return Problem("source_is_symlink", parent, f"/{wire.text(parent)} is one; name {real} instead")
            above.add(parent)
            self.partial.add(parent)
            yield from self._found(parent, stat)
        return None

    def _source(self, source: Source, apart: Container[bytes]) -> Iterator[Scanned | Subtree]:
        path = source.tree_path
        try:
            stat = os.lstat(self._root + path)
            if st.S_ISLNK(stat.st_mode):
                self.problems.append(Problem("source_is_symlink", path, "name the path it points to instead"))
                yield Scanned(path, b"", b"")
                return
            empty = st.S_ISDIR(stat.st_mode) and not os.listdir(self._root + path)
        except OSError as error:
            self.problems.append(Problem("source_missing", path, error.strerror or str(error)))
            yield Scanned(path, b"", b"")
            return
        if empty and self._had_entries(path):
            self.problems.append(Problem("source_empty", path, "it had files before; is it mounted?"))
            yield Scanned(path, b"", b"")
            return
        yield from self._found(path, stat)
        self.devices[path] = stat.st_dev
        if st.S_ISREG(stat.st_mode) and os.path.lexists(self._root + path + b"-wal"):
            # The log beside it is not in the backup at all.
            found = recognise(path + b"-wal", os.path.basename(path) + b"-wal", self._root + path + b"-wal")
            self.live += [found] if found else []
        if st.S_ISDIR(stat.st_mode):
            below = Subtree(path, source, stat.st_dev)
            if _is_apart(path, apart):
                yield below
            else:
                yield from self._below(below, apart)

    def _below(self, subtree: Subtree, apart: Container[bytes] = ()) -> Iterator[Scanned | Subtree]:
        waiting: list[Subtree] = []  # where the walk is told not to go
        choose = self._chooser(subtree, apart, waiting)
        for path, stat in walk(self._root + subtree.path, subtree.path, choose, self._failed):
            if self._unlisted:
                yield from self._kept()
            if st.S_ISREG(stat.st_mode) and stat.st_nlink == 1:
                if has_holes(stat):
                    self.partial.add(path.rpartition(b"/")[0])
                yield Scanned(path, _file_signature(path, stat), b"")  # as below, of nearly everything that there is
            else:
                yield from self._found(path, stat)
            if waiting:
                yield waiting.pop()
        yield from self._kept()

    def _chooser(self, subtree: Subtree, apart: Container[bytes], waiting: list[Subtree]) -> Choose:
        """What the walk of ``subtree`` asks; the directories of ``apart`` that it would enter go to ``waiting`` instead."""
        top, source, device = subtree
        staged = self._config.staged
        # Nothing that the person leaves out of the sources may leave the dumps out.
        patterns = () if source.tree_path == staged else (*self._config.backup.exclude, *source.exclude)
        excluded = _excluder(patterns, len(source.tree_path) + 1)
        holds_staged = staged != b"" and manifest.at_or_below(staged, source.tree_path)
        crosses = self._config.crosses_filesystems(source)
        if excluded is not None:
            self.partial.add(top)

        def choose(path: bytes, entry: os.DirEntry[bytes], stat: os.stat_result) -> Visit:
            if holds_staged and (manifest.at_or_below(path, staged) or manifest.at_or_below(staged, path)):
                return Visit.TAKE_AND_ENTER
            directory = st.S_ISDIR(stat.st_mode)
            if excluded is not None and excluded(path, directory):
                return Visit.LEAVE_OUT
            if excluded is not None and directory:
                self.partial.add(path)
            found = recognise(path, entry.name, entry.path)
            if found is not None:
                self.live.append(found)
            if not directory:
                return Visit.TAKE
            visit = self._enter(path, entry.path, crosses or stat.st_dev == device)
            if visit is Visit.TAKE_AND_ENTER and path in apart:
                waiting.append(Subtree(path, source, device))
                return Visit.TAKE
            return visit

        return choose

    def _enter(self, path: bytes, location: bytes, allowed: bool) -> Visit:
        """Whether a directory is entered; ``allowed``: its file system may be."""
        if path.endswith(_PARTIAL):  # rsync passes over its own, unless it is named
            self.partial |= {path, path.rpartition(b"/")[0]}
        if not allowed:
            self.not_entered.append(path)
        elif path != os.fsencode(self._config.state_directory)[1:] and not _is_cache(location):
            return Visit.TAKE_AND_ENTER
        self.partial.add(path)
        return Visit.TAKE

    def _failed(self, path: bytes, error: OSError) -> None:
        self.partial |= {path, path.rpartition(b"/")[0]}
        if isinstance(error, FileNotFoundError):
            return  # gone between listing and looking: the same as never there
        self.problems.append(Problem("unreadable", path, error.strerror or str(error)))
        self._unlisted.append(path)

    def _kept(self) -> Iterator[Scanned]:
        unlisted, self._unlisted = self._unlisted, []
        return (Scanned(path, b"", b"") for path in unlisted)

    def _found(self, path: bytes, stat: os.stat_result) -> Iterator[Scanned]:
        line = signature(path, stat)
        if line is None or (stat.st_nlink > 1 and not st.S_ISDIR(stat.st_mode)) or has_holes(stat):
            self.partial.add(path.rpartition(b"/")[0])
        if line is None:
            return
        try:
            yield Scanned(path, line, target(self._root + path, stat))
        except OSError as error:
            self._failed(path, error)


def has_holes(stat: os.stat_result) -> bool:
    """Whether it is a file with fewer bytes on the disk than in it, as far as that is worth anything."""
    return stat.st_size >= LEAST_HOLE and st.S_ISREG(stat.st_mode) and stat.st_blocks * 512 < stat.st_size


def _is_apart(path: bytes, apart: Container[bytes]) -> bool:
    """Whether ``path`` or a directory above it is one of ``apart``."""
    while path and path not in apart:
        path = path.rpartition(b"/")[0]
    return path != b""


@functools.cache
def _excluder(patterns: Sequence[str], start: int) -> Callable[[bytes, bool], bool] | None:
    """Whether a path, whose name in its source begins at ``start``, is left out by ``patterns``."""
    if not patterns:
        return None
    for pattern in patterns:
        try:
            pathspec.GitIgnoreSpec.from_lines([pattern])
        except ValueError as error:
            raise ConfigError(f"exclude: {pattern!r} is no pattern of the gitignore syntax.") from error
    spec = pathspec.GitIgnoreSpec.from_lines(patterns)

    def excluded(path: bytes, directory: bool) -> bool:
        # pathspec takes a newline for the end of a name; no pattern means this private character.
        name = os.fsdecode(path[start:]).replace("\n", "\ue000")
        return bool(spec.match_file(name + "/" if directory else name))

    return excluded


def _is_cache(directory: bytes) -> bool:
    """Whether ``directory`` is marked as a cache (bford.info/cachedir)."""
    try:
        with open(directory + b"/" + CACHE_TAG, "rb") as tag:
            return tag.read(len(CACHE_TAG_SIGNATURE)) == CACHE_TAG_SIGNATURE
    except OSError:
        return False
