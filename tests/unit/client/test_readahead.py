"""What is read before rsync comes to it: in rsync's own order, no further than a way ahead, and nothing but regular files."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from page_cache import disk_directory, drop, is_cached

from sedai.client import readahead
from sedai.client.readahead import ReadAhead, files, rsync_order


@pytest.fixture
def on_disk() -> Iterator[Path]:
    with disk_directory() as directory:
        yield directory


def make(directory: Path, count: int, *, warm: bool) -> list[bytes]:
    """Files ``0000`` and so on, all in memory or none; their names."""
    directory.mkdir(parents=True, exist_ok=True)
    names = [f"{number:04}" for number in range(count)]
    for name in names:
        (directory / name).write_bytes(b"x" * 5000)
        if not warm:
            drop(directory / name)
    return [name.encode() for name in names]


def wait_until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20.0
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def test_cold_files_are_in_memory_before_rsync_comes_to_them(on_disk: Path) -> None:
    names = make(on_disk, 100, warm=False)
    with ReadAhead(os.fsencode(on_disk) + b"/") as ahead:
        assert list(ahead.names(names)) == names
        assert wait_until(lambda: all(is_cached(on_disk / os.fsdecode(name)) for name in names))


def test_a_directory_stands_for_the_files_in_it(on_disk: Path) -> None:
    names = make(on_disk / "in/it", 20, warm=False)
    deeper = make(on_disk / "in/it/deeper", 5, warm=False)
    with ReadAhead(os.fsencode(on_disk) + b"/") as ahead:
        list(ahead.names([b"in/it/"]))
        assert wait_until(lambda: all(is_cached(on_disk / "in/it" / os.fsdecode(name)) for name in names))
    assert not any(is_cached(on_disk / "in/it/deeper" / os.fsdecode(name)) for name in deeper)


def test_it_stays_a_way_ahead_of_rsync_and_no_more(on_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what was read first could be out of memory again before rsync has come to it."""
    monkeypatch.setattr(readahead, "_AHEAD", 10)
    names = make(on_disk, 60, warm=False)

    def warm() -> int:
        return sum(is_cached(on_disk / os.fsdecode(name)) for name in names)

    with ReadAhead(os.fsencode(on_disk) + b"/") as ahead:
        list(ahead.names(names))
        assert wait_until(lambda: warm() >= 10)
        time.sleep(0.3)
        assert warm() <= 11
        for _ in range(8):
            ahead.passed()
        assert wait_until(lambda: warm() >= 18)
        time.sleep(0.3)
        assert warm() <= 19
    assert warm() <= 19  # it ends where the run does


def test_what_is_in_memory_is_hardly_looked_at(on_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = make(on_disk, 200, warm=True)
    looked: list[bytes] = []
    genuine = readahead._advised

    def advised(place: bytes, *, look: bool) -> bool:
        looked.append(place)
        return genuine(place, look=look)

    monkeypatch.setattr(readahead, "_advised", advised)
    with ReadAhead(os.fsencode(on_disk) + b"/") as ahead:
        list(ahead.names(names))
        wait_until(lambda: len(looked) >= 7)
        time.sleep(0.2)
    assert [os.path.basename(place) for place in looked] == [b"%04d" % number for number in range(0, 200, 32)]


def test_what_rsync_has_passed_is_not_read_any_more(on_disk: Path) -> None:
    names = make(on_disk, 50, warm=False)
    with ReadAhead(os.fsencode(on_disk) + b"/") as ahead:
        for _ in range(40):
            ahead.passed()
        list(ahead.names(names))
        assert wait_until(lambda: is_cached(on_disk / "0049"))
    assert not any(is_cached(on_disk / os.fsdecode(name)) for name in names[:40])


def test_only_regular_files_are_ever_opened(tmp_path: Path) -> None:
    """To open a device may do something; who opens a FIFO may keep somebody waiting."""
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/file").write_bytes(b"x")
    (tmp_path / "file").write_bytes(b"x")
    for name in ("fifo", "dir/fifo"):
        os.mkfifo(tmp_path / name)
    for name in ("link", "dir/link"):
        (tmp_path / name).symlink_to(tmp_path / "file")
    root = os.fsencode(tmp_path) + b"/"
    names = [b"dir", b"dir/", b"fifo", b"file", b"gone", b"gone/", b"link", b"link/"]
    assert list(files(root, names)) == [root + b"dir/file", root + b"file"]


def test_what_vanishes_or_is_barred_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"x")
    genuine = os.open

    def failing(path: bytes, flags: int, *more: int) -> int:
        if path.endswith(b"/gone"):
            raise PermissionError(13, "Permission denied")
        return genuine(path, flags, *more)

    monkeypatch.setattr("sedai.client.readahead.os.open", failing)
    (tmp_path / "gone").write_bytes(b"x")
    with ReadAhead(os.fsencode(tmp_path) + b"/") as ahead:
        list(ahead.names([b"file", b"gone"]))
        assert ahead._thread is not None
        ahead._thread.join(10.0)
        assert not ahead._thread.is_alive()


def test_nothing_begins_where_the_run_is_over(tmp_path: Path) -> None:
    ahead = ReadAhead(os.fsencode(tmp_path) + b"/")
    with ahead:
        names = ahead.names([b"file"])
        assert next(names) == b"file"
    assert list(names) == []
    assert ahead._thread is None
    assert not [thread for thread in threading.enumerate() if thread.daemon and "_read" in thread.name]


def test_the_order_is_that_of_rsync(tmp_path: Path) -> None:
    """Of real names: what rsync sends first is read first."""
    chance = random.Random(11)  # noqa: S311
    source = tmp_path / "source"
    alphabet = ["a", "b", "aa", "a.b", "a-b", "A", "z", "é", "a b", "~", "."]
    paths = set()
    for _ in range(300):
        depth = chance.randint(1, 4)
        parts = [chance.choice(alphabet[:-1]) + chance.choice(["", "1", "."]) for _ in range(depth)]
        paths.add("/".join(parts))
    made = []
    for path in sorted(paths, key=lambda path: -path.count("/")):
        place = source / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.write_text("x")
                made.append(os.fsencode(path))
        except (NotADirectoryError, FileExistsError):
            continue
    assert len(made) > 150
    done = subprocess.run(
        ["rsync", "-a", "--files-from=-", "-0", "--out-format=%n", f"{source}/", f"{tmp_path}/copy/"],
        input=b"\0".join(made), capture_output=True, check=True, env=os.environ | {"LANG": "C.UTF-8"},
    )  # fmt: skip
    sent = [line for line in done.stdout.splitlines() if line and not line.endswith(b"/")]
    assert sent == sorted(made, key=rsync_order)
