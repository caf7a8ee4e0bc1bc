"""Throw-away directories: gone in the end, whatever is in them and however their drill ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sedai.client import throwaway
from sedai.core.errors import SedaiError

SCRIPTS = Path(throwaway.__file__).parents[2]
# Holds a directory and starts a program in it, like a drill that waits for its server.
DRILL = """
import subprocess, sys, time
from pathlib import Path
from sedai.client import throwaway
with throwaway.directory(Path(sys.argv[1])) as place:
    work = throwaway.private(place / "files")
    (work / "file").write_text("x")
    program = subprocess.Popen([sys.argv[2], "100"], cwd=work)
    print(place, program.pid, flush=True)
    time.sleep(100)
"""


@pytest.fixture
def drill(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path, int]]:
    """A process that holds a throw-away directory, the directory, and the program (called rsync) that runs in it."""
    program = shutil.copy("/bin/sleep", tmp_path / "rsync")
    process = subprocess.Popen(
        [sys.executable, "-c", DRILL, str(tmp_path), program],
        env={"PYTHONPATH": str(SCRIPTS), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    place, pid = process.stdout.readline().split()
    yield process, Path(os.fsdecode(place)), int(pid)
    process.kill()
    process.wait()
    process.stdout.close()
    if runs(int(pid)):
        os.kill(int(pid), signal.SIGKILL)


def runs(pid: int) -> bool:
    """Whether a process is there and not just waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_is_gone_afterwards_whatever_lies_in_it(tmp_path: Path) -> None:
    with throwaway.directory(tmp_path) as place:
        assert oct(place.stat().st_mode) in ("0o40711", "0o40700")
        inner = throwaway.private(place / "files")
        assert oct(inner.stat().st_mode) == "0o40700"
        (inner / "closed").mkdir()
        (inner / "closed/file").write_text("x")
        (inner / "to nowhere").symlink_to("/nonexistent/x")
        (inner / "to elsewhere").symlink_to(tmp_path)
        (inner / "closed").chmod(0)
    assert list(tmp_path.iterdir()) == []


def test_it_is_gone_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), throwaway.directory(tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_not_there_is_named(tmp_path: Path) -> None:
    complaint = pytest.raises(SedaiError, match=r"no throw-away directory in .*missing: No such file")
    with complaint, throwaway.directory(tmp_path / "missing"):
        pass


def test_one_that_is_held_is_left_alone(drill: tuple[subprocess.Popen[bytes], Path, int], tmp_path: Path) -> None:
    _, place, pid = drill
    assert throwaway.clear_leftovers(tmp_path) == []
    assert (place / "files/file").exists()
    assert runs(pid)


def test_what_a_killed_drill_left_is_removed_and_what_runs_in_it_is_ended(
    drill: tuple[subprocess.Popen[bytes], Path, int], tmp_path: Path
) -> None:
    process, place, pid = drill
    process.kill()
    process.wait()
    assert runs(pid)
    [line] = throwaway.clear_leftovers(tmp_path)
    assert str(place) in line
    assert not place.exists()
    assert not runs(pid)
    assert throwaway.clear_leftovers(tmp_path) == []


def test_a_program_whose_directory_may_not_be_asked_is_known_by_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: bytes) -> bytes:
        raise PermissionError(path)

    monkeypatch.setattr(os, "readlink", refused)
    program = shutil.copy("/bin/sh", tmp_path / "postgres")
    with throwaway.directory(tmp_path) as place:
        # What runs the tests in the background may have told them to ignore this signal.
        argv = [
            "env",
            "--default-signal=QUIT",
            program,
            "-c",
            "echo; while :; do sleep 0.1; done",
            "x",
            "-D",
            f"{place}/data",
        ]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        with process:
            assert process.stdout is not None
            process.stdout.readline()  # before that it may still have the name of the one that started it
            throwaway.end_programs(place)
            assert process.wait(5) == -signal.SIGQUIT


def test_a_program_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throwaway, "_END_SECONDS", 0.5)
    shell = shutil.copy("/bin/sh", tmp_path / "postgres")
    with throwaway.directory(tmp_path) as place:
        process = subprocess.Popen([shell, "-c", "trap '' QUIT TERM; echo; while :; do sleep 0.1; done", "x"], cwd=place,
                                   stdout=subprocess.PIPE)  # fmt: skip
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            started = time.monotonic()
            throwaway.end_programs(place)
            assert time.monotonic() - started >= 0.4
            assert process.wait(5) == -signal.SIGKILL


def test_other_people_s_programs_and_directories_are_not_touched(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "sedai-drill-x", tmp_path / "sedai-drill-y"
    for directory in (mine, theirs):
        directory.mkdir()
        (directory / "lock").touch()
    os.chown(theirs, 65534, 65534)
    (tmp_path / "sedai-drill-link").symlink_to(tmp_path)
    (tmp_path / "sedai-drill-new").mkdir()  # its drill has not locked it yet
    pager = subprocess.Popen([shutil.copy("/bin/sleep", tmp_path / "less"), "100"], cwd=mine)
    elsewhere = subprocess.Popen([shutil.copy("/bin/sleep", tmp_path / "postgres"), "100"], cwd=tmp_path)
    try:
        assert len(throwaway.clear_leftovers(tmp_path)) == 1
        assert not mine.exists()
        assert theirs.exists()
        assert (tmp_path / "sedai-drill-link").is_symlink()
        assert (tmp_path / "sedai-drill-new").exists()
        assert pager.poll() is None
        assert elsewhere.poll() is None
    finally:
        for process in (pager, elsewhere):
            process.kill()
            process.wait()


def test_one_without_a_lock_is_removed_when_it_is_old(tmp_path: Path) -> None:
    old = tmp_path / "sedai-drill-old"
    old.mkdir()
    os.utime(old, (time.time() - 3600, time.time() - 3600))
    assert len(throwaway.clear_leftovers(tmp_path)) == 1
