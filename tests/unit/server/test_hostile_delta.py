"""A receiver that was taken over put something else into the delta: no generation, and nothing outside is touched."""

from __future__ import annotations

import ctypes  # noqa: F401  a worker imports it, as nobody, who may not be able to read where it lies
import errno
import mmap
import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from sealing import line, picture, put, sealed

from sedai.core import workers
from sedai.core.beneath import Beneath
from sedai.core.errors import IntegrityError
from sedai.core.wire import Change
from sedai.server import arrived, edit, removal
from sedai.server.store import ClientStore
from sedai.server.stored import STAT_ATTRIBUTE


@pytest.fixture
def store(tmp_path: Path) -> ClientStore:
    """An empty store of one client."""
    made = ClientStore(tmp_path / "laptop")
    made.prepare()
    return made


Plant = Callable[[ClientStore, Path], list[Change]]
SECRET = b"of another client\n"


def _directory_is_symlink(store: ClientStore, outside: Path) -> list[Change]:
    """`s` is unchanged and so not among the changes; in the delta it leads out."""
    (store.delta / "s").symlink_to(outside)
    return [line(store, "s/secret")]


def _deep_directory_is_symlink(store: ClientStore, outside: Path) -> list[Change]:
    (store.delta / "s").mkdir()
    (store.delta / "s/d").symlink_to(outside)
    return [line(store, "s/d/secret")]


def _relative_symlink(store: ClientStore, outside: Path) -> list[Change]:
    (store.delta / "s").symlink_to(Path("../../..") / outside.name)
    return [line(store, "s/secret")]


def _symlink_to_a_generation(store: ClientStore, outside: Path) -> list[Change]:
    newest = store.newest()
    assert newest is not None
    (store.delta / "s").symlink_to(store.tree(newest) / "s")
    return [line(store, "s/old")]


def _magic_link(store: ClientStore, outside: Path) -> list[Change]:
    (store.delta / "s").symlink_to(f"/proc/{os.getpid()}/cwd/{os.path.relpath(outside)}")
    return [line(store, "s/secret")]


def _file_is_symlink(store: ClientStore, outside: Path) -> list[Change]:
    (store.delta / "s").mkdir()
    change = put(store, {"s/f": SECRET})[1]
    (store.delta / "s/f").unlink()
    (store.delta / "s/f").symlink_to(outside / "secret")
    return [change]


def _directory_entry_is_symlink(store: ClientStore, outside: Path) -> list[Change]:
    (store.delta / "s").mkdir()
    change = line(store, "s")
    (store.delta / "s").rmdir()
    (store.delta / "s").symlink_to(outside)
    return [change]


def _hard_link_to_outside(store: ClientStore, outside: Path) -> list[Change]:
    (store.delta / "s").mkdir()
    os.link(outside / "secret", store.delta / "s/f")
    return [line(store, "s"), line(store, "s/f")]


def _hard_link_to_a_generation(store: ClientStore, outside: Path) -> list[Change]:
    newest = store.newest()
    assert newest is not None
    (store.delta / "s").mkdir()
    os.link(store.tree(newest) / "s/old", store.delta / "s/f")
    return [line(store, "s"), line(store, "s/f")]


def _fifo(store: ClientStore, outside: Path) -> list[Change]:
    change = put(store, {"s/f": b""})[1]
    (store.delta / "s/f").unlink()
    os.mkfifo(store.delta / "s/f")
    return [change]


def _fifo_as_fifo(store: ClientStore, outside: Path) -> list[Change]:
    (store.delta / "s").mkdir()
    os.mkfifo(store.delta / "s/f", 0o600)
    return [line(store, "s/f")]


def _socket(store: ClientStore, outside: Path) -> list[Change]:
    change = put(store, {"s/f": b""})[1]
    (store.delta / "s/f").unlink()
    here = Path.cwd()
    os.chdir(store.delta / "s")  # a socket's name must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("f")
    os.chdir(here)
    return [change]


def _device(store: ClientStore, outside: Path) -> list[Change]:
    change = put(store, {"s/f": b""})[1]
    (store.delta / "s/f").unlink()
    try:
        os.mknod(store.delta / "s/f", 0o020600, os.makedev(1, 5))
    except PermissionError:  # only root can; a receiver is stopped here already
        os.mkfifo(store.delta / "s/f")
    return [change]


def _setuid(store: ClientStore, outside: Path) -> list[Change]:
    put(store, {"s/f": b"#!/bin/sh\n"})
    (store.delta / "s/f").chmod(0o4755)
    return [line(store, "s"), line(store, "s/f")]


def _unreadable(store: ClientStore, outside: Path) -> list[Change]:
    changes = put(store, {"s/f": b"x"})
    (store.delta / "s/f").chmod(0)
    return [changes[0], line(store, "s/f")]


def _lying(value: bytes) -> Plant:
    def plant(store: ClientStore, outside: Path) -> list[Change]:
        changes = put(store, {"s/f": b"x"})
        os.setxattr(store.delta / "s/f", STAT_ATTRIBUTE, value)
        return changes

    return plant


def _file_says_directory(store: ClientStore, outside: Path) -> list[Change]:
    put(store, {"s/f": b""})
    os.setxattr(store.delta / "s/f", STAT_ATTRIBUTE, b"40755 0,0 0:0")
    return [line(store, "s"), line(store, "s/f", kind="d", mode=0o755, uid=0, gid=0, xxh128=b"-", size=0)]


def _directory_says_file(store: ClientStore, outside: Path) -> list[Change]:
    put(store, {"s/d/f": b""})
    os.setxattr(store.delta / "s/d", STAT_ATTRIBUTE, b"100644 0,0 0:0")
    return [line(store, "s"), line(store, "s/d", kind="f", mode=0o644, uid=0, gid=0, xxh128=b"0" * 32)]


def _symlink_text_too_long(store: ClientStore, outside: Path) -> list[Change]:
    put(store, {"s/f": b"x" * 5000})
    os.setxattr(store.delta / "s/f", STAT_ATTRIBUTE, b"120777 0,0 0:0")
    return [line(store, "s"), line(store, "s/f", kind="l", uid=0, gid=0, xxh128=b"-", target=b"x" * 5000)]


PLANTS = [
    *(_directory_is_symlink, _deep_directory_is_symlink, _relative_symlink, _symlink_to_a_generation, _magic_link),
    *(_file_is_symlink, _directory_entry_is_symlink, _hard_link_to_outside, _hard_link_to_a_generation),
    *(_fifo, _fifo_as_fifo, _socket, _device, _setuid, _unreadable, _file_says_directory, _directory_says_file),
    _symlink_text_too_long,
    *map(_lying, [b"", b" ", b"100644", b"100644 0,0 0:0 0", b"-1 0,0 0:0", b"999999999 0,0 0:0", b"x" * 200]),
    *map(_lying, [b"100644 0,0 0:4242", b"120777 0,0 0:0", b"60644 8,0 0:0", b"104755 0,0 0:0"]),
]


@pytest.mark.parametrize("plant", PLANTS)
def test_what_is_planted_is_refused(store: ClientStore, tmp_path: Path, plant: Plant) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(SECRET)
    sealed(store, put(store, {"s/old": b"old"}), 2)
    before = [picture(outside), picture(store.generations_directory)]
    store.prepare()
    changes = plant(store, outside)
    with pytest.raises(IntegrityError):
        sealed(store, changes, 3)
    assert [picture(outside), picture(store.generations_directory)] == before
    removal.remove(store.delta)  # as the gate does
    assert [picture(outside), picture(store.generations_directory)] == before
    sealed(store, put(store, {"s/new": b"new"}), 3)


def test_what_rsync_leaves_of_a_broken_run_is_no_reason_to_refuse(store: ClientStore) -> None:
    changes = put(store, {"s/f": b"x", "s/.sedai-partial/g": b"part"})
    os.link(store.delta / "s/f", store.delta / "s/left")
    wanted = [change for change in changes if b"partial" not in change.path]
    sealed(store, [wanted[0], line(store, "s/f")], 2)


def test_names_of_one_inode_stay_one(store: ClientStore) -> None:
    put(store, {"s/a": b"x", "s/b": b"y"})
    for name in ("c", "d"):
        os.link(store.delta / "s/a", store.delta / f"s/{name}")
    sealed(store, [line(store, name) for name in ("s", "s/a", "s/b", "s/c", "s/d")], 5)
    newest = store.newest()
    assert newest is not None
    inodes = {name: (store.tree(newest) / "s" / name).stat().st_ino for name in "abcd"}
    assert inodes["a"] == inodes["c"] == inodes["d"] != inodes["b"]


def test_a_file_that_is_still_open_for_writing_is_refused(store: ClientStore) -> None:
    changes = put(store, {"s/f": b"x"})
    with (store.delta / "s/f").open("r+b"), pytest.raises(IntegrityError, match="open for writing"):
        sealed(store, changes, 2)
    sealed(store, changes, 2)


def test_a_mapping_that_outlives_its_descriptor_is_found(store: ClientStore) -> None:
    changes = put(store, {"s/f": b"x" * 5000})
    with (store.delta / "s/f").open("r+b") as stream:
        mapped = mmap.mmap(stream.fileno(), 0)
    with pytest.raises(IntegrityError, match="open for writing"):
        sealed(store, changes, 2)
    mapped.close()
    sealed(store, changes, 2)


@pytest.mark.parametrize("crew", [0, 2])
@pytest.mark.parametrize("swap", ["content", "name", "link"])
def test_what_changes_between_check_and_place_is_refused(
    store: ClientStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: str, crew: int
) -> None:
    monkeypatch.setattr(edit, "_WORTH_WORKERS", 0)
    monkeypatch.setattr(workers, "count", lambda: crew)
    changes = put(store, {"s/f": b"first"})
    place = store.delta / "s/f"
    outside = tmp_path / "outside"
    outside.write_bytes(b"first")
    stat = place.stat()

    def and_then(self: arrived.Arrived) -> None:
        if swap == "content":
            place.write_bytes(b"other")
        else:
            place.unlink()
            place.write_bytes(b"first") if swap == "name" else os.link(outside, place)
        os.utime(place, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    monkeypatch.setattr(arrived.Arrived, "refuse_names_outside", and_then)
    with pytest.raises(IntegrityError, match="changed after it was checked"):
        sealed(store, changes, 2)
    assert store.generations() == []


def test_what_changes_while_it_is_read_is_refused(store: ClientStore, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = put(store, {"s/f": b"first"})
    place = store.delta / "s/f"
    stat = place.stat()
    real = arrived.digest_open

    def read_then_write(descriptor: int, expected: int) -> arrived.Digests:
        digests = real(descriptor, expected)
        place.write_bytes(b"other")
        os.utime(place, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        return digests

    monkeypatch.setattr(arrived, "digest_open", read_then_write)
    with pytest.raises(IntegrityError, match="changed while it was read"):
        sealed(store, changes, 2)


def test_a_directory_gets_no_bits_that_rsync_would_not_store(store: ClientStore) -> None:
    put(store, {"s/d/f": b"x"})
    (store.delta / "s/d").chmod(0o7511)
    os.setxattr(store.delta / "s/d", STAT_ATTRIBUTE, b"47511 0,0 0:0")
    sealed(store, [line(store, "s"), line(store, "s/d", uid=0, gid=0), line(store, "s/d/f")], 3)
    newest = store.newest()
    assert newest is not None
    assert (store.tree(newest) / "s/d").stat().st_mode & 0o7777 == 0o711


class TestBeneath:
    """The way to a path follows nothing."""

    def test_walk_order_keeps_what_it_has(self, tmp_path: Path) -> None:
        for name in ("a/b/c", "a/d", "e"):
            (tmp_path / name).mkdir(parents=True)
        with Beneath(tmp_path) as beneath:
            for path in (b"a/b/c/x", b"a/b/y", b"a/d/z", b"e/x", b"x"):
                directory, name = beneath.parent(path)
                expected = tmp_path / os.fsdecode(path)
                assert os.fstat(directory).st_ino == expected.parent.stat().st_ino
                assert name == os.fsencode(expected.name)
            with pytest.raises(FileNotFoundError):
                beneath.parent(b"a/missing/x")

    def test_a_symlink_on_the_way_is_no_directory(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        with Beneath(tmp_path) as beneath:
            with pytest.raises(NotADirectoryError):
                beneath.parent(b"link/x")
            with pytest.raises(OSError, match="symbolic links"):
                beneath.open(b"link")

    @pytest.mark.parametrize("path", [b"..", b"../x", b"a/..", b"a/../x", b"a/../../x"])
    def test_no_way_leads_up(self, tmp_path: Path, path: bytes) -> None:
        """A manifest is followed before all of it is proven: what rotted in it may spell anything."""
        (tmp_path / "top/a").mkdir(parents=True)
        with Beneath(tmp_path / "top") as beneath, pytest.raises(NotADirectoryError):
            beneath.parent(path)

    def test_no_descriptor_is_left(self, tmp_path: Path) -> None:
        before = len(os.listdir("/proc/self/fd"))
        (tmp_path / "a/b").mkdir(parents=True)
        with Beneath(tmp_path) as beneath:
            beneath.parent(b"a/b/x")
            with pytest.raises(FileNotFoundError):
                beneath.parent(b"a/c/x")
        assert len(os.listdir("/proc/self/fd")) == before


def as_nobody(work: Callable[[], object], directory: Path) -> None:
    """Do ``work`` in ``directory`` as an account that modes hold back; root gives it what is there."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.chdir(directory)
            if os.geteuid() == 0:
                for name in [".", *(str(path.relative_to(directory)) for path in directory.rglob("*"))]:
                    os.chown(name, 65534, 65534, follow_symlinks=False)
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class TestRemoval:
    """What can't be removed would end all further backups of its client."""

    @pytest.fixture(autouse=True, params=[0, 2])
    def crew(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        """By this process alone, or by several."""
        monkeypatch.setattr(removal, "_WORTH_WORKERS", 0)
        monkeypatch.setattr(workers, "count", lambda: request.param)

    def test_many_directories(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        for number in range(60):
            place = root / f"{number % 7}" / f"{number}"
            place.mkdir(parents=True)
            for name in "abc":
                (place / name).touch()
        (tmp_path / "beside").touch()
        entries, gone = sum(1 for _ in root.rglob("*")), list[int]()
        removal.remove(root, gone.append)
        assert os.listdir(tmp_path) == ["beside"]
        assert sum(gone) == entries > 240

    def test_what_can_not_be_removed_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        root = tmp_path / "root"
        for number in range(10):
            (root / f"{number}").mkdir(parents=True)
            (root / f"{number}" / "file").touch()

        def refuse(name: bytes, dir_fd: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "unlink", refuse)
        with pytest.raises(OSError, match="Input/output error"):
            removal.remove(root)

    def test_deeper_than_python_recurses(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        root.mkdir()
        descriptor = os.open(root, os.O_DIRECTORY)
        for _ in range(3000):
            os.mkdir("d", dir_fd=descriptor)
            inner = os.open("d", os.O_DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        os.close(descriptor)
        removal.remove(root)
        assert not root.exists()

    @pytest.mark.parametrize("depth", [1, 5])
    def test_on_a_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: int) -> None:
        """There is no block for one more name then, and removing is what makes room."""
        root = tmp_path / "root"
        for number in range(20):
            place = root / "/".join([str(number)] * depth) / "below"
            place.mkdir(parents=True)
            (place / "file").touch()

        def full(*names: object, **where: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "rename", full)
        removal.remove(root)
        assert not root.exists()

    def test_whatever_the_modes(self, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir(0o500)
        (outside / "f").write_text("stays")
        if os.geteuid() == 0:
            for path in (outside, outside / "f"):
                os.chown(path, 65534, 65534)
        before = picture(outside)
        for name in ("root/a/b/c", "root/d"):
            (tmp_path / name).mkdir(parents=True)
        (tmp_path / "root/a/b/link").symlink_to(outside)
        (tmp_path / "root/link").symlink_to(outside)
        (tmp_path / "root/a/f").write_text("x")
        os.mkfifo(tmp_path / "root/a/b/fifo")
        for name in ("root/a/b/c", "root/a/b", "root/a", "root/d", "root"):
            (tmp_path / name).chmod(0)
        as_nobody(lambda: removal.remove(Path("root")), tmp_path)
        assert not (tmp_path / "root").exists()
        assert picture(outside) == before


@pytest.mark.parametrize("kind", ["directory", "symlink", "fifo"])
def test_what_is_no_file_has_no_digests(store: ClientStore, kind: str) -> None:
    """By these two fields a line would count as a file of 9,999 bytes, and a thousand of them would hide what was removed."""
    changes = put(store, {"s/f": b"x"})
    (store.delta / "s/l").symlink_to("f")
    if kind == "directory":
        changes[0] = line(store, "s", crc32=b"f", xxh128=b"9999")
    elif kind == "symlink":
        changes.append(line(store, "s/l", crc32=b"f", xxh128=b"9999"))
    else:
        (store.delta / "s/p").write_bytes(b"")
        os.setxattr(store.delta / "s/p", STAT_ATTRIBUTE, b"10644 0,0 0:0")
        changes.append(line(store, "s/p", kind="p", mode=0o644, uid=0, gid=0, size=0, crc32=b"f", xxh128=b"9999"))
    with pytest.raises(IntegrityError, match="is no file, so it has no digests"):
        sealed(store, changes, len(changes))
    assert store.newest() is None
