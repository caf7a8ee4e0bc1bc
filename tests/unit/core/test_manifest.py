"""The manifest: every name survives it, and what was written reads back."""

from __future__ import annotations

import contextlib
import gzip
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedai.core import manifest
from sedai.core.errors import IntegrityError
from sedai.core.manifest import Entry

names = st.binary(min_size=1, max_size=255).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b".."))
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)
numbers = st.integers(min_value=-(2**63), max_value=2**63 - 1)
counts = st.integers(min_value=0, max_value=2**63 - 1)
digests = st.sampled_from([b"-", b"deadbeef", b"0" * 32])
entries = st.builds(
    Entry,
    path=paths,
    kind=st.sampled_from("fdlpcb"),
    size=counts,
    mtime_ns=numbers,
    mode=st.integers(min_value=0, max_value=0o7777),
    uid=counts,
    gid=counts,
    nlink=counts,
    inode=counts,
    ctime_ns=numbers,
    crc32=digests,
    xxh128=digests,
    target=st.binary(max_size=40).filter(lambda target: 0 not in target),
)


def entry(path: bytes, **changes: object) -> Entry:
    """A plain file's entry."""
    plain = Entry(path, "f", 5, 1, 0o644, 0, 0, 1, 7, 2, b"01234567", b"0" * 32, b"")
    return plain._replace(**changes)  # type: ignore[arg-type]


@given(entries)
def test_a_line_holds_every_entry(value: Entry) -> None:
    line = manifest.encode(value)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert manifest.decode(line) == value
    assert manifest.line_path(line) == value.path


@given(st.lists(paths, unique=True, max_size=30))
def test_order_is_depth_first_with_names_as_bytes(given_paths: list[bytes]) -> None:
    by_key = sorted(given_paths, key=manifest.order)
    assert by_key == sorted(given_paths, key=lambda path: path.split(b"/"))


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"a\tf\n",
        b"a\tx\t5\t1\t644\t0\t0\t1\t7\t2\t-\t-\t\n",
        b"a\tf\tfive\t1\t644\t0\t0\t1\t7\t2\t-\t-\t\n",
        b"../a\tf\t5\t1\t644\t0\t0\t1\t7\t2\t-\t-\t\n",
        b"/a\tf\t5\t1\t644\t0\t0\t1\t7\t2\t-\t-\t\n",
        b"a//b\tf\t5\t1\t644\t0\t0\t1\t7\t2\t-\t-\t\n",
        b"a/./b\tf\t5\t1\t644\t0\t0\t1\t7\t2\t-\t-\t\n",
        b"a\tf\t5\t1\t999\t0\t0\t1\t7\t2\t-\t-\t\n",
        b"a\tf\t5\t1\t644\t0\t0\t1\t7\t2\t-\t-\t\textra\n",
    ],
)
def test_a_damaged_line_is_refused(line: bytes) -> None:
    with pytest.raises(IntegrityError, match="damaged"):
        manifest.decode(line)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_entry_or_refused(line: bytes) -> None:
    try:
        value = manifest.decode(line)
    except IntegrityError:
        return
    assert manifest.is_safe(value.path)


def write(path: Path, lines: list[bytes]) -> manifest.Totals:
    """A stored manifest of ``lines``."""
    with manifest.Writer(path) as writer:
        for line in lines:
            writer.add(line)
        return writer.totals


def test_a_stored_manifest_reads_back_with_its_totals(tmp_path: Path) -> None:
    lines = [manifest.encode(entry(b"a")), manifest.encode(entry(b"d", kind="d", size=0))]
    written = write(tmp_path / "m", lines)
    assert written.entries == 2
    assert (written.files, written.bytes) == (1, 5)
    assert list(manifest.read(tmp_path / "m")) == lines
    assert manifest.totals(tmp_path / "m") == written
    assert manifest.sha256(tmp_path / "m") == written.sha256


@given(st.lists(entries, max_size=30))
def test_counts_are_those_of_the_entries(values: list[Entry]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        written = write(Path(directory) / "m", list(map(manifest.encode, values)))
    files = [value for value in values if value.kind == "f"]
    assert (written.entries, written.files) == (len(values), len(files))
    assert written.bytes == sum(value.size for value in files)


@pytest.mark.parametrize("level", [0, 1])
def test_a_long_manifest_comes_in_blocks_of_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    monkeypatch.setattr(manifest, "_BLOCK_BYTES", 100)
    lines = [manifest.encode(entry(b"name" * length)) for length in (1, 2, 60, 1, 3, 90, 1)]
    with manifest.Writer(tmp_path / "m", compresslevel=level) as writer:
        writer.add(b"".join(lines[:3]))
        for line in lines[3:]:
            writer.add(line)
        written = writer.totals
    blocks = list(manifest.blocks(tmp_path / "m"))
    assert len(blocks) > 3
    assert all(block.endswith(b"\n") for block in blocks)
    assert b"".join(blocks) == b"".join(lines)
    assert list(manifest.read(tmp_path / "m")) == lines
    assert manifest.totals(tmp_path / "m") == written


def test_another_manifest_than_the_one_that_was_sealed_is_refused(tmp_path: Path) -> None:
    lines = [manifest.encode(entry(b"a"))]
    digest = write(tmp_path / "m", lines).sha256
    assert list(manifest.proven(tmp_path / "m", digest)) == lines
    write(tmp_path / "m", [manifest.encode(entry(b"a", size=6))])
    with pytest.raises(IntegrityError, match="not the one that was sealed"):
        list(manifest.proven(tmp_path / "m", digest))


def test_equal_manifests_are_equal_files(tmp_path: Path) -> None:
    lines = [manifest.encode(entry(b"a"))]
    write(tmp_path / "one", lines)
    write(tmp_path / "two", lines)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not gzip",
        gzip.compress(manifest.HEADER + b"cut off", mtime=0),
        gzip.compress(b"#other 1\n", mtime=0),
        gzip.compress(manifest.HEADER, mtime=0)[:-6],
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(IntegrityError):
        list(manifest.read(tmp_path / "m"))


def test_whatever_bit_of_a_manifest_flips_it_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "m"
    with manifest.Writer(path) as writer:
        for number in range(30):
            writer.add(manifest.encode(entry(b"file %d" % number)))
        sha256 = writer.totals.sha256
    whole = path.read_bytes()
    lines = list(manifest.read(path))
    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            with contextlib.suppress(IntegrityError):
                # A few bits of gzip's own mean nothing.
                assert b"".join(manifest.proven(path, sha256)) == b"".join(lines)
            with contextlib.suppress(IntegrityError):
                assert manifest.totals(path).entries == 30


def test_names_of_one_inode_share_a_group() -> None:
    assert entry(b"a").link_group is None
    assert entry(b"a", nlink=2).link_group == entry(b"b", nlink=2).link_group
    assert entry(b"a", nlink=2).link_group != entry(b"b", nlink=2, inode=8).link_group
    assert entry(b"d", kind="d", nlink=2).link_group is None
