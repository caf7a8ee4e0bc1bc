"""flock as a context manager that says who holds the lock."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import math
import os
import signal
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from sedai.core.errors import LockedError

_LOOK_SECONDS = 0.1


@contextlib.contextmanager
def exclusive(path: Path, what: str, *, wait_seconds: float = 0.0) -> Iterator[int]:
    """Hold an exclusive flock on ``path`` (made with mode 0600 where missing).

    The kernel drops the lock with the process, so a stale file never blocks a run. ``wait_seconds`` may be infinite. A program
    that inherits the descriptor holds the lock with us, until the last of both has ended.

    Raises:
        LockedError: someone else holds it for longer than ``wait_seconds``; the text names the holder.
    """
    with _held(path, fcntl.LOCK_EX, what, wait_seconds) as descriptor:
        yield descriptor


@contextlib.contextmanager
def among_equals(path: Path, what: str, *, wait_seconds: float = 0.0) -> Iterator[int]:
    """As :func:`exclusive`, but for those who hold it by this function too."""
    with _held(path, fcntl.LOCK_SH, what, wait_seconds) as descriptor:
        yield descriptor


@contextlib.contextmanager
def one_of(paths: Sequence[Path], what: str, *, wait_seconds: float = 0.0) -> Iterator[int]:
    """As :func:`exclusive`, of any of ``paths`` that nobody holds."""
    deadline = time.monotonic() + wait_seconds
    with contextlib.ExitStack() as held:
        for path in itertools.cycle(paths):
            try:
                descriptor = held.enter_context(exclusive(path, what))
                break
            except LockedError:
                if time.monotonic() >= deadline and path == paths[-1]:
                    raise
                time.sleep(_LOOK_SECONDS)
        yield descriptor


@contextlib.contextmanager
def _held(path: Path, kind: int, what: str, wait_seconds: float) -> Iterator[int]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor, kind, what, time.monotonic() + wait_seconds)
        with contextlib.suppress(OSError):  # on a full disk nobody is told who holds it; it is held all the same
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"pid {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S %z')}".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, kind: int, what: str, deadline: float) -> None:
    if deadline == math.inf:
        fcntl.flock(descriptor, kind)
        return
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "an unknown process"
                raise LockedError(
                    f"{what} is already running ({holder}).",
                    "Wait for it to end, or look at it with `ps`.",
                ) from None
            time.sleep(_LOOK_SECONDS)


def stop_holder(path: Path, names: Collection[str]) -> bool:
    """Send SIGTERM to the process that holds the lock ``path``, if one does that is called one of ``names``.

    Returns whether there was one; the lock may stay held for another moment.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):  # nobody holds it, or not any more
        number = int(path.read_text().split()[1])
        process = os.pidfd_open(number)
        try:
            # The file may name one that held it long ago, and the number may be another's by now. Whatever is found out
            # about the number is true of the process that is open here, or this one is gone and gets no signal.
            if _holds(number, path) and Path(f"/proc/{number}/comm").read_text().rstrip("\n") in names:
                signal.pidfd_send_signal(process, signal.SIGTERM)
                return True
        finally:
            os.close(process)
    return False


def _holds(number: int, path: Path) -> bool:
    """Whether the process ``number`` has ``path`` open with a lock on it, by what the kernel says."""
    wanted = path.stat()
    for descriptor in os.listdir(f"/proc/{number}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if os.path.samestat(os.stat(f"/proc/{number}/fd/{descriptor}"), wanted):
                return "FLOCK" in Path(f"/proc/{number}/fdinfo/{descriptor}").read_text()
    return False


@contextlib.contextmanager
def shared(path: Path) -> Iterator[None]:
    """Hold a shared flock on an existing file or directory, so that nobody takes it away meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def unless_in_use(path: Path) -> Iterator[bool]:
    """Hold an exclusive flock on an existing file or directory, unless somebody holds one; whether it is held."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def in_use(path: Path) -> bool:
    """Whether somebody holds a shared or exclusive flock on ``path``."""
    with unless_in_use(path) as free:
        return not free
