"""Throw-away directories: held by a lock while they are used, gone afterwards, and cleared away when a run was killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sedai.core import lock
from sedai.core.errors import SedaiError

PREFIX = "sedai-drill-"
_LOCK = "lock"
# One that was just made may not have its lock yet.
_NEW_SECONDS = 60.0
_END_SECONDS = 15.0
# What a drill starts. PostgreSQL ends at once, and tidily, on SIGQUIT.
_PROGRAMS = dict.fromkeys(("rsync", "ssh", "mariadbd", "mysqld", "mariadb", "psql", "pg_restore"), signal.SIGTERM)
_PROGRAMS |= {"postgres": signal.SIGQUIT, "initdb": signal.SIGTERM, "mariadb-install": signal.SIGTERM}


@contextlib.contextmanager
def directory(parent: Path) -> Iterator[Path]:
    """A new directory in ``parent`` while the context lasts.

    Other accounts can pass through it to what is theirs, and list nothing: a server that runs as its own account needs
    that. What nobody else may enter goes into a :func:`private` one in it.

    Raises:
        SedaiError: it can't be made, or not all of it could be removed.
    """
    try:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    except OSError as error:
        raise SedaiError(f"There can be no throw-away directory in {parent}: {error.strerror}.",
                         "Set another directory for the drill.") from error  # fmt: skip
    try:
        with lock.exclusive(path / _LOCK, "Another use of this directory"):
            path.chmod(0o711 if os.geteuid() == 0 else 0o700)
            yield path
    finally:
        with undisturbed():
            clear(path)


def private(path: Path) -> Path:
    """Make the directory ``path``, which only this account can enter."""
    path.mkdir(mode=0o700)
    return path


@contextlib.contextmanager
def temporary_files(path: Path) -> Iterator[None]:
    """Temporary files of this process lie in ``path`` while the context lasts, so that a killed drill leaves none elsewhere."""
    before = tempfile.tempdir
    tempfile.tempdir = str(private(path))
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """SIGTERM and Ctrl-C wait until the context ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def clear_leftovers(parent: Path) -> list[str]:
    """Remove what killed runs of this account left in ``parent``, programs that still run there first; tells which."""
    removed = []
    for path in sorted(parent.glob(f"{PREFIX}*")):
        if _is_leftover(path):
            clear(path)
            removed.append(f"{path} was left by a drill that was killed; it is removed.")
    return removed


def _is_leftover(path: Path) -> bool:
    try:
        status = path.lstat()
        if path.is_symlink() or not path.is_dir() or status.st_uid != os.geteuid():
            return False
        if not (path / _LOCK).exists():
            return time.time() - status.st_mtime > _NEW_SECONDS
        return not lock.in_use(path / _LOCK)
    except FileNotFoundError:
        return False  # its own drill has just removed it


def clear(path: Path) -> None:
    """End the programs that run in ``path``, and remove it.

    Raises:
        SedaiError: something of it stays.
    """
    end_programs(path)
    try:
        remove(os.fsencode(path))
    except OSError as error:
        raise SedaiError(f"{path} can't be removed: {error.strerror}.", f"Look at it, and remove it: rm -rf {path}"
                         ) from error  # fmt: skip


def remove(path: bytes) -> None:
    """Remove the tree at ``path``, whatever modes its directories have.

    Raises:
        OSError: something of it stays.
    """
    if not os.path.isdir(path) or os.path.islink(path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    os.chmod(path, 0o700)
    for above, below, _ in os.walk(path):
        for name in below:
            if not os.path.islink(os.path.join(above, name)):
                os.chmod(os.path.join(above, name), 0o700)
    shutil.rmtree(path)


def end_programs(path: Path) -> None:
    """End the programs of a drill that run in ``path``: those that work there, and those that were told to."""
    deadline = time.monotonic() + _END_SECONDS
    told: set[int] = set()
    while found := dict(_running(os.fsencode(path))):
        late = time.monotonic() > deadline
        for pid, gentle in found.items():
            if late or pid not in told:
                told.add(pid)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL if late else gentle)
        if late and time.monotonic() > deadline + _END_SECONDS:
            return  # not even KILL helps: removing what they use tells
        time.sleep(0.1)


def _running(path: bytes) -> Iterator[tuple[int, signal.Signals]]:
    """The programs in ``path``, and what ends each."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            name = Path(entry.path, "comm").read_text(encoding="utf-8", errors="replace").strip()
            if name not in _PROGRAMS:
                continue
            words = Path(entry.path, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # gone meanwhile
        work = b""
        with contextlib.suppress(OSError):  # another account's: in a container not even root may ask
            work = os.readlink(os.fsencode(entry.path) + b"/cwd")
        if _below(work, path) or any(_below(word[word.find(b"/") :], path) for word in words):
            yield int(entry.name), _PROGRAMS[name]


def _below(path: bytes, top: bytes) -> bool:
    return path == top or path.startswith(top + b"/")
