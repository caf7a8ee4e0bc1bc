"""Dumps as files: complete or broken off, the same or not."""

from __future__ import annotations

import os
from collections import namedtuple
from pathlib import Path

import pytest

from sedai.client.databases import files
from sedai.core.errors import IntegrityError, SedaiError

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


@pytest.mark.parametrize(
    ("estimate", "expansion", "earlier", "wanted"),
    [
        (100, 1, 0, 100),
        (100, 2, 0, 200),
        (100, 2, 60, 100),
        (100, 2, 120, 180),
        (100, 2, 190, 200),
        (100, 2, 500, 500),
        (1000, 2, 60, 1000),
        (100, 1, 90, 100),
    ],
)
def test_the_last_dump_tells_how_large_the_next_may_be(
    estimate: int, expansion: int, earlier: int, wanted: int
) -> None:
    assert files.largest_dump(estimate, expansion, earlier) == wanted


@pytest.mark.parametrize(("disk", "kept"), [(0, 0), (20 * MIB, MIB), (20 << 30, 1 << 30), (4 << 40, 1 << 30)])
def test_a_disk_is_not_filled(disk: int, kept: int) -> None:
    assert files.reserve(disk) == kept


Disk = namedtuple("Disk", "f_bavail f_blocks f_frsize")


@pytest.mark.parametrize(("one", "other", "free", "fits"), [
    (50, 40, 100, True), (50, 40, 95, True), (50, 40, 94, False), (96, 0, 100, False), (0, 96, 100, False), (0, 0, 4, False),
])  # fmt: skip
def test_what_goes_to_one_disk_shares_its_room(
    one: int, other: int, free: int, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.setattr(os, "statvfs", lambda path: Disk(free * 10, 1000, MIB // 10))
    wanted = {tmp_path / "a": one * (MIB // 10) * 10, tmp_path / "b": other * (MIB // 10) * 10}
    if fits:
        files.refuse_without_space(wanted)
    else:
        with pytest.raises(SedaiError, match=r"free, this may need"):
            files.refuse_without_space(wanted)


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
