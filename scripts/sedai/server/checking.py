"""Checking: each change against what arrived for it, in several processes where they are many; what is found goes to the client."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from sedai.core import manifest, prefetch, workers
from sedai.core.wire import Change
from sedai.server.arrived import Arrived, Identity

_PROGRESS_SECONDS = 2.0
_PIECE = 500
_PIECE_BYTES = 64 << 20
# Less is checked before a process would have started.
_WORTH_WORKERS = 2000
_WORTH_WORKERS_BYTES = 256 << 20


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


# As a worker is asked and tells: the tuples as such are written and read in a third of the time.
_Asked = tuple[bytes, bytes | None, bool]
_Told = tuple[bytes | None, tuple[int, int] | None, bytes, int]


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
        crew = workers.count() if len(first) == _WORTH_WORKERS or sum(map(_bytes, first)) > _WORTH_WORKERS_BYTES else 0
        if not crew:
            yield from self._look_at_each(changes)
            return
        under_way: deque[list[Change]] = deque()

        def asked() -> Iterator[list[_Asked]]:
            for piece in _pieces(changes):
                under_way.append(piece)
                yield [(change.path, change.line, change.unstable) for change in piece]

        for told in workers.spread(self._look_at_piece, asked(), crew):
            for change, found in zip(under_way.popleft(), told, strict=True):
                yield change, _told(found) if found else self._look(change)

    def _look_at_piece(self, piece: list[_Asked]) -> list[_Told | None]:
        """What a worker does. None: the inode has further names, which only a process that sees all of them can judge."""
        looked = self._look_at_each(Change(*change) for change in piece)
        return [None if self._arrived.forget_linked() else _to_tell(found) for _, found in looked]

    def _look_at_each(self, changes: Iterable[Change]) -> Iterator[tuple[Change, _Found]]:
        with_fields = ((change, change.line.split(b"\t") if change.line else []) for change in changes)
        for (change, fields), descriptor in prefetch.opened(with_fields, self._begin):
            plainly = None if descriptor is None else self._look_plainly(descriptor, fields)
            yield change, plainly or self._look(change)

    def _begin(self, asked: tuple[Change, list[bytes]]) -> int | None:
        change, fields = asked
        return None if change.unstable else self._arrived.begin(change.path, fields)

    def _look(self, change: Change) -> _Found:
        return self._look_closely(change, change.line) if change.line is not None else _Found(None)

    def _look_plainly(self, descriptor: int, fields: list[bytes]) -> _Found | None:
        plain = self._arrived.plain(descriptor, fields)
        if plain is None:
            return None
        fields[manifest.CRC32] = plain.crc32
        answer = b"+%s %s %s\n" % (plain.crc32, fields[manifest.SIZE], fields[manifest.MTIME])
        return _Found(b"\t".join(fields), plain.identity, answer, plain.read)

    def _look_closely(self, change: Change, line: bytes) -> _Found:
        entry, identity, read = self._arrived.check(manifest.decode(line), change.unstable)
        told = entry.kind == "f" or change.unstable
        return _Found(manifest.encode(entry), identity, _answer(entry, unstable=change.unstable) if told else b"", read)


def _to_tell(found: _Found) -> _Told:
    identity = (found.identity.inode, found.identity.ctime_ns) if found.identity else None
    return found.line, identity, found.answer, found.read


def _told(told: _Told) -> _Found:
    line, identity, answer, read = told
    return _Found(line, identity and Identity(*identity), answer, read)


def _pieces(changes: Iterator[Change]) -> Iterator[list[Change]]:
    """What one worker looks at, at once: neither very many changes nor, one big file apart, very many bytes."""
    piece: list[Change] = []
    total = 0
    for change in changes:
        piece.append(change)
        total += _bytes(change)
        if len(piece) == _PIECE or total > _PIECE_BYTES:
            yield piece
            piece, total = [], 0
    if piece:
        yield piece


def _bytes(change: Change) -> int:
    """How many are to be read for a change, as the client says."""
    fields = change.line.split(b"\t", manifest.MTIME) if change.line else []
    return (
        int(fields[manifest.SIZE])
        if fields[manifest.KIND : manifest.SIZE] == [b"f"] and fields[manifest.SIZE].isdigit()
        else 0
    )


def _answer(entry: manifest.Entry, *, unstable: bool) -> bytes:
    words = b"+%s %d %d" % (entry.crc32, entry.size, entry.mtime_ns)
    return words + (b" %o %d %d\n" % (entry.mode, entry.uid, entry.gid) if unstable else b"\n")
