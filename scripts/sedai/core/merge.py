"""Merge: a manifest with changes applied, at the cost of what changed: what lies between two changes goes by in one piece."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from sedai.core.errors import IntegrityError
from sedai.core.manifest import line_path, lines_of, order, unescape


class Change(Protocol):
    """A path whose line is to be ``line``; None removes it."""

    @property
    def path(self) -> bytes: ...
    @property
    def line(self) -> bytes | None: ...


C = TypeVar("C", bound=Change)


def merge(
    base: Iterable[bytes], changes: Iterable[C], seen: Callable[[C, bytes | None], None] = lambda change, old: None
) -> Iterator[bytes]:
    """The lines of ``base`` with ``changes`` applied, in walk order and several at a time.

    ``base`` are blocks of lines in walk order (:func:`sedai.core.manifest.blocks`), each of whose entries lies in a
    directory that is named before it. ``changes`` come in walk order too. Each is told to ``seen``, with the base's line of
    its path if there is one.

    The result has its directories before what lies in them too, so no entry can be reached through a symlink: what is made
    by such a manifest stays below its root.

    Raises:
        IntegrityError: ``changes`` are out of order, remove a path that ``base`` does not have, or leave an entry without
            the directory that it lies in.
    """
    nesting = _Nesting()
    waiting = _Waiting(iter(changes))
    for block in base:
        if waiting.key is None or waiting.key > order(line_path(last_line(block))):
            nesting.go_on(block)
            yield block
            continue
        lines = list(lines_of(block))
        end = order(line_path(lines[-1]))
        done = 0
        while waiting.key is not None and waiting.key <= end:
            place = bisect_left(lines, waiting.key, done, key=key)
            if place > done:
                yield nesting.go_on(b"".join(lines[done:place]))
            present = place < len(lines) and key(lines[place]) == waiting.key
            yield from _change(waiting, lines[place] if present else None, nesting, seen)
            done = place + present
        if done < len(lines):
            yield nesting.go_on(b"".join(lines[done:]))
    while waiting.key is not None:
        yield from _change(waiting, None, nesting, seen)


def _change(
    waiting: _Waiting[C], old: bytes | None, nesting: _Nesting, seen: Callable[[C, bytes | None], None]
) -> Iterator[bytes]:
    change = waiting.take()
    seen(change, old)
    if change.line is not None:
        yield nesting.go_on(change.line)
    elif old is None:
        raise IntegrityError(f"The changes remove {change.path!r}, which the base does not have.")


def key(line: bytes) -> bytes:
    """By what lines are in walk order."""
    return order(line_path(line))


def last_line(block: bytes) -> bytes:
    """Of a block of lines."""
    return block[block.rfind(b"\n", 0, -1) + 1 :]


class _Waiting(Generic[C]):
    """The change that comes next; its ``key`` in walk order is None when there are no more."""

    def __init__(self, changes: Iterator[C]) -> None:
        self._changes = changes
        self._change = next(changes, None)
        self.key = None if self._change is None else order(self._change.path)

    def take(self) -> C:
        """Go on to the change behind this one, which is returned."""
        change = self._change
        assert change is not None
        self._change = next(self._changes, None)
        key = None if self._change is None else order(self._change.path)
        if self.key is not None and key is not None and key <= self.key:
            raise IntegrityError(f"The changes are out of order behind {change.path!r}.")
        self.key = key
        return change


class _Nesting:
    """Whether each entry lies in a directory that was named before it.

    In walk order it is enough to look at the entry before: that is the directory itself, or something below it.
    """

    def __init__(self) -> None:
        self._last = b""

    def go_on(self, piece: bytes) -> bytes:
        """Look at where ``piece``, lines that are nested among themselves, joins what came before; returns it.

        Raises:
            IntegrityError: its first entry does not lie in a directory.
        """
        path = line_path(piece)
        parent = path.rpartition(b"/")[0]
        if parent:
            name, _, rest = self._last.partition(b"\t")
            before = unescape(name)
            if not (before.startswith(parent + b"/") or (before == parent and rest.startswith(b"d\t"))):
                raise IntegrityError(f"{path!r} does not lie in a directory of this manifest.")
        self._last = last_line(piece)
        return piece
