"""SQLite on real files: written while they are dumped, left by killed programs, odd, locked, damaged, and put back."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sedai.client.databases import sqlite
from sedai.client.databases.notes import Notes
from sedai.client.databases.sqlite import SQLite
from sedai.core.errors import IntegrityError, SedaiError, UsageError

# Only root can give files to others and read them then.
OTHER = 65534 if os.geteuid() == 0 else os.geteuid()


def make(path: Path, *statements: str) -> Path:
    """A database made by ``statements``."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)
    return path


@contextlib.contextmanager
def program(path: Path, *lines: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that opened ``path`` as ``db``, did ``lines`` and goes on until it is killed."""
    code = "\n".join(
        [
            "import sqlite3, time, itertools",
            f"db = sqlite3.connect({str(path)!r}, isolation_level=None)",
            *lines,
            "print('ready', flush=True)",
            "time.sleep(60)",
        ]
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def dump(path: Path, target: Path) -> dict[str, int]:
    """The rows of a dump that was proven."""
    engine = SQLite("app", path)
    dumped = engine.dump("app", target)
    engine.prove("app", target, dumped.tables)
    assert not [beside for beside in target.parent.iterdir() if beside.name.startswith(target.name + "-")]
    with contextlib.closing(sqlite3.connect(target)) as copy:
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",), "one file, no log beside it"
    return dumped.tables


def restored(path: Path, target: Path) -> Notes:
    dumped = SQLite("app", path).dump("app", target)
    return Notes("app", "sqlite", "app", target.name, "", 1, dumped.tables, settings=dumped.settings)


def test_what_is_in_the_log_is_in_the_dump_while_it_is_written_on(tmp_path: Path) -> None:
    path = make(tmp_path / "app.db", "PRAGMA journal_mode = WAL", "CREATE TABLE t (a, b)")
    lines = (
        "db.execute('PRAGMA wal_autocheckpoint = 0')",
        "db.executemany('INSERT INTO t VALUES (?, 1)', [(n,) for n in range(1000)])",
        "print('ready', flush=True)",
        "for n in itertools.count():",
        "    db.execute('BEGIN')",
        "    db.execute('INSERT INTO t VALUES (?, 2)', (n,))",
        "    db.execute('INSERT INTO t VALUES (?, 3)', (n,))",
        "    db.execute('COMMIT')",
    )
    with program(path, *lines) as process:
        for number in range(3):
            target = tmp_path / f"{number}.sqlite"
            rows = dump(path, target)["t"]
            assert rows >= 1000
            with contextlib.closing(sqlite3.connect(target)) as copy:
                seen = dict(copy.execute("SELECT b, count(*) FROM t GROUP BY b"))
            assert seen[1] == 1000 and seen.get(2, 0) == seen.get(3, 0), "whole transactions of one moment"
        assert process.poll() is None
    assert Path(f"{path}-wal").stat().st_size > 0


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_what_a_killed_program_left_is_read_as_it_was_committed(mode: str, tmp_path: Path) -> None:
    path = make(tmp_path / "app.db", f"PRAGMA journal_mode = {mode}", "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    lines = (
        "db.execute('PRAGMA cache_size = 2')",
        "db.execute('PRAGMA cache_spill = ON')",
        "db.execute('INSERT INTO t VALUES (2)')",
        "db.execute('BEGIN')",
        "db.executemany('INSERT INTO t VALUES (?)', [('x' * 3000,) for n in range(500)])",
    )
    with program(path, *lines):
        pass
    log = Path(f"{path}-{'wal' if mode == 'WAL' else 'journal'}")
    assert log.stat().st_size > 0 and path.stat().st_size > (100 * 3000 if mode == "DELETE" else 0), "the log is hot"
    assert dump(path, tmp_path / "copy.sqlite") == {"t": 2}


def test_reading_leaves_the_file_and_its_owner_alone(tmp_path: Path) -> None:
    path = make(tmp_path / "app.db", "PRAGMA journal_mode = WAL", "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    for beside in tmp_path.glob("app.db*"):
        os.chown(beside, OTHER, -1)
    before, content = path.stat(), path.read_bytes()
    assert dump(path, tmp_path / "copy.sqlite") == {"t": 1}
    after = path.stat()
    assert (after.st_ino, after.st_uid, after.st_gid, after.st_mode, after.st_mtime_ns) == (
        before.st_ino, before.st_uid, before.st_gid, before.st_mode, before.st_mtime_ns)  # fmt: skip
    assert path.read_bytes() == content
    assert {beside.stat().st_uid for beside in tmp_path.glob("app.db*")} == {OTHER}, "or its owner could not open it"
    assert (tmp_path / "copy.sqlite").stat().st_uid == os.geteuid()


def test_the_log_of_another_owner_stays_his(tmp_path: Path) -> None:
    path = make(tmp_path / "app.db", "PRAGMA journal_mode = WAL", "CREATE TABLE t (a)")
    with program(path, "db.execute('INSERT INTO t VALUES (1)')"):
        for beside in tmp_path.glob("app.db*"):
            os.chown(beside, OTHER, -1)
        logs = {beside: beside.stat().st_ino for beside in tmp_path.glob("app.db*")}
        wal = Path(f"{path}-wal").read_bytes()
        assert len(logs) == 3 and wal
        assert dump(path, tmp_path / "copy.sqlite") == {"t": 1}
        assert Path(f"{path}-wal").read_bytes() == wal
        assert {beside: beside.stat().st_ino for beside in tmp_path.glob("app.db*")} == logs
        assert {beside.stat().st_uid for beside in logs} == {OTHER}


def test_a_file_that_stays_locked_is_told_and_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 0.2)
    path = make(tmp_path / "app.db", "CREATE TABLE t (a)")
    with program(path, "db.execute('BEGIN EXCLUSIVE')"), pytest.raises(SedaiError, match="database is locked"):
        SQLite("app", path).dump("app", tmp_path / "copy.sqlite")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not a database at all", "no SQLite database"),
        (os.urandom(4096), "encrypted"),
        (b"SQLite format 2", "no SQLite"),
    ],
)
def test_what_is_no_database_is_told(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    path.write_bytes(content)
    with pytest.raises(SedaiError, match=words):
        SQLite("app", path).dump("app", tmp_path / "copy.sqlite")
    assert not (tmp_path / "copy.sqlite").exists()


def test_what_is_not_there_or_no_file_is_told(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(SedaiError, match=words):
            SQLite("app", path).dump("app", tmp_path / "copy.sqlite")
    with pytest.raises(SedaiError, match="No such file"):
        SQLite("app", tmp_path / "none").size("app")
    assert list(tmp_path.iterdir()) == [], "nothing was made by looking"


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    path = make(tmp_path / "app.db", "CREATE TABLE t (a)", "CREATE INDEX i ON t (a)", "INSERT INTO t VALUES ('needle')")
    raw = path.read_bytes()
    path.write_bytes(raw[::-1].replace(b"eldeen", b"eldeeN", 1)[::-1])
    engine = SQLite("app", path)
    dumped = engine.dump("app", tmp_path / "copy.sqlite")
    with pytest.raises(IntegrityError, match="damaged"):
        engine.prove("app", tmp_path / "copy.sqlite", dumped.tables)
    (tmp_path / "copy.sqlite").write_bytes(raw[: len(raw) - 2000])
    with pytest.raises((IntegrityError, SedaiError)):
        engine.prove("app", tmp_path / "copy.sqlite", dumped.tables)


def test_an_empty_file_is_an_empty_database(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    path.touch()
    assert dump(path, tmp_path / "copy.sqlite") == {}
    assert path.stat().st_size == 0


def test_tables_have_any_name(tmp_path: Path) -> None:
    names = ['a"b', "a b", "select", "世代", "x'y", "a;b", "sqliteish", "%_\\", "a\nb"]
    made = [f'CREATE TABLE "{name.replace(chr(34), chr(34) * 2)}" (x)' for name in names]
    path = make(tmp_path / "app.db", *made, "CREATE TABLE k (a PRIMARY KEY) WITHOUT ROWID", "INSERT INTO k VALUES (1)")
    assert dump(path, tmp_path / "copy.sqlite") == {**dict.fromkeys(names, 0), "k": 1}


@pytest.mark.parametrize("name", ["a?mode=rw.db", "100%41.db", "a#b.db", "a b;c.db", "-x.db", "世\n代.db"])
def test_the_file_has_any_name(name: str, tmp_path: Path) -> None:
    path = make(tmp_path / name, "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    assert dump(path, tmp_path / "copy.sqlite") == {"t": 1}
    assert sorted(tmp_path.iterdir()) == sorted([path, tmp_path / "copy.sqlite"])


def test_virtual_tables_are_in_their_ordinary_ones(tmp_path: Path) -> None:
    path = make(
        tmp_path / "app.db",
        "CREATE TABLE source (id INTEGER PRIMARY KEY, b)",
        "CREATE VIRTUAL TABLE own USING fts5 (b)",
        "INSERT INTO own VALUES ('a')",
        "CREATE VIRTUAL TABLE outer USING fts5 (b, content = source, content_rowid = id)",
        "DROP TABLE source",
    )
    rows = dump(path, tmp_path / "copy.sqlite")
    assert rows["own_content"] == 1 and "outer" not in rows, "it can't be counted: what it indexes is gone"
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.sqlite")) as copy:
        assert copy.execute("SELECT count(*) FROM own WHERE own MATCH 'a'").fetchone() == (1,)


def test_an_order_that_only_the_application_knows_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        for name in ("backwards", "icu_root"):
            database.create_collation(name, lambda one, other: (one < other) - (one > other))
        database.execute("CREATE TABLE t (a COLLATE backwards, b COLLATE icu_root)")
        database.execute("CREATE INDEX i ON t (a, b)")
        database.executemany("INSERT INTO t VALUES (?, ?)", [(str(number), str(-number)) for number in range(500)])
    assert dump(path, tmp_path / "copy.sqlite") == {"t": 500}
    with (tmp_path / "copy.sqlite").open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xff" * 200)
    with pytest.raises(SedaiError):
        SQLite("app", path).prove("app", tmp_path / "copy.sqlite", {"t": 500})


def test_a_symlink_leads_to_the_file_and_its_log(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path = make(tmp_path / "real/app.db", "PRAGMA journal_mode = WAL", "CREATE TABLE t (a)")
    (tmp_path / "link.db").symlink_to(path)
    with program(path, "db.execute('INSERT INTO t VALUES (1)')"):
        assert dump(tmp_path / "link.db", tmp_path / "copy.sqlite") == {"t": 1}


def test_dumps_of_the_same_are_the_same(tmp_path: Path) -> None:
    path = make(tmp_path / "app.db", "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    engine = SQLite("app", path)
    dump(path, tmp_path / "1")
    dump(path, tmp_path / "2")
    assert engine.same(tmp_path / "1", tmp_path / "2")
    make(path, "INSERT INTO t VALUES (2)")
    dump(path, tmp_path / "3")
    assert not engine.same(tmp_path / "1", tmp_path / "3")


def test_it_comes_back_with_its_mode_and_owner(tmp_path: Path) -> None:
    path = make(tmp_path / "app.db", "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65533)
    notes = restored(path, tmp_path / "copy.sqlite")
    before = path.stat()
    path.unlink()
    engine = SQLite("app", path)
    assert not engine.exists("app")
    told: list[int] = []
    assert engine.load(tmp_path / "copy.sqlite", notes, "app", watch=lambda moved: told.append(moved())) == []
    assert told == [0], "from the beginning on it can be told how far it is"
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_nlink == 1 and engine.row_counts("app") == {"t": 1} and engine.exists("app")
    other = tmp_path / "new/place.db"
    assert engine.load(tmp_path / "copy.sqlite", notes, str(other), owners=False) == []
    assert engine.row_counts(str(other)) == {"t": 1} and other.stat().st_uid == os.geteuid()
    assert sorted(os.listdir(tmp_path)) == ["app.db", "copy.sqlite", "new"]


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = make(tmp_path / "app.db", "CREATE TABLE t (a)")
    notes = restored(path, tmp_path / "copy.sqlite")
    content = path.read_bytes()
    with pytest.raises(SedaiError, match="File exists"):
        SQLite("app", path).load(tmp_path / "copy.sqlite", notes, "app")
    assert path.read_bytes() == content and sorted(os.listdir(tmp_path)) == ["app.db", "copy.sqlite"]


@pytest.mark.parametrize("ending", ["-wal", "-journal"])
def test_a_log_of_an_earlier_database_does_not_spoil_the_new_one(ending: str, tmp_path: Path) -> None:
    path = make(tmp_path / "old.db", "CREATE TABLE t (a)", "INSERT INTO t VALUES (7)")
    notes = restored(path, tmp_path / "copy.sqlite")
    target = tmp_path / "app.db"
    (tmp_path / f"app.db{ending}").write_bytes(b"of another database")
    with pytest.raises(SedaiError, match=f"app.db{ending} is there"):
        SQLite("app", target).load(tmp_path / "copy.sqlite", notes, "app")
    assert not target.exists()
    with pytest.raises(SedaiError, match=f"app.db{ending} is there"):
        SQLite("app", path).set_aside("app", str(target))
    assert path.exists() and not target.exists()


def test_nobody_else_can_read_a_copy_while_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "app.db", "CREATE TABLE t (a)")
    notes = restored(path, tmp_path / "copy.sqlite")
    path.chmod(0o644)
    modes = []
    copy = sqlite._copy

    def look(source: sqlite3.Connection, target: Path) -> None:
        copy(source, target)
        modes.append(target.stat().st_mode & 0o777)

    monkeypatch.setattr(sqlite, "_copy", look)
    SQLite("app", path).load(tmp_path / "copy.sqlite", notes, str(tmp_path / "other.db"))
    SQLite("app", path).set_aside("app", str(tmp_path / "aside.db"))
    assert modes == [0o600, 0o600]


def test_a_directory_is_not_set_aside(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no file"):
        SQLite("app", tmp_path / "app.db").set_aside(str(tmp_path), str(tmp_path / "aside"))


def test_set_aside_nothing_is_lost(tmp_path: Path) -> None:
    path = make(tmp_path / "app.db", "PRAGMA journal_mode = WAL", "CREATE TABLE t (a)")
    path.chmod(0o660)
    with program(path, "db.execute('INSERT INTO t VALUES (1)')"):
        pass
    assert Path(f"{path}-wal").stat().st_size > 0
    SQLite("app", path).set_aside("app", str(tmp_path / "aside.db"))
    assert [left.name for left in tmp_path.iterdir()] == ["aside.db"]
    assert SQLite("x", tmp_path / "aside.db").row_counts("x") == {"t": 1}
    assert (tmp_path / "aside.db").stat().st_mode & 0o777 == 0o660


def test_what_a_link_leads_to_is_set_aside_and_replaced(tmp_path: Path) -> None:
    """Programs name the link, and its target is the database: with a new file in the link's place it would stay in use."""
    (tmp_path / "real").mkdir()
    real = make(tmp_path / "real/app.db", "CREATE TABLE t (a)", "INSERT INTO t VALUES (7)")
    link = tmp_path / "link.db"
    link.symlink_to("real/app.db")
    notes = restored(link, tmp_path / "copy.sqlite")
    make(real, "INSERT INTO t VALUES (8)")
    engine = SQLite("app", link)
    engine.set_aside(str(link), str(tmp_path / "aside.db"))
    assert engine.row_counts(str(tmp_path / "aside.db")) == {"t": 2}
    assert link.is_symlink() and not real.exists()
    assert not engine.exists(str(link)), "there is nothing that could be lost"
    assert engine.load(tmp_path / "copy.sqlite", notes, str(link)) == []
    assert link.is_symlink() and engine.row_counts(str(real)) == {"t": 1}
    assert sorted(os.listdir(tmp_path / "real")) == ["app.db"]


def test_set_aside_overwrites_nothing(tmp_path: Path) -> None:
    path = make(tmp_path / "app.db", "CREATE TABLE t (a)")
    (tmp_path / "aside.db").write_text("somebody's")
    with pytest.raises(SedaiError, match="File exists"):
        SQLite("app", path).set_aside("app", str(tmp_path / "aside.db"))
    assert (tmp_path / "aside.db").read_text() == "somebody's" and path.exists()


def truncated(raw: bytes) -> bytes:
    return raw[: len(raw) - 5000]


def zeroed(raw: bytes) -> bytes:
    return bytes(100) + raw[100:]


@pytest.mark.parametrize("damage", [truncated, zeroed])
def test_a_damaged_one_is_set_aside_as_it_is(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """It is the first reason to want another in its place."""
    made = make(tmp_path / "made.db", "CREATE TABLE t (a)", "INSERT INTO t VALUES (zeroblob(50000))")
    notes = restored(made, tmp_path / "copy.sqlite")
    broken = damage(made.read_bytes())
    home = tmp_path / "home"
    home.mkdir()
    path, aside = home / "app.db", home / "aside.db"
    path.write_bytes(broken)
    path.chmod(0o640)
    engine = SQLite("app", path)
    [told] = engine.set_aside("app", str(aside))
    assert f"{path} is damaged (" in told and str(aside) in told
    assert os.listdir(home) == ["aside.db"]
    assert aside.read_bytes() == broken and aside.stat().st_mode & 0o777 == 0o640
    assert engine.load(tmp_path / "copy.sqlite", notes, "app") == []
    assert engine.row_counts("app") == {"t": 1}


def test_what_is_in_the_logs_of_a_damaged_one_stays_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(source: sqlite3.Connection, target: Path) -> None:
        source.close()
        error = sqlite3.DatabaseError("malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT_SEQUENCE
        raise error

    path = make(tmp_path / "app.db", "PRAGMA journal_mode = WAL", "CREATE TABLE t (a)")
    with program(path, "db.execute('INSERT INTO t VALUES (1)')"):
        pass
    monkeypatch.setattr(sqlite, "_copy", broken)
    SQLite("app", path).set_aside("app", str(tmp_path / "aside.db"))
    assert sorted(os.listdir(tmp_path)) == ["aside.db", "aside.db-shm", "aside.db-wal"]
    assert SQLite("x", tmp_path / "aside.db").row_counts("x") == {"t": 1}


def test_one_that_is_locked_is_not_taken_for_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 0.2)
    monkeypatch.setattr(sqlite, "_refuse_in_use", lambda path: None)
    path = make(tmp_path / "app.db", "CREATE TABLE t (a)")
    with program(path, "db.execute('BEGIN EXCLUSIVE')"), pytest.raises(SedaiError, match="database is locked"):
        SQLite("app", path).set_aside("app", str(tmp_path / "aside.db"))
    assert path.exists() and not (tmp_path / "aside.db").exists()


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_one_that_a_program_has_open_is_not_set_aside(tmp_path: Path, mode: str) -> None:
    """It would go on writing to a file that nobody finds any more."""
    path = make(tmp_path / "app.db", f"PRAGMA journal_mode = {mode}", "CREATE TABLE t (a)")
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with program(path, "db.execute('INSERT INTO t VALUES (1)')") as process:
        for name in (path, link):
            with pytest.raises(UsageError, match=rf"in use by process {process.pid} \("):
                SQLite("app", name).set_aside("app", str(tmp_path / "aside.db"))
    assert path.exists() and not (tmp_path / "aside.db").exists()
