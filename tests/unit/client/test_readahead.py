"""What is read before rsync comes to it: in rsync's own order, no further than a way ahead, and nothing but regular files."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from gate_pair import Pair
from page_cache import disk_directory, drop, is_cached

from sedai.client import pushing, readahead
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
    genuine = readahead._advise

    def advise(place: bytes, *, look: bool) -> bool | None:
        looked.append(place)
        return genuine(place, look=look)

    monkeypatch.setattr(readahead, "_advise", advise)
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


def test_of_a_large_file_only_the_beginning_is_read(on_disk: Path) -> None:
    """Some hundreds of photos at once would take the memory from everybody else."""
    (on_disk / "photo").write_bytes(os.urandom(8 << 20))
    drop(on_disk / "photo")
    with ReadAhead(os.fsencode(on_disk) + b"/") as ahead:
        list(ahead.names([b"photo"]))
        assert wait_until(lambda: is_cached(on_disk / "photo"))
        time.sleep(0.3)
    assert is_cached(on_disk / "photo", (1 << 18) - 1)
    assert not is_cached(on_disk / "photo", 4 << 20)


def test_names_of_one_file_are_one_as_rsync_reports_them(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    for name in ("b", "c"):
        os.link(tmp_path / "a", tmp_path / name)
    (tmp_path / "d").write_bytes(b"x")
    root = os.fsencode(tmp_path) + b"/"
    assert list(files(root, [b"a", b"b", b"c", b"d"])) == [root + b"a", root + b"d"]


def test_an_empty_file_says_nothing_of_the_others(on_disk: Path) -> None:
    names = make(on_disk, 20, warm=False)
    (on_disk / ".gitkeep").touch()
    with ReadAhead(os.fsencode(on_disk) + b"/") as ahead:
        list(ahead.names([b".gitkeep", *names]))
        assert wait_until(lambda: all(is_cached(on_disk / os.fsdecode(name)) for name in names))


@pytest.mark.parametrize("failure", [PermissionError(13, "Permission denied"), FileNotFoundError(2, "No such file")])
def test_what_can_not_be_opened_is_passed_over(
    on_disk: Path, monkeypatch: pytest.MonkeyPatch, failure: OSError
) -> None:
    names = make(on_disk, 20, warm=False)
    refused: list[bytes] = []
    genuine = os.open

    def failing(path: bytes | Path, flags: int, *more: int) -> int:
        if isinstance(path, bytes) and path.endswith(b"/0000"):
            refused.append(path)
            raise failure
        return genuine(path, flags, *more)

    monkeypatch.setattr("sedai.client.readahead.os.open", failing)
    with ReadAhead(os.fsencode(on_disk) + b"/") as ahead:
        list(ahead.names(names))
        assert wait_until(lambda: refused != [] and is_cached(on_disk / "0019"))


def test_nobody_waits_for_a_file_system_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """rsync can be killed there; this thread can't be."""
    (tmp_path / "file").write_bytes(b"x")
    reached, answers = threading.Event(), threading.Event()
    genuine = os.lstat

    def hanging(path: bytes) -> os.stat_result:
        reached.set()
        answers.wait(60.0)
        return genuine(path)

    monkeypatch.setattr("sedai.client.readahead.os.lstat", hanging)
    with ReadAhead(os.fsencode(tmp_path) + b"/") as ahead:
        list(ahead.names([b"file"]))
        assert reached.wait(10.0)
        began = time.monotonic()
    assert time.monotonic() - began < 30.0
    answers.set()


def test_nothing_is_opened_where_the_run_is_over(on_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(on_disk, 1, warm=False)
    opened: list[bytes] = []
    monkeypatch.setattr(readahead, "_advise", lambda place, look: opened.append(place))
    ahead = ReadAhead(os.fsencode(on_disk) + b"/")
    with ahead:
        names = ahead.names([b"0000"])
        assert next(names) == b"0000"
    assert list(names) == []
    assert wait_until(lambda: all(thread.name != "read-ahead" for thread in threading.enumerate()))
    assert opened == []


def test_a_backup_goes_on_where_no_more_threads_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with ReadAhead(os.fsencode(tmp_path) + b"/") as ahead:
        assert list(ahead.names([b"file"])) == [b"file"]


def test_a_backup_tells_what_it_sends_and_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(tmp_path, direct=True)
    for name in ("one", "two", "dir/three"):
        pair.write(name, name)
    told: list[Recorded] = []

    class Recorded(ReadAhead):
        def __init__(self, root: bytes) -> None:
            super().__init__(root)
            self.root, self.told = root, list[bytes]()
            told.append(self)

        def names(self, names: Iterable[bytes]) -> Iterator[bytes]:
            for name in super().names(names):
                self.told.append(name)
                yield name

    monkeypatch.setattr(pushing, "ReadAhead", Recorded)
    pair.backup()
    sent = {path for each in told for path in files(each.root, each.told)}
    assert sent >= {os.fsencode(pair.source / name) for name in ("one", "two", "dir/three")}
    assert sum(each._passed for each in told) == len(sent)


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
