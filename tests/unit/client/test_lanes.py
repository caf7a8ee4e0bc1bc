"""Real backups in one lane and in two: whole whichever way, with holes where there are some, and ended when they are to end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from gate_pair import Pair

from sedai.client import batches, send
from sedai.client.pushing import may_have_holes
from sedai.core import wire
from sedai.core.errors import StoppedError
from sedai.server.gate import Gate

MIB = 1 << 20


def apart(tmp_path: Path) -> Pair:
    """A client whose own files lie in none of the directories that are backed up, which so stay as they are meanwhile."""
    (tmp_path / "pair").mkdir()
    return Pair(tmp_path / "pair", place=tmp_path / "place", direct=True)


def sparse(path: Path, size: int = 4 * MIB) -> Path:
    """A file with a byte at its end, and nothing before it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.truncate(size - 1)
        stream.seek(size - 1)
        stream.write(b"x")
    assert path.stat().st_blocks * 512 < size // 2
    return path


def dense(path: Path, size: int = 4 * MIB) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    os.sync()  # until then the blocks may not be counted
    return path


def test_only_a_file_with_less_on_the_disk_than_in_it_has_holes(tmp_path: Path) -> None:
    sparse(tmp_path / "sparse", MIB)
    dense(tmp_path / "dense", MIB)
    sparse(tmp_path / "few", 32 << 10)
    sparse(tmp_path / "gone", MIB)
    (tmp_path / "link").symlink_to("sparse")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    sizes = {os.fsencode(path.name): path.lstat().st_size for path in tmp_path.iterdir()} | {b"link": MIB, b"fifo": MIB}
    (tmp_path / "gone").unlink()
    root = os.fsencode(tmp_path) + b"/"
    assert [path for path, size in sorted(sizes.items()) if may_have_holes(path, size, root)] == [b"sparse"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command of each rsync that carries something of the source to the server.

    A directory above it may change meanwhile, and is sent again.
    """
    real, found = send.push, list[list[str]]()

    def push(argv: list[str], paths: Iterable[bytes], *others: Any, **options: Any) -> None:
        names = list(paths)
        if any(b"/source/" in os.fsencode(argv[-2]) + name for name in names):
            found.append(argv)
        real(argv, iter(names), *others, **options)

    monkeypatch.setattr(send, "push", push)
    return found


def test_no_holes_are_looked_for_where_there_are_none(tmp_path: Path, asked: list[list[str]]) -> None:
    pair = apart(tmp_path)
    path = dense(pair.source / "d/dense")
    pair.write("small")
    assert pair.stored(pair.backup(), path).read_bytes() == path.read_bytes()
    assert [words[1] for words in asked] == ["-aHAX"]
    sparse(pair.source / "d/sparse")
    pair.backup()
    assert [words[1] for words in asked] == ["-aHAX", "-aHAXS"]


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize("worth", [1, 1 << 30])
def test_holes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, worth: int, linked: bool) -> None:
    """Of a file that comes by the name of its directory too, though that may go in an earlier share than the file."""
    monkeypatch.setattr(batches, "SIZE", size)
    monkeypatch.setattr(batches, "WORTH_A_LANE", worth)
    pair = apart(tmp_path)
    for name in ("new/a", "new/b/part/c", "new/b/part/d", "z"):
        pair.write(name)
    if linked:
        os.link(pair.source / "z", pair.source / "new/b/part/linked")
    path, other = sparse(pair.source / "new/sparse"), dense(pair.source / "new/zz", MIB)
    generation = pair.backup()
    stored = pair.stored(generation, path)
    assert stored.read_bytes() == path.read_bytes()
    assert stored.stat().st_blocks * 512 < MIB
    assert pair.stored(generation, other).read_bytes() == other.read_bytes()


@pytest.fixture
def two_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with several processors, whatever this one has; the least tree is worth two lanes."""
    monkeypatch.setattr(batches, "WORTH_A_LANE", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})


def wait_for_each_other(pair: Pair) -> None:
    """What one receiver says passes when another has said something too."""
    (pair.root / "cut").write_text(
        f"head -c 1 >{pair.root}/said-$$; tries=0\n"
        f"while set -- {pair.root}/said-*; [ $# -lt 2 ] || [ ! -s $1 ] || [ ! -s $2 ]; do\n"
        f"  tries=$((tries + 1)); [ $tries -lt 100 ] || exit 1; sleep 0.1\n"
        f"done\n"
        f"cat {pair.root}/said-$$ -\n"
    )


def content(root: Path) -> dict[str, bytes]:
    """The files below ``root``."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("two_lanes")
def test_two_receivers_fill_one_delta(tmp_path: Path, asked: list[list[str]]) -> None:
    pair = apart(tmp_path)
    for number in range(40):
        pair.write(f"{number % 4}/{number}", f"{number}" * 100)
    wait_for_each_other(pair)
    generation = pair.backup()
    assert len(asked) == 2
    assert content(pair.stored(generation, pair.source)) == content(pair.source)
    assert len(content(pair.source)) == 40
    assert pair.store.broken_off() == []
    assert not pair.check("full").findings


@pytest.mark.usefixtures("two_lanes")
def test_a_limit_is_for_one_lane(tmp_path: Path, asked: list[list[str]]) -> None:
    pair = apart(tmp_path)
    object.__setattr__(pair.config.backup, "bandwidth_limit_kib", 100_000)
    for number in range(4):
        pair.write(f"{number}/file")
    pair.backup()
    assert len(asked) == 1


@pytest.mark.usefixtures("two_lanes")
@pytest.mark.parametrize("receivers", [None, 0, -3, True, "2", 1.5, 1, 2, 100])
def test_nobody_sends_in_more_lanes_than_the_server_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[list[str]], receivers: object
) -> None:
    """Nor in more than one where it does not say how many, in a way that is no number, or says nothing of it."""
    answering(monkeypatch, lambda answer: answer | {"receivers": receivers})
    pair = apart(tmp_path)
    for number in range(6):
        pair.write(f"{number}/file")
    pair.backup()
    assert len(asked) == (2 if receivers in (2, 100) else 1)


def answering(monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """A server whose answer to `begin` is another one."""
    real = Gate._begin
    monkeypatch.setattr(Gate, "_begin", lambda self, asked: change(real(self, asked)))


@pytest.mark.usefixtures("two_lanes")
def test_an_earlier_server_gets_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[list[str]]
) -> None:
    answering(
        monkeypatch,
        lambda answer: {name: value for name, value in answer.items() if name not in ("receivers", "takes_dense")},
    )
    pair = apart(tmp_path)
    path = dense(pair.source / "dense", MIB)
    pair.write("a/file")
    assert pair.stored(pair.backup(), path).read_bytes() == path.read_bytes()
    assert [words[1] for words in asked] == ["-aHAXS"]


@pytest.mark.parametrize(("processors", "receivers"), [(1, 1), (2, 2), (64, wire.MOST_RECEIVERS)])
def test_the_server_says_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processors: int, receivers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(processors)))
    with apart(tmp_path).connect() as connection:
        begun = connection.ask("begin", {"time": time.time()})
    assert (begun["receivers"], begun["takes_dense"]) == (receivers, True)


def told_to_stop(number: int, frame: object) -> None:
    """As SIGTERM does it."""
    raise StoppedError("told to stop")


@pytest.mark.parametrize("look", ["first", "second"])
def test_a_backup_that_is_stopped_waits_for_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    """Neither while it sends, nor while it sends again what changed meanwhile."""
    monkeypatch.setattr(send, "_END_SECONDS", 0.5)
    pair = apart(tmp_path)
    pair.write("restless")
    hangs = f"touch {tmp_path}/hangs; exec sleep 30 2>&-"
    again = f"if mkdir {tmp_path}/once 2>&-; then echo more >>{pair.source}/restless; cat; else {hangs}; fi"
    (pair.root / "cut").write_text(hangs if look == "first" else again)
    before = signal.signal(signal.SIGALRM, told_to_stop)
    child = os.fork()
    if child == 0:
        while not (tmp_path / "hangs").exists():
            time.sleep(0.05)
        os.kill(os.getppid(), signal.SIGALRM)
        os._exit(0)
    with pytest.raises(StoppedError):
        pair.run()
    os.waitpid(child, 0)
    signal.signal(signal.SIGALRM, before)
    assert time.time() - (tmp_path / "hangs").stat().st_mtime < 10
