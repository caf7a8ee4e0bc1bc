"""Paths below one directory, opened name by name: a symlink on the way is never followed, whoever planted it."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def allow_deep_paths() -> None:
    """Let this process open as many files as it may: the usual limit of 1,024 is less than the levels a path can have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Beneath:
    """Descriptors of directories below ``root``; those on the way to the last path stay open, so walk order is cheap."""

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, _DIRECTORY)
        self._open: list[tuple[bytes, int]] = []
        self._at: bytes | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.forget()
        os.close(self._root)

    @property
    def device(self) -> int:
        """The file system of the root."""
        return os.fstat(self._root).st_dev

    def forget(self) -> None:
        """Close the directories on the way: some of them may be gone or others by now."""
        self._at = None
        self._keep(0)

    def parent(self, path: bytes) -> tuple[int, bytes]:
        """The directory that holds ``path``, as a descriptor for ``dir_fd``, and the name there.

        Raises:
            FileNotFoundError: a directory on the way is not there.
            NotADirectoryError: something on the way is no directory, be it a symlink to one, or the way leads up.
        """
        directory, _, name = path.rpartition(b"/")
        if name == b"..":
            raise _leads_up(path)
        if directory == self._at:
            return self._top, name
        self._at = None
        above = directory.split(b"/") if directory else []
        if b".." in above:
            raise _leads_up(path)
        depth = 0
        while depth < min(len(self._open), len(above)) and self._open[depth][0] == above[depth]:
            depth += 1
        self._keep(depth)
        for component in above[depth:]:
            self._open.append((component, self._enter(component)))
        self._at = directory
        return self._top, name

    def open(self, path: bytes, flags: int = os.O_RDONLY) -> int:
        """A descriptor of ``path`` itself, which is not followed either; it never blocks on a FIFO."""
        directory, name = self.parent(path)
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)

    def everything(self) -> Iterator[os.DirEntry[str]]:
        """All that lies below the root, in no order."""
        waiting = [b"."]
        while waiting:
            path = waiting.pop()
            directory = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                with os.scandir(directory) as items:
                    for item in items:
                        if item.is_dir(follow_symlinks=False):
                            waiting.append(path + b"/" + os.fsencode(item.name))
                        yield item
            finally:
                os.close(directory)

    def lstat(self, path: bytes) -> os.stat_result:
        """What ``path`` itself is."""
        directory, name = self.parent(path)
        return os.stat(name, dir_fd=directory, follow_symlinks=False)

    @property
    def _top(self) -> int:
        return self._open[-1][1] if self._open else self._root

    def _enter(self, component: bytes) -> int:
        try:
            return os.open(component, _DIRECTORY, dir_fd=self._top)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), component) from error
            raise

    def _keep(self, depth: int) -> None:
        while len(self._open) > depth:
            os.close(self._open.pop()[1])


def _leads_up(path: bytes) -> NotADirectoryError:
    return NotADirectoryError(errno.ENOTDIR, "The path leads up", path)
