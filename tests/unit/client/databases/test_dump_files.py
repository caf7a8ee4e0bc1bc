"""Dumps as files: complete or broken off, the same or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from sedai.client.databases import files
from sedai.core.errors import IntegrityError

MIB = 1 << 20


@pytest.mark.parametrize(
    ("content", "ends"),
    [
        (b"x\n-- Done\n", True),
        (b"x\n-- Done on 2026-01-01\n\n", True),
        (b"-- Done", True),
        (b"x" * 10000 + b"\n-- Done\n", True),
        (b"", False),
        (b"x\n-- Don", False),
        (b"x -- Done\n", False),
        (b"-- Done\n" + b"x" * 10000, False),
    ],
)
def test_the_mark_begins_one_of_the_last_lines(content: bytes, ends: bool, tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(content)
    if ends:
        files.ends_with(path, b"-- Done")
    else:
        with pytest.raises(IntegrityError, match="broke off"):
            files.ends_with(path, b"-- Done")


@pytest.mark.parametrize("length", [0, 1, 100, MIB - 1, MIB, MIB + 1, 2 * MIB, 2 * MIB + 7])
def test_any_other_byte_is_found_apart_from_those_left_out(length: int, tmp_path: Path) -> None:
    one, other = tmp_path / "1", tmp_path / "2"
    content = bytearray(length)
    one.write_bytes(content)
    for place in sorted({0, 9, 10, 19, 20, length // 2, MIB - 1, MIB, length - 1}):
        if not 0 <= place < length:
            continue
        changed = bytearray(content)
        changed[place] = 1
        other.write_bytes(changed)
        assert not files.same_bytes(one, other)
        assert files.same_bytes(one, other, slice(10, 20)) is (10 <= place < 20)
    other.write_bytes(content)
    assert files.same_bytes(one, other) and files.same_bytes(one, other, slice(10, 20))
    other.write_bytes(content + b"x")
    assert not files.same_bytes(one, other, slice(10, 20))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b"a\n-- x 1\nb\n", b"a\n-- x 2\nb\n", True),
        (b"a\n-- x 1\n", b"a\n", True),
        (b"a\n", b"b\n", False),
        (b"a\nb\n", b"a\n", False),
        (b"", b"a", False),
        (b" -- x 1\n", b" -- x 2\n", False),
    ],
)
def test_lines_are_compared_apart_from_some(one: bytes, other: bytes, same: bool, tmp_path: Path) -> None:
    (tmp_path / "1").write_bytes(one)
    (tmp_path / "2").write_bytes(other)
    assert files.same_lines(tmp_path / "1", tmp_path / "2", (b"-- x ",)) is same
    assert files.same_lines(tmp_path / "2", tmp_path / "1", (b"-- x ",)) is same
