"""Prefetch: files are opened, and the kernel is told to read them, some way ahead of whoever reads them.

Who reads one small file after the other waits for the disk each time. Told of many, the kernel asks for them at once. For what is
in memory already that is one system call more.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

# Far enough for a disk that answers many at once; each is a descriptor that is open meanwhile.
_FILES = 64
# Further into a file the kernel reads ahead by itself. What is asked for and not read yet takes memory from others.
_MOST_BYTES = 1 << 18

T = TypeVar("T")


def opened(items: Iterable[T], begin: Callable[[T], int | None], files: int = _FILES) -> Iterator[tuple[T, int | None]]:
    """Each of ``items`` with the descriptor that ``begin(item)`` returned, which is called for so many ``files`` beforehand.

    The descriptor is closed when the next one is asked for; None stands for an item that is not to be opened.
    """
    waiting: deque[tuple[T, int | None]] = deque()

    def passed() -> Iterator[tuple[T, int | None]]:
        yield waiting[0]
        _close(waiting.popleft()[1])

    try:
        for item in items:
            waiting.append((item, begin(item)))
            if len(waiting) > files:
                yield from passed()
        while waiting:
            yield from passed()
    finally:
        for _, descriptor in waiting:
            _close(descriptor)


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def begun(opening: Callable[[], int]) -> int | None:
    """The descriptor that ``opening()`` returns, of a file that is being read from now on; None where it can't be opened."""
    try:
        descriptor = opening()
    except OSError:
        return None
    advise(descriptor)
    return descriptor


def advise(descriptor: int) -> None:
    """Have the kernel begin to read the file behind ``descriptor``."""
    with contextlib.suppress(OSError):  # not of every kind of file can it be asked
        os.posix_fadvise(descriptor, 0, _MOST_BYTES, os.POSIX_FADV_WILLNEED)


def is_in_memory(descriptor: int) -> bool:
    """Whether the beginning of the file behind ``descriptor``, which is not empty, can be read without the disk.

    Where it can't, the kernel may begin to read it. False where the file system can't tell.
    """
    try:
        return os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT) > 0
    except OSError:  # among them EAGAIN
        return False


def anew(descriptor: int) -> None:
    """As :func:`advise`, from the disk: what the kernel has of the file in memory does not count."""
    forget(descriptor)
    advise(descriptor)


def forget(descriptor: int) -> None:
    """Have the kernel drop from memory what it has of the file behind ``descriptor``."""
    with contextlib.suppress(OSError):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
