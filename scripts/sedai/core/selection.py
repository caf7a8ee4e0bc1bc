"""The entries of a manifest that lie at or below chosen paths: one pass in walk order, flat memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sedai.core import manifest


class Taken(NamedTuple):
    """A line of the manifest; ``chosen`` is false for a directory that only lies above a chosen path."""

    chosen: bool
    path: bytes
    line: bytes


class Selection:
    """``paths`` relative to the tree; the empty path chooses everything. :attr:`unmet`: those that no line has named yet."""

    def __init__(self, paths: Iterable[bytes]) -> None:
        wanted = sorted(set(paths), key=manifest.order)
        self.unmet = {path for path in wanted if path}
        self._everything = b"" in wanted
        self._outermost: list[bytes] = []
        self._above: set[bytes] = set()
        for path in wanted:
            if not self._outermost or not is_within(path, self._outermost[-1]):
                self._outermost.append(path)
                self._above.update(ancestors(path))

    def take(self, lines: Iterable[bytes]) -> Iterator[Taken]:
        """What is chosen of ``lines`` (in walk order), and the directories above; stops behind the last chosen path."""
        keys = [manifest.order(path) for path in self._outermost]
        place = 0
        for line in lines:
            path = manifest.line_path(line)
            if self._everything:
                self.unmet.discard(path)
                yield Taken(True, path, line)
                continue
            key = manifest.order(path)
            while place < len(keys) and key > keys[place] and not key.startswith(keys[place] + b"\0"):
                place += 1
            if place == len(keys):
                return
            if key >= keys[place]:
                self.unmet.discard(path)
                yield Taken(True, path, line)
            elif path in self._above:
                yield Taken(False, path, line)


def is_within(path: bytes, directory: bytes) -> bool:
    """Whether ``path`` is ``directory`` or lies below it; everything lies below the empty path."""
    return not directory or path == directory or path.startswith(directory + b"/")


def ancestors(path: bytes) -> Iterator[bytes]:
    """The directories above ``path``, outermost first."""
    parts = path.split(b"/")
    return (b"/".join(parts[:depth]) for depth in range(1, len(parts)))
