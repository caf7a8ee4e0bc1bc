"""flock as a context manager that says who holds the lock."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from sedai.core.errors import LockedError


@contextlib.contextmanager
def exclusive(path: Path, what: str, *, wait_seconds: float = 0.0) -> Iterator[int]:
    """Hold an exclusive flock on ``path`` (made with mode 0600 where missing).

    The kernel drops the lock with the process, so a stale file never blocks a run. ``wait_seconds`` may be infinite. A program
    that inherits the descriptor holds the lock with us, until the last of both has ended.

    Raises:
        LockedError: someone else holds it for longer than ``wait_seconds``; the text names the holder.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor, what, time.monotonic() + wait_seconds)
        with contextlib.suppress(OSError):  # on a full disk nobody is told who holds it; it is held all the same
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"pid {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S %z')}".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, what: str, deadline: float) -> None:
    if deadline == math.inf:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "an unknown process"
                raise LockedError(
                    f"{what} is already running ({holder}).",
                    "Wait for it to end, or look at it with `ps`.",
                ) from None
            time.sleep(0.1)


def stop_holder(path: Path) -> None:
    """Send SIGTERM to the process that holds the lock ``path``, if one does; the lock may stay held for another moment."""
    with contextlib.suppress(OSError, ValueError, IndexError):  # nobody holds it, or not any more
        said = path.read_text()
        holder = os.pidfd_open(int(said.split()[1]))
        try:
            # Still held, and by the same: so the descriptor is that process and none that came by its number later.
            if in_use(path) and path.read_text() == said:
                signal.pidfd_send_signal(holder, signal.SIGTERM)
        finally:
            os.close(holder)


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
