"""Rot on the client: bytes that change while size, times and inode stay, as no scan can see them."""

from __future__ import annotations

import mmap
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gate_pair import SCRIPTS, Pair

from sedai.client import rehash, run_backup, settle
from sedai.client.describe import describe
from sedai.client.rehash import Notes, Rehashed
from sedai.client.scan import Problem
from sedai.core import manifest, wire
from sedai.core.progress import Reporter
from sedai.core.wire import Change

# A file system in memory, which never writes a page back: the time of a file moves with the first write through a mapping
# of it, and with none that follows.
MEMORY = Path("/dev/shm")


class Rotting:
    """Files whose bytes can change behind everybody's back; each is mapped before it is backed up."""

    def __init__(self) -> None:
        self._maps: dict[Path, mmap.mmap] = {}

    def prepare(self, path: Path) -> None:
        with path.open("r+b") as stream:
            made = mmap.mmap(stream.fileno(), 0)
        made[0] = made[0]
        self._maps[path] = made

    def rot(self, path: Path) -> None:
        before, data = os.lstat(path), path.read_bytes()
        self._maps[path][0] ^= 1
        after = os.lstat(path)
        assert path.read_bytes() != data
        assert [after[stat.ST_SIZE], after.st_mtime_ns, after.st_ctime_ns, after.st_ino] == [
            before[stat.ST_SIZE], before.st_mtime_ns, before.st_ctime_ns, before.st_ino
        ]  # fmt: skip

    def close(self) -> None:
        for made in self._maps.values():
            made.close()


@pytest.fixture
def rotting() -> Iterator[Rotting]:
    made = Rotting()
    yield made
    made.close()


@pytest.fixture
def pair(tmp_path: Path, rotting: Rotting) -> Iterator[Pair]:
    """Three files in memory, of which one has two names, backed up once."""
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="sedai-test-") as place:
        pair = Pair(tmp_path, place=Path(place), direct=True)
        for name in ("letter", "notes", "dir/twice"):
            rotting.prepare(pair.write(name, f"the bytes of {name}"))
        os.link(pair.source / "dir/twice", pair.source / "again")
        time.sleep(0.15)  # a file this young would be sent again
        pair.backup()
        yield pair


def paths(pair: Pair, problems: list[Problem]) -> list[str]:
    """The names in the source that problems are about, all of which must be rot."""
    assert {problem.code for problem in problems} <= {"rotten"}
    return [str(Path("/" + problem.path.decode()).relative_to(pair.source)) for problem in problems]


def found(pair: Pair, shares: int = 1) -> list[str]:
    ended = pair.program(shares=shares)
    problems = [Problem(one["code"], one["path"].encode(), one["detail"]) for one in ended.record["findings"]]
    assert list(ended.findings) == [describe(problem) for problem in problems]
    return paths(pair, problems)


def test_nothing_has_rotted(pair: Pair) -> None:
    ended = pair.program(shares=1)
    assert ended.findings == []
    assert ended.record["rehashed"]["files"] == 3
    assert ended.record["sent_files"] == 0
    assert "Read again of what did not change: 3 files" in run_backup.summary(ended)


def test_a_rotten_file_is_named_and_the_generation_keeps_its_bytes(pair: Pair, rotting: Rotting) -> None:
    letter = pair.source / "letter"
    good = letter.read_bytes()
    rotting.rot(letter)
    assert found(pair, shares=0) == []  # which is why there is a rehash
    ended = pair.program(shares=1)
    [line] = ended.findings
    assert line.startswith(f"{letter} has other bytes now, though its times say that nobody wrote to it")
    assert "restore_data.py restore --overwrite" in line and "XXH128" in line
    for generation in pair.store.generations():
        assert pair.stored(str(generation), letter).read_bytes() == good
    assert pair.check("full", "all").findings == []
    pair.restore(letter, overwrite=True)
    assert letter.read_bytes() == good
    assert found(pair) == []


def test_it_stays_a_finding_until_it_is_mended(pair: Pair, rotting: Rotting) -> None:
    """A clean run in between would be mailed as the end of it."""
    rotting.rot(pair.source / "notes")
    assert found(pair) == ["notes"]
    assert found(pair, shares=0) == ["notes"]
    os.utime(pair.source / "notes")  # the present bytes are right
    assert found(pair, shares=0) == []
    assert found(pair) == []
    newest = str(pair.store.generations()[-1])
    assert pair.stored(newest, pair.source / "notes").read_bytes() == (pair.source / "notes").read_bytes()


def test_a_rotten_file_that_is_removed_is_no_finding_any_more(pair: Pair, rotting: Rotting) -> None:
    rotting.rot(pair.source / "notes")
    assert found(pair) == ["notes"]
    (pair.source / "notes").unlink()
    assert found(pair, shares=0) == []


def test_all_names_of_a_rotten_file_are_told_and_it_is_read_once(pair: Pair, rotting: Rotting) -> None:
    rotting.rot(pair.source / "dir/twice")
    assert found(pair) == ["again", "dir/twice"]
    assert pair.program(shares=1).record["rehashed"]["files"] == 3


def test_shares_come_around(pair: Pair, rotting: Rotting) -> None:
    for name in ("letter", "notes", "dir/twice"):
        rotting.rot(pair.source / name)
    seen: set[str] = set()
    read = []
    for _ in range(4):
        (pair.state.rehash).write_text(f'{{"turns": {rehash.read_notes(pair.state.rehash).turns}, "rotten": []}}')
        ended = pair.program(shares=4)
        seen |= {one["path"].rpartition("/")[2] for one in ended.record["findings"]}
        read.append(ended.record["rehashed"]["files"])
    assert sum(read) == 3
    assert seen == {"letter", "notes", "again", "twice"}
    assert rehash.read_notes(pair.state.rehash).turns == 4


def test_a_dry_run_looks_and_notes_nothing(pair: Pair, rotting: Rotting) -> None:
    rotting.rot(pair.source / "letter")
    ended = pair.program(shares=1, dry_run=True)
    assert len(ended.findings) == 1
    assert not pair.state.rehash.exists()
    assert len(pair.store.generations()) == 1


def test_before_the_first_backup_there_is_nothing_to_compare(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    assert rehash.rehash(pair.state, 1, Reporter(quiet=True)) == Rehashed()


def test_what_was_changed_is_not_rot(pair: Pair, rotting: Rotting) -> None:
    """Files that changed since the seal, in whatever way, are the next backup's."""
    lines = list(manifest.read(pair.state.base))
    rotting.rot(pair.source / "letter")
    (pair.source / "letter").chmod(0o600)
    (pair.source / "notes").write_text("more")
    (pair.source / "again").unlink()
    (pair.source / "dir/twice").unlink()
    assert list(rehash.compare(iter(lines), lambda entry: True, Rehashed())) == []


def test_a_file_that_can_not_be_read_is_told(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: bytes, begun: int | None) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(rehash, "_read_from_disk", broken)
    ended = pair.program(shares=1)
    assert len(ended.findings) == 4
    assert "it can't be read: Input/output error" in ended.findings[0]


class TestServerIsDamagedToo:
    """The server asks for a file again that has rotted here meanwhile."""

    @pytest.fixture
    def damaged(self, pair: Pair) -> Path:
        letter = pair.source / "letter"
        pair.rot(str(pair.store.generations()[-1]), letter)
        assert len(pair.check("full").findings) == 1
        return letter

    def test_rotten_bytes_do_not_take_the_place_of_damaged_ones(
        self, pair: Pair, rotting: Rotting, damaged: Path
    ) -> None:
        """With the digest of the good ones the generation stays honest: every check says that it is damaged."""
        rotting.rot(damaged)
        assert found(pair, shares=0) == ["letter"]
        names = [str(generation) for generation in pair.store.generations()]
        assert {finding["generation"] for finding in pair.check("full", "all").record["findings"]} == set(names)
        rotting.rot(damaged)  # the good bytes are back
        assert found(pair, shares=0) == []
        assert pair.check("full").findings == []

    def test_whole_ones_heal_it(self, pair: Pair, damaged: Path) -> None:
        assert found(pair, shares=0) == []
        assert pair.check("full").findings == []

    def test_a_file_with_two_names(self, pair: Pair, rotting: Rotting) -> None:
        pair.rot(str(pair.store.generations()[-1]), pair.source / "again")
        assert len(pair.check("full").findings) == 2
        rotting.rot(pair.source / "dir/twice")
        assert found(pair, shares=0) == ["again", "dir/twice"]
        assert len(pair.check("full").findings) == 2

    def test_what_the_server_has_lost_for_good_does_not_stop_the_backups(self, pair: Pair, rotting: Rotting) -> None:
        letter = pair.source / "letter"
        pair.stored(str(pair.store.generations()[-1]), letter).unlink()
        assert {finding.split(":")[0] for finding in pair.check("quick").findings} == {"mtime", "missing", "count"}
        rotting.rot(letter)
        ended = pair.program()
        codes = [one["code"] for one in ended.record["findings"]]
        assert codes == ["rotten", "lost"]
        assert f"{letter} is not in the new generation: the server has lost it" in ended.findings[1]
        assert pair.check("full").findings == []
        # What is left of it is new now.
        assert pair.program().findings == []
        newest = str(pair.store.generations()[-1])
        assert pair.stored(newest, letter).read_bytes() == letter.read_bytes()
        assert pair.check("full").findings == []


def test_lost_paths_are_dropped_in_order_where_nothing_mends_them() -> None:
    def change(path: bytes) -> Change:
        return Change(path, b"line")

    dropped: list[bytes] = []
    settled = [change(b"a"), change(b"b/c"), change(b"b.d"), Change(b"x", None)]
    merged = list(settle.drop_lost(settled, {b"x", b"b/b", b"b/c", b"a.a", b"z", b"A"}, dropped))
    assert dropped == [b"A", b"a.a", b"b/b", b"z"]
    assert [one.path for one in merged] == sorted((one.path for one in merged), key=manifest.order)
    assert [one for one in merged if one.path not in dropped] == settled
    assert list(settle.drop_lost(settled, set(), dropped)) == settled


def test_notes_are_kept_byte_for_byte(tmp_path: Path) -> None:
    notes = Notes(3, frozenset({b"a\xff\n", b"b"}))
    rehash.write_notes(tmp_path / "n", notes)
    assert rehash.read_notes(tmp_path / "n") == notes


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "3", '{"turns": "x", "rotten": []}', '{"turns": 1, "rotten": [3]}']
)
def test_damaged_notes_are_new_ones(tmp_path: Path, content: str) -> None:
    (tmp_path / "n").write_text(content)
    assert rehash.read_notes(tmp_path / "n") == Notes()
    assert rehash.read_notes(tmp_path / "none") == Notes()


def test_every_share_has_its_part() -> None:
    counts = [0] * 7
    for inode in range(0, 70_000, 10):
        counts[rehash.share(inode, 7)] += 1
    assert min(counts) > 800
    assert rehash.share(2**64 - 1, 1) == 0


@pytest.mark.parametrize("words", [["--rehash", "0"], ["--rehash", "x"], ["--rehash=-1"]])
def test_the_program_refuses_a_number_that_is_none(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPTS / "backup_data.py", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "--rehash" in done.stderr


def test_a_path_of_the_wire_reads_back() -> None:
    assert wire.unpack(wire.pack(b"a\xff\n")) == b"a\xff\n"
