"""A lock is the kernel's; what is written into its file is for people, and for whoever stops the holder."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sedai.core import lock
from sedai.core.errors import LockedError

SCRIPTS = Path(__file__).parents[3] / "scripts"
HOLDS = """
import sys, time
from pathlib import Path
from sedai.core import lock
with lock.exclusive(Path(sys.argv[1]), "This"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_who_holds_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with (
        lock.exclusive(path, "A backup"),
        pytest.raises(LockedError, match=rf"A backup is already running \(pid {os.getpid()} since "),
        lock.exclusive(path, "A backup"),
    ):
        pass


def test_what_a_dead_process_left_in_it_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("pid 1 since 2001-01-01 00:00:00 +0000 and long gone")
    with lock.exclusive(path, "A backup"):
        assert path.read_text().startswith(f"pid {os.getpid()} since ")
        assert "gone" not in path.read_text()


def test_a_full_disk_can_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pruning needs the lock, and makes room."""

    def full(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    path = tmp_path / "lock"
    with lock.exclusive(path, "A backup"):
        assert lock.in_use(path)
    assert not lock.in_use(path)


@pytest.mark.parametrize("directory", [False, True])
def test_what_nobody_uses_can_be_held(tmp_path: Path, directory: bool) -> None:
    path = tmp_path / "held"
    path.mkdir() if directory else path.touch()
    with lock.shared(path), lock.unless_in_use(path) as free:
        assert not free
    with lock.unless_in_use(path) as free:
        assert free
        assert lock.in_use(path)
    assert not lock.in_use(path)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, tmp_path / "lock"],
        env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def name(process: subprocess.Popen[str]) -> str:
    """What `ps` calls it."""
    return Path(f"/proc/{process.pid}/comm").read_text().rstrip("\n")


def test_who_holds_it_is_stopped(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    assert lock.stop_holder(tmp_path / "lock", ("another", name(holder)))
    with lock.exclusive(tmp_path / "lock", "That", wait_seconds=math.inf):
        assert holder.wait() == -signal.SIGTERM


def test_who_is_called_otherwise_is_left_alone(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    assert not lock.stop_holder(tmp_path / "lock", ("another",))
    assert not lock.stop_holder(tmp_path / "lock", ())
    assert holder.poll() is None


@pytest.mark.parametrize("held", [False, True])
def test_who_once_held_it_is_left_alone(holder: subprocess.Popen[str], tmp_path: Path, held: bool) -> None:
    """Its number is another's by now, who has it open, waits for it, or never heard of it; and whoever holds it has not said so."""
    other = tmp_path / "other"
    with lock.exclusive(other, "That") if held else contextlib.nullcontext():
        other.write_text(f"pid {holder.pid} since yesterday")
        assert not lock.stop_holder(other, (name(holder),))
    assert holder.poll() is None


def test_who_waits_for_it_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock.exclusive(path, "That"):
        waits = HOLDS.replace('"This"', '"This", wait_seconds=60').replace(
            "with lock", 'print("there", flush=True)\nwith lock'
        )
        with subprocess.Popen(
            [sys.executable, "-c", waits, path],
            env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
            stdout=subprocess.PIPE,
            text=True,
        ) as waiter:
            assert waiter.stdout is not None
            assert waiter.stdout.readline() == "there\n"
            while not any(os.path.samefile(place, path) for place in open_files(waiter.pid)):
                pass
            path.write_text(f"pid {waiter.pid} since yesterday")
            assert not lock.stop_holder(path, (name(waiter),))
            assert waiter.poll() is None
            waiter.kill()


def open_files(number: int) -> list[str]:
    """What a process has open, of what can be looked at."""
    places = [f"/proc/{number}/fd/{descriptor}" for descriptor in os.listdir(f"/proc/{number}/fd")]
    return [place for place in places if os.path.exists(place)]


@pytest.mark.parametrize("text", ["", "pid", "pid x", "pid 0", "pid 99999999 since"])
def test_what_names_nobody_stops_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    assert not lock.stop_holder(tmp_path / "lock", ("python3",))
    assert not lock.stop_holder(tmp_path / "none", ("python3",))


def test_one_of_several_is_held_as_long_as_one_is_free(tmp_path: Path) -> None:
    paths = [tmp_path / "first", tmp_path / "second"]
    with lock.one_of(paths, "A receiver"), lock.one_of(paths, "A receiver"):
        for path in paths:
            with pytest.raises(LockedError), lock.exclusive(path, "It"):
                pass
        with (
            pytest.raises(LockedError, match=f"A receiver is already running .pid {os.getpid()}"),
            lock.one_of(paths, "A receiver"),
        ):
            pass
    with lock.one_of(paths, "A receiver"), lock.exclusive(paths[1], "It"):
        pass


def test_one_of_several_is_waited_for(tmp_path: Path) -> None:
    paths = [tmp_path / "first", tmp_path / "second"]
    with contextlib.ExitStack() as first, lock.exclusive(paths[1], "It"):
        first.enter_context(lock.exclusive(paths[0], "It"))
        timer = threading.Timer(0.3, first.close)
        timer.start()
        with (
            lock.one_of(paths, "A receiver", wait_seconds=60),
            pytest.raises(LockedError),
            lock.exclusive(paths[0], "It"),
        ):
            pass
        timer.join()


def test_equals_hold_it_together_and_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock.among_equals(path, "That"), lock.among_equals(path, "That"):
        started = time.monotonic()
        with (
            pytest.raises(LockedError, match="This is already running"),
            lock.exclusive(path, "This", wait_seconds=0.3),
        ):
            pass
        assert 0.3 <= time.monotonic() - started < 5
    with lock.exclusive(path, "This"):
        started = time.monotonic()
        with pytest.raises(LockedError, match="That is already"), lock.among_equals(path, "That", wait_seconds=0.3):
            pass
        assert 0.3 <= time.monotonic() - started < 5
    with lock.among_equals(path, "That"):
        pass


def test_who_wants_it_alone_waits_for_the_last_of_the_equals(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        first.enter_context(lock.among_equals(path, "That"))
        second.enter_context(lock.among_equals(path, "That"))
        first.close()
        with pytest.raises(LockedError), lock.exclusive(path, "This"):
            pass
        second.close()
        with lock.exclusive(path, "This"):
            pass
