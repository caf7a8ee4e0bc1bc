"""Pulls: the rsync runs of a restore, for what was not brought without rsync, and what each of them names.

What is left is named entry by entry, and not too much at a time: rsync looks for each entry that arrives among all the names
that it was given, so that a server can't slip in anything that nobody asked for. Where much is left, a directory of which nothing
was there, and of which everything is to come, is named alone: rsync goes through it by itself, and passes over what is there.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sedai.client.placement import SENT, Action, Placement
from sedai.core import manifest

_NAMES_AT_A_TIME = 2000
# From more on it costs less to go through whole directories.
_MANY = 2000
_NEW = frozenset({Action.SEND, Action.BROUGHT})


@dataclass(frozen=True)
class Pull:
    """One run of rsync, from the directory ``top`` of the tree into the same of the target: ``names`` are relative to it."""

    names: list[bytes]
    top: bytes = b""
    recursive: bool = False

    def listed(self) -> Iterator[bytes]:
        """The names as rsync is to be given them."""
        # What stands before /./ is where the sender begins, and no part of the name.
        return (self.top + b"/./" + name if self.top else name for name in self.names)


def plan(placement: Placement, lost: Collection[bytes], left: int) -> Iterator[Pull]:
    """All runs, in order. ``lost`` is what the server has not; ``left``: so many entries are to be sent."""
    placement.leave_out(lost)
    directories = _whole(placement) if left > _MANY else []
    if directories:
        yield _from_the_top(directories)
    yield from _by_name(placement, lost, directories, linked=False)
    if placement.linked:
        yield from _by_name(placement, lost, directories, linked=True)


def _whole(placement: Placement) -> list[bytes]:
    """The outermost directories that come as a whole, as far as they have not come yet."""
    found: list[bytes] = []
    inside = b"\0"
    for action, line in placement.rows():
        path = manifest.line_path(line)
        if action not in _NEW or path.startswith(inside) or line.split(b"\t", 2)[manifest.KIND] != b"d":
            continue
        if placement.is_whole(path):
            found.append(path)
            inside = path + b"/"
    return found


def _from_the_top(directories: list[bytes]) -> Pull:
    top = os.path.commonpath([os.path.dirname(path) for path in directories])
    start = len(top) + 1 if top else 0
    return Pull([path[start:] for path in directories], top, recursive=True)


def _by_name(
    placement: Placement, lost: Collection[bytes], directories: list[bytes], *, linked: bool
) -> Iterator[Pull]:
    """What lies in none of ``directories``: the names of ``linked`` files in one piece, or all others in several.

    With each entry comes the directory that it lies in, where that is sent too: rsync then sees to it that it can be written to.
    """
    names: list[bytes] = []
    above: list[bytes] = []
    named: set[bytes] = set()
    inside = b"\0"
    outermost = iter([*directories, b""])
    coming = next(outermost)
    for action, line in placement.rows():
        path = manifest.line_path(line)
        if path == coming:
            inside, coming = path + b"/", next(outermost)
            continue
        if action not in SENT or path in lost or path.startswith(inside):
            continue
        while above and not path.startswith(above[-1] + b"/"):
            above.pop()
        is_directory = line.split(b"\t", 2)[manifest.KIND] == b"d"
        if is_directory:
            above.append(path)
        if linked is (path in placement.linked) and not (linked and is_directory):
            if not linked and len(names) >= _NAMES_AT_A_TIME:
                yield Pull(names)
                names, named = [], set()
            new = [directory for directory in above if directory not in named]
            named.update(new)
            names += new if is_directory else [*new, path]
    if names:
        yield Pull(names)


def make_way(root: bytes, pull: Pull) -> None:
    """Make the directories in which ``pull`` begins: nobody else may enter them until they have their own mode.

    Raises:
        OSError: one can't be made.
    """
    for name in pull.names:
        _make(root + b"/" + os.path.dirname(os.path.join(pull.top, name)))


def _make(directory: bytes) -> None:
    if not os.path.isdir(directory):
        _make(os.path.dirname(directory))
        os.mkdir(directory, 0o700)
