"""Reading: the bytes of small files of a generation, one behind the other, for a restore that has the manifest for all the rest.

A restore asks for paths, one on a line, escaped as in a manifest. The answer to each is one line, in the same order:

- a number, and behind the line so many bytes: a file, of which everything else is in the manifest,
- ``/``: a directory, of which everything is in the manifest,
- ``-``: what only rsync can bring: it is large, has attributes of its own (ACLs among them), or can't be read.
"""

from __future__ import annotations

import os
import stat as st
from collections.abc import Iterator
from typing import IO

from sedai.core import manifest, prefetch, wire
from sedai.core.beneath import Beneath
from sedai.core.errors import UsageError
from sedai.server.stored import STAT_ATTRIBUTE

_BLOCK_BYTES = 1 << 17
_OWN = os.fsdecode(STAT_ATTRIBUTE)
_DIRECTORY, _OTHERWISE = wire.READ_DIRECTORY, wire.READ_OTHERWISE


def answers(tree: Beneath, requests: IO[bytes]) -> Iterator[bytes]:
    """The answer to each path on ``requests``, many together.

    Raises:
        UsageError: a line is no path of a tree.
    """
    block: list[bytes] = []
    size = 0

    for _, descriptor in prefetch.opened(_paths(requests), lambda path: prefetch.begun(lambda: tree.open(path))):
        block += _answer(descriptor)
        size += len(block[-1])
        if size > _BLOCK_BYTES or len(block) > _BLOCK_BYTES >> 6:
            yield b"".join(block)
            block, size = [], 0
    yield b"".join(block)


def _paths(requests: IO[bytes]) -> Iterator[bytes]:
    while line := requests.readline(wire.LONGEST_LINE):
        path = manifest.unescape(line[:-1])
        if line[-1:] != b"\n" or not manifest.is_safe(path):
            raise UsageError(f"Not a path of a tree: {line[:80]!r}.")
        yield path


def _answer(descriptor: int | None) -> tuple[bytes, ...]:
    if descriptor is None:
        return (_OTHERWISE,)
    try:
        stat = os.fstat(descriptor)
        if any(name != _OWN and name.startswith("user.") for name in os.listxattr(descriptor)):
            return (_OTHERWISE,)
        if st.S_ISDIR(stat.st_mode):
            return (_DIRECTORY,)
        if not st.S_ISREG(stat.st_mode) or stat.st_size > wire.READ_MOST_BYTES:
            return (_OTHERWISE,)
        content = os.read(descriptor, stat.st_size)  # a buffer of more would take longer to make than to fill
    except OSError:
        return (_OTHERWISE,)
    return b"%d\n" % len(content), content
