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


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A new private directory among the temporary files while the context lasts; those of killed runs go first.

    Raises:
        SedaiError: it can't be made.
    """
    parent = Path(tempfile.gettempdir())
    with contextlib.ExitStack() as held:
        try:
            _clear_leftovers(parent)
            path = _make(parent, held)
        except OSError as error:
            raise SedaiError(f"There can be no temporary directory in {parent}: {error.strerror}.",
                             "Free some space there, then run it again.") from error  # fmt: skip
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def _make(parent: Path, held: contextlib.ExitStack) -> Path:
    """A directory that is locked as long as this process holds it, which tells it from a killed run's."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        # Until it is locked, another run may take it for a leftover.
        with contextlib.suppress(FileNotFoundError):
            held.enter_context(lock.shared(path))
            if path.exists():
                return path


def _clear_leftovers(parent: Path) -> None:
    for path in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):  # its own run has just removed it
            status = path.lstat()
            if not _NAME.match(path.name) or not path.is_dir() or path.is_symlink() or status.st_uid != os.geteuid():
                continue
            with lock.unless_in_use(path) as free:
                if free:
                    shutil.rmtree(path, ignore_errors=True)
