"""Dumps as files: whether one is complete, and whether two hold the same."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from sedai.core.errors import IntegrityError, SedaiError
from sedai.core.progress import size

_CHUNK = 1 << 20
_TAIL = 4096


def refuse_without_space(wanted: Mapping[Path, int]) -> None:
    """Insist that there is room for so many bytes in each directory; those of one file system share it.

    A reserve stays free: the server's own files, which must be able to grow, may be on the same disk.

    Raises:
        SedaiError: there is not enough.
        OSError: a directory can't be looked at.
    """
    shared: dict[int, int] = {}
    for directory, more in wanted.items():
        device = directory.stat().st_dev
        shared[device] = shared.get(device, 0) + more
        found = os.statvfs(directory)
        free, needed = found.f_bavail * found.f_frsize, shared[device] + reserve(found.f_blocks * found.f_frsize)
        if free < needed:
            raise SedaiError(f"{directory} has {size(free)} free, this may need {size(needed)}.", "Make room there.")


def reserve(disk: int) -> int:
    """What is to stay free of a disk of so many bytes: a twentieth, but no more than 1 GiB."""
    return min(disk // 20, 1 << 30)


def largest_dump(estimate: int, expansion: int, earlier: int) -> int:
    """How many bytes a dump may have, where ``estimate`` are in the database, ``expansion`` times as many may come of them.

    The last dump, of ``earlier`` bytes where there is one, tells how much does come of them.
    """
    most = estimate * expansion
    return max(estimate, earlier, min(most, earlier * 3 // 2)) if earlier else most


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
