"""Whose rights the server's programs have: the store's account's, whoever started them; root's only to read what is imported."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def become_owner(store: Path, state: Path | None, *, for_good: bool = True) -> None:
    """As root, go on as the account whose clients lie in ``store``, or that owns the directory ``state``.

    What root makes there the gate and cron could not use. Not ``for_good``: :func:`as_root` gives the rights back for a moment.
    """
    if os.geteuid() != 0:
        return
    # A store that is not there is for the watch to tell.
    candidates = [*(store.iterdir() if store.is_dir() else ()), *([state] if state else [])]
    owned = [path.stat() for path in candidates if path.is_dir() and path.stat().st_uid != 0]
    if owned:
        os.setgroups([])
        if for_good:
            os.setgid(owned[0].st_gid)
            os.setuid(owned[0].st_uid)
        else:
            os.setegid(owned[0].st_gid)
            os.seteuid(owned[0].st_uid)


@contextlib.contextmanager
def as_root() -> Iterator[None]:
    """Read with root's rights, where the program was started with them; nothing is to be made or changed meanwhile."""
    owner = os.geteuid()
    if os.getuid() != 0 or owner == 0:
        yield
        return
    os.seteuid(0)
    try:
        yield
    finally:
        os.seteuid(owner)
