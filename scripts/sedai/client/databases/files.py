"""Dumps as files: whether one is complete, and whether two hold the same."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from sedai.client.progress import size
from sedai.core.errors import IntegrityError, SedaiError

_CHUNK = 1 << 20
_TAIL = 4096


def refuse_without_space(directory: Path, wanted: int) -> None:
    """Insist on ``wanted`` free bytes in ``directory``.

    Raises:
        SedaiError: there are less.
    """
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    if free < wanted:
        raise SedaiError(f"{directory} has {size(free)} free, this may need {size(wanted)}.", "Make room there.")


def ends_with(dump: Path, mark: bytes) -> None:
    """Insist that ``mark`` begins one of the last lines of ``dump``.

    Raises:
        IntegrityError: it does not: the dump broke off.
    """
    with dump.open("rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL))
        tail = stream.read()
    if not any(line.startswith(mark) for line in tail.splitlines()):
        raise IntegrityError(f"The dump broke off: it does not end with `{mark.decode()}`.")


def same_bytes(one: Path, other: Path, apart_from: slice = slice(0, 0)) -> bool:
    """Whether two files are equal, apart from the bytes at ``apart_from``, which lie in the first MiB."""
    if one.stat().st_size != other.stat().st_size:
        return False
    pairs = zip(_chunks(one, apart_from), _chunks(other, apart_from), strict=True)
    return all(left == right for left, right in pairs)


def same_lines(one: Path, other: Path, apart_from: tuple[bytes, ...]) -> bool:
    """Whether two text files have the same lines, apart from those that begin with one of ``apart_from``."""

    def lines(path: Path) -> Iterator[bytes]:
        with path.open("rb") as stream:
            yield from (line for line in stream if not line.startswith(apart_from))

    return all(left == right for left, right in itertools.zip_longest(lines(one), lines(other)))


def _chunks(path: Path, left_out: slice) -> Iterator[bytes]:
    with path.open("rb") as stream:
        first = stream.read(_CHUNK)
        yield first[: left_out.start] + first[left_out.stop :]
        while chunk := stream.read(_CHUNK):
            yield chunk
