"""What a restore brings, by rsync or without it: however it comes, everything comes back as it was."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from gate_pair import Pair

from sedai.client import comparison, damage, pulls, send
from sedai.client.connection import Connection
from sedai.core import workers
from sedai.core.errors import ProcessError, UsageError


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.fixture
def by_rsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is an earlier one, which reads nothing out."""

    def unknown(*_: object) -> None:
        raise UsageError("The gate knows no 'read'.")

    monkeypatch.setattr(Connection, "reading", unknown)


@pytest.fixture
def as_a_whole(by_rsync: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By rsync, and so much that directories are named for all that is in them."""
    monkeypatch.setattr(pulls, "_MANY", 0)


@pytest.fixture(params=["read", "by_rsync", "as_a_whole"])
def way(request: pytest.FixtureRequest) -> str:
    """Each way in which things come."""
    if request.param != "read":
        request.getfixturevalue(request.param)
    return str(request.param)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[bytes]]:
    """The names of each run of rsync; the first one says whether it is recursive."""
    runs: list[list[bytes]] = []
    push = send.push

    def noted(argv: list[str], paths: Iterable[bytes], *more: object, **others: object) -> None:
        names = list(paths)
        runs.append([b"recursive" if "--recursive" in argv else b"", *names])
        push(argv, iter(names), *more, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(send, "push", noted)
    return runs


def same(one: Path, other: Path) -> None:
    """Compare two trees: names, bytes, modes, times, and which names are one file."""
    names = sorted(str(path.relative_to(one)) for path in one.rglob("*"))
    assert names == sorted(str(path.relative_to(other)) for path in other.rglob("*"))
    inodes: dict[int, int] = {}
    for name in names:
        first, second = (one / name).lstat(), (other / name).lstat()
        assert (first.st_mode, first.st_mtime_ns) == (second.st_mode, second.st_mtime_ns), name
        if (one / name).is_file() and not (one / name).is_symlink():
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
            assert inodes.setdefault(first.st_ino, second.st_ino) == second.st_ino, name


@pytest.fixture
def kept(pair: Pair, tmp_path: Path) -> Path:
    """A tree with names of one inode in several directories, backed up; a copy of it."""
    for number in range(6):
        pair.write(f"{number % 3}/deep/file{number}")
    pair.write("3/.sedai-partial/mine")
    pair.write("3/mine")
    pair.write("4/deep/alone")
    os.link(pair.source / "0/deep/file0", pair.source / "1/deep/again")
    os.link(pair.source / "0/deep/file0", pair.source / "top")
    os.link(pair.source / "2/deep/file2", pair.source / "2/deep/second")
    (pair.source / "1").chmod(0o500)
    os.utime(pair.source / "0/deep", ns=(1, 12345))
    pair.backup()
    (pair.source / "1").chmod(0o700)
    shutil.copytree(pair.source, tmp_path / "kept", symlinks=True, copy_function=os.link)
    (tmp_path / "kept/1").chmod(0o500)
    for path in (tmp_path / "kept").rglob("*"):
        if path.is_dir():
            os.utime(path, ns=(0, (pair.source / path.relative_to(tmp_path / "kept")).stat().st_mtime_ns))
    (pair.source / "1").chmod(0o500)
    return tmp_path / "kept"


@pytest.mark.usefixtures("kept", "as_a_whole")
def test_what_is_new_as_a_whole_is_named_once(pair: Pair, tmp_path: Path, asked: list[list[bytes]]) -> None:
    source = os.fsencode(pair.source)[1:]
    assert pair.restore(pair.source / "0", to=tmp_path / "to").findings == []
    above_0 = [source[:place] for place, byte in enumerate(source) if byte == ord("/")] + [source]
    # With names that the rest of the tree has it is alone here, so nothing is lost by its being whole.
    assert asked == [[b"recursive", source + b"/./0"], [b"", *above_0]]
    assert (tmp_path / "to" / str(pair.source)[1:] / "0/deep/file0").read_text() == "0/deep/file0"


@pytest.mark.usefixtures("way")
def test_everything_comes_back_into_an_empty_place(pair: Pair, kept: Path, tmp_path: Path) -> None:
    assert pair.restore(pair.source, to=tmp_path / "to").findings == []
    same(kept, tmp_path / "to" / str(pair.source)[1:])


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("at_a_time", [1, 2, 2000])
def test_names_of_one_inode_stay_one_however_they_come(
    pair: Pair, kept: Path, at_a_time: int, monkeypatch: pytest.MonkeyPatch, asked: list[list[bytes]]
) -> None:
    """One directory is gone as a whole, of another only some: both have a name of the same inode."""
    monkeypatch.setattr(pulls, "_NAMES_AT_A_TIME", at_a_time)
    for name in ("0/deep/file0", "0/deep/file3", "1", "2", "top"):
        path = pair.source / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("0/deep", "."):  # what was there keeps the time that it had
        os.utime(pair.source / name, ns=(0, (kept / name).stat().st_mtime_ns))
    assert pair.restore(pair.source).findings == []
    same(kept, pair.source)
    assert max(len(names) for names in asked) > 1
    assert all(len(set(names)) == len(names) for names in asked)


@pytest.mark.usefixtures("way")
def test_a_directory_takes_the_place_of_a_file(pair: Pair, kept: Path) -> None:
    for name in ("0", "4"):
        shutil.rmtree(pair.source / name)
        (pair.source / name).write_text("mine")
    assert pair.restore(pair.source, overwrite=True).findings == []
    same(kept, pair.source)


@pytest.mark.usefixtures("as_a_whole")
def test_nobody_else_enters_what_is_not_whole_yet(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory above has the mode of the source only when all in it has come."""
    pair.write("private/sub/file")
    (pair.source / "private").chmod(0o700)
    pair.backup()
    modes: list[int] = []
    push = send.push
    above = tmp_path / "to" / str(pair.source)[1:]

    def noted(*arguments: object) -> None:
        push(*arguments)  # type: ignore[arg-type]
        modes.append(above.stat().st_mode & 0o777)

    monkeypatch.setattr(send, "push", noted)
    assert pair.restore(pair.source / "private/sub", to=tmp_path / "to").findings == []
    assert modes == [0o700, 0o755]
    assert (above / "private").stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("as_a_whole")
def test_what_is_no_part_of_the_generation_is_told(pair: Pair, tmp_path: Path) -> None:
    """A server that has more than the manifest says: it comes with its directory, and does not go unnoticed."""
    file = pair.write("dir/file")
    generation = pair.backup()
    (pair.stored(generation, file).parent / "planted").write_text("x")
    done = pair.restore(pair.source, to=tmp_path / "to")
    place = tmp_path / "to" / str(pair.source)[1:] / "dir/planted"
    assert any(f"{place} is there and is no part of this generation" in line for line in done.findings)


@pytest.mark.usefixtures("as_a_whole")
def test_what_comes_in_the_place_of_something_damaged_is_told(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server could call damaged what it keeps back, and send something else: the number of entries would be the same."""
    file = pair.write("dir/file")
    pair.write("dir/other")
    pair.rot(pair.backup(), file)
    to = tmp_path / "to" / str(pair.source)[1:]
    push = send.push

    def swapped(*arguments: object) -> None:
        push(*arguments)  # type: ignore[arg-type]
        if (to / "dir/file").exists():
            (to / "dir/file").rename(to / "dir/planted")

    monkeypatch.setattr(send, "push", swapped)
    findings = pair.restore(pair.source, to=tmp_path / "to", accept_damaged=True).findings
    assert f"{to}/dir/planted is there and is no part of this generation" in findings
    assert any(line.startswith("damaged on the server") and "dir/file" in line for line in findings)


@pytest.mark.usefixtures("as_a_whole")
def test_what_comes_into_a_directory_that_is_called_damaged_is_told(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = pair.write("dir/file")
    generation = pair.backup()
    (pair.stored(generation, file).parent / "planted").write_text("x")
    path = os.fsencode(file.parent)[1:]
    lie = damage.Problem("content", path, "these", "those")
    monkeypatch.setattr(damage, "read", lambda *arguments: {path: lie})
    done = pair.restore(pair.source, to=tmp_path / "to", accept_damaged=True)
    place = tmp_path / "to" / str(file.parent)[1:] / "planted"
    assert f"{place} is there and is no part of this generation" in done.findings


@pytest.mark.usefixtures("by_rsync")
def test_a_name_that_nobody_asked_for_does_not_come(pair: Pair, tmp_path: Path) -> None:
    """A server that lies in rsync's protocol: here it calls a directory that was asked for by another name."""
    file = pair.write("wanted/file")
    pair.backup()
    (pair.root / "between.py").write_text(
        "import os, sys\n"
        "while chunk := os.read(0, 1 << 16):\n"
        "    os.write(1, chunk.replace(b'wanted', b'foisted'[:6]))\n"
    )
    (pair.root / "cut").write_text(f"exec {sys.executable} {pair.root}/between.py\n")
    with pytest.raises(ProcessError, match="unrequested"):
        pair.restore(file.parent, to=tmp_path / "to")
    assert [path for path in (tmp_path / "to").rglob("*") if not path.is_dir() or path.name.startswith("foist")] == []


@pytest.mark.usefixtures("as_a_whole")
@pytest.mark.parametrize("processes", [0, 2])
def test_each_file_is_compared_whoever_looks(
    pair: Pair, tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        pair.write(f"dir{number % 4}/file{number}")
    os.link(pair.source / "dir0/file0", pair.source / "dir1/other")
    pair.backup()
    monkeypatch.setattr(comparison, "_WORTH_WORKERS", 0)
    monkeypatch.setattr(comparison, "_BLOCK_BYTES", 500)
    monkeypatch.setattr(workers, "count", lambda: processes)
    to = tmp_path / "to" / str(pair.source)[1:]
    push = send.push

    def spoilt(*arguments: object) -> None:
        push(*arguments)  # type: ignore[arg-type]
        if (to / "dir0").exists():
            (to / "dir1/other").unlink()
            shutil.copy2(to / "dir0/file0", to / "dir1/other")
            file, when = to / "dir3/file3", (to / "dir3/file3").stat()
            file.write_text("dir3/fileX")
            os.utime(file, ns=(0, when.st_mtime_ns))
            (to / "dir2/file2").unlink()
            (to / "dir2/file6").chmod(0o600)
            (to / "dir2/added").touch()
            monkeypatch.setattr(send, "push", push)

    monkeypatch.setattr(send, "push", spoilt)
    findings = pair.restore(pair.source, to=tmp_path / "to").findings
    assert findings == [
        f"{to}/dir2/file2 did not come back",
        f"{to}/dir3/file3 does not have the bytes that the manifest says",
        f"{to}/dir1/other is no longer one file with its other names",
        f"{to}/dir2/added is there and is no part of this generation",
    ]
    assert (to / "dir2/file6").stat().st_mode & 0o777 == 0o644, "mended"


@pytest.mark.usefixtures("by_rsync")
def test_rsync_ends_with_a_restore_that_is_killed(pair: Pair, tmp_path: Path) -> None:
    """Nobody writes on behind its back, and the same command goes on from there."""
    for number in range(60):
        pair.write(f"{number // 10}/file{number}")
    pair.backup()
    # A line on which nothing arrives, and which ends with its rsync.
    stalled = "while [ -e /proc/$PPID/exe ]; do sleep 0.05; done"
    (pair.root / "cut").write_text(f"touch {pair.root}/began.$$\n{stalled}\n", encoding="ascii")
    child = os.fork()
    if child == 0:
        try:
            pair.restore(pair.source, to=tmp_path / "to")
        finally:
            os._exit(1)
    deadline = time.monotonic() + 60
    while not list(pair.root.glob("began.*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (pair.root / "cut").unlink()
    assert pair.restore(pair.source, to=tmp_path / "to").findings == []  # or it would find the lock held
    same(pair.source, tmp_path / "to" / str(pair.source)[1:])
