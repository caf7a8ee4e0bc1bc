"""The patterns of find: the whole path with a slash, the last name without, and no pattern that takes for ever."""

from __future__ import annotations

import time

import pytest

from sedai.core.errors import UsageError
from sedai.server import find


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        (b"notes.txt", b"home/user/notes.txt", True),
        (b"notes.txt", b"home/notes.txt/other", False),
        (b"notes", b"home/notes.txt", False),
        (b"*.txt", b"home/a.txt", True),
        (b"?.txt", b"home/ab.txt", False),
        (b"[!a].txt", b"b.txt", True),
        (b"[!a].txt", b"a.txt", False),
        (b"/home/*/a", b"home/x/y/a", True),  # * passes over / too
        (b"/home/a", b"home/a", True),
        (b"home/a", b"home/a", False),
        (b"*/a", b"a", True),
        (b"caf\xe9*", b"caf\xe9 \n", True),
        (b"caf?", "café".encode(), False),  # bytes, not letters
        ("café".encode(), "x/café".encode(), True),
        (b"[z-a]", b"z", False),
        (b"[", b"[", True),
        (b"(a|b)+$", b"(a|b)+$", True),
    ],
)
def test_patterns(pattern: bytes, path: bytes, fits: bool) -> None:
    assert find.by_pattern(pattern)(path) is fits


@pytest.mark.parametrize("pattern", [b"", b"x" * 4097])
def test_a_pattern_of_no_or_too_many_bytes_is_refused(pattern: bytes) -> None:
    with pytest.raises(UsageError, match="1 to 4096 bytes"):
        find.by_pattern(pattern)


@pytest.mark.parametrize("pattern", [b"*a" * 2000 + b"b", b"/" + b"*[ab]" * 800 + b"c", b"*?" * 2000])
def test_no_pattern_takes_for_ever(pattern: bytes) -> None:
    begun = time.monotonic()
    find.by_pattern(pattern)(b"a" * 4000)
    assert time.monotonic() - begun < 5


def test_matching_lines_come_as_they_are() -> None:
    lines = [b"a\tf\n", b"b\\n\tf\n", b"c\tf\n"]
    assert list(find.matching(lines, find.by_paths([b"b\n", b"c"]))) == lines[1:]
