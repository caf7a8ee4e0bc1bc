"""The directory that a restore goes into: refused, in one sentence, where it can't be written to or holds something else."""

from __future__ import annotations

import os

from sedai.client.placement import Existing
from sedai.core import wire
from sedai.core.errors import UsageError

OTHERWISE = "add --keep-existing (what is there and differs stays, the rest comes back) or --overwrite (what differs is replaced)."


def check_target(root: bytes, unfinished: bool, existing: Existing) -> None:
    """Refuse a target that can't be written to, or that holds something else than this restore.

    Raises:
        UsageError: with the reason.
    """
    if not root:
        return
    shown_root = wire.text(root)
    if not os.path.lexists(root):
        _refuse_impossible(root, shown_root)
        return
    if not os.path.isdir(root):
        raise UsageError(f"{shown_root} is not a directory.", "Name a new directory with --to.")
    try:
        empty = not os.listdir(root)
    except OSError as error:
        raise UsageError(
            f"{shown_root} can't be read: {error.strerror}.", "Name another directory with --to."
        ) from error
    if not os.access(root, os.W_OK | os.X_OK):
        raise UsageError(f"{shown_root} can't be written to.", "Name another directory with --to.")
    if not empty and not unfinished and existing is Existing.REFUSE:
        raise UsageError(f"{shown_root} is not empty.", f"Name another directory, or {OTHERWISE}")


def _refuse_impossible(root: bytes, shown_root: str) -> None:
    try:
        os.lstat(root)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise UsageError(f"{shown_root:.80} can't be made: {error.strerror}.", "Name another one with --to.") from error
    above = os.path.dirname(root)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        raise UsageError(
            f"{shown_root} can't be made: {wire.text(above)} is not a directory.", "Name another one with --to."
        )
    if not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(
            f"{shown_root} can't be made: {wire.text(above)} can't be written to.", "Name another one with --to."
        )
