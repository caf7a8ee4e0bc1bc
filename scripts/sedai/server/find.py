"""Find: which entries of the manifests have a name like this, or are these very paths."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from sedai.core import manifest
from sedai.core.errors import UsageError

LONGEST_PATTERN = 4096


def by_pattern(pattern: bytes) -> Callable[[bytes], bool]:
    """Whether a path (relative to the tree) fits the glob ``pattern``: with ``/`` as a whole, else by its last name.

    ``*`` stands for any bytes, ``/`` included. What fnmatch makes of it has only atomic groups, so the time that a match
    takes rises with the product of both lengths and no faster.

    Raises:
        UsageError: the pattern is empty or too long.
    """
    if not 0 < len(pattern) <= LONGEST_PATTERN:
        raise UsageError(f"A pattern has 1 to {LONGEST_PATTERN} bytes.")
    # Byte for byte: fnmatch itself would read a str as UTF-8.
    expression = re.compile(fnmatch.translate(pattern.decode("latin-1")).encode("latin-1")).match
    if b"/" in pattern:
        return lambda path: expression(b"/" + path) is not None
    return lambda path: expression(path.rpartition(b"/")[2]) is not None


def by_paths(paths: Sequence[bytes]) -> Callable[[bytes], bool]:
    """Whether a path is one of ``paths``."""
    return frozenset(paths).__contains__


def matching(lines: Iterable[bytes], fits: Callable[[bytes], bool]) -> Iterator[bytes]:
    """The manifest lines whose path fits."""
    return (line for line in lines if fits(manifest.line_path(line)))
