"""The hard-link farm: the base's tree again, every file linked, every directory fresh.

It takes as long as there are files, so it is laid ahead: behind a seal, for the run that comes next. Laying goes on where
it broke off, whatever broke it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sedai.core import manifest, wire
from sedai.core.errors import IntegrityError
from sedai.core.generation import Generation
from sedai.core.process import run
from sedai.server.beneath import Beneath
from sedai.server.store import ClientStore
from sedai.server.stored import STAT_ATTRIBUTE, copy_attributes

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_GONE = (FileNotFoundError, NotADirectoryError, PermissionError)


class Laid(NamedTuple):
    """How many entries a farm has, and the paths that the base should have but has not."""

    entries: int
    missing: list[bytes]


def lay(base_tree: Path, base_lines: Iterator[bytes], farm: Path) -> Laid:
    """Link everything that the base manifest names from ``base_tree`` into ``farm``, which may have some of it already.

    Each link is made and checked by itself, so none is lost silently (rsync and ``cp`` copy where they can't link).
    """
    entries = 0
    missing: list[bytes] = []
    open_directories: list[tuple[bytes, int]] = []
    with Beneath(base_tree) as source, Beneath(farm) as target:

        def close(directory: bytes, mtime_ns: int) -> None:
            parent, name = target.parent(directory)
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent, follow_symlinks=False)

        for line in base_lines:
            escaped, kind, _, mtime, _ = line.split(b"\t", 4)
            path = manifest.unescape(escaped)
            while open_directories and not path.startswith(open_directories[-1][0] + b"/"):
                close(*open_directories.pop())
            try:
                if kind == b"d":
                    _copy_directory(source, target, path)
                    open_directories.append((path, int(mtime)))
                else:
                    _link(source, target, path)
            except _GONE:
                # Gone, or (a directory can't be linked) replaced by something else.
                missing.append(path)
            else:
                entries += 1
        while open_directories:
            close(*open_directories.pop())
    return Laid(entries, missing)


def _copy_directory(source: Beneath, target: Beneath, path: bytes) -> None:
    original = source.open(path, _DIRECTORY)
    try:
        parent, name = target.parent(path)
        with contextlib.suppress(FileExistsError):  # laid before; opening it below refuses anything else
            os.mkdir(name, 0o700, dir_fd=parent)
        copy = target.open(path, _DIRECTORY)
        try:
            copy_attributes(original, copy)
        finally:
            os.close(copy)
    finally:
        os.close(original)


def _link(source: Beneath, target: Beneath, path: bytes) -> None:
    original, name = source.parent(path)
    copy, _ = target.parent(path)
    try:
        os.link(name, name, src_dir_fd=original, dst_dir_fd=copy, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EEXIST:
            wanted = os.stat(name, dir_fd=original, follow_symlinks=False)
            if os.stat(name, dir_fd=copy, follow_symlinks=False).st_ino != wanted.st_ino:
                os.unlink(name, dir_fd=copy)
                _link(source, target, path)
        elif error.errno == errno.EMLINK:
            # ext4 allows 65,000 names for one inode; a fresh copy starts the next 65,000.
            place = b"/proc/self/fd/%d/%s"
            shutil.copy2(place % (original, name), place % (copy, name), follow_symlinks=False)
        else:
            raise


def make_root(tree: Path) -> None:
    """Make the directory of a tree, unless it is there."""
    tree.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A restore by rsync alone gives the target the attributes of this directory: those of a root, not of a store.
    os.setxattr(tree, STAT_ATTRIBUTE, b"40755 0,0 0:0")


def _entries(tree: Path) -> int:
    """How many there are, as the directories say; -1 where there is no tree."""
    try:
        with Beneath(tree) as beneath:
            return sum(1 for _ in beneath.everything())
    except _GONE:
        return -1


class Farm:
    """The farm that waits for the next run of a client, of the generation ``base``; its lock is held."""

    def __init__(self, store: ClientStore, base: Generation) -> None:
        self._store = store
        self._base_tree = store.tree(base)
        self._base_manifest = store.manifest(base)
        self._sha256 = store.record(base).manifest_sha256
        self._root = store.farms / str(base)

    @property
    def is_laid(self) -> bool:
        """Whether it waits, whole."""
        return self._read() is not None

    def lay(self) -> Laid:
        """Lay what is still to be laid.

        Raises:
            IntegrityError, ValueError: the base's manifest is damaged; nothing of the farm is left then.
        """
        tree = self._root / "tree"
        laid = self._read()
        if laid is not None and _entries(tree) != laid.entries:
            # It may have waited for a day. What it has lost meanwhile nobody would miss in the counts of the seal.
            self._store.discard(self._root)
            laid = None
        if laid is None:
            make_root(tree)
            lines = manifest.lines(manifest.proven(self._base_manifest, self._sha256))
            try:
                laid = lay(self._base_tree, lines, tree)
            except (IntegrityError, ValueError):  # what was laid by a damaged line may be nothing that the base has
                self._store.discard(self._root)
                raise
            # What the note says is on the disk before it is.
            run(["sync", "-f", str(tree)])
            self._note.write_text(
                json.dumps({"entries": laid.entries, "missing": [wire.pack(path) for path in laid.missing],
                            "of": self._sha256})
            )  # fmt: skip
        return laid

    def move_to(self, place: Path) -> None:
        """Move the tree to ``place``."""
        self._note.unlink()
        (self._root / "tree").rename(place)
        self._root.rmdir()

    @property
    def _note(self) -> Path:
        return self._root / "laid"

    def _read(self) -> Laid | None:
        """What was noted when it was whole."""
        try:
            noted = json.loads(self._note.read_text())
            if noted["of"] == self._sha256:
                return Laid(int(noted["entries"]), [wire.unpack(path) for path in noted["missing"]])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None
