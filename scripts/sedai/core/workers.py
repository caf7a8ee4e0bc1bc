"""Workers: processes that look through one piece of work each, beside this one. Threads would wait for each other."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Generic, TypeVar

from sedai.core.errors import SedaiError

_MOST = 4
# A piece or a result goes in as a whole: nobody waits until the other side was woken and has read.
_PIPE_BYTES = 1 << 20
_PR_SET_PDEATHSIG = 1

P = TypeVar("P")
R = TypeVar("R")


def count() -> int:
    """How many are worth it here; 0 where this process may only use one processor."""
    available = len(os.sched_getaffinity(0))
    return min(available, _MOST) if available > 1 else 0


def readers() -> int:
    """As :func:`count`, where they wait for the disk most of the time: more than there are processors."""
    return _MOST if count() else 0


def spread(work: Callable[[P], R], pieces: Iterable[P], workers: int) -> Iterator[R]:
    """``work(piece)`` for each of ``pieces``, in their order; by so many ``workers``, or by this process where they are 0.

    The workers are forked when the first result is asked for: they know what is known then, and what they find out reaches nobody
    but by their results. Pieces and results go through pipes.

    Raises:
        SedaiError: a worker was ended.
        Exception: what ``work`` raised.
    """
    if workers < 1:
        yield from map(work, pieces)
        return
    with contextlib.ExitStack() as stack:
        crew: list[_Worker[P, R]] = []
        for _ in range(workers):
            crew.append(_Worker(work, crew))
            stack.callback(crew[-1].end)
        idle, busy = deque(crew), deque[_Worker[P, R]]()
        for piece in pieces:
            if not idle:
                idle.append(busy.popleft())
                yield idle[0].result()
            busy.append(idle.popleft())
            busy[-1].take(piece)
        for worker in busy:
            yield worker.result()


class _Worker(Generic[P, R]):
    """One process. It is given a piece only when its last result was read, so neither side waits for the other to read."""

    def __init__(self, work: Callable[[P], R], others: Iterable[_Worker[P, R]]) -> None:
        there, self._pieces = _pipe()
        self._results, back = _pipe()
        parent = os.getpid()
        self._process = os.fork()
        if self._process == 0:
            status = 1
            try:
                _end_with(parent)
                # The end of the pieces is only heard by who does not hold their beginning.
                for stream in (self._pieces, self._results, *(other._pieces for other in others)):
                    os.close(stream.fileno())
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # this one's end is the other's
                _work(work, there, back)
                status = 0
            finally:
                os._exit(status)  # nothing of the other's is flushed, or cleaned up
        there.close()
        back.close()

    def take(self, piece: P) -> None:
        """Begin with ``piece``."""
        with contextlib.suppress(BrokenPipeError):  # the result tells
            pickle.dump(piece, self._pieces)
            self._pieces.flush()

    def result(self) -> R:
        """Of the piece that it took."""
        try:
            done, value = pickle.load(self._results)  # noqa: S301  from a process of our own
        except (EOFError, pickle.UnpicklingError) as error:  # before its answer, or in the middle of it
            raise SedaiError(
                "One of the processes that share the work was ended.", "Run the same command again."
            ) from error
        if not done:
            raise value
        result: R = value
        return result

    def end(self) -> None:
        """There are no more pieces, whether all were done or not."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGTERM)
        with contextlib.suppress(BrokenPipeError):
            self._pieces.close()
        self._results.close()
        os.waitpid(self._process, 0)


def _end_with(parent: int) -> None:
    """From here on the end of ``parent``, however it comes, ends this process, and with it what it has started that heeds it."""
    import ctypes  # who starts no workers does without it

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        raise SedaiError("The process that started this one has ended.")


def _pipe() -> tuple[IO[bytes], IO[bytes]]:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # this user has all that one may have; it works with less
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return os.fdopen(reading, "rb"), os.fdopen(writing, "wb")


def _work(work: Callable[[Any], Any], pieces: IO[bytes], results: IO[bytes]) -> None:
    while True:
        try:
            piece = pickle.load(pieces)  # noqa: S301
        except EOFError:
            return
        try:
            answer = (True, work(piece))
        except Exception as error:
            answer = (False, error)
        pickle.dump(answer, results)
        results.flush()
