"""Restore drills with real dumps: loaded into throw-away servers beside the live ones, which feel nothing of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import CONFIGURATION, PROGRAMS, Machine

NewMail = Callable[[str], str]
DATABASES = {
    "main/shop": ("postgresql", "shop"),
    "main/emptyish": ("postgresql", "emptyish"),
    "tcp/shop": ("postgresql", "shop"),
    "wiki/wiki": ("mariadb", "wiki"),
    "wiki/small": ("mariadb", "small"),
    "notes": ("sqlite", "/srv/data/notes.sqlite"),
}
ACCOUNTS = {"main/@globals", "wiki/@globals"}
DIRECTORIES = "/var/tmp/sedai-drill-"
TEMPORARY = "ls -d /tmp/sedai-* 2>/dev/null; true"
# The dump of this one begins after somebody has deleted rows that were counted.
LOSING_PG_DUMP = b"""\
#!/bin/bash
arguments=()
for argument in "$@"; do
    [[ $argument == --snapshot=* ]] || arguments+=("$argument")
done
if [[ " $* " == *"dbname='emptyish'"* ]]; then
    psql -q -d emptyish -c 'DELETE FROM promised WHERE id > 7'
    exec /usr/bin/pg_dump "${arguments[@]}"
fi
exec /usr/bin/pg_dump "$@"
"""


def drill(client: Machine, *arguments: str, expect: int = 0) -> dict[str, Any]:
    """Drill and return the run record."""
    said = client.program("restore_drill.py", "--json", *arguments, expect=expect)
    record: dict[str, Any] = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    return record


def left(client: Machine) -> list[str]:
    """Directories of drills, and programs that run in them."""
    found = client.run(
        f"ls -d {DIRECTORIES}* 2>/dev/null; ps -eo pid,args | grep -F {DIRECTORIES} | grep -v grep; true"
    )
    return found.splitlines()


def by_name(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What was loaded, by the database's name."""
    return {database["name"]: database for database in record["databases"]}


def live(client: Machine) -> tuple[str, ...]:
    """What the live servers would show if a drill had touched them."""
    return (
        client.postgresql(
            "postgres", "SELECT pg_postmaster_start_time(), array_agg(datname ORDER BY 1) FROM pg_database"
        ),
        client.postgresql("postgres", "SELECT array_agg(rolname ORDER BY rolname) FROM pg_roles"),
        client.mariadb("mysql", "SHOW DATABASES; SELECT User, Host FROM user ORDER BY 1, 2"),
        client.run("systemctl show --property=ExecMainPID mariadb postgresql@15-main"),
    )


def struck(client: Machine, signal: str) -> int:
    """Begin a drill, and send it a signal while it loads into a throw-away PostgreSQL; returns its exit code."""
    script = f"""
        {PROGRAMS}/restore_drill.py --files 1 >/root/drill.out 2>&1 & drill=$!
        until pgrep -f '^/usr/lib/postgresql/.* -D {DIRECTORIES}' >/dev/null; do
            kill -0 $drill || exit 99
            sleep 0.02
        done
        kill -{signal} $drill
        wait $drill
    """
    done = client.host.run(f"bash -c {shlex.quote(script)}")
    assert done.rc != 99, client.read("/root/drill.out").decode()
    return int(done.rc)


@pytest.fixture(scope="module")
def backup(client: Machine) -> dict[str, Any]:
    """A backup while nobody writes, so that the live rows are those of the dumps."""
    return client.backup()


class TestLoading:
    """Each dump is loaded for real."""

    def test_every_dump_comes_back_with_its_rows_and_nothing_is_left(
        self, client: Machine, backup: dict[str, Any]
    ) -> None:
        before = live(client)
        record = drill(client)
        loaded = by_name(record)
        assert set(loaded) == {*DATABASES, *ACCOUNTS}
        for name, (kind, database) in DATABASES.items():
            rows = client.rows(kind, database)
            assert loaded[name]["ok"], name
            assert (loaded[name]["tables"], loaded[name]["rows"]) == (len(rows), sum(rows.values())), name
            assert loaded[name]["seconds"] > 0, name
        assert loaded["main/shop"]["rows"] > 200_000
        assert loaded["main/@globals"]["ok"]
        assert loaded["wiki/@globals"]["ok"]
        assert record["generation"] == backup["generation"]
        assert record["files"] > 50
        assert record["canary"] == {"unmade": [], "not_kept": []}
        assert left(client) == []
        assert live(client) == before

    def test_a_person_reads_what_was_brought_back(self, client: Machine, backup: dict[str, Any]) -> None:
        words = client.program("restore_drill.py", "--files", "10")
        counted = [client.rows(*place) for place in DATABASES.values()]
        tables, rows = sum(map(len, counted)), sum(sum(database.values()) for database in counted)
        assert "Restored 10 files (" in words
        assert f" {len(DATABASES)} databases ({tables} tables, {rows:,} rows) in " in words
        assert "; everything came back as it was." in words

    def test_only_one_database(self, client: Machine, backup: dict[str, Any]) -> None:
        assert set(by_name(drill(client, "--database", "main/emptyish"))) == {"main/@globals", "main/emptyish"}
        said = client.program("restore_drill.py", "--database", "main/shopp", expect=2)
        assert "main/shop," in said

    def test_one_that_is_left_out_is_told(self, client: Machine, backup: dict[str, Any]) -> None:
        text = client.read(f"{CONFIGURATION}/client.toml").decode()
        there = 'name = "wiki"\nkind = "mariadb"\nglobals = true\ndrill = true'
        assert there in text
        client.write(
            "/root/undrilled.toml", text.replace(there, there.replace("drill = true", "drill = false")).encode()
        )
        record = drill(client, "--config", "/root/undrilled.toml")
        assert "wiki is left out of the drill (drill: false)." in record["remarks"]
        assert not [name for name in by_name(record) if name.startswith("wiki")]


class TestFindings:
    """What is not as it should be is named and mailed, and the rest is drilled."""

    @pytest.fixture
    def losing(self, client: Machine) -> Iterator[None]:
        """A dump that lacks rows of which the notes tell; it can be read, and every table is in it."""
        client.postgresql("emptyish", "CREATE TABLE promised AS SELECT generate_series(1, 10) AS id")
        client.write("/usr/local/sbin/pg_dump", LOSING_PG_DUMP)
        client.run("chmod 0755 /usr/local/sbin/pg_dump")
        try:
            yield
        finally:
            client.run("rm /usr/local/sbin/pg_dump")
            client.postgresql("emptyish", "DROP TABLE promised")
            client.backup(expect=1)  # it tells that the rows are gone

    def test_a_dump_that_lacks_rows(self, client: Machine, losing: None, new_mail: NewMail) -> None:
        client.backup()  # it can't know
        record = drill(client, expect=1)
        words = "main/emptyish: the table public.promised came back with 7 rows; noted when it was dumped: 10."
        assert record["lines"] == [words]
        assert words in new_mail("restore drill found 1 problem")
        assert {name for name, database in by_name(record).items() if not database["ok"]} == {"main/emptyish"}
        assert left(client) == []

    def test_a_stale_dump_is_loaded_all_the_same(self, client: Machine, new_mail: NewMail) -> None:
        client.run("systemctl stop mariadb")
        try:
            client.backup(expect=1)
            record = drill(client, "--database", "wiki", expect=1)
        finally:
            client.run("systemctl start mariadb")
        assert all("stale" in line for line in record["lines"])
        assert "wiki/wiki: its newest dump is stale" in new_mail("restore drill found")
        wiki = by_name(record)["wiki/wiki"]
        assert wiki["ok"]
        assert wiki["rows"] == sum(client.rows("mariadb", "wiki").values())
        client.backup()

    def test_without_the_server_s_programs_the_package_is_named(self, client: Machine, backup: dict[str, Any]) -> None:
        client.run("mv /usr/lib/postgresql/15/bin/initdb /root/initdb")
        try:
            record = drill(client, expect=1)
        finally:
            client.run("mv /root/initdb /usr/lib/postgresql/15/bin/initdb")
        assert len(record["lines"]) == 2  # main and tcp
        for line in record["lines"]:
            assert "apt install postgresql" in line
            assert "drill: false" in line
        loaded = by_name(record)
        assert loaded["wiki/wiki"]["ok"]
        assert loaded["notes"]["ok"]
        assert not loaded["main/shop"]["ok"]


class TestEnds:
    """However a drill ends, its servers do not stay."""

    def test_sigterm(self, client: Machine, backup: dict[str, Any], new_mail: NewMail) -> None:
        before = live(client)
        assert struck(client, "TERM") == 3
        assert left(client) == []
        assert "stopped by SIGTERM" in new_mail("restore drill could not run")
        assert live(client) == before

    def test_a_killed_one_s_server_is_ended_by_the_next(self, client: Machine, backup: dict[str, Any]) -> None:
        before, temporary = live(client), client.run(TEMPORARY)
        assert struck(client, "KILL") == 137
        there = left(client)
        assert any("postgres" in line for line in there)
        assert any("ssh" in line for line in there)
        record = drill(client, "--files", "1", "--database", "notes")
        assert there[0] in record["remarks"][0]
        assert left(client) == []
        assert client.run(TEMPORARY) == temporary
        assert live(client) == before
