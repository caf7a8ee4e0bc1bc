"""Read-ahead: small files are brought from the disk before rsync comes to them.

rsync opens one file after the other and waits for the disk each time, which is most of a first backup where the files were not
read lately. This goes before it, in the same order, and tells the kernel to read. Nothing is lost where it guesses wrong. What it
opens may be another file by then, as it may for rsync: nothing of it is read here.
"""

from __future__ import annotations

import contextlib
import os
import stat as st
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from sedai.core import prefetch

# So many files before the one that rsync reported last: a moment for rsync, and not much memory.
_AHEAD = 500
# Of so many files one is looked at: where it is in memory, so are the others.
_SAMPLE = 32
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class ReadAhead:
    """Of one run of rsync over names below the directory ``root``. A context manager: nothing more is opened behind its end.

    Nobody waits for it, as a file system that hangs may keep it for ever.
    """

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._changed = threading.Condition()
        self._passed = 0
        self._over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()

    def names(self, names: Iterable[bytes]) -> Iterator[bytes]:
        """``names``, each as it is; behind the last one the reading begins, as rsync sends nothing before it has them all."""
        noted = []
        for name in names:
            noted.append(name)
            yield name
        with contextlib.suppress(RuntimeError):  # no more threads can be had
            threading.Thread(target=self._read, args=(noted,), name="read-ahead", daemon=True).start()

    def passed(self) -> None:
        """rsync is done with one more file."""
        with self._changed:
            self._passed += 1
            self._changed.notify()

    def _read(self, names: list[bytes]) -> None:
        cold = True
        for number, place in enumerate(files(self._root, sorted(names, key=rsync_order))):
            if not self._wait(number):
                return
            look = not number % _SAMPLE
            if (cold or look) and self._passed <= number:
                was_cold = _advise(place, look=look)
                cold = cold if was_cold is None else was_cold

    def _wait(self, number: int) -> bool:
        """Until rsync comes near the file with this ``number``; whether it still goes on."""
        if self._passed + _AHEAD < number:
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._passed + _AHEAD >= number)
        return not self._over


def rsync_order(name: bytes) -> bytes:
    """Sort key of the order in which rsync sends: what is in a directory before what is in the directories in it.

    It compares the name of a directory with a slash behind it (``f_name_cmp`` in its flist.c).
    """
    directory, _, last = name.rpartition(b"/")
    above = b"".join(b"\2" + each + b"/" for each in directory.split(b"/")) if directory else b""
    return above + b"\1" + last


def files(root: bytes, names: Iterable[bytes]) -> Iterator[bytes]:
    """The regular files that ``names`` below ``root`` stand for: with a slash at the end all that are in a directory.

    What can't be looked at is passed over; of several names of one file that come by themselves one is told, as rsync does.
    """
    told: set[tuple[int, int]] = set()
    for name in names:
        place = root + name
        with contextlib.suppress(OSError):
            if name.endswith(b"/"):
                with os.scandir(place) as found:
                    inside = sorted(entry.name for entry in found if entry.is_file(follow_symlinks=False))
                yield from (place + each for each in inside)
                continue
            stat = os.lstat(place)
            if not st.S_ISREG(stat.st_mode) or (stat.st_dev, stat.st_ino) in told:
                continue  # to open a device may do something
            if stat.st_nlink > 1:
                told.add((stat.st_dev, stat.st_ino))
            yield place


def _advise(place: bytes, *, look: bool) -> bool | None:
    """Have the file at ``place`` read; with ``look`` only where it is not in memory.

    Whether it was to be read; None where that tells nothing of other files.
    """
    try:
        descriptor = os.open(place, _OPEN)
    except OSError:
        return None
    try:
        if os.fstat(descriptor).st_size == 0:
            return None
        if look and prefetch.is_in_memory(descriptor):
            return False
        prefetch.advise(descriptor)
        return True
    finally:
        os.close(descriptor)
