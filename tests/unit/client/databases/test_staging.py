"""Dumping all databases: each good dump replaces the last, a failing one keeps it, and nothing stops the others."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from watching import Watcher

from sedai.client.config import Database
from sedai.client.databases import notes as noted
from sedai.client.databases.engine import Dumped
from sedai.client.databases.notes import GLOBALS, Notes
from sedai.client.databases.staging import Report, dump_all, look
from sedai.core.errors import IntegrityError, ProcessError, SedaiError, StoppedError
from sedai.core.progress import Reporter, Watch, unwatched


@dataclass
class Fake:
    """A server with ``content`` by database; ``failing``: what each step raises, by its name and the database's."""

    content: dict[str, bytes]
    failing: dict[tuple[str, str], BaseException] = field(default_factory=dict)
    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    suffix: str = ".dump"
    expansion: int = 2
    beside: tuple[str, ...] = ()
    place: str = "/var/lib/fake"
    lacks: tuple[str, ...] = ()
    umasks: list[int] = field(default_factory=list)

    def _step(self, name: str, database: str = "") -> None:
        if (name, database) in self.failing:
            raise self.failing[name, database]

    def version(self) -> str:
        self._step("version")
        return "15.4"

    def data_directory(self) -> str:
        self._step("data_directory")
        return self.place

    def databases(self) -> list[str]:
        self._step("databases")
        return list(self.content)

    def others(self) -> list[str]:
        return list(self.beside)

    def size(self, database: str) -> int:
        self._step("size", database)
        return self.sizes.get(database, 1)

    def dump(self, database: str, target: Path) -> Dumped:
        assert not target.exists()
        target.write_bytes(self.content[database])
        self._step("dump", database)
        return Dumped(self.rows.get(database, {"t": len(self.content[database])}), {"owner": "o"}, self.lacks)

    def prove(self, database: str, dump: Path, tables: dict[str, int]) -> None:
        assert dump.read_bytes() == self.content[database] and tables is not None
        self._step("prove", database)

    def same(self, one: Path, other: Path) -> bool:
        self._step("same")
        return one.read_bytes() == other.read_bytes()

    def exists(self, database: str) -> bool:
        raise NotImplementedError

    def load(
        self, dump: Path, notes: Notes, database: str, *, owners: bool = True, watch: Watch = unwatched
    ) -> list[str]:
        raise NotImplementedError

    def row_counts(self, database: str) -> dict[str, int]:
        raise NotImplementedError

    def set_aside(self, database: str, aside: str) -> list[str]:
        raise NotImplementedError


def entry(name: str = "main") -> Database:
    return Database(name, "postgresql")


Dump = Callable[..., Report]


@pytest.fixture
def dump(tmp_path: Path) -> Dump:
    """Dump ``main`` (or all ``servers`` by name) into one staging directory."""

    def run(main: Fake | None = None, **servers: Fake) -> Report:
        engines: dict[str, Fake] = servers | ({"main": main} if main else {})
        before = os.umask(0o022)
        try:
            report = dump_all(
                tmp_path / "staging", map(entry, engines), lambda e: engines[e.name], Reporter(quiet=True)
            )
            assert os.umask(0o022) == 0o022, "the umask is back"
        finally:
            os.umask(before)
        return report

    return run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "staging/databases/main"


def test_somebody_who_looks_sees_each_dump_grow(tmp_path: Path) -> None:
    engine = Fake({"shop": b"1234"}, sizes={"shop": 3})
    for expected in (3, 4):  # then as large as the last one
        watcher = Watcher()
        dump_all(tmp_path, [entry()], lambda _: engine, watcher)
        [phase] = watcher.phases
        assert (phase.phase, phase.size) == ("dump main/shop", expected)
        place = tmp_path / "databases/main/shop.dump.new"
        place.write_bytes(b"12")
        assert [moved() for moved in phase.moved] == [2]


def contents(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.iterdir() if path.suffix != ".json"}


def make_old(place: Path, hours: int = 50) -> None:
    """As if all in ``place`` had been dumped earlier."""
    earlier = (datetime.now(UTC) - timedelta(hours=hours)).isoformat(timespec="seconds")
    for path in place.glob("*.json"):
        text = path.read_text()
        path.write_text(re.sub(r'"dumped": "[^"]*"', f'"dumped": "{earlier}"', text))


def test_the_first_dump_is_there_with_its_notes_for_its_owner_alone(dump: Dump, place: Path) -> None:
    report = dump(Fake({GLOBALS: b"roles", "shop": b"12345", "a/b": b"x"}))
    assert report.problems == [] and report.live == [Path("/var/lib/fake")]
    assert contents(place) == {"@globals.sql": b"roles", "shop.dump": b"12345", "a%2Fb.dump": b"x"}
    notes = Notes.read(place / "shop.json")
    assert notes in report.notes and len(report.notes) == 3
    assert (notes.name, notes.file, notes.bytes, notes.tables) == ("main/shop", "shop.dump", 5, {"t": 5})
    assert (notes.server_version, notes.data_directory, notes.settings) == ("15.4", "/var/lib/fake", {"owner": "o"})
    assert abs((datetime.now(UTC) - datetime.fromisoformat(notes.dumped)).total_seconds()) < 60
    for path in (place, place.parent):
        assert path.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o600}


def test_what_a_dump_can_not_hold_is_told_each_time(dump: Dump, place: Path) -> None:
    for _ in range(2):
        report = dump(Fake({"shop": b"12345"}, lacks=("is dumped without its history.",)))
        assert report.problems == [("main/shop", "is dumped without its history.")] and len(report.notes) == 1
    assert not Notes.read(place / "shop.json").stale_since


def test_an_unchanged_dump_stays_the_same_file(dump: Dump, place: Path) -> None:
    dump(Fake({"shop": b"12345"}))
    make_old(place)
    before = (place / "shop.dump").stat()
    report = dump(Fake({"shop": b"12345"}))
    after = (place / "shop.dump").stat()
    assert (before.st_ino, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_ino,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
    assert report.problems == []
    assert datetime.now(UTC) - datetime.fromisoformat(Notes.read(place / "shop.json").dumped) < timedelta(minutes=1)
    assert sorted(os.listdir(place)) == ["shop.dump", "shop.json"]


def test_a_changed_dump_replaces_the_last(dump: Dump, place: Path) -> None:
    dump(Fake({"shop": b"12345"}))
    assert dump(Fake({"shop": b"123456"})).problems == []
    assert contents(place) == {"shop.dump": b"123456"} and Notes.read(place / "shop.json").rows == 6


@pytest.mark.parametrize("error", [IntegrityError("damaged"), OSError(errno.EIO, "bad disk")])
def test_a_last_dump_that_can_not_be_compared_is_replaced(error: Exception, dump: Dump, place: Path) -> None:
    dump(Fake({"shop": b"12345"}))
    inode = (place / "shop.dump").stat().st_ino
    assert dump(Fake({"shop": b"12345"}, {("same", ""): error})).problems == []
    assert (place / "shop.dump").stat().st_ino != inode


FAILURES = [
    ("size", ProcessError("no answer", 2, "")),
    ("dump", ProcessError("broken\n  off", 1, "")),
    ("dump", OSError(errno.ENOSPC, "No space left on device")),
    ("prove", IntegrityError("cut")),
    ("prove", OSError(errno.EIO, "bad disk")),
]


@pytest.mark.parametrize(("step", "error"), FAILURES)
def test_one_that_fails_keeps_its_last_dump_and_the_others_go_on(
    step: str, error: Exception, dump: Dump, place: Path
) -> None:
    dump(Fake({"a": b"a1", "shop": b"12345", "z": b"z1"}))
    make_old(place)
    report = dump(Fake({"a": b"a2", "shop": b"1", "z": b"z2"}, {(step, "shop"): error}))
    assert contents(place) == {"a.dump": b"a2", "shop.dump": b"12345", "z.dump": b"z2"}
    [(name, text)] = report.problems
    assert name == "main/shop" and " ".join(str(error).split()) in text and "\n" not in text
    assert "(50 h old), marked stale" in text
    stale = Notes.read(place / "shop.json")
    assert stale in report.notes and len(report.notes) == 3
    assert stale.stale_since and stale.rows == 5 and stale.stale_error == str(error)
    again = dump(Fake({"a": b"a2", "shop": b"1", "z": b"z2"}, {(step, "shop"): SedaiError("still")}))
    assert [name for name, _ in again.problems] == ["main/shop"]
    assert Notes.read(place / "shop.json").stale_since == stale.stale_since
    assert Notes.read(place / "shop.json").stale_error == "still"
    assert dump(Fake({"a": b"a2", "shop": b"123", "z": b"z2"})).problems == []
    assert Notes.read(place / "shop.json").stale_since == "" and contents(place)["shop.dump"] == b"123"


@pytest.mark.parametrize(("step", "error"), FAILURES)
def test_one_that_never_was_dumped_leaves_nothing(step: str, error: Exception, dump: Dump, place: Path) -> None:
    report = dump(Fake({"shop": b"12345"}, {(step, "shop"): error}))
    assert [(name, "there is no earlier dump" in text) for name, text in report.problems] == [("main/shop", True)]
    assert list(place.iterdir()) == [] and report.notes == []


def test_an_empty_dump_is_none(dump: Dump, place: Path) -> None:
    dump(Fake({"shop": b"12345"}))
    [(_, text)] = dump(Fake({"shop": b""})).problems
    assert "The dump is empty" in text and contents(place) == {"shop.dump": b"12345"}


def test_age_is_told_in_days_when_it_is_long(dump: Dump, place: Path) -> None:
    dump(Fake({"shop": b"12345"}))
    make_old(place, 24 * 9)
    [(_, text)] = dump(Fake({"shop": b"1"}, {("dump", "shop"): SedaiError("no")})).problems
    assert "(9 days old)" in text


@pytest.mark.parametrize("step", ["databases", "version"])
def test_a_server_that_does_not_answer_makes_all_stale(step: str, dump: Dump, place: Path) -> None:
    dump(main=Fake({"a": b"a", "b": b"b"}), other=Fake({"c": b"c"}))
    down = {(step, ""): ProcessError("connection refused", 2, ""), ("data_directory", ""): SedaiError("refused")}
    report = dump(main=Fake({"a": b"a2"}, dict(down)), other=Fake({"c": b"c2"}))
    [(name, text)] = report.problems
    assert (
        name == "main"
        and "keeps its dumps, marked stale: main/a (0 h old), main/b (0 h old): connection refused" in text
    )
    assert contents(place) == {"a.dump": b"a", "b.dump": b"b"}
    assert all(Notes.read(place / f"{database}.json").stale_since for database in "ab")
    assert sorted(notes.name for notes in report.notes) == ["main/a", "main/b", "other/c"]
    assert report.live == [Path("/var/lib/fake")] * 2, "where they lay the last time"
    assert contents(place.with_name("other")) == {"c.dump": b"c2"}


def test_a_server_that_never_answered_is_told(dump: Dump) -> None:
    report = dump(Fake({}, {("databases", ""): SedaiError("refused")}))
    assert report.problems == [("main", "could not be dumped, and there is no earlier dump here: refused")]


def test_space_is_looked_at_before(dump: Dump, place: Path) -> None:
    dump(Fake({"a": b"a", "big": b"12345"}))
    fake = Fake({"a": b"a", "big": b"123456"}, sizes={"big": 1 << 60})
    [(name, text)] = dump(fake).problems
    assert name == "main/big" and "free, this may need" in text
    assert contents(place) == {"a.dump": b"a", "big.dump": b"12345"}


def test_a_disk_that_is_full_for_the_notes_keeps_dump_and_notes_together(
    dump: Dump, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump(Fake({"shop": b"12345"}))
    write = Path.write_text

    def full(path: Path, *args: Any, **kwargs: Any) -> int:
        if ".json" in path.name:
            path.touch()
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", full)
    report = dump(Fake({"shop": b"123456789"}))
    assert "No space left" in report.problems[0][1]
    assert contents(place) == {"shop.dump": b"12345"} and Notes.read(place / "shop.json").rows == 5
    assert sorted(os.listdir(place)) == ["shop.dump", "shop.json"]


def test_a_database_that_is_gone_is_told_once(dump: Dump, place: Path) -> None:
    dump(Fake({"a": b"a", "b": b"b"}))
    report = dump(Fake({"a": b"a"}))
    [(name, text)] = report.problems
    assert name == "main/b" and "is not dumped any more" in text and "older generations" in text
    assert sorted(os.listdir(place)) == ["a.dump", "a.json"]
    assert report.gone == {place / "b"}, "and the last generation's need not stay"
    report = dump(Fake({"a": b"a"}))
    assert report.problems == [] and report.gone == set()


def test_a_server_that_is_not_configured_any_more_is_told_once(dump: Dump, tmp_path: Path) -> None:
    dump(main=Fake({"a": b"a"}), old=Fake({"b": b"b"}))
    (tmp_path / "staging/databases/old/directory").mkdir()
    report = dump(main=Fake({"a": b"a2"}))
    [(name, text)] = report.problems
    assert report.gone == {tmp_path / "staging/databases/old"}
    assert name == "old" and "is not configured any more" in text
    assert os.listdir(tmp_path / "staging/databases") == ["main"]
    assert dump(main=Fake({"a": b"a2"})).problems == []


def test_what_a_link_points_to_is_not_removed(dump: Dump, tmp_path: Path, place: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/precious").touch()
    place.parent.mkdir(parents=True)
    (place.parent / "old").symlink_to(tmp_path / "elsewhere")
    [(name, _)] = dump(Fake({"a": b"a"})).problems
    assert name == "old" and (tmp_path / "elsewhere/precious").exists()
    assert contents(place) == {"a.dump": b"a"}, "and the others go on"


def test_a_kind_that_changed_leaves_no_dump_of_the_other(dump: Dump, place: Path) -> None:
    dump(Fake({"a": b"a"}, suffix=".sql"))
    dump(Fake({"a": b"b"}, {("dump", "a"): SedaiError("no")}))
    assert contents(place) == {"a.sql": b"a"} and Notes.read(place / "a.json").stale_since
    assert dump(Fake({"a": b"b"})).problems == []
    assert contents(place) == {"a.dump": b"b"}


@pytest.mark.parametrize(("rows", "told"), [(5, True), (0, True), (50, False), (99, False), (1000, False)])
def test_one_that_lost_most_of_its_rows_is_stored_and_told(rows: int, told: bool, dump: Dump, place: Path) -> None:
    dump(Fake({"a": b"a"}, rows={"a": {"t": 60, "u": 40}}))
    report = dump(Fake({"a": b"b"}, rows={"a": {"t": rows}}))
    assert contents(place) == {"a.dump": b"b"}
    assert [name for name, text in report.problems if f"has {rows} rows, it had 100" in text] == ["main/a"] * told


@pytest.mark.parametrize("damage", [b"", b"{", b'{"file": 1}', b"\xff"])
def test_damaged_notes_are_made_anew(damage: bytes, dump: Dump, place: Path) -> None:
    dump(Fake({"a": b"a"}))
    (place / "a.json").write_bytes(damage)
    [(_, text)] = dump(Fake({"a": b"b"}, {("dump", "a"): SedaiError("no")})).problems
    assert "the notes of its earlier dump are damaged" in text and contents(place) == {"a.dump": b"a"}
    assert dump(Fake({"a": b"a"})).problems == []
    assert Notes.read(place / "a.json").database == "a"


@pytest.mark.parametrize("name", ["a.dump.new", "gone.dump.new", "a.sqlite.new-journal", "a.json.new"])
def test_what_a_killed_run_left_is_cleared_away(name: str, dump: Dump, place: Path) -> None:
    place.mkdir(parents=True)
    (place / name).write_bytes(b"half")
    assert dump(Fake({"a": b"a", "b.newer": b"b"})).problems == []
    assert contents(place) == {"a.dump": b"a", "b.newer.dump": b"b"}


def test_a_file_where_a_directory_should_be_is_told(dump: Dump, place: Path, tmp_path: Path) -> None:
    place.parent.mkdir(parents=True)
    place.touch()
    report = dump(main=Fake({"a": b"a"}), other=Fake({"b": b"b"}))
    [(name, text)] = report.problems
    assert name == "main" and "File exists" in text and contents(place.with_name("other")) == {"b.dump": b"b"}
    (tmp_path / "blocked").touch()
    report = dump_all(tmp_path / "blocked", [entry()], lambda e: Fake({}), Reporter(quiet=True))
    [(name, text)] = report.problems
    assert "No database was dumped" in text and "\n" not in text


def test_a_bug_in_one_engine_stops_nothing(dump: Dump, place: Path) -> None:
    report = dump(main=Fake({"a": b"a"}, {("dump", "a"): IndexError("oops")}), other=Fake({"b": b"b"}))
    assert report.problems == [("main", "could not be dumped, unexpectedly: IndexError('oops')")]
    assert contents(place) == {} and contents(place.with_name("other")) == {"b.dump": b"b"}


@pytest.mark.parametrize("step", ["databases", "data_directory", "dump", "prove"])
def test_a_run_that_is_stopped_stops(step: str, dump: Dump, place: Path) -> None:
    """SIGTERM is not one database's failure: nothing is marked stale, and nothing else is begun."""
    dump(Fake({"a": b"a", "b": b"b"}))
    for name in ("", "a"):
        with pytest.raises(StoppedError):
            dump(Fake({"a": b"a2", "b": b"b2"}, {(step, ""): StoppedError("stop"), (step, "a"): StoppedError("stop")}))
        assert contents(place) == {"a.dump": b"a", "b.dump": b"b"}, name
    assert not Notes.read(place / "a.json").stale_since


def test_a_dry_run_only_asks_where_the_live_files_are(tmp_path: Path) -> None:
    engines = {"a": Fake({}), "b": Fake({}, {("data_directory", ""): SedaiError("refused")})}
    assert look(map(entry, engines), lambda e: engines[e.name]).live == [Path("/var/lib/fake")]
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_no_entry_dumps_is_told(dump: Dump) -> None:
    engines = {
        "main": Fake({"a": b"a"}, beside=("b", "c")),
        "second": Fake({"b": b"b"}, beside=("a", "c")),
        "other": Fake({"c": b"c"}, place="/var/lib/other"),
    }
    words = ": a database of this server, but not among those to be dumped, or it takes no connections"
    assert dump(**engines).left_out in ([f"main/c{words}"], [f"second/c{words}"])
    assert look(map(entry, engines), lambda e: engines[e.name]).left_out == [f"second/c{words}"]


def test_dumps_are_private_whatever_the_umask(dump: Dump, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake({"a": b"a"})
    write = fake.dump

    def look(database: str, target: Path) -> Dumped:
        made = write(database, target)
        fake.umasks.append(target.stat().st_mode & 0o777)
        raise_after = fake.failing.get(("after", database))
        if raise_after:
            raise raise_after
        return made

    monkeypatch.setattr(fake, "dump", look)
    dump(fake)
    fake.failing["after", "a"] = SedaiError("no")
    dump(fake)
    assert fake.umasks == [0o600, 0o600]


def test_the_age_of_a_moment() -> None:
    now = datetime.now(UTC)
    assert noted.age((now - timedelta(hours=71)).isoformat()) == "71 h"
    assert noted.age((now - timedelta(days=4)).isoformat()) == "4 days"
