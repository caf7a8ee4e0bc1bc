"""Directories for the temporary files of one run, and the end of those that killed runs have left."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sedai.core import lock
from sedai.core.errors import SedaiError

# A short name: an SSH socket in it must fit 108 bytes.
PREFIX = "sedai-"
_NAME = re.compile(r"sedai-[a-z0-9_]{8}\Z")
# A full disk must not keep the alert back that tells of it.
_IN_MEMORY = Path("/dev/shm")  # noqa: S108  only the parent of a directory that nobody else can enter
_LEAST_ROOM = 1 << 14


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A new private directory among the temporary files while the context lasts; those of killed runs go first.

    Where the disk of the temporary files is full it lies in memory.

    Raises:
        SedaiError: it can't be made.
    """
    with contextlib.ExitStack() as held:
        path = _make_somewhere(held)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def _make_somewhere(held: contextlib.ExitStack) -> Path:
    failures = []
    for usual in (True, False):
        try:
            # On a full disk Python finds no directory for temporary files at all.
            parent = Path(tempfile.gettempdir()) if usual else _IN_MEMORY
            _clear_leftovers(parent)
            return _make(parent, held)
        except OSError as error:
            failures.append(str(error))
    raise SedaiError(f"There can be no temporary directory: {'; '.join(failures)}.",
                     "Free some space, then run it again.")  # fmt: skip


def _make(parent: Path, held: contextlib.ExitStack) -> Path:
    """A directory that is locked as long as this process holds it, which tells it from a killed run's."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        # Until it is locked, another run may take it for a leftover.
        with contextlib.suppress(FileNotFoundError):
            held.enter_context(lock.shared(path))
            try:
                _try_to_write(path / "probe")
            except FileNotFoundError:
                raise
            except OSError:
                shutil.rmtree(path, ignore_errors=True)
                raise
            return path


def _try_to_write(probe: Path) -> None:
    with probe.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, _LEAST_ROOM)
    probe.unlink()


def _clear_leftovers(parent: Path) -> None:
    for path in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):  # its own run has just removed it
            status = path.lstat()
            if not _NAME.match(path.name) or not path.is_dir() or path.is_symlink() or status.st_uid != os.geteuid():
                continue
            with lock.unless_in_use(path) as free:
                if free:
                    shutil.rmtree(path, ignore_errors=True)
