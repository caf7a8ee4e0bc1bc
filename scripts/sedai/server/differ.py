"""How an old snapshot differs from the generation that was made of the one before it. Pure functions over streams of lines."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from typing import NamedTuple

from sedai.core import manifest


class Difference(NamedTuple):
    """A path whose entry is new or another one, or gone (None). ``replaces``: the base has something of this name."""

    path: bytes
    entry: manifest.Entry | None
    replaces: bool


def differences(
    entries: Callable[[], Iterable[manifest.Entry]], base: Callable[[], Iterator[bytes]]
) -> Iterator[Difference]:
    """What differs, in walk order; both are read twice.

    What is known by the same inode, time, size, mode and owner under the same name is the same file, and stays. Where one
    name of an inode differs all of them do: stored without the others it would be a file of its own.
    """
    apart = (one.entry for one in _differ(entries(), base(), frozenset()))
    groups = {entry.inode for entry in apart if entry is not None and entry.nlink > 1}
    return _differ(entries(), base(), groups)


def _differ(entries: Iterable[manifest.Entry], base: Iterator[bytes], groups: Container[int]) -> Iterator[Difference]:
    line = next(base, None)
    for entry in entries:
        key = manifest.order(entry.path)
        while line is not None and manifest.order(manifest.line_path(line)) < key:
            yield Difference(manifest.line_path(line), None, replaces=True)
            line = next(base, None)
        present = line is not None and manifest.line_path(line) == entry.path
        same = present and line is not None and _signature(line) == _signature(manifest.encode(entry))
        if not same or (entry.nlink > 1 and entry.inode in groups):
            yield Difference(entry.path, entry, present)
        if present:
            line = next(base, None)
    while line is not None:
        yield Difference(manifest.line_path(line), None, replaces=True)
        line = next(base, None)


def _signature(line: bytes) -> bytes:
    """A line up to the ctime: all but the digests and the target."""
    return line.rsplit(b"\t", 3)[0]
