"""What a drill draws, loads, compares, records and leaves; rsync and the servers are real in the scenarios."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import tempfile
from collections import namedtuple
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from gate_pair import QUIET
from watching import Watcher

from sedai.client import canary, catalog, drill_databases, restore, scan, target
from sedai.client import drill as drilling
from sedai.client.alerts import Outbox
from sedai.client.config import ClientConfig, Database, Drill, Server, Source
from sedai.client.databases import scratch
from sedai.client.databases.engine import Dumped
from sedai.client.databases.notes import GLOBALS, Notes, differing, stem
from sedai.client.databases.sqlite import SQLite
from sedai.client.drill import Wishes, drill, summary, survey
from sedai.client.program import Context
from sedai.client.state import State
from sedai.core import lock, manifest, walk
from sedai.core.errors import IntegrityError, LockedError, SedaiError, StoppedError, UnreachableError, UsageError
from sedai.core.manifest import Entry
from sedai.core.progress import Watch, unwatched

GENERATION = "20260101T031500Z-000042"
STAGED = b"var/lib/sedai-client"


def entry(path: bytes, size: int = 1, kind: str = "f") -> Entry:
    """A line of a manifest."""
    return Entry(path, kind, size, 0, 0o644, 0, 0, 1, 1, 0, b"-", b"-", b"")


def note(name: str, database: str, tables: dict[str, int], kind: str = "postgresql", **more: Any) -> Notes:
    """Notes of a dump."""
    suffix = ".sqlite" if kind == "sqlite" else ".dump"
    return Notes(name, kind, database, stem(database) + suffix, "2026-01-01T03:15:00+00:00", 5, tables, **more)


def write(directory: Path, *notes: Notes) -> None:
    """Dumps with their notes, as a backup leaves them in its staging directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for one in notes:
        (directory / (stem(one.database) + ".json")).write_text(one.text())
        (directory / one.file).write_text("dump\n")


def test_a_directory_in_which_no_socket_fits_is_refused() -> None:
    assert len(str(Drill(directory=Path("/" + "x" * 45)).directory)) == 46
    with pytest.raises(ValueError, match="too long for the sockets"):
        Drill(directory=Path("/" + "x" * 46))


class TestSurvey:
    """What of a generation is drilled."""

    ENTRIES = (
        entry(b"etc", kind="d"),
        entry(b"etc/hosts"),
        entry(b"etc/link", kind="l"),
        entry(b"var/lib/sedai-client", kind="d"),
        entry(STAGED + b"/canary", kind="d"),
        entry(STAGED + b"/canary/fifo", kind="p"),
        entry(STAGED + b"/canary/file"),
        entry(STAGED + b"/canary.json"),
        entry(STAGED + b"/databases", kind="d"),
        entry(STAGED + b"/databases/main", kind="d"),
        entry(STAGED + b"/databases/main/shop.dump", 10),
        entry(STAGED + b"/databases/main/shop.json"),
        entry(STAGED + b"/databases/notes/notes.json"),
        entry(STAGED + b"/databases/stray"),
        entry(b"var/lib/sedai-client-too"),
    )

    def test_the_staging_directory_is_drilled_as_what_it_is(self) -> None:
        found = survey(iter(self.ENTRIES), STAGED, 100, 1000, 1)
        assert [one.path for one in found.sample] == [b"etc/hosts", b"var/lib/sedai-client-too"]
        assert [one.path.removeprefix(STAGED) for one in found.canary] == [
            b"/canary", b"/canary/fifo", b"/canary/file", b"/canary.json"
        ]  # fmt: skip
        assert {name: len(files) for name, files in found.dumps.items()} == {"main": 2, "notes": 1}

    def test_without_one_all_are_files(self) -> None:
        found = survey(iter(self.ENTRIES), b"", 100, 1000, 1)
        assert len(found.sample) == sum(one.kind == "f" for one in self.ENTRIES)
        assert (found.canary, found.dumps) == ([], {})


class TestChoice:
    """Which databases are drilled, and what is said of the others."""

    DUMPS = {  # noqa: RUF012
        "main": [entry(b"x/main/shop.json"), entry(b"x/main/a%2Fb.json"), entry(b"x/main/@globals.json")],
        "notes": [entry(b"x/notes/notes.json")],
        "old": [entry(b"x/old/gone.json")],
        "big": [entry(b"x/big/big.json")],
    }
    CONFIGURED = {  # noqa: RUF012
        one.name: one
        for one in (
            Database("main", "postgresql"),
            Database("notes", "sqlite", path=Path("/notes.sqlite")),
            Database("big", "mariadb", drill=False),
            Database("new", "mariadb"),
        )
    }

    def test_all_that_are_configured(self) -> None:
        report = drill_databases.Report()
        assert drill_databases.choose(self.DUMPS, self.CONFIGURED, (), report) == ["main", "notes"]
        assert report.remarks == [
            "big is left out of the drill (drill: false).",
            "old is not configured any more; its dumps were not loaded.",
        ]
        assert report.findings == ["new: there is no dump of it in this generation."]

    @pytest.mark.parametrize(
        ("asked", "chosen"),
        [(("main/shop",), ["main"]), (("main/a/b",), ["main"]), (("notes",), ["notes"]), (("big",), ["big"])],
    )
    def test_those_that_are_asked_for(self, asked: tuple[str, ...], chosen: list[str]) -> None:
        report = drill_databases.Report()
        assert drill_databases.choose(self.DUMPS, self.CONFIGURED, asked, report) == chosen
        assert report.findings == []

    def test_one_that_is_not_there(self) -> None:
        with pytest.raises(UsageError, match=r"'main/shopp'\.\nIt has: .*main/a/b, main/shop, notes"):
            drill_databases.choose(self.DUMPS, self.CONFIGURED, ("main/shopp",), drill_databases.Report())


@pytest.mark.parametrize(
    ("noted", "counted", "words"),
    [
        ({"a": 1, "b": 0}, {"b": 0, "a": 1}, []),
        ({}, {}, []),
        ({"a": 1000}, {"a": 999}, ["the table a came back with 999 rows; noted when it was dumped: 1,000."]),
        ({"a": 1}, {}, ["the table a did not come back; it had 1 row."]),
        ({}, {"a\n": 1}, ["the table a\\n is in the dump, but was not noted with it."]),
    ],
)
def test_every_table_must_have_the_rows_that_were_noted(
    noted: dict[str, int], counted: dict[str, int], words: list[str]
) -> None:
    assert differing(noted, counted) == words


def test_many_tables_that_differ_are_counted() -> None:
    words = differing({f"t{number}": 1 for number in range(20)}, {})
    assert len(words) == 6
    assert words[-1] == "15 more tables differ."


class Fake:
    """An engine without a server: ``rows`` by database, ``broken``: what it says of a database instead of loading it."""

    suffix = ".dump"

    def __init__(self, rows: dict[str, dict[str, int]], broken: dict[str, Exception] | None = None) -> None:
        self.rows = rows
        self.broken = broken or {}
        self.told: dict[str, list[str]] = {}
        self.loaded: list[tuple[str, bool]] = []

    def load(
        self, dump: Path, notes: Notes, database: str, *, owners: bool = True, watch: Watch = unwatched
    ) -> list[str]:
        assert dump.read_text() == "dump\n"
        watch(lambda: dump.stat().st_size)
        if database in self.broken:
            raise self.broken[database]
        self.loaded.append((database, owners))
        return self.told.get(database, [])

    def row_counts(self, database: str) -> dict[str, int]:
        return self.rows.get(database, {})

    def version(self) -> str:
        raise NotImplementedError

    def data_directory(self) -> str:
        raise NotImplementedError

    def databases(self) -> list[str]:
        raise NotImplementedError

    def size(self, database: str) -> int:
        raise NotImplementedError

    def dump(self, database: str, target: Path) -> Dumped:
        raise NotImplementedError

    def prove(self, database: str, dump: Path, tables: dict[str, int]) -> None:
        raise NotImplementedError

    def same(self, one: Path, other: Path) -> bool:
        raise NotImplementedError

    def exists(self, database: str) -> bool:
        raise NotImplementedError

    def set_aside(self, database: str, aside: str) -> None:
        raise NotImplementedError


class TestLoading:
    """The dumps of one server."""

    def load(self, directory: Path, engine: Fake, *asked: str, damaged: Sequence[str] = ()) -> drill_databases.Report:
        @contextlib.contextmanager
        def server(kind: str, place: Path) -> Iterator[Fake]:
            yield engine

        report = drill_databases.Report()
        drill_databases.load_all(directory, directory, asked, server, report, damaged, QUIET)
        return report

    def test_accounts_come_first_and_only_with_them_owners_come_back(self, tmp_path: Path) -> None:
        write(tmp_path, note("main", "a", {"t": 3}), note("main", "b", {}), note("main", GLOBALS, {}))
        engine = Fake({"a": {"t": 3}})
        report = self.load(tmp_path, engine)
        assert engine.loaded == [(GLOBALS, False), ("a", True), ("b", True)]
        assert report.findings == []
        assert [(one.name, one.tables, one.rows, one.ok) for one in report.loaded] == [
            ("main/@globals", 0, 0, True), ("main/a", 1, 3, True), ("main/b", 0, 0, True)
        ]  # fmt: skip

    def test_without_accounts_everything_belongs_to_the_one_who_loads(self, tmp_path: Path) -> None:
        write(tmp_path, note("main", "a", {}), note("main", GLOBALS, {}))
        engine = Fake({}, {GLOBALS: SedaiError("refused")})
        report = self.load(tmp_path, engine)
        assert engine.loaded == [("a", False)]
        assert report.findings == ["main/@globals: could not be loaded: refused"]
        assert [one.ok for one in report.loaded] == [False, True]

    def test_one_that_fails_does_not_stop_the_others(self, tmp_path: Path) -> None:
        write(tmp_path, *(note("main", name, {"t": 3}) for name in "abc"))
        engine = Fake({"b": {"t": 2}, "c": {"t": 3}}, {"a": SedaiError("pg_restore: error:\n  out of memory")})
        report = self.load(tmp_path, engine)
        assert report.findings == [
            "main/a: could not be loaded: pg_restore: error: out of memory",
            "main/b: the table t came back with 2 rows; noted when it was dumped: 3.",
        ]
        assert [one.ok for one in report.loaded] == [False, False, True]

    def test_what_the_loading_tells_is_a_remark_of_accounts_a_finding(self, tmp_path: Path) -> None:
        write(tmp_path, note("main", "a", {}), note("main", GLOBALS, {}))
        engine = Fake({})
        engine.told = {"a": ["a has this server's own locale"], GLOBALS: ["ERROR: role"]}
        report = self.load(tmp_path, engine)
        assert report.remarks == ["main/a: a has this server's own locale"]
        assert report.findings == ["main/@globals: ERROR: role"]

    def test_only_what_is_asked_for_and_its_accounts(self, tmp_path: Path) -> None:
        write(tmp_path, note("main", "a", {}), note("main", "b", {}), note("main", GLOBALS, {}))
        engine = Fake({})
        self.load(tmp_path, engine, "main/b")
        assert [name for name, _ in engine.loaded] == [GLOBALS, "b"]

    def test_a_stale_dump_is_loaded_and_told_with_its_age(self, tmp_path: Path) -> None:
        write(tmp_path, note("main", "a", {}).stale("2026-02-01T03:15:00+00:00", "no route\nto host"))
        engine = Fake({})
        report = self.load(tmp_path, engine)
        assert [name for name, _ in engine.loaded] == ["a"]
        [line] = report.findings
        assert line.startswith("main/a: its newest dump is stale, ")
        assert "days old (2026-01-01T03:15:00+00:00): no route to host" in line

    def test_damaged_notes_are_told_and_the_others_are_loaded(self, tmp_path: Path) -> None:
        write(tmp_path / "main", note("main", "a", {}), note("main", "b", {}))
        (tmp_path / "main/a.json").write_text("{")
        engine = Fake({})
        report = self.load(tmp_path / "main", engine)
        assert [name for name, _ in engine.loaded] == ["b"]
        [line] = report.findings
        assert "main/a.json can't be read" in line
        assert str(tmp_path) not in line

    def test_a_dump_that_came_back_damaged_is_not_called_well(self, tmp_path: Path) -> None:
        write(tmp_path, note("main", "a", {}), note("main", "b", {}))
        report = self.load(
            tmp_path, Fake({}), damaged=["/x/main/a.dump does not have the bytes that the manifest says"]
        )
        assert [one.ok for one in report.loaded] == [False, True]

    def test_a_server_that_is_not_there_is_one_finding_with_its_remedy(self, tmp_path: Path) -> None:
        write(tmp_path, note("main", "a", {}), note("main", "b", {}))

        @contextlib.contextmanager
        def server(kind: str, place: Path) -> Iterator[Fake]:
            raise SedaiError("There is no PostgreSQL server here.", "Install it (apt install postgresql).")
            yield Fake({})

        report = drill_databases.Report()
        drill_databases.load_all(tmp_path, tmp_path, (), server, report, (), QUIET)
        assert report.findings == [
            "main/a, main/b: There is no PostgreSQL server here. Install it (apt install postgresql)."
        ]
        assert [(one.name, one.ok) for one in report.loaded] == [("main/a", False), ("main/b", False)]

    def test_somebody_who_looks_sees_each_dump_go_in(self, tmp_path: Path) -> None:
        write(tmp_path, note("main", "a", {"t": 3}))
        watcher = Watcher()

        @contextlib.contextmanager
        def server(kind: str, place: Path) -> Iterator[Fake]:
            yield Fake({"a": {"t": 3}})

        drill_databases.load_all(tmp_path, tmp_path, (), server, drill_databases.Report(), (), watcher)
        [phase] = watcher.phases
        assert (phase.phase, phase.size) == ("load main/a", note("main", "a", {}).bytes)
        assert [moved() for moved in phase.moved] == [len("dump\n")]

    def test_being_stopped_is_no_finding(self, tmp_path: Path) -> None:
        write(tmp_path, note("main", "a", {}), note("main", "b", {}))
        engine = Fake({}, {"a": StoppedError("SIGTERM")})
        with pytest.raises(StoppedError):
            self.load(tmp_path, engine)
        assert engine.loaded == []

    def test_sqlite_is_loaded_for_real(self, tmp_path: Path) -> None:
        source, directory = tmp_path / "live.sqlite", tmp_path / "dumps"
        with contextlib.closing(sqlite3.connect(source)) as database:
            database.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1), (2); CREATE TABLE u (x);")
        directory.mkdir()
        dumped = SQLite("notes", source).dump("notes", directory / "notes.sqlite")
        notes = note("notes", "notes", dumped.tables | {"t": 3}, "sqlite", settings=dumped.settings)
        (directory / "notes.json").write_text(notes.text())
        report = drill_databases.Report()
        drill_databases.load_all(directory, tmp_path, (), scratch.server, report, (), QUIET)
        assert report.findings == ["notes: the table t came back with 2 rows; noted when it was dumped: 3."]
        assert [(one.name, one.tables, one.rows, one.ok) for one in report.loaded] == [("notes", 2, 2, False)]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["dumps", "live.sqlite"]


class World:
    """A client, and a server whose one generation is ``tree``; restoring copies from it, and then says ``complaints``."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.tree = root / "tree"
        self.place = Path(tempfile.mkdtemp(dir="/var/tmp"))  # sockets need a short path
        self.complaints: list[str] = []
        self.failure: Exception | None = None
        self.restored: list[list[Path]] = []
        for directory in (self.tree / "etc", self.tree / "staging"):
            directory.mkdir(parents=True)
        for number in range(10):
            (self.tree / f"etc/file {number}").write_text("x" * 100)
        canary.prepare(self.tree / "staging")
        self.dump({"t": 3})
        config = ClientConfig("laptop", root / "state", root / "log", Server("127.0.0.1", root / "key", root / "known"),
                              (Source(Path("/etc")),), staging_directory=Path("/staging"),
                              databases=(Database("notes", "sqlite", path=Path("/notes.sqlite")),),
                              drill=Drill(5, 1000, self.place))  # fmt: skip
        state = State(config.state_directory)
        state.prepare()
        log = logging.getLogger("test")
        self.context = Context(config, state, Outbox(root / "alerts", log), log)
        monkeypatch.setattr(drilling, "Connection", self.connection)
        monkeypatch.setattr(drilling, "fetch_manifest", self.fetch_manifest)
        monkeypatch.setattr(catalog, "generations", lambda connection: [
            {"generation": GENERATION, "manifest_sha256": "aa"}])  # fmt: skip
        monkeypatch.setattr(restore, "restore", self.restore)

    def dump(self, noted: dict[str, int]) -> None:
        """Put the dump of an SQLite database with three rows into the generation."""
        directory = self.tree / "staging/databases/notes"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        with contextlib.closing(sqlite3.connect(directory / "notes.sqlite")) as database:
            database.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1), (2), (3);")
        (directory / "notes.json").write_text(note("notes", "notes", noted, "sqlite").text())

    @contextlib.contextmanager
    def connection(self, server: Server) -> Iterator[object]:
        yield object()

    def fetch_manifest(self, connection: object, generation: str, sha256: str, path: Path) -> None:
        assert (generation, sha256) == (GENERATION, "aa")

        def failed(path: bytes, error: OSError) -> None:
            raise error

        root = os.fsencode(self.tree)
        with manifest.Writer(path) as writer:
            for name, stat in walk.walk(root, b"", walk.everything, failed):
                line = scan.signature(name, stat)
                assert line is not None
                writer.add(line + b"-\t-\t" + manifest.escape(scan.target(root + b"/" + name, stat)) + b"\n")

    def restore(self, connection: object, state: State, record: dict[str, Any], paths: Sequence[Path], target: Path,
                *, reporter: object, accept_damaged: bool) -> restore.Restored:  # fmt: skip
        assert accept_damaged
        assert state.sealed() == {GENERATION: "aa"}
        assert state.root != self.context.state.root
        assert oct(target.stat().st_mode) == "0o40700"
        if self.failure:
            raise self.failure
        self.restored.append(list(paths))
        done = restore.Restored(record["generation"])
        for path in paths:
            there, back = self.tree / path.relative_to("/"), target / path.relative_to("/")
            back.parent.mkdir(parents=True, exist_ok=True)
            done.files += there.is_file()
            done.bytes += there.stat().st_size if there.is_file() else 0
            if there.is_dir():
                shutil.rmtree(back, ignore_errors=True)
                os.system(f"cp -a --sparse=always '{there}' '{back.parent}'")  # noqa: S605
            else:
                shutil.copy2(there, back)
        done.findings = [line.format(target=target) for line in self.complaints]
        return done


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path, monkeypatch)
    yield made
    made.place.rmdir()  # where a drill left something this fails


class TestDrill:
    """A whole drill."""

    def test_everything_comes_back(self, world: World) -> None:
        result = drill(world.context, Wishes(seed=7), quiet=True)
        record = result.record
        assert result.findings == []
        assert (record["generation"], record["seed"], record["files"], record["bytes"]) == (GENERATION, 7, 5, 500)
        [database] = record["databases"]
        assert database | {"seconds": 0} == {"name": "notes", "seconds": 0, "tables": 1, "rows": 3, "ok": True}
        assert record["canary"] == {"unmade": [], "not_kept": []}
        assert set(record["seconds"]) == {"files", "canary", "databases", "all"}
        assert 0 <= record["minutes"] < 1
        words = summary(result)
        assert "Restored 5 files (500 B), 1 database (1 table, 3 rows) in 0." in words
        assert " seconds; everything came back as it was." in words
        result.record["seconds"]["all"] = 48.0
        assert "in 0.8 minutes; everything" in summary(result)
        assert f"The same again: restore_drill.py --generation {GENERATION} --seed 7 --files 5\n" in words

    def test_the_same_seed_brings_the_same_files(self, world: World) -> None:
        for seed in (1, 1, 2):
            drill(world.context, Wishes(seed=seed), quiet=True)
        one, again, other = world.restored[::3]
        assert one == again != other
        assert drill(world.context, Wishes(), quiet=True).record["seed"] > 0

    def test_as_many_files_as_asked_for(self, world: World) -> None:
        assert drill(world.context, Wishes(files=8), quiet=True).record["files"] == 8
        assert drill(world.context, Wishes(files=99), quiet=True).record["files"] == 10

    def test_what_did_not_come_back_is_told_with_the_path_that_it_has_here(self, world: World) -> None:
        world.complaints = ["{target}/etc/file 1 does not have the bytes that the manifest says"]
        findings = drill(world.context, Wishes(), quiet=True).findings
        assert findings[0] == "/etc/file 1 does not have the bytes that the manifest says"

    @pytest.mark.parametrize("root", [True, False])
    def test_what_only_root_can_bring_back_is_a_finding_only_for_root(
        self, world: World, monkeypatch: pytest.MonkeyPatch, root: bool
    ) -> None:
        findings = target.Findings()
        findings.add("owner", b"/x")
        findings.add("mode", b"/y")
        world.complaints = findings.lines()
        monkeypatch.setattr(target, "privileged", lambda: root)
        result = drill(world.context, Wishes(), quiet=True)
        owner = "/x could not get its owner and group"
        assert "/y has another mode" in result.findings
        assert (owner in result.findings) is root
        assert (f"This account can't do it: {owner}" in result.record["remarks"]) is not root

    def test_temporary_files_lie_in_the_directory_that_goes(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = tempfile.gettempdir()
        places = []

        def compare(staging: Path) -> canary.Kept:
            places.append(Path(tempfile.gettempdir()))
            return canary.Kept((), ())

        monkeypatch.setattr(canary, "compare", compare)
        drill(world.context, Wishes(), quiet=True)
        assert [place.parent.parent for place in places] == [world.place]
        assert tempfile.gettempdir() == before

    def test_a_canary_that_lost_something_is_a_finding(self, world: World) -> None:
        os.chmod(world.tree / "staging/canary/setuid", 0o755)  # noqa: S103
        result = drill(world.context, Wishes(), quiet=True)
        assert "Setuid bits are not kept: setuid has mode 755, not 4755." in result.findings
        assert result.record["canary"]["not_kept"] == result.findings
        assert "PROBLEM Setuid bits" in summary(result)

    def test_a_generation_without_a_canary_is_told(self, world: World) -> None:
        (world.tree / "staging/canary.json").unlink()
        assert any("fidelity canary is not in" in line for line in drill(world.context, Wishes(), quiet=True).findings)

    def test_what_this_machine_can_t_make_is_printed_and_no_finding(self, world: World, monkeypatch: Any) -> None:
        shutil.rmtree(world.tree / "staging/canary")
        with monkeypatch.context() as without:
            without.setattr(os, "setxattr", refuse)
            assert len(canary.prepare(world.tree / "staging")) == 4
        result = drill(world.context, Wishes(), quiet=True)
        assert result.findings == []
        assert len(result.record["canary"]["unmade"]) == 4
        assert "Access ACLs can't be made here" in summary(result)

    def test_rows_that_are_missing_are_found(self, world: World) -> None:
        world.dump({"t": 4})
        result = drill(world.context, Wishes(), quiet=True)
        assert result.findings == ["notes: the table t came back with 3 rows; noted when it was dumped: 4."]
        assert not result.record["databases"][0]["ok"]

    def test_a_part_without_space_is_told_and_the_others_are_tried(self, world: World, monkeypatch: Any) -> None:
        free = 64 << 20
        dumps = 2 * sum(path.stat().st_size for path in (world.tree / "staging/databases/notes").iterdir())
        # Enough for the files and, with a MiB for the canary's hole, not for twice the dumps.
        assert dumps > 8000
        for path in (world.tree / "etc").iterdir():
            path.write_text("x")
        (world.tree / "staging/canary/sparse").unlink()
        usage = namedtuple("usage", "f_bavail f_frsize")
        monkeypatch.setattr(os, "statvfs", lambda path: usage(free + 6000, 1))
        result = drill(world.context, Wishes(), quiet=True)
        [line] = [line for line in result.findings if "free" in line]
        assert line.startswith(f"notes: not brought back: {world.place} has 64.0 MiB free, and this needs 64.0 MiB.")
        assert result.record["files"] == 5
        assert result.record["databases"] == []

    def test_files_that_can_t_be_had_do_not_stop_the_rest(self, world: World) -> None:
        world.failure = IntegrityError("rsync broke off")
        findings = drill(world.context, Wishes(), quiet=True).findings
        assert findings == ["files: rsync broke off", "canary: rsync broke off", "notes: rsync broke off"]

    @pytest.mark.parametrize("error", [StoppedError("SIGTERM"), UnreachableError("no route"), KeyboardInterrupt()])
    def test_what_ends_the_drill_leaves_nothing(self, world: World, error: Exception) -> None:
        world.failure = error
        with pytest.raises(type(error)):
            drill(world.context, Wishes(), quiet=True)

    def test_a_second_one_is_told_who_drills(self, world: World) -> None:
        assert not drilling.in_use(world.context.state)
        with lock.exclusive(world.context.state.root / "drill.lock", "A drill"):
            assert drilling.in_use(world.context.state)
            with pytest.raises(
                LockedError, match=rf"restore drill of this machine is already running \(pid {os.getpid()}"
            ):
                drill(world.context, Wishes(), quiet=True)
        assert not drilling.in_use(world.context.state)
        assert drill(world.context, Wishes(), quiet=True).record["files"] == 5

    def test_a_backup_s_lock_does_not_hinder(self, world: World) -> None:
        with lock.exclusive(world.context.state.run_lock, "A backup"):
            assert drill(world.context, Wishes(), quiet=True).record["files"] == 5

    def test_what_a_killed_one_left_is_removed_and_told(self, world: World) -> None:
        left = world.place / "sedai-drill-left"
        left.mkdir()
        (left / "lock").touch()
        remarks = drill(world.context, Wishes(), quiet=True).record["remarks"]
        assert remarks == [f"{left} was left by a drill that was killed; it is removed."]


def refuse(*arguments: object, **options: object) -> None:
    """A filesystem without xattrs."""
    raise OSError(95, "Operation not supported")
