"""Digests of what is stored, whoever computes them."""

from __future__ import annotations

import ctypes
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from sedai.server import stored


@pytest.fixture(autouse=True, params=["installed", "not installed", "another"], scope="module")
def library(request: pytest.FixtureRequest) -> Iterator[str]:
    """The fast library, as far as this machine has it, none, or one that lacks what is asked for."""

    def missing(name: str) -> object:
        if request.param == "another":
            return object()
        raise OSError(f"{name}: cannot open shared object file")

    with pytest.MonkeyPatch.context() as patch:
        if request.param != "installed":
            patch.setattr(ctypes, "CDLL", missing)
        stored._fast_crc32.cache_clear()
        yield request.param
    stored._fast_crc32.cache_clear()


@given(st.lists(st.binary(max_size=200)))
def test_a_checksum_goes_on_from_piece_to_piece(library: str, pieces: list[bytes]) -> None:
    found = expected = 0
    for piece in pieces:
        found, expected = stored._fast_crc32()(piece, found), zlib.crc32(piece, expected)
        assert found == expected
    assert found == zlib.crc32(b"".join(pieces))


def test_who_computes_it(library: str) -> None:
    try:
        ctypes.CDLL("libdeflate.so.0").libdeflate_crc32  # noqa: B018
    except (OSError, AttributeError):
        assert stored._fast_crc32() is zlib.crc32
    else:
        assert stored._fast_crc32() is not zlib.crc32


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (5 << 20) + 7])
@pytest.mark.parametrize("expected", [None, 0, 1 << 30])
def test_a_file_of_any_size_is_read_whole(tmp_path: Path, size: int, expected: int | None) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        found = stored.digest_open(descriptor, size if expected is None else expected)
    finally:
        os.close(descriptor)
    assert found == (b"%08x" % zlib.crc32(content), xxhash.xxh3_128_hexdigest(content).encode(), size)
