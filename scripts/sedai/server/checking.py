"""Checking: each change against what arrived for it, in several processes where they are many; what is found goes to the client."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sedai.core import manifest, workers
from sedai.core.wire import Change
from sedai.server.arrived import Arrived, Identity

_PROGRESS_SECONDS = 2.0
_PIECE = 500
# Fewer are checked before a process would have started.
_WORTH_WORKERS = 2000


class CheckedChange(NamedTuple):
    """A change that was checked. ``line``: its manifest line, digests known; None where the path is removed."""

    path: bytes
    line: bytes | None
    identity: Identity | None


class _Found(NamedTuple):
    """What a look at one change found. ``answer``: the line for the client, or nothing; ``read``: how many bytes were read."""

    line: bytes | None
    identity: Identity | None = None
    answer: bytes = b""
    read: int = 0


class Checking:
    """Compares each changed path with what ``arrived``; ``answer`` and ``progress`` tell the client."""

    def __init__(self, arrived: Arrived, answer: Callable[[bytes], None], progress: Callable[[int], None]) -> None:
        self._arrived = arrived
        self._answer = answer
        self._progress = progress
        self.read_bytes = 0

    def check(self, changes: Iterator[Change]) -> Iterator[CheckedChange]:
        """The changes, checked, in their order.

        Raises:
            IntegrityError: something did not arrive as the client says.
        """
        spoken = time.monotonic()
        for number, (change, found) in enumerate(self._looked_at(changes)):
            self.read_bytes += found.read
            if found.answer:
                self._answer(found.answer)
            yield CheckedChange(change.path, found.line, found.identity)
            if time.monotonic() - spoken > _PROGRESS_SECONDS:
                spoken = time.monotonic()
                self._progress(number + 1)
        self._arrived.refuse_names_outside()

    def _looked_at(self, changes: Iterator[Change]) -> Iterator[tuple[Change, _Found]]:
        first = list(itertools.islice(changes, _WORTH_WORKERS))
        changes = itertools.chain(first, changes)
        crew = workers.count() if len(first) == _WORTH_WORKERS else 0
        if not crew:
            yield from ((change, self._look(change)) for change in changes)
            return
        under_way: deque[list[Change]] = deque()

        def pieces() -> Iterator[list[Change]]:
            while piece := list(itertools.islice(changes, _PIECE)):
                under_way.append(piece)
                yield piece

        for looked in workers.spread(self._look_at_piece, pieces(), crew):
            for change, found in zip(under_way.popleft(), looked, strict=True):
                yield change, found or self._look(change)

    def _look_at_piece(self, changes: list[Change]) -> list[_Found | None]:
        """What a worker does. None: the inode has further names, which only a process that sees all of them can judge."""
        return [None if self._arrived.forget_linked() else found for found in map(self._look, changes)]

    def _look(self, change: Change) -> _Found:
        if change.line is None:
            return _Found(None)
        entry, identity, read = self._arrived.check(manifest.decode(change.line), change.unstable)
        told = entry.kind == "f" or change.unstable
        return _Found(manifest.encode(entry), identity, _answer(entry, unstable=change.unstable) if told else b"", read)


def _answer(entry: manifest.Entry, *, unstable: bool) -> bytes:
    words = b"+%s %d %d" % (entry.crc32, entry.size, entry.mtime_ns)
    return words + (b" %o %d %d\n" % (entry.mode, entry.uid, entry.gid) if unstable else b"\n")
