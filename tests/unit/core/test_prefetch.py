"""What is opened beforehand, and that the kernel does what it is told: on a real disk, with files that are not in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_cache import disk_directory, drop, is_cached

from sedai.core import prefetch


@pytest.fixture
def on_disk() -> Iterator[Path]:
    with disk_directory() as directory:
        yield directory


def cold(path: Path, content: bytes = b"x" * 10_000) -> int:
    """A descriptor of a new file at ``path`` of which nothing is in memory."""
    path.write_bytes(content)
    drop(path)
    return os.open(path, os.O_RDONLY)


def comes_to_memory(path: Path) -> bool:
    """Whether it does within some seconds."""
    deadline = time.monotonic() + 10.0
    while not (found := is_cached(path)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def open_now() -> set[str]:
    """All descriptors of this process."""
    return set(os.listdir("/proc/self/fd"))


def test_what_is_advised_comes_to_memory_and_can_be_forgotten(on_disk: Path) -> None:
    another = cold(on_disk / "another")  # the kernel may begin to read what it was asked for
    assert not prefetch.is_in_memory(another)
    os.close(another)
    descriptor = cold(on_disk / "file")
    prefetch.advise(descriptor)
    assert comes_to_memory(on_disk / "file")
    assert prefetch.is_in_memory(descriptor)
    prefetch.forget(descriptor)
    assert not is_cached(on_disk / "file")
    os.close(descriptor)


def test_anew_reads_what_is_in_memory_from_the_disk(on_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = cold(on_disk / "file")
    os.pread(descriptor, 1, 0)
    assert is_cached(on_disk / "file")
    between: list[bool] = []
    genuine = prefetch.advise

    def advise(descriptor: int) -> None:
        between.append(is_cached(on_disk / "file"))
        genuine(descriptor)

    monkeypatch.setattr(prefetch, "advise", advise)
    prefetch.anew(descriptor)
    assert between == [False]
    assert comes_to_memory(on_disk / "file")
    os.close(descriptor)


def test_of_other_things_than_files_nothing_is_asked(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, flags in ((tmp_path, os.O_RDONLY), (tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)):
        descriptor = os.open(path, flags)
        prefetch.anew(descriptor)
        assert not prefetch.is_in_memory(descriptor)
        os.close(descriptor)


@pytest.mark.parametrize("files", [0, 1, 5, 100])
def test_each_is_begun_so_far_ahead_in_order_and_open_while_it_is_looked_at(files: int) -> None:
    before = open_now()
    begun: list[int] = []

    def begin(item: int) -> int | None:
        begun.append(item)
        return os.open("/dev/null", os.O_RDONLY) if item % 3 else None

    passed = []
    for item, descriptor in prefetch.opened(range(20), begin, files):
        assert (descriptor is not None) == bool(item % 3)
        if descriptor is not None:
            os.fstat(descriptor)
        assert begun == list(range(min(20, item + files + 1)))
        assert len(open_now() - before) <= files + 2
        passed.append(item)
    assert passed == list(range(20))
    assert open_now() == before


def test_nothing_stays_open_where_somebody_stops() -> None:
    before = open_now()
    some = prefetch.opened(range(20), lambda item: os.open("/dev/null", os.O_RDONLY), 5)
    for _ in range(7):
        next(some)
    assert len(open_now()) == len(before) + 6
    some.close()
    assert open_now() == before


def test_nothing_stays_open_where_beginning_fails() -> None:
    before = open_now()

    def begin(item: int) -> int:
        if item == 3:
            raise OSError(24, "Too many open files")
        return os.open("/dev/null", os.O_RDONLY)

    with pytest.raises(OSError, match="Too many"):
        list(prefetch.opened(range(20), begin))
    assert open_now() == before
