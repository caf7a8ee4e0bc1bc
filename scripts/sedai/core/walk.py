"""The walk that defines manifest order: depth first, names sorted as bytes."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterator


class Visit(enum.Enum):
    """What the walk does with something it found."""

    LEAVE_OUT = enum.auto()
    TAKE = enum.auto()
    TAKE_AND_ENTER = enum.auto()


Choose = Callable[[bytes, "os.DirEntry[bytes]", os.stat_result], Visit]
Failed = Callable[[bytes, OSError], None]


def walk(root: bytes, prefix: bytes, choose: Choose, failed: Failed) -> Iterator[tuple[bytes, os.stat_result]]:
    """Everything below the directory ``root`` as ``(path, lstat)``; ``path`` is the name below ``root`` behind ``prefix``.

    ``choose(path, entry, stat)`` is asked for everything found. ``failed(path, error)`` is told of each directory or
    entry that can't be read; such a directory itself has been yielded before.
    """
    stack = [(prefix, _listing(root, prefix, failed))]
    while stack:
        above, entries = stack[-1]
        entry = next(entries, None)
        if entry is None:
            stack.pop()
            continue
        path = above + b"/" + entry.name if above else entry.name
        try:
            stat = entry.stat(follow_symlinks=False)
        except OSError as error:
            failed(path, error)
            continue
        visit = choose(path, entry, stat)
        if visit is Visit.LEAVE_OUT:
            continue
        yield path, stat
        if visit is Visit.TAKE_AND_ENTER and entry.is_dir(follow_symlinks=False):
            stack.append((path, _listing(entry.path, path, failed)))


def everything(path: bytes, entry: os.DirEntry[bytes], stat: os.stat_result) -> Visit:
    """The choice that leaves nothing out."""
    return Visit.TAKE_AND_ENTER


def _listing(directory: bytes, path: bytes, failed: Failed) -> Iterator[os.DirEntry[bytes]]:
    try:
        with os.scandir(directory) as found:
            return iter(sorted(found, key=_name))
    except OSError as error:
        failed(path, error)
        return iter(())


def _name(entry: os.DirEntry[bytes]) -> bytes:
    return entry.name
