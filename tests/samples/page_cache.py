"""What of a file the kernel has in memory, without having it read anything: whoever asks by reading changes the answer."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)


def is_cached(path: Path, offset: int = 0) -> bool:
    """Whether the page at ``offset`` of the file at ``path`` is in memory. See mincore(2)."""
    offset -= offset % mmap.PAGESIZE
    descriptor = os.open(path, os.O_RDWR)
    try:
        with mmap.mmap(descriptor, mmap.PAGESIZE, offset=offset) as mapped:
            resident = (ctypes.c_ubyte * 1)()
            begin = ctypes.c_char.from_buffer(mapped)
            failed = _LIBC.mincore(ctypes.byref(begin), ctypes.c_size_t(mmap.PAGESIZE), resident)
            del begin  # or it could not be unmapped
            if failed:
                raise OSError(ctypes.get_errno(), "mincore")
            return bool(resident[0] & 1)
    finally:
        os.close(descriptor)


def drop(path: Path) -> None:
    """Write the file at ``path`` to the disk, and drop what is in memory of it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    assert not is_cached(path)


@contextlib.contextmanager
def disk_directory() -> Iterator[Path]:
    """A directory on a disk: what lies in memory alone, as in a tmpfs, can't be dropped from it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        yield Path(directory)
