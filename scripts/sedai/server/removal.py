"""Removing a tree whoever made it: however deep, whatever the modes of its directories, and never beyond it."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable
from pathlib import Path

from sedai.core import workers

# Fewer directories are removed before a process would have started.
_WORTH_WORKERS = 20
# Takes how many entries more are gone.
Gone = Callable[[int], None]
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def ignore(count: int) -> None:
    """A :data:`Gone` where nobody wants to know."""


def remove(root: Path, gone: Gone = ignore) -> None:
    """Remove the directory ``root`` and all below it; see :func:`empty`.

    Raises:
        OSError: something can't be removed.
    """
    empty(root, gone)
    root.rmdir()


def empty(root: Path, gone: Gone = ignore) -> None:
    """Remove all below the directory ``root``, and tell ``gone`` on the way.

    A directory's own directories are moved up below ``root`` before it goes: no recursion, three descriptors, however
    deep it is. Symlinks are removed, never followed.

    Raises:
        OSError: something can't be removed.
    """
    top = _enter(os.fsencode(root), None)
    try:
        _empty(top, workers.count(), gone)
    finally:
        os.close(top)


def _empty(top: int, crew: int, gone: Gone = ignore) -> None:
    while names := _names(top):
        directories = []
        for name, is_directory in names:
            if is_directory:
                directories.append(name)
            else:
                os.unlink(name, dir_fd=top)
        gone(len(names) - len(directories))
        for count in workers.spread(
            functools.partial(_remove_one, top), directories, crew if len(directories) > _WORTH_WORKERS else 0
        ):
            gone(count)


def _remove_one(top: int, name: bytes) -> int:
    """Remove a directory; how many entries are gone with it, which those that were moved up are not."""
    directory, gone = _enter(name, top), 1
    try:
        for inner, is_directory in _names(directory):
            if is_directory:
                os.close(_enter(inner, directory))  # one that can't be written to can't be moved
                _move_up(inner, directory, top)
            else:
                os.unlink(inner, dir_fd=directory)
                gone += 1
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=top)
    return gone


def _move_up(name: bytes, directory: int, top: int) -> None:
    try:
        os.rename(name, os.urandom(16).hex(), src_dir_fd=directory, dst_dir_fd=top)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        # No block for one more name, on a disk that this is to make room on: without the move then, by recursion.
        below = _enter(name, directory)
        try:
            _empty(below, 0)
        finally:
            os.close(below)
        os.rmdir(name, dir_fd=directory)


def _enter(name: bytes, directory: int | None) -> int:
    """A descriptor of the directory, made usable for its owner first."""
    place = os.open(name, _DIRECTORY, dir_fd=directory)
    try:
        mode = os.fstat(place).st_mode
        if mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{place}", 0o700)  # chmod by descriptor takes none of O_PATH
        return os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
    finally:
        os.close(place)


def _names(directory: int) -> list[tuple[bytes, bool]]:
    # What came since the descriptor was last at its beginning need not be told (readdir(3)), and is not on btrfs.
    os.lseek(directory, 0, os.SEEK_SET)
    with os.scandir(directory) as found:
        return [(os.fsencode(item.name), item.is_dir(follow_symlinks=False)) for item in found]
