"""Running the rsync of a transfer to its very end: when this returns, nothing that it started is alive."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sedai.core.errors import SedaiError
from sedai.core.process import environment

_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.5


class LimitError(SedaiError):
    """There is no room for more."""


@dataclass(frozen=True)
class Limit:
    """How much may be received. ``file_bytes``: the size of one file, None without a limit.

    ``exceeded`` says in words what was used up, or nothing; it is asked again and again while the transfer runs.
    """

    file_bytes: int | None = None
    exceeded: Callable[[], str] = str


def run(argv: Sequence[str], limit: Limit | None = None) -> int:
    """Run ``argv`` on this process's own standard streams and return its exit status.

    bubblewrap itself ends a moment before the last process inside. What outlives it becomes a child of this process,
    which is then ended and waited for: the caller's lock is not given up while anything can still write to the delta.

    Raises:
        LimitError: ``limit`` was exceeded, and the transfer was ended for it.
    """
    import ctypes  # a verb that receives nothing does without it

    limit = limit or Limit()
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    if limit.file_bytes is not None:
        argv = ["prlimit", f"--fsize={limit.file_bytes}", "--", *argv]
    process = subprocess.Popen(argv, env=environment())
    try:
        words = _watch(process, limit)
    finally:
        process.kill()
        process.wait()
        _end_all()
    if words:
        raise LimitError(words)
    return process.returncode


def _watch(process: subprocess.Popen[bytes], limit: Limit) -> str:
    """Wait for the end, or for the client to go away; words where the limit was exceeded before."""
    looked = 0.0
    while True:
        try:
            process.wait(max(_POLL_SECONDS, 10 * looked))
        except subprocess.TimeoutExpired:
            began = time.monotonic()
            words = limit.exceeded()
            # Looking may take as long as there are files; it must not cost more than a tenth of the time.
            looked = time.monotonic() - began
            if words or _nobody_listens():
                return words
        else:
            return ""


def _nobody_listens() -> bool:
    """Whether the other end of standard output is closed: a receiver that was taken over need not end by that itself."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in output.poll(0))


def _end_all() -> None:
    """End what is left, and wait for it: without a sandbox a half of rsync whose other half died would wait for ever."""
    while True:
        for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
