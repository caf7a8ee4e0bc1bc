"""The hard-link farm: the base's tree again, every file linked, every directory fresh."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat as st
from collections.abc import Iterator
from pathlib import Path

from sedai.core import manifest
from sedai.server.stored import copy_attributes


def lay(base_tree: Path, base_lines: Iterator[bytes], farm: Path) -> tuple[int, list[bytes]]:
    """Link everything that the base manifest names from ``base_tree`` into the empty directory ``farm``.

    Each link is made and checked by itself, so none is lost silently (rsync and ``cp`` copy where they can't link).

    Returns:
        How many entries were laid, and the paths that the base should have but has not.
    """
    source_root, target_root = os.fsencode(base_tree), os.fsencode(farm)
    laid = 0
    missing: list[bytes] = []
    open_directories: list[tuple[bytes, int]] = []
    for line in base_lines:
        entry_path, kind, _, mtime = line.split(b"\t", 4)[:4]
        path = manifest.unescape(entry_path)
        while open_directories and not path.startswith(open_directories[-1][0] + b"/"):
            _close(target_root, *open_directories.pop())
        source, target = source_root + b"/" + path, target_root + b"/" + path
        try:
            if kind == b"d":
                if not st.S_ISDIR(os.lstat(source).st_mode):
                    raise NotADirectoryError(source)
                os.mkdir(target, 0o700)
                open_directories.append((path, int(mtime)))
                copy_attributes(source, target)
            else:
                _link(source, target)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            # Gone, or (a directory can't be linked) replaced by something else.
            missing.append(path)
            continue
        laid += 1
    while open_directories:
        _close(target_root, *open_directories.pop())
    return laid, missing


def _link(source: bytes, target: bytes) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        # ext4 allows 65,000 names for one inode; a fresh copy starts the next 65,000.
        if error.errno != errno.EMLINK:
            raise
        shutil.copy2(source, target, follow_symlinks=False)


def _close(root: bytes, path: bytes, mtime_ns: int) -> None:
    # A directory that the base has lost was told as missing.
    with contextlib.suppress(FileNotFoundError):
        set_mtime(root + b"/" + path, mtime_ns)


def set_mtime(path: bytes, mtime_ns: int) -> None:
    """Set the modification time of ``path`` itself, symlinks included."""
    os.utime(path, ns=(mtime_ns, mtime_ns), follow_symlinks=False)
