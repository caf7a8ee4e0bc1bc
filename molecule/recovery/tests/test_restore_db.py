"""A database comes back with all that belongs to it, and not one row that was committed is lost on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from conftest import Machine, wait_for

RESTORE = "restore_data.py"
_BESIDES = """
SELECT datconnlimit, shobj_description(oid, 'pg_database'),
  (SELECT string_agg(setrole::regrole || setconfig::text, ' ' ORDER BY setrole) FROM pg_db_role_setting
   WHERE setdatabase = d.oid),
  (SELECT string_agg(a.grantee || a.privilege_type, ' ' ORDER BY 1) FROM aclexplode(datacl) a)
FROM pg_database d WHERE datname = '{name}'
"""


@pytest.fixture(scope="module")
def ledger(client: Machine) -> Iterator[str]:
    """The same small database on each kind of server, backed up; PostgreSQL's with all that a database itself can have."""
    client.postgresql("postgres", "CREATE ROLE auditor")
    client.postgresql("postgres", "CREATE DATABASE ledger OWNER shop_owner")
    client.postgresql(
        "ledger",
        "CREATE TABLE t (n int); INSERT INTO t SELECT generate_series(1, 100);"
        "REVOKE CONNECT ON DATABASE ledger FROM PUBLIC; GRANT CONNECT ON DATABASE ledger TO auditor WITH GRANT OPTION;"
        """ALTER DATABASE ledger SET search_path = "$user", public, "Odd, 'x";"""
        "ALTER ROLE auditor IN DATABASE ledger SET statement_timeout = '5s';"
        "ALTER DATABASE ledger CONNECTION LIMIT 7; COMMENT ON DATABASE ledger IS E'it''s \\\\ a ledger'",
    )
    client.mariadb(
        "mysql", "CREATE USER writer@localhost; CREATE DATABASE ledger; GRANT ALL ON `ledger%`.* TO writer@localhost"
    )
    client.mariadb(
        "ledger",
        "CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t SELECT seq FROM seq_1_to_100;"
        "CREATE DEFINER = writer@localhost VIEW v AS SELECT n FROM t",
    )
    client.backup()
    yield "ledger"
    for name in _of_postgresql(client):
        client.postgresql("postgres", f'DROP DATABASE "{name}"')
    client.postgresql("postgres", "DROP ROLE auditor")
    for name in _of_mariadb(client):
        client.mariadb("mysql", f"DROP DATABASE `{name}`")
    client.mariadb("mysql", "DROP USER IF EXISTS writer@localhost")
    client.backup(expect=1)  # it tells that they are gone


def _of_postgresql(client: Machine) -> list[str]:
    return client.postgresql("postgres", "SELECT datname FROM pg_database WHERE datname ~ '^ledger' ORDER BY 1").split()


def _of_mariadb(client: Machine) -> list[str]:
    return client.mariadb("mysql", "SHOW DATABASES LIKE 'ledger%'").split()


class TestPostgreSQL:
    """What no dump of the content holds comes back too."""

    def test_all_that_belongs_to_the_database_itself(self, client: Machine, ledger: str) -> None:
        before = client.postgresql("postgres", _BESIDES.format(name="ledger"))
        assert "auditor" in before and "Odd" in before and "it's \\ a ledger" in before
        said = client.program(RESTORE, "restore-db", "main/ledger", "--as", "ledger2")
        assert "the row counts are those of the dump" in said
        assert client.postgresql("postgres", _BESIDES.format(name="ledger2")) == before
        assert client.postgresql("ledger2", "SELECT count(*) FROM t") == "100"

    def test_one_that_is_in_use_is_not_replaced(self, client: Machine, ledger: str) -> None:
        client.run("runuser -u postgres -- psql -X -d ledger -c 'SELECT pg_sleep(300)' >/dev/null 2>&1 &")
        busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'ledger'"
        wait_for("the other session", lambda: client.postgresql("postgres", busy) == "1")
        there = _of_postgresql(client)
        try:
            said = client.program(RESTORE, "restore-db", "main/ledger", "--overwrite", expect=3)
        finally:
            client.postgresql("postgres", busy.replace("count(*)", "pg_terminate_backend(pid)"))
        assert "Stop the programs that use the database" in said
        assert _of_postgresql(client) == there

    def test_the_one_that_was_there_is_kept(self, client: Machine, ledger: str) -> None:
        client.postgresql("ledger", "INSERT INTO t VALUES (101)")
        said = client.program(RESTORE, "restore-db", "main/ledger", "--overwrite")
        (aside,) = [name for name in _of_postgresql(client) if name.startswith("ledger_before_")]
        assert aside in said
        assert client.postgresql(aside, "SELECT count(*) FROM t") == "101"
        assert client.postgresql("ledger", "SELECT count(*) FROM t") == "100"


class TestMariaDB:
    """There is no renaming of a database, so that it is copied; nothing may be written meanwhile."""

    def test_one_that_is_in_use_is_not_replaced(self, client: Machine, ledger: str) -> None:
        client.run("mariadb ledger -e 'SELECT SLEEP(300)' >/dev/null 2>&1 &")
        busy = "SELECT ID FROM information_schema.PROCESSLIST WHERE DB = 'ledger'"
        wait_for("the other session", lambda: client.mariadb("mysql", busy))
        try:
            said = client.program(RESTORE, "restore-db", "wiki/ledger", "--overwrite", expect=2)
        finally:
            client.mariadb("mysql", f"KILL {client.mariadb('mysql', busy)}")
        assert "ledger is in use by root" in said
        assert _of_mariadb(client) == ["ledger"]

    def test_an_account_that_is_not_there_is_told(self, client: Machine, ledger: str) -> None:
        client.mariadb("mysql", "DROP USER writer@localhost")
        said = client.program(RESTORE, "restore-db", "wiki/ledger", "--as", "ledger2", expect=1)
        assert "what runs as writer@localhost fails" in said
        client.program(RESTORE, "restore-db", "wiki/@globals")
        client.mariadb("mysql", "DROP DATABASE ledger2")
        client.program(RESTORE, "restore-db", "wiki/ledger", "--as", "ledger2")
        assert client.mariadb("ledger2", "SELECT COUNT(*) FROM v") == "100"

    def test_the_one_that_was_there_is_kept(self, client: Machine, ledger: str) -> None:
        client.mariadb("ledger", "INSERT INTO t VALUES (101)")
        said = client.program(RESTORE, "restore-db", "wiki/ledger", "--overwrite")
        (aside,) = [name for name in _of_mariadb(client) if name.startswith("ledger_before_")]
        assert aside in said
        assert client.mariadb(aside, "SELECT COUNT(*) FROM v") == "101"
        assert client.mariadb("ledger", "SELECT COUNT(*) FROM v") == "100"

    def test_a_broken_one_is_replaced_too(self, client: Machine, ledger: str) -> None:
        client.mariadb("ledger", "CREATE TABLE u (n int); CREATE VIEW broken AS SELECT n FROM u; DROP TABLE u")
        there = _of_mariadb(client)
        said = client.program(RESTORE, "restore-db", "wiki/ledger", "--overwrite", expect=1)
        assert "The view broken did not work any more" in said
        (aside,) = set(_of_mariadb(client)) - set(there)
        assert aside in said
        assert client.mariadb(aside, "SELECT COUNT(*) FROM v") == "100"
        assert client.mariadb("ledger", "SELECT COUNT(*) FROM v") == "100"


class TestSQLite:
    """A program that has the file open would go on writing to one that nobody finds any more."""

    def test_one_that_is_in_use_is_not_replaced(self, client: Machine, ledger: str) -> None:
        path = "/srv/data/notes.sqlite"
        script = "import sqlite3, sys, time; d = sqlite3.connect(sys.argv[1]); d.execute('PRAGMA user_version'); time.sleep(300)"
        client.run(f'python3 -c "{script}" {path} >/dev/null 2>&1 & echo $! >/root/holder')
        wait_for(
            "the other program", lambda: client.host.run(f"ls -l /proc/$(cat /root/holder)/fd | grep {path}").rc == 0
        )
        rows = client.rows("sqlite", path)
        try:
            said = client.program(RESTORE, "restore-db", "notes", "--overwrite", expect=2)
        finally:
            client.run("kill $(cat /root/holder)")
        assert "is in use by process" in said
        assert client.rows("sqlite", path) == rows

    def test_the_one_that_was_there_is_kept(self, client: Machine, ledger: str) -> None:
        path = "/srv/data/notes.sqlite"
        rows = client.rows("sqlite", path)
        said = client.program(RESTORE, "restore-db", "notes", "--overwrite")
        aside = next(word.rstrip(";") for word in said.split() if word.startswith(f"{path}.before_"))
        assert client.rows("sqlite", aside) == rows
        assert client.rows("sqlite", path) == rows
        client.run(f"rm {aside}")

    def test_a_damaged_one_is_replaced_too(self, client: Machine, ledger: str) -> None:
        path = "/srv/data/notes.sqlite"
        rows = client.rows("sqlite", path)
        client.run(f"truncate --size=5000 {path}")
        said = client.program(RESTORE, "restore-db", "notes", "--overwrite", expect=1)
        assert f"{path} is damaged" in said
        assert client.rows("sqlite", path) == rows
        assert client.run(f"stat --format=%s {path}.before_*").strip() == "5000"
        client.run(f"rm {path}.before_*")


def test_which_databases_there_are(client: Machine, ledger: str) -> None:
    notes = json.loads(client.program(RESTORE, "databases", "--json"))
    named = {each["name"]: each["tables"] for each in notes}
    assert {"main/@globals", "main/shop", "tcp/shop", "wiki/@globals", "wiki/wiki", "notes"} <= set(named)
    assert named["main/ledger"] == {"public.t": 100} and named["wiki/ledger"] == {"t": 100}
    said = client.program(RESTORE, "restore-db", "main/ledgr", expect=2)
    assert "main/ledger" in said
