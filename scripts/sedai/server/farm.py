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

import xxhash

from sedai.core import manifest, wire
from sedai.core.beneath import Beneath
from sedai.core.counted import counted
from sedai.core.errors import IntegrityError
from sedai.core.generation import Generation
from sedai.core.process import run
from sedai.server.store import ClientStore
from sedai.server.stored import STAT_ATTRIBUTE, copy_attributes

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_GONE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


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
    with Beneath(base_tree) as source, Beneath(farm) as target, contextlib.closing(_Copies()) as copies:

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
                    _link(source, target, path, copies)
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


class _Copies:
    """Copies of files that have as many names as the file system allows (ext4: 65,000), for the names that are still to come.

    One copy is made of each, so that what was one file does not become as many as it has names.
    """

    def __init__(self) -> None:
        self._open: dict[int, int] = {}

    def close(self) -> None:
        """Let go of all of them."""
        for descriptor in self._open.values():
            os.close(descriptor)

    def place(self, original: int, copy: int, name: bytes) -> None:
        """Give the directory ``copy`` what is called ``name`` in the directory ``original``."""
        inode = os.stat(name, dir_fd=original, follow_symlinks=False).st_ino
        if inode in self._open:
            try:
                os.link(b"/proc/self/fd/%d" % self._open[inode], name, dst_dir_fd=copy)
            except OSError as error:
                if error.errno != errno.EMLINK:
                    raise
                os.close(self._open.pop(inode))
            else:
                return
        place = b"/proc/self/fd/%d/%s"
        shutil.copy2(place % (original, name), place % (copy, name), follow_symlinks=False)
        self._open[inode] = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=copy)


def _link(source: Beneath, target: Beneath, path: bytes, copies: _Copies) -> None:
    original, name = source.parent(path)
    copy, _ = target.parent(path)
    try:
        os.link(name, name, src_dir_fd=original, dst_dir_fd=copy, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EEXIST:
            wanted = os.stat(name, dir_fd=original, follow_symlinks=False)
            if os.stat(name, dir_fd=copy, follow_symlinks=False).st_ino != wanted.st_ino:
                os.unlink(name, dir_fd=copy)
                _link(source, target, path, copies)
        elif error.errno == errno.EMLINK:
            copies.place(original, copy, name)
        else:
            raise


def make_root(tree: Path) -> None:
    """Make the directory of a tree, unless it is there."""
    tree.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A restore by rsync alone gives the target the attributes of this directory: those of a root, not of a store.
    os.setxattr(tree, STAT_ATTRIBUTE, b"40755 0,0 0:0", follow_symlinks=False)


class _Picture(NamedTuple):
    """What a tree looks like: how many entries it has, how large its directories are, and a digest of names, kinds and inodes,
    and of the directories' own attributes.

    What a link has in common with the base is not in it: whatever happens to that is found by a check of the base too.
    """

    entries: int
    bytes: int
    digest: str

    @classmethod
    def of(cls, tree: Path) -> _Picture:
        """As the directories say: no file is looked at. Nothing at all where there is no tree."""
        try:
            with Beneath(tree) as beneath:
                return cls._of(beneath)
        except _GONE:
            return cls(-1, 0, "")

    @classmethod
    def _of(cls, tree: Beneath) -> _Picture:
        entries = size = 0
        digest = xxhash.xxh3_128()
        waiting = [b"."]
        while waiting:
            path = waiting.pop()
            directory = tree.open(path, _DIRECTORY)
            try:
                stat = os.fstat(directory)
                own = [(name, os.getxattr(directory, name)) for name in sorted(os.listxattr(directory))]
                with os.scandir(directory) as items:
                    found = sorted((item.name, item.inode(), item.is_dir(follow_symlinks=False)) for item in items)
            finally:
                os.close(directory)
            digest.update(repr((path, stat.st_mode, stat.st_mtime_ns, own, found)).encode())
            entries += len(found)
            size += stat.st_size
            waiting.extend(path + b"/" + os.fsencode(name) for name, _, is_directory in found if is_directory)
        return cls(entries, size, digest.hexdigest())


class _Note(NamedTuple):
    """What was noted of a farm when it was whole: its base's manifest, what that base has lost, and what it looked like."""

    of: str
    missing: list[bytes]
    picture: _Picture

    @classmethod
    def read(cls, path: Path) -> _Note | None:
        """What ``path`` says; None where nothing is said."""
        try:
            noted = json.loads(path.read_text())
            missing = [wire.unpack(each) for each in noted["missing"]]
            return cls(str(noted["of"]), missing, _Picture(*noted["picture"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def waiting_bytes(store: ClientStore) -> int:
    """What the farms that wait take of the disk: their directories, as they were when they were whole or are now."""
    found = 0
    for place in store.farms.iterdir() if store.farms.is_dir() else ():
        note = _Note.read(place / "laid")
        found += (note.picture if note else _Picture.of(place / "tree")).bytes
    return found


class Farm:
    """The farm that waits for the next run of a client, of the generation ``base``; its lock is held."""

    def __init__(self, store: ClientStore, base: Generation) -> None:
        self._store = store
        self._base_tree = store.tree(base)
        self._base_manifest = store.manifest(base)
        self._sha256 = store.record(base).manifest_sha256
        self._root = store.farms / str(base)
        self._tree = self._root / "tree"
        self._note = self._root / "laid"
        self._seen = self._root / "seen"

    @property
    def is_laid(self) -> bool:
        """Whether it waits, whole."""
        return self._read() is not None

    def lay(self) -> Laid:
        """Lay what is still to be laid.

        Raises:
            IntegrityError, ValueError: the base's manifest is damaged; nothing of the farm is left then.
        """
        noted = self._read()
        if noted is None and os.path.lexists(self._root) and (laid := self._go_on()):
            return laid
        # It may have waited for a day. What happened to it meanwhile the counts of the seal would not always show.
        if noted is not None and (self._was_seen() or noted.picture == _Picture.of(self._tree)):
            return Laid(noted.picture.entries, noted.missing)
        self._store.discard(self._root)
        return self._lay()

    def look(self, run: str) -> bool:
        """Whether it waits, whole, and as it was; noted for the seal of ``run``. Else nothing of it is left."""
        noted = self._read()
        if noted is None or noted.picture != _Picture.of(self._tree):
            self._store.discard(self._root)
            return False
        with contextlib.suppress(OSError):  # the seal looks for itself then
            self._seen.write_text(run, encoding="ascii")
        return True

    def _was_seen(self) -> bool:
        """Whether it was looked at since the run in flight began."""
        run = self._store.begun
        with contextlib.suppress(OSError):
            return run != "" and self._seen.read_text(encoding="ascii") == run
        return False

    def move_to(self, place: Path) -> None:
        """Move the tree to ``place``."""
        self._tree.rename(place)
        self._store.discard(self._root)  # whatever else lies there

    def _go_on(self) -> Laid | None:
        """Lay what was broken off to its end; None where something that does not belong there is in the way."""
        with contextlib.suppress(OSError, IntegrityError):
            laid = self._lay()
            if not laid.missing:  # or it may only seem so
                return laid
        return None

    def _lay(self) -> Laid:
        try:
            make_root(self._tree)
            laid = lay(self._base_tree, manifest.lines(manifest.proven(self._base_manifest, self._sha256)), self._tree)
            picture = _Picture.of(self._tree)
            if picture.entries != laid.entries:
                raise IntegrityError(
                    f"Of {counted(laid.entries, 'entry')} that were linked {picture.entries} are there."
                )
        except (IntegrityError, ValueError):  # what was laid by a damaged line may be nothing that the base has
            self._store.discard(self._root)
            raise
        # What the note says is on the disk before it is.
        run(["sync", "-f", str(self._tree)])
        missing = [wire.pack(path) for path in laid.missing]
        self._note.write_text(json.dumps({"missing": missing, "of": self._sha256, "picture": picture}))
        return laid

    def _read(self) -> _Note | None:
        """The note; None where there is none, or that of another base."""
        note = _Note.read(self._note)
        return note if note is not None and note.of == self._sha256 else None
