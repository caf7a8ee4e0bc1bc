"""What two versions of a big file have in common. tests/faults tries it on file systems with reflinks."""

from __future__ import annotations

import errno
import os
import random
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sealing import put, sealed

from sedai.core import manifest
from sedai.core.beneath import Beneath
from sedai.server import sharing
from sedai.server.arrived import Identity
from sedai.server.sharing import BIG, LEAST, Sharing, common, estimate
from sedai.server.store import ClientStore

BLOCK = 4096
PIECE = LEAST // BLOCK
MIB = 1 << 20
FICLONERANGE, FIDEDUPERANGE, XFS_GEOMETRY = 0x4020940D, 0xC0189436, 0x80705864
BYTES = random.Random(4)  # noqa: S311  not for secrets


@contextmanager
def opened(directory: Path, before: bytes, after: bytes) -> Iterator[tuple[int, int]]:
    """Descriptors of two files."""
    (directory / "before").write_bytes(before)
    (directory / "after").write_bytes(after)
    with (directory / "before").open("rb") as one, (directory / "after").open("rb") as other:
        yield one.fileno(), other.fileno()


def spell(blocks: str) -> bytes:
    """A file of blocks, each of one letter; ``0`` is a block of zeros."""
    return b"".join(bytes(BLOCK) if letter == "0" else letter.encode() * BLOCK for letter in blocks)


def naive(before: str, after: str) -> list[tuple[int, int]]:
    """Runs of the same letters that are long enough."""
    marks = "".join("=" if one == other != "0" else " " for one, other in zip(before, after, strict=False))
    found, at = [], 0
    for run in marks.replace(" ", " |").replace("=|", "=").split("|"):
        length = run.count("=")
        if length >= PIECE:
            found.append((at * BLOCK, length * BLOCK))
        at += len(run)
    return found


def versions(parts: list[tuple[str, str, int]], short: int) -> tuple[str, str]:
    """Two files as :func:`spell` takes them: of each part its letters and how often; the second without so many at its end."""
    before, after = ("".join(part[which] * part[2] for part in parts) for which in (0, 1))
    return before, after[: len(after) - short]


PARTS = st.lists(
    st.tuples(st.sampled_from("ab0"), st.sampled_from("ab0"), st.sampled_from([1, PIECE - 1, PIECE, 2 * PIECE])),
    max_size=8,
)


@settings(deadline=None)
@given(PARTS, st.integers(0, 2), st.booleans())
def test_runs_are_those_of_a_comparison_block_by_block(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[str, str, int]], short: int, more: bool
) -> None:
    before, after = versions(parts, short)
    with opened(tmp_path_factory.mktemp("runs"), spell(before), spell(after) + b"a" * more) as (stored, arrived):
        assert list(common(stored, arrived, BLOCK)) == naive(before, after)


def test_a_part_of_a_block_is_not_shared(tmp_path: Path) -> None:
    content = BYTES.randbytes(LEAST + 100)
    with opened(tmp_path, content, content) as (stored, arrived):
        assert list(common(stored, arrived, BLOCK)) == [(0, LEAST)]
    with opened(tmp_path, content, content[: LEAST - 1]) as (stored, arrived):
        assert list(common(stored, arrived, BLOCK)) == []


@pytest.mark.parametrize(
    "before, after, about",
    [
        (b"x" * 64 * MIB, b"x" * 64 * MIB, 64 * MIB),
        (b"x" * 64 * MIB, b"y" * 64 * MIB, 0),
        (b"x" * 64 * MIB, b"y" * 32 * MIB + b"x" * 32 * MIB, 32 * MIB),
        (bytes(64 * MIB), bytes(64 * MIB), 0),
        (b"x" * (MIB - 1), b"x" * MIB, 0),
    ],
)
def test_an_estimate(tmp_path: Path, before: bytes, after: bytes, about: int) -> None:
    with opened(tmp_path, before, after) as (stored, arrived):
        assert estimate(stored, arrived) == about


def test_an_estimate_looks_where_there_is_something(tmp_path: Path) -> None:
    """In a sparse file: not in the holes, which have nothing to share."""
    for name in ("before", "after"):
        with (tmp_path / name).open("wb") as stream:
            for number in range(0, 64, 4):
                stream.seek(number * MIB)
                stream.write(b"x" * 2 * LEAST)
            stream.truncate(64 * MIB)
    with (tmp_path / "before").open("rb") as one, (tmp_path / "after").open("rb") as other:
        assert 16 * LEAST < estimate(one.fileno(), other.fileno()) <= 32 * LEAST


@pytest.fixture
def store(tmp_path: Path) -> ClientStore:
    """A generation with a big file and a small one."""
    made = ClientStore(tmp_path / "laptop")
    sealed(made, put(made, {"s/big": OLD, "s/small": b"x" * (BIG - 1)}), 3)
    return made


OLD = BYTES.randbytes(2 * BIG)
NEW = BYTES.randbytes(LEAST) + OLD[LEAST:]


def spared(store: ClientStore, files: dict[str, bytes]) -> int:
    """Seal ``files``; how many bytes are shared, or about how many could be where these tests have no reflinks."""
    record = sealed(store, put(store, files), 3)
    assert record.new_bytes + record.shared_bytes == sum(map(len, files.values()))
    newest = store.newest()
    assert newest is not None
    assert all((store.tree(newest) / name).read_bytes() == content for name, content in files.items())
    return record.shared_bytes + record.shareable_bytes


@pytest.mark.parametrize(
    "files, least",
    [
        ({"s/big": NEW}, len(OLD) - BIG),
        ({"s/big": NEW + b"a line more"}, len(OLD) - BIG),
        ({"s/big": BYTES.randbytes(2 * BIG)}, 0),
        ({"s/small": b"x" * (BIG - 1)}, 0),
        ({"s/small": OLD}, 0),
        ({"s/big": OLD[: BIG - 1]}, 0),
    ],
)
def test_only_big_files_that_were_big_share(store: ClientStore, files: dict[str, bytes], least: int) -> None:
    found = spared(store, files)
    assert found >= least
    assert bool(found) == bool(least)


def test_what_is_new_has_nothing_to_share(tmp_path: Path) -> None:
    store = ClientStore(tmp_path / "laptop")
    record = sealed(store, put(store, {"s/big": OLD}), 2)
    assert record.shared_bytes == record.shareable_bytes == 0


def arrive(store: ClientStore) -> tuple[bytes, Path, Path]:
    """Another version of the big file in the delta: its line, its place, and the tree of the base."""
    (line,) = [change.line for change in put(store, {"s/big": NEW}) if change.line and b"big" in change.line]
    line = manifest.encode(manifest.decode(line)._replace(crc32=b"%08x" % zlib.crc32(NEW)))
    base = store.base()
    assert base is not None
    return line, store.delta / "s/big", store.tree(base)


def clone(copy: int, asked: int, request: bytes) -> int:
    """What FICLONERANGE does on btrfs, where these tests have no reflinks."""
    if asked != FICLONERANGE:
        raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")
    stored, offset, length, place = struct.unpack("=qQQQ", request)
    return os.pwrite(copy, os.pread(stored, length, offset), place)


class Xfs:
    """What XFS answers, where these tests have none; after so many ``calls`` it ``fails``.

    ``runs``: what it was asked to share, and whether it was the same.
    """

    def __init__(self, fails: int = 0, calls: int = 0) -> None:
        self.runs: list[tuple[int, int, bool]] = []
        self._fails = fails
        self._calls = calls

    def ioctl(self, descriptor: int, asked: int, request: bytearray) -> int:
        """Compare, and share nothing."""
        if asked == XFS_GEOMETRY:
            return 0
        assert asked == FIDEDUPERANGE
        offset, length, count, _, _, arrived, place, _, _, _ = struct.unpack("=QQHHIqQQiI", request)
        assert (count, place) == (1, offset)
        assert offset % BLOCK == length % BLOCK == 0
        same = os.pread(descriptor, length, offset) == os.pread(arrived, length, offset)
        assert len(os.pread(arrived, length, offset)) == length  # neither file is as long as that
        self.runs.append((offset, length, same))
        status = -self._fails if self._fails and len(self.runs) > self._calls else int(not same)
        request[:] = struct.pack("=QQHHIqQQiI", offset, length, 1, 0, 0, arrived, place, length * same, status, 0)
        return 0


def test_what_is_shared_is_not_new(store: ClientStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing.fcntl, "ioctl", clone)
    assert spared(store, {"s/big": NEW}) == len(OLD) - LEAST
    newest = store.newest()
    assert newest is not None
    record = store.record(newest)
    assert (record.new_bytes, record.shared_bytes, record.shareable_bytes) == (LEAST, len(OLD) - LEAST, 0)


@pytest.mark.parametrize("where", ["delta", "base"])
@pytest.mark.parametrize("planted", ["symlink", "fifo", "directory", "nothing"])
def test_nothing_else_is_read_for_the_file(store: ClientStore, tmp_path: Path, where: str, planted: str) -> None:
    line, place, tree = arrive(store)
    place = place if where == "delta" else tree / "s/big"
    identity = Identity.of(place.lstat())
    place.unlink()
    (tmp_path / "outside").write_bytes(OLD)
    {"symlink": lambda: place.symlink_to(tmp_path / "outside"), "fifo": lambda: os.mkfifo(place),
     "directory": place.mkdir, "nothing": lambda: None}[planted]()  # fmt: skip
    with Beneath(store.delta) as delta:
        shared = Sharing(delta, tree, tmp_path / "scratch")
        assert shared.share(line, line, identity) == identity
    assert shared.bytes == shared.missed == 0
    assert not (tmp_path / "scratch").exists()
    assert (tmp_path / "outside").read_bytes() == OLD


@pytest.mark.parametrize("other", ["a further name", "another inode", "changed"])
def test_only_the_very_file_that_was_checked_is_replaced(store: ClientStore, tmp_path: Path, other: str) -> None:
    line, place, tree = arrive(store)
    identity = Identity.of(place.lstat())
    if other == "a further name":
        (store.delta / "s/other").hardlink_to(place)
        identity = Identity.of(place.lstat())
    elif other == "another inode":
        identity = identity._replace(inode=identity.inode + 1)
    else:
        place.chmod(0o640)
    inode = place.lstat().st_ino
    with Beneath(store.delta) as delta:
        shared = Sharing(delta, tree, tmp_path / "scratch")
        assert shared.share(line, line, identity) == identity
    assert shared.bytes == shared.missed == 0
    assert place.lstat().st_ino == inode


def test_where_there_are_no_reflinks_nobody_asks_twice(
    store: ClientStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the base is looked at in a few places only."""
    asked: list[int] = []
    read = 0
    pread = os.pread

    def count(descriptor: int, length: int, offset: int) -> bytes:
        nonlocal read
        read += length
        return pread(descriptor, length, offset)

    def refuse(_: int, ioctl: int, *__: object) -> int:
        asked.append(ioctl)
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    line, place, tree = arrive(store)
    identity = Identity.of(place.lstat())
    monkeypatch.setattr(sharing.fcntl, "ioctl", refuse)
    monkeypatch.setattr(os, "pread", count)
    with Beneath(store.delta) as delta:
        shared = Sharing(delta, tree, tmp_path / "scratch")
        for _ in range(3):
            assert shared.share(line, line, identity) == identity
    assert asked == [XFS_GEOMETRY, FICLONERANGE]
    assert 0 < shared.missed <= 3 * len(OLD)
    assert read <= 3 * len(OLD) // 8
    assert not (tmp_path / "scratch").exists()


def test_what_takes_its_place_is_the_same(store: ClientStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line, place, tree = arrive(store)
    os.setxattr(place, "user.note", b"kept")
    os.utime(place, ns=(1, place.stat().st_mtime_ns))
    stat, identity = place.lstat(), Identity.of(place.lstat())
    monkeypatch.setattr(sharing.fcntl, "ioctl", clone)
    with Beneath(store.delta) as delta:
        shared = Sharing(delta, tree, tmp_path / "scratch")
        found = shared.share(line, line, identity)
    assert found == Identity.of(place.lstat())
    assert found.inode != identity.inode
    assert shared.bytes == len(OLD) - LEAST
    assert place.read_bytes() == NEW
    after = place.lstat()
    assert (after.st_mode, after.st_uid, after.st_gid, after.st_mtime_ns, after.st_nlink) == (
        *(stat.st_mode, stat.st_uid, stat.st_gid, stat.st_mtime_ns),
        1,
    )
    assert os.getxattr(place, "user.note") == b"kept"
    assert not (tmp_path / "scratch").exists()


def test_a_copy_that_is_not_the_same_is_dropped(
    store: ClientStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the disk gives back other bytes for the base's extents than those that were compared."""
    line, place, tree = arrive(store)
    identity = Identity.of(place.lstat())
    # What was to be shared is a hole.
    monkeypatch.setattr(
        sharing.fcntl, "ioctl", lambda copy, asked, request: asked == FICLONERANGE or clone(copy, asked, request)
    )
    with Beneath(store.delta) as delta:
        shared = Sharing(delta, tree, tmp_path / "scratch")
        assert shared.share(line, line, identity) == identity
    assert shared.bytes == 0
    assert Identity.of(place.lstat()) == identity
    assert place.read_bytes() == NEW
    assert not (tmp_path / "scratch").exists()


@settings(deadline=None)
@given(PARTS, st.integers(0, 2), st.booleans())
def test_on_xfs_the_kernel_finds_what_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[str, str, int]], short: int, more: bool
) -> None:
    """In pieces of 64 KiB at least. Zeros do not count: where the base has a hole nothing is spared."""
    before, after = versions(parts, short)
    kernel = Xfs()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing.fcntl, "ioctl", kernel.ioctl)
        with opened(tmp_path_factory.mktemp("runs"), spell(before), spell(after) + b"a" * more) as (stored, arrived):
            shared = sum(sharing.deduplicate(stored, arrived))
    found = {at // BLOCK + number for at, length, same in kernel.runs if same for number in range(length // BLOCK)}
    pieces = [
        (before[at : at + PIECE], after[at : at + PIECE], at) for at in range(0, min(len(before), len(after)), PIECE)
    ]
    assert shared == BLOCK * sum(after[at] != "0" for at in found)
    assert found == {
        at + number for one, other, at in pieces if one[: len(other)] == other[: len(one)]
        for number in range(min(len(one), len(other)))
    }  # fmt: skip


def test_on_xfs_the_file_stays_what_it_is(store: ClientStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line, place, tree = arrive(store)
    stat = place.lstat()
    monkeypatch.setattr(sharing.fcntl, "ioctl", Xfs().ioctl)
    with Beneath(store.delta) as delta:
        shared = Sharing(delta, tree, tmp_path / "scratch")
        assert shared.share(line, line, Identity.of(stat)) == Identity.of(stat)
    assert (shared.bytes, shared.missed) == (len(OLD) - LEAST, 0)
    assert place.lstat() == stat
    assert place.read_bytes() == NEW


@pytest.mark.parametrize("fails, missed", [(errno.EOPNOTSUPP, True), (errno.EIO, False)])
def test_on_xfs_without_reflinks_nothing_is_lost(
    store: ClientStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int, missed: bool
) -> None:
    line, place, tree = arrive(store)
    identity = Identity.of(place.lstat())
    monkeypatch.setattr(sharing.fcntl, "ioctl", Xfs(fails).ioctl)
    with Beneath(store.delta) as delta:
        shared = Sharing(delta, tree, tmp_path / "scratch")
        assert shared.share(line, line, identity) == identity
    assert (shared.bytes, bool(shared.missed)) == (0, missed)
    assert place.read_bytes() == NEW


def test_what_is_shared_before_the_disk_fails_counts(
    store: ClientStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad sector of the base is no reason to fail, and nobody is charged twice for what is stored once."""
    line, place, tree = arrive(store)
    identity = Identity.of(place.lstat())
    kernel = Xfs(errno.EIO, calls=7)
    monkeypatch.setattr(sharing.fcntl, "ioctl", kernel.ioctl)
    with Beneath(store.delta) as delta:
        shared = Sharing(delta, tree, tmp_path / "scratch")
        assert shared.share(line, line, identity) == identity
    assert shared.bytes == sum(length for _, length, same in kernel.runs[:7] if same) > 0
    assert shared.missed == 0


def test_what_has_holes_is_copied_on_xfs_too(
    store: ClientStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, place, tree = arrive(store)
    identity = Identity.of(place.lstat())
    monkeypatch.setattr(sharing, "_is_dense", lambda _: False)
    monkeypatch.setattr(sharing, "_is_xfs", lambda _: True)
    monkeypatch.setattr(sharing.fcntl, "ioctl", clone)
    with Beneath(store.delta) as delta:
        assert Sharing(delta, tree, tmp_path / "scratch").share(line, line, identity).inode != identity.inode
    assert place.read_bytes() == NEW
