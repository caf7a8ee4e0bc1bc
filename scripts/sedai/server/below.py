"""The directory below the delta, or below the base, in which a push begins: reached without following what was planted there."""

from __future__ import annotations

import contextlib
import os
import stat as st
from pathlib import Path

from sedai.core import wire
from sedai.core.beneath import Beneath
from sedai.core.errors import UsageError


def directory(tree: Path, top: bytes) -> Path | None:
    """The directory ``top`` of ``tree``; None where there is none, or a symlink on the way."""
    if not top:
        return tree
    try:
        with Beneath(tree) as beneath:
            is_one = st.S_ISDIR(beneath.lstat(top).st_mode)
    except OSError:
        return None
    return tree / os.fsdecode(top) if is_one else None


def made(tree: Path, top: bytes) -> Path:
    """The directory ``top`` of ``tree``, made where it is missing. What is given to those above comes by a push of its own.

    Raises:
        UsageError: something else is there.
    """
    above = top.split(b"/") if top else []
    with Beneath(tree) as beneath:
        for depth in range(1, len(above) + 1):
            with contextlib.suppress(FileExistsError, NotADirectoryError):
                parent, name = beneath.parent(b"/".join(above[:depth]))
                os.mkdir(name, 0o700, dir_fd=parent)
    found = directory(tree, top)
    if found is None:  # in rsync's words, by which a client knows that it has to begin anew
        raise UsageError(f"could not make way for the directory {wire.text(top)}: something else arrived there before.")
    return found
