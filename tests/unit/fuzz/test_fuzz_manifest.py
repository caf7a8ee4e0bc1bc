"""Manifests and lists of changes of any bytes: proper entries or an IntegrityError, and never without an end."""

from __future__ import annotations

import contextlib
import gzip
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fuzzing import refusal
from hypothesis import example, given
from hypothesis import strategies as st

from sedai.core import manifest, wire
from sedai.core.errors import ExitCode, IntegrityError, SedaiError
from sedai.core.generation import parse_record
from sedai.core.manifest import Entry
from sedai.core.merge import merge
from sedai.core.wire import Change

PROPER = manifest.encode(Entry(b"a", "f", 5, 7, 0o644, 1, 2, 1, 10, 20, b"c" * 8, b"d" * 32, b""))
# A line of thirteen fields, any of which may be anything.
fields = st.binary(max_size=12).map(lambda field: field.replace(b"\t", b"").replace(b"\n", b""))
lines = st.one_of(
    st.lists(fields, min_size=13, max_size=13).map(lambda values: b"\t".join(values) + b"\n"),
    st.tuples(st.integers(0, 12), fields).map(
        lambda chosen: b"\t".join([*PROPER[:-1].split(b"\t")[: chosen[0]], chosen[1],
                                   *PROPER[:-1].split(b"\t")[chosen[0] + 1 :]]) + b"\n"
    ),
    st.just(PROPER),
    st.binary(max_size=80),
)  # fmt: skip


@contextlib.contextmanager
def stored(content: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "manifest"
        path.write_bytes(content)
        yield path


def read_all(path: Path) -> None:
    """Everything that reads a stored manifest that nobody has proven yet."""
    readers: list[Callable[[], object]] = [
        lambda: manifest.totals(path),
        lambda: list(manifest.proven(path, "0" * 64)),
        lambda: list(manifest.read(path)),
    ]
    for reader in readers:
        refused = refusal(reader)
        assert refused is None or (type(refused) is IntegrityError and refused.exit_code is ExitCode.NOT_DONE)
    try:
        proven = manifest.totals(path).sha256
    except IntegrityError:
        return
    # What could be counted can be read by all that follow, line by line.
    read = list(manifest.lines(manifest.proven(path, proven)))
    for line in read:
        manifest.line_path(line)
        with contextlib.suppress(IntegrityError):
            assert manifest.encode(manifest.decode(line))
    for changes in ([], [Change(b"a", PROPER), Change(b"b", None)]):
        with contextlib.suppress(IntegrityError):
            list(merge(manifest.proven(path, proven), changes))


@given(st.binary(max_size=300))
@example(b"")
@example(b"\x1f\x8b")
@example(gzip.compress(manifest.HEADER, mtime=0) + b"\0" * 100)
@example(gzip.compress(manifest.HEADER, mtime=0) + b"x")
@example(gzip.compress(manifest.HEADER, mtime=0)[:-1])
@example(gzip.compress(manifest.HEADER + PROPER * 100, mtime=0)[:60] + b"\xff" * 40)
@example(gzip.compress(manifest.HEADER, mtime=0).replace(b"\x08", b"\x09", 1))
def test_a_file_of_any_bytes(content: bytes) -> None:
    with stored(content) as path:
        read_all(path)


@given(st.lists(lines, max_size=6).map(b"".join))
@example(b"\n")
@example(b"x")
@example(b"x\n")
@example(b"a\tf\tnine\n")
@example(b"a\tf\n")
@example(PROPER[:-1])
@example(b"a\tf\t" + b"9" * 5000 + b"\t1\t1\t1\t1\t1\t1\t1\t-\t-\t\n")
@example(b"a\tf\t-1\t1\t9\t1\t1\t1\t1\t1\t-\t-\t\n")
@example(b"\\\t\\\n")
@example(b"x" * 100_000 + b"\n")
def test_whole_to_gzip_and_any_lines(body: bytes) -> None:
    with stored(gzip.compress(manifest.HEADER + body, mtime=0)) as path:
        read_all(path)


def test_a_line_without_an_end_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A gigabyte of one line takes a megabyte on the disk."""
    with gzip.open(tmp_path / "m", "wb", compresslevel=1) as stream:
        stream.write(manifest.HEADER)
        for _ in range(256):
            stream.write(b"x" * (1 << 20))
    with pytest.raises(IntegrityError, match="damaged at"):
        manifest.totals(tmp_path / "m")
    with pytest.raises(IntegrityError, match="damaged at"):
        next(manifest.proven(tmp_path / "m", "0" * 64))


@given(st.one_of(st.binary(max_size=100), lines))
@example(b"")
@example(b"a\tf\t\xd9\xa3\t1\t1\t1\t1\t1\t1\t1\t-\t-\t\n")
@example(b"a\tf\t1_0\t1\t1\t1\t1\t1\t1\t1\t-\t-\t\n")
@example(b"a\t\xc3\t1\t1\t1\t1\t1\t1\t1\t1\t-\t-\t\n")
@example(b"a\tf\t1\t1\t-7\t1\t1\t1\t1\t1\t-\t-\t\n")
def test_a_line_of_any_bytes(line: bytes) -> None:
    try:
        entry = manifest.decode(line)
    except IntegrityError:
        return
    assert manifest.decode(manifest.encode(entry)) == entry


@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.tuples(st.sampled_from([b"+", b"~", b"-", b".", b""]), lines), max_size=5).map(
            lambda pairs: b"".join(mark + line for mark, line in pairs) + wire.CHANGES_END
        ),
    )
)
@example(b".\n")
@example(b"")
@example(b"-\n.\n")
@example(b"-/\n.\n")
@example(b"+\n.\n")
@example(b"-" + b"x" * 70_000 + b"\n.\n")
def test_changes_of_any_bytes(content: bytes) -> None:
    changes: list[wire.Change] = []
    refused = refusal(lambda: changes.extend(wire.read_changes(io.BytesIO(content))))
    assert refused is None or refused.exit_code is ExitCode.NOT_DONE
    assert all(manifest.is_safe(change.path) for change in changes)


@given(st.binary(max_size=100))
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"1" + b"0" * 5000)
@example(b"\xff")
@example(b'"\\ud800"')
def test_an_object_of_any_bytes(line: bytes) -> None:
    for read in (wire.read_object, parse_record):
        with contextlib.suppress(SedaiError):
            read(line)
