"""Throw-away servers of this machine, where they are installed; the scenario `recovery` has them in any case."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sedai.client import throwaway
from sedai.client.databases import files, scratch
from sedai.client.databases.engine import Dumped
from sedai.client.databases.mariadb import MariaDB
from sedai.client.databases.notes import Notes
from sedai.client.databases.postgresql import PostgreSQL
from sedai.core.errors import IntegrityError, SedaiError, UsageError

# The servers' own accounts have to reach it.
PLACE = Path("/var/tmp")


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDB]:
    if shutil.which("mariadbd", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("MariaDB's server is not installed")
    with throwaway.directory(PLACE) as place, scratch.server("mariadb", place) as engine:
        assert isinstance(engine, MariaDB)
        yield engine


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    if not list(scratch._POSTGRESQL.glob("*/bin/initdb")):
        pytest.skip("PostgreSQL's server is not installed")
    with throwaway.directory(PLACE) as place, scratch.server("postgresql", place) as engine:
        assert isinstance(engine, PostgreSQL)
        yield engine


@pytest.fixture
def shop(mariadb: MariaDB) -> Iterator[MariaDB]:
    """The server with a database ``shop``; in the end there is none any more."""
    mariadb._ask("CREATE DATABASE shop")
    mariadb._ask(
        "USE shop; CREATE TABLE t (n int PRIMARY KEY, w varchar(20)); INSERT INTO t VALUES (1, 'a'), (2, 'b');"
        "CREATE VIEW fine AS SELECT n FROM t"
    )
    yield mariadb
    for name in mariadb.databases():
        if name.startswith("shop"):
            mariadb._ask(f"DROP DATABASE {name}")


def notes_of(dumped: Dumped, database: str) -> Notes:
    return Notes(
        "e", "mariadb", database, "x.sql", "2026-01-31T03:15:00+00:00", 1, dumped.tables, settings=dumped.settings
    )


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_how_far_the_loading_is_can_be_told(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = request.getfixturevalue(kind)
    if kind == "mariadb":
        engine._ask("CREATE DATABASE much; USE much; CREATE TABLE t (w text); INSERT INTO t SELECT repeat('x', 60000) "
                    "FROM seq_1_to_50")  # fmt: skip
    else:
        with engine._session("template1") as session:
            session.ask("CREATE DATABASE much")
        with engine._session("much") as session:
            session.ask("CREATE TABLE t AS SELECT repeat(i::text, 30000) AS w FROM generate_series(10, 59) AS i")
    told: list[Callable[[], int]] = []
    seen: list[int] = []
    module = sys.modules[type(engine).__module__]
    genuine = module.run

    def run(*arguments: Any, **options: Any) -> Any:
        done = genuine(*arguments, **options)
        seen.extend(moved() for moved in told[:1])
        told.clear()
        return done

    dump = tmp_path / "x.dump"
    dumped = engine.dump("much", dump)
    monkeypatch.setattr(module, "run", run)
    try:
        engine.load(dump, notes_of(dumped, "much"), "much2", owners=False, watch=told.append)
        assert [count * 10 // dump.stat().st_size for count in seen] == [10], "what the other program has read"
    finally:
        for name in ("much", "much2"):
            engine.drop(name) if kind == "postgresql" else engine._ask(f"DROP DATABASE {name}")


class TestMariaDBHistory:
    """What a system-versioned table had before is in its dump, or a person is told."""

    MAKE = "USE shop; CREATE TABLE h (n int PRIMARY KEY, w varchar(9)) WITH SYSTEM VERSIONING;"
    CHANGE = (
        "USE shop; INSERT INTO h VALUES (1, 'a'), (2, 'b'); UPDATE h SET w = 'c' WHERE n = 1; DELETE FROM h WHERE n = 2"
    )
    PAST = "SELECT n, w, row_start, row_end FROM {}.h FOR SYSTEM_TIME ALL ORDER BY n, row_start"

    def test_it_comes_back(self, shop: MariaDB, tmp_path: Path) -> None:
        shop._ask(self.MAKE + self.CHANGE)
        dumped = shop.dump("shop", tmp_path / "x.sql")
        assert dumped.tables == {"h": 3, "t": 2} and dumped.lacks == ()
        assert shop.load(tmp_path / "x.sql", notes_of(dumped, "shop"), "shop2") == []
        assert shop.row_counts("shop2") == dumped.tables
        assert shop._ask(self.PAST.format("shop2")) == shop._ask(self.PAST.format("shop")) != []

    def test_it_is_set_aside_too(self, shop: MariaDB) -> None:
        shop._ask(self.MAKE + self.CHANGE)
        past = shop._ask(self.PAST.format("shop"))
        assert len(past) == 3
        assert shop.set_aside("shop", "shop_before") == []
        assert shop._ask(self.PAST.format("shop_before")) == past

    def test_one_that_no_program_can_dump_is_told(self, shop: MariaDB, tmp_path: Path) -> None:
        shop._ask(
            "USE shop; CREATE TABLE h (n int PRIMARY KEY, w varchar(9), s bigint unsigned GENERATED ALWAYS AS ROW START,"
            "e bigint unsigned GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING;"
        )
        for statement in self.CHANGE.replace("VALUES", "(n, w) VALUES").removeprefix("USE shop; ").split("; "):
            shop._ask(f"USE shop; {statement}")
        dumped = shop.dump("shop", tmp_path / "x.sql")
        assert dumped.tables == {"h": 1, "t": 2}
        [words] = dumped.lacks
        assert "without the history of its system-versioned tables (h)" in words
        assert shop.load(tmp_path / "x.sql", notes_of(dumped, "shop"), "shop2") == []
        assert shop.row_counts("shop2") == dumped.tables
        with pytest.raises(IntegrityError, match=r"differs in: h\."):
            shop.set_aside("shop", "shop_before")
        assert shop.exists("shop")


class TestMariaDBSetAside:
    """There is no renaming: the copy has everything, or nothing was changed."""

    def test_all_of_it_is_in_the_copy(self, shop: MariaDB) -> None:
        shop._ask(
            "USE shop; CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.w = 'x'; CREATE PROCEDURE p() SELECT 1;"
            "CREATE FUNCTION f() RETURNS int DETERMINISTIC RETURN 1; CREATE EVENT e ON SCHEDULE EVERY 1 YEAR DO SELECT 1"
        )
        there = shop._programs("shop")
        assert {kind for kind, _ in there} == {"VIEW", "TRIGGER", "PROCEDURE", "FUNCTION", "EVENT"}
        assert shop.set_aside("shop", "shop_before") == []
        assert shop._programs("shop_before") == there
        assert shop.row_counts("shop_before") == {"t": 2}
        assert not shop.exists("shop")

    def test_those_that_are_in_no_dump_are_known(self, shop: MariaDB) -> None:
        shop._ask("CREATE DATABASE shop2")
        assert MariaDB(shop._access, ("shop",)).others() == ["shop2"]
        assert shop.others() == []

    def test_a_view_of_a_table_that_is_gone_does_not_keep_it_from_being_replaced(self, shop: MariaDB) -> None:
        shop._ask(
            "USE shop; CREATE TABLE u (n int); CREATE VIEW v AS SELECT n FROM u; CREATE VIEW w AS SELECT n FROM v;"
            "DROP TABLE u"
        )
        told = shop.set_aside("shop", "shop_before")
        assert [line.split(",")[0] for line in told] == [
            "The view v did not work any more",
            "The view w did not work any more",
        ]
        assert "CREATE ALGORITHM=UNDEFINED" in told[0] and "`u`" in told[0], "or it would be lost"
        assert shop.row_counts("shop_before") == {"t": 2}
        assert ("VIEW", "fine") in shop._programs("shop_before")
        assert not shop.exists("shop")

    def test_a_table_that_can_not_be_read_is_not_dropped(self, shop: MariaDB) -> None:
        shop._ask("USE shop; CREATE TABLE m (n int) ENGINE = MyISAM; INSERT INTO m VALUES (1); FLUSH TABLES")
        (Path(shop.data_directory()) / "shop/m.MYI").write_bytes(b"no index")
        with pytest.raises(IntegrityError, match=r"can't be read: m\.") as refused:
            shop.set_aside("shop", "shop_before")
        assert "--as" in refused.value.hint
        assert shop.exists("shop") and not shop.exists("shop_before")

    def test_numbers_that_a_dump_rounds_are_no_writing(self, shop: MariaDB) -> None:
        """A dump has six digits of a FLOAT; CHECKSUM TABLE reads its bytes (bugs.mysql.com/bug.php?id=30041)."""
        shop._ask("USE shop; CREATE TABLE x (f float, d double); INSERT INTO x VALUES (1/3, 1/3), (16777217, 0.1)")
        assert shop.set_aside("shop", "shop_before") == []
        assert shop.row_counts("shop_before") == {"t": 2, "x": 2}

    @pytest.mark.parametrize("table", ["t VALUES (3, 'c')", "x VALUES (0.5)"])
    def test_what_is_written_while_it_is_copied_is_not_lost(
        self, shop: MariaDB, table: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shop._ask("USE shop; CREATE TABLE x (f float); INSERT INTO x VALUES (1/3)")
        make = shop._make

        def meanwhile(*arguments: Any, **options: Any) -> None:
            make(*arguments, **options)
            shop._ask(f"USE shop; INSERT INTO {table}")

        monkeypatch.setattr(shop, "_make", meanwhile)
        with pytest.raises(UsageError, match="was written to while it was copied"):
            shop.set_aside("shop", "shop_before")
        assert shop.exists("shop") and not shop.exists("shop_before")

    def test_a_copy_that_differs_is_none(self, shop: MariaDB, monkeypatch: pytest.MonkeyPatch) -> None:
        make = shop._make

        def otherwise(*arguments: Any, **options: Any) -> None:
            make(*arguments, **options)
            shop._ask("UPDATE shop_before.t SET w = 'x' WHERE n = 1")

        monkeypatch.setattr(shop, "_make", otherwise)
        with pytest.raises(IntegrityError, match=r"differs in: t\."):
            shop.set_aside("shop", "shop_before")
        assert shop.exists("shop") and not shop.exists("shop_before")

    def test_there_must_be_room_for_the_dump_and_for_the_copy(
        self, shop: MariaDB, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[dict[Path, int]] = []

        def refuse(wanted: dict[Path, int]) -> None:
            seen.append(wanted)
            raise SedaiError("full")

        monkeypatch.setattr(files, "refuse_without_space", refuse)
        with pytest.raises(SedaiError, match="full"):
            shop.set_aside("shop", "shop_before")
        [wanted] = seen
        assert wanted[Path("/var/tmp")] == 2 * shop.size("shop") > 0
        assert wanted[Path(shop.data_directory())] >= shop.size("shop")
        assert shop.exists("shop") and not shop.exists("shop_before")

    def test_a_copy_that_fails_changes_nothing(self, shop: MariaDB) -> None:
        shop._ask("CREATE DATABASE shop_before")
        with pytest.raises(SedaiError, match="exists"):
            shop.set_aside("shop", "shop_before")
        assert shop.row_counts("shop") == {"t": 2} and shop.exists("shop_before")


class TestPostgreSQL:
    """What only a server can tell."""

    def test_each_table_is_in_the_list_of_its_dump(self, postgresql: PostgreSQL, tmp_path: Path) -> None:
        with postgresql._session("template1") as session:
            session.ask("CREATE DATABASE odd")
        with postgresql._session("odd") as session:
            for name in ('"s p"', '"x.y"', '"q""s"'):
                session.ask(f"CREATE SCHEMA {name}")
            made = ('"s p"."t ""x"', '"x.y".z', '"q""s"."a.b"', 'public."a\nb"', 'public."\u6ce8\u6587"', "part1")
            for name in made:
                session.ask(f"CREATE TABLE {name} (n int)")
            session.ask("CREATE TABLE part (n int) PARTITION BY RANGE (n)")
            session.ask("ALTER TABLE part ATTACH PARTITION part1 FOR VALUES FROM (0) TO (9)")
        dump = tmp_path / "odd.dump"
        dumped = postgresql.dump("odd", dump)
        assert len(dumped.tables) == len(made)
        postgresql.prove("odd", dump, dumped.tables)
        with pytest.raises(IntegrityError, match=r"lacks the data of 1 table: public\.other"):
            postgresql.prove("odd", dump, {"public.other": 0})

    def test_those_that_are_in_no_dump_are_known(self, postgresql: PostgreSQL) -> None:
        with postgresql._session("template1") as session:
            for name in ("asked", "unasked", "shut ALLOW_CONNECTIONS false"):
                session.ask(f"CREATE DATABASE {name}")
            listed = session.ask("SELECT datname FROM pg_database WHERE NOT datistemplate")
        names = {name for (name,) in listed}
        assert set(PostgreSQL(postgresql._access, ("asked",)).others()) == names - {"asked"}
        every = PostgreSQL(postgresql._access)
        assert "shut" in every.others() and not {"asked", "unasked"} & set(every.others())
        assert PostgreSQL(dataclasses.replace(postgresql._access, host="db.example.com")).others() == []

    def test_one_that_is_missing_or_closed_does_not_stop_the_others(self, postgresql: PostgreSQL) -> None:
        with postgresql._session("template1") as session:
            session.ask("CREATE DATABASE closed ALLOW_CONNECTIONS false")
            # There is no database postgres either.
            assert PostgreSQL(postgresql._access, ("missing", "closed")).version() == postgresql.version()

    def test_a_program_that_reconnects_does_not_keep_a_half_loaded_one_there(self, postgresql: PostgreSQL) -> None:
        with postgresql._session("template1") as session:
            session.ask("CREATE DATABASE half")
        program = postgresql._session("half").__enter__()
        try:
            postgresql.drop("half")
            assert not postgresql.exists("half")
        finally:
            program.__exit__(None, None, None)
