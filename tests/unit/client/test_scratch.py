"""A run's temporary files: gone with it, and with the next run where it was killed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sedai.client import scratch
from sedai.core.errors import SedaiError

SCRIPTS = Path(scratch.__file__).parents[2]
RUN = """
import sys, tempfile
from sedai.client import scratch
tempfile.tempdir = sys.argv[1]
with scratch.directory() as place:
    (place / "below").mkdir()
    (place / "below/file").write_text("x")
    print(place, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go in this test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def other_run(parent: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Another process that holds a directory."""
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(parent)],
        env={"PYTHONPATH": str(SCRIPTS), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().decode().strip())
        process.kill()


def test_it_is_private_and_goes_with_the_context(parent: Path) -> None:
    with scratch.directory() as place:
        assert place.parent == parent
        assert place.stat().st_mode & 0o777 == 0o700
        (place / "file").write_text("x")
    assert list(parent.iterdir()) == []


def test_what_a_killed_run_left_goes_with_the_next(
    parent: Path, other_run: tuple[subprocess.Popen[bytes], Path]
) -> None:
    process, place = other_run
    process.kill()
    process.wait()
    assert (place / "below/file").exists()
    with scratch.directory() as mine:
        assert list(parent.iterdir()) == [mine]


def test_that_of_a_run_in_progress_stays(parent: Path, other_run: tuple[subprocess.Popen[bytes], Path]) -> None:
    _, place = other_run
    with scratch.directory():
        assert (place / "below/file").exists()


def test_what_others_called_so_stays(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (parent / "sedai-drill-abcdefgh").mkdir()
    (parent / "sedai-notadirs").write_text("x")
    (parent / "sedai-asymlink").symlink_to(elsewhere)
    with scratch.directory():
        pass
    assert {path.name for path in parent.iterdir()} == {"sedai-drill-abcdefgh", "sedai-notadirs", "sedai-asymlink"}
    assert elsewhere.exists()


def test_one_that_was_taken_for_a_leftover_is_made_again(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between making a directory and locking it, another run's sweep can come first."""
    made = tempfile.mkdtemp
    swept: list[Path] = []

    def make(prefix: str, dir: Path) -> str:  # noqa: A002  as tempfile has it
        place = Path(made(prefix=prefix, dir=dir))
        if not swept:
            swept.append(place)
            place.rmdir()
        return str(place)

    monkeypatch.setattr(tempfile, "mkdtemp", make)
    with scratch.directory() as place:
        assert place.is_dir()
        assert list(parent.iterdir()) == [place]
    assert len(swept) == 1


def test_where_the_disk_is_full_it_lies_in_memory(
    parent: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path_factory.mktemp("memory")
    monkeypatch.setattr(scratch, "_IN_MEMORY", memory)

    def allocate(descriptor: int, offset: int, size: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(parent)):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    with scratch.directory() as place:
        assert place.parent == memory
    assert [*parent.iterdir(), *memory.iterdir()] == []


def test_where_python_finds_no_place_it_lies_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is on a disk without a single free block."""

    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(scratch, "_IN_MEMORY", tmp_path)
    monkeypatch.setattr(tempfile, "gettempdir", none)
    with scratch.directory() as place:
        assert place.parent == tmp_path


def test_a_machine_that_has_no_room_at_all_is_told(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(parent / "missing"))
    monkeypatch.setattr(scratch, "_IN_MEMORY", parent / "missing too")
    with pytest.raises(SedaiError, match="no temporary directory"), scratch.directory():
        pass
