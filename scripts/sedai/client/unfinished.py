"""A restore that broke off: remembered until it is done, so that the same command goes on where it was."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import stat as st
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sedai.client.state import write_atomically
from sedai.core import lock, wire
from sedai.core.selection import ancestors
from sedai.core.wire import PARTIAL_DIRECTORY

_FORGOTTEN_AFTER_SECONDS = 90 * 24 * 3600.0
# So long the rsync of a restore that was killed may take to end.
_LOCK_WAIT_SECONDS = 10
PARTIAL = PARTIAL_DIRECTORY.encode()
# Of a file that is not whole yet, where rsync does not write it: a mode that nobody has a use for.
MODE = 0o200
# rsync writes a file as .NAME.XXXXXX beside its place, with a NAME that is too long cut off.
_TEMPORARY = re.compile(rb"\.(.*)\.[A-Za-z0-9]{6}\Z", re.DOTALL)
_LONGEST_WHOLE_NAME = 240


@dataclass
class Progress:
    """What a restore had to remember when it began.

    ``made``: the outermost directories that were not there, relative to the target; the empty path is the target itself.
    ``times``: modification times (ns) of the directories that were there and keep theirs.
    """

    began: float
    made: set[bytes] = field(default_factory=set)
    times: dict[bytes, int] = field(default_factory=dict)

    def is_ours(self, path: bytes) -> bool:
        """Whether the restore made the directory ``path``."""
        return not self.made.isdisjoint((b"", *ancestors(path), path))

    def text(self) -> str:
        """As JSON."""
        return json.dumps({
            "began": self.began,
            "made": [wire.pack(path) for path in sorted(self.made)],
            "times": {wire.pack(path): moment for path, moment in self.times.items()},
        })  # fmt: skip

    @classmethod
    def read(cls, text: str) -> Progress:
        """The inverse of :meth:`text`.

        Raises:
            ValueError, KeyError, TypeError: it is not one.
        """
        table = json.loads(text)
        return cls(
            float(table["began"]),
            {base64.b64decode(path) for path in table["made"]},
            {base64.b64decode(path): int(moment) for path, moment in table["times"].items()},
        )


class Memory:
    """The unfinished restore of these paths of one generation into one place."""

    def __init__(self, directory: Path, generation: str, paths: Sequence[bytes], root: bytes) -> None:
        self._directory = directory
        self._paths = paths
        self._root = root
        what = b"\0".join([generation.encode(), os.path.realpath(root or b"/"), *sorted(set(paths))])
        self._path = directory / hashlib.sha256(what).hexdigest()[:32]

    def of(self, generation: str) -> Memory:
        """The same paths of another generation into the same place."""
        return Memory(self._directory, generation, self._paths, self._root)

    @contextlib.contextmanager
    def held(self) -> Iterator[int]:
        """Keep a second run of the same restore out; the descriptor is for the programs that write on when this one dies.

        Raises:
            LockedError: one is running; the text names it.
        """
        self._tidy()
        running = self._path.with_suffix(".lock")
        with lock.exclusive(running, "The same restore", wait_seconds=_LOCK_WAIT_SECONDS) as descriptor:
            try:
                yield descriptor
            finally:
                if not self._path.exists():
                    running.unlink(missing_ok=True)

    def recall(self) -> Progress | None:
        """What was remembered, or None where this restore is a new one."""
        try:
            return Progress.read(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, progress: Progress) -> None:
        """Before the first byte is written."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self._path, progress.text())

    def forget(self) -> None:
        """The restore is done."""
        self._path.unlink(missing_ok=True)

    def _tidy(self) -> None:
        """Drop what nobody came back for."""
        if not self._directory.is_dir():
            return
        for path in self._directory.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _FORGOTTEN_AFTER_SECONDS:
                    path.unlink()


def is_ours(status: os.stat_result) -> bool:
    """Whether this is the status of a file that was not written to its end."""
    return st.S_ISREG(status.st_mode) and st.S_IMODE(status.st_mode) == MODE and os.geteuid() in (0, status.st_uid)


class Leftovers:
    """What an rsync that was killed left beside the files: put where the next rsync takes it as a basis."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._found: dict[bytes, list[bytes]] = {}

    def adopt(self, path: bytes) -> None:
        """Keep the longest leftover of the file ``path`` as its partial file, and drop the others."""
        directory, _, name = path.rpartition(b"/")
        mine = [directory + b"/" + found for found in self._in(directory) if _is_of(found, name)]
        if not mine:
            return
        partial = directory + b"/" + PARTIAL
        with contextlib.suppress(FileExistsError):
            os.mkdir(partial, 0o700)
        kept = partial + b"/" + name
        for leftover in sorted(mine, key=lambda found: os.lstat(found).st_size, reverse=True):
            if not os.path.lexists(kept) or os.lstat(kept).st_size < os.lstat(leftover).st_size:
                os.rename(leftover, kept)
            else:
                os.unlink(leftover)

    def _in(self, directory: bytes) -> list[bytes]:
        """Temporary files of this account in ``directory``, written since the restore began."""
        if directory not in self._found:
            found = []
            with contextlib.suppress(OSError):
                found = [name for name in os.listdir(directory or b"/") if self._is_leftover(directory + b"/" + name)]
            self._found[directory] = found
        return self._found[directory]

    def _is_leftover(self, path: bytes) -> bool:
        if not _TEMPORARY.match(path.rpartition(b"/")[2]):
            return False
        status = os.lstat(path)
        return st.S_ISREG(status.st_mode) and os.geteuid() in (0, status.st_uid) and status.st_ctime >= self._began


def _is_of(temporary: bytes, name: bytes) -> bool:
    match = _TEMPORARY.match(temporary)
    if match is None:
        return False
    return match[1] == name or (len(name) > _LONGEST_WHOLE_NAME and len(match[1]) > _LONGEST_WHOLE_NAME
                                and name.startswith(match[1]))  # fmt: skip


def drop_partial(path: bytes) -> None:
    """Remove the partial file of ``path``, and the directory that holds it when it is the last one."""
    directory, _, name = path.rpartition(b"/")
    partial = directory + b"/" + PARTIAL
    with contextlib.suppress(OSError):
        os.unlink(partial + b"/" + name)
    with contextlib.suppress(OSError):
        os.rmdir(partial)
