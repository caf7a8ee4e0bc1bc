"""Real servers that are written to while they are dumped; what was dumped, loaded on another machine by their own programs.

Nothing of ours takes part in the loading: a dump has to be good for anybody.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from conftest import CONFIGURATION, STAGING, STATE, STORE, Machine, Mailbox, wait_for

# Of the password in the inventory; nothing that quotes it changes this part.
SECRET = "anybody-7391"
LETTER = "/srv/data/letters/new.txt"

# Each goes on until it is stopped. What belongs to one transaction must be whole in a dump, or not be there.
WRITERS = {
    "pgbench": "runuser -u postgres -- pgbench --no-vacuum --client=2 --time=600 shop",
    "mariadb": "while :; do echo \"BEGIN; INSERT INTO pages (title, body) VALUES ('load', '(1,2),(3,4)'); "
    "INSERT INTO visits (note) VALUES ('load'); COMMIT;\"; sleep 0.005; done | mariadb wiki",
    "sqlite": "/root/notes.py write /srv/data/notes.sqlite",
}

# Every command line and environment that is there for a moment, until it is told to stop.
WATCH = b"""
import glob, os, time
seen = set()
while not os.path.exists("/root/stop-watching"):
    for pattern in ("cmdline", "environ"):
        for path in glob.glob(f"/proc/[0-9]*/{pattern}"):
            try:
                with open(path, "rb") as stream:
                    seen.add(stream.read().replace(b"\\0", b" "))
            except OSError:
                pass
    time.sleep(0.002)
with open("/root/watched", "wb") as stream:
    stream.write(b"\\n".join(sorted(seen)))
"""


@dataclass(frozen=True)
class Loaded:
    """A backup made while all databases were written to: its record, rows before and after it, what ``ps`` showed."""

    record: dict[str, Any]
    before: dict[str, int]
    after: dict[str, int]
    watched: str


def rows_of_all(client: Machine) -> dict[str, int]:
    """How many rows each writer has written."""
    return {
        "pgbench": client.rows("postgresql", "shop")["public.pgbench_history"],
        "mariadb": client.rows("mariadb", "wiki")["visits"],
        "sqlite": client.rows("sqlite", "/srv/data/notes.sqlite")["log"],
    }


@pytest.fixture(scope="module")
def loaded(client: Machine) -> Loaded:
    client.write("/root/watch.py", WATCH)
    commands = [*WRITERS.values(), "python3 /root/watch.py"]
    started = "; ".join(f"setsid sh -c {shlex.quote(command)} >/dev/null 2>&1 & echo $!" for command in commands)
    *writers, _ = client.run(f"rm -f /root/stop-watching /root/watched; {started}").split()
    try:
        wait_for("writing", lambda: min(rows_of_all(client).values()) > 20)
        before = rows_of_all(client)
        record = client.backup()
        after = rows_of_all(client)
    finally:
        client.run(f"touch /root/stop-watching; kill -- {' '.join('-' + pid for pid in writers)}")
    wait_for("the end of watching", lambda: client.host.file("/root/watched").exists)
    wait_for("the end of writing", lambda: client.run("pgrep -x pgbench || true") == "")
    return Loaded(record, before, after, client.read("/root/watched").decode(errors="replace"))


def stored(generation: str, name: str) -> str:
    """Where a dump lies in a generation."""
    return f"{STORE}/{generation}/tree{STAGING}/{name}"


def notes(server: Machine, generation: str, name: str) -> dict[str, Any]:
    """The notes beside a dump in a generation."""
    found: dict[str, Any] = json.loads(server.read(stored(generation, name)))
    return found


def inode(server: Machine, path: str) -> str:
    return server.run(f"stat -c %i {shlex.quote(path)}")


def empty(machine: Machine) -> None:
    """Remove what these tests load: the machine is to be a fresh one."""
    for name in ("DATABASE IF EXISTS shop_main", "DATABASE IF EXISTS shop_tcp", "ROLE IF EXISTS shop_owner, reader"):
        machine.postgresql("postgres", f"DROP {name}")
    for name in ("DATABASE IF EXISTS copy", "DATABASE IF EXISTS wiki", "USER IF EXISTS 'wiki-app'@'localhost'"):
        machine.mariadb("mysql", f"DROP {name}")


@pytest.fixture(scope="module")
def carried(server: Machine, replacement: Machine, loaded: Loaded) -> Iterator[Callable[[str], str]]:
    """Brings a dump of the loaded generation to the other machine; returns the path there."""
    empty(replacement)

    def carry(name: str) -> str:
        path = f"/tmp/{name.replace('/', '-')}"
        replacement.write(path, server.read(stored(loaded.record["generation"], name)))
        replacement.run(f"chmod 0644 {path}")
        return path

    yield carry
    empty(replacement)


class TestUnderLoad:
    """A dump is one moment, whatever is written meanwhile."""

    def test_all_were_written_to_while_they_were_dumped(self, server: Machine, loaded: Loaded) -> None:
        generation = loaded.record["generation"]
        dumped = {
            "pgbench": notes(server, generation, "main/shop.json")["tables"]["public.pgbench_history"],
            "mariadb": notes(server, generation, "wiki/wiki.json")["tables"]["visits"],
            "sqlite": notes(server, generation, "notes/notes.json")["tables"]["log"],
        }
        for writer in WRITERS:
            assert loaded.before[writer] < dumped[writer] < loaded.after[writer], writer

    @pytest.mark.parametrize("entry", ["main", "tcp"])
    def test_postgresql(
        self, client: Machine, server: Machine, replacement: Machine, loaded: Loaded,
        carried: Callable[[str], str], entry: str,
    ) -> None:  # fmt: skip
        replacement.run(f"runuser -u postgres -- psql -q -f {carried('main/@globals.sql')} 2>&1")
        database = f"shop_{entry}"
        replacement.postgresql("postgres", f"CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8'")
        dump = carried(f"{entry}/shop.dump")
        replacement.run(f"runuser -u postgres -- pg_restore --exit-on-error --dbname={database} {dump} 2>&1")

        rows = replacement.rows("postgresql", database)
        assert rows == notes(server, loaded.record["generation"], f"{entry}/shop.json")["tables"]
        assert rows["public.pgbench_accounts"] == 200_000
        # One transaction of pgbench changes four tables by the same sum.
        sums = replacement.postgresql(
            database,
            "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches), "
            "(SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history)",
        ).split("|")
        assert len(set(sums)) == 1

        for question in (
            """SELECT md5(string_agg(k::text, '|' ORDER BY "Kunden-Nr")) FROM "Kunden ""A-Z\""" k""",
            """SELECT md5(string_agg(b::text, '|' ORDER BY nr)) FROM "Lager"."注文" b""",
            "SELECT md5(lo_get(424242)), length(lo_get(424242))",
            "SELECT nr FROM \"Lager\".newest",
            """SELECT last_value FROM "Lager"."Zähler\"""",
            "SELECT tablename, tableowner FROM pg_tables WHERE tableowner = 'shop_owner' ORDER BY 1",
            "SELECT pg_get_userbyid(lomowner) FROM pg_largeobject_metadata WHERE oid = 424242",
        ):  # fmt: skip
            answer = client.postgresql("shop", question)
            assert answer
            assert replacement.postgresql(database, question) == answer

    def test_an_empty_table_is_no_empty_dump(
        self, server: Machine, replacement: Machine, loaded: Loaded, carried: Callable[[str], str]
    ) -> None:
        assert notes(server, loaded.record["generation"], "main/emptyish.json")["tables"] == {"public.Empty": 0}
        listed = replacement.run(f"pg_restore --list {carried('main/emptyish.dump')}")
        assert "TABLE DATA public Empty" in listed

    def test_mariadb(
        self, client: Machine, server: Machine, replacement: Machine, loaded: Loaded, carried: Callable[[str], str]
    ) -> None:
        settings = notes(server, loaded.record["generation"], "wiki/wiki.json")["settings"]
        assert settings["collation"] == "utf8mb4_unicode_ci"
        replacement.mariadb("mysql", "CREATE DATABASE copy CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
        replacement.run(f"mariadb --force < {carried('wiki/@globals.sql')} 2>/dev/null; true")
        replacement.run(f"mariadb copy < {carried('wiki/wiki.sql')} 2>&1")

        rows = replacement.rows("mariadb", "copy")
        assert rows == notes(server, loaded.record["generation"], "wiki/wiki.json")["tables"]
        # One transaction writes a page and a visit, and the trigger a change.
        assert rows["pages"] == rows["changes"] == rows["visits"] + 4
        assert rows["odd `table`; DROP"] == 2

        for question in (
            "SELECT MD5(GROUP_CONCAT(title, body, HEX(IFNULL(image, 'none')) ORDER BY id)) FROM pages WHERE id <= 4",
            "SELECT `the \"key\"`, HEX(`名前`) FROM `odd ``table``; DROP`",
            "SELECT title FROM titles WHERE id <= 4",
            "SELECT twice(21)",
            "SELECT EVENT_NAME, INTERVAL_FIELD, STARTS FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE()",
            "SELECT TRIGGER_NAME, ACTION_STATEMENT FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()",
        ):  # fmt: skip
            answer = client.mariadb("wiki", question)
            assert answer
            assert replacement.mariadb("copy", question) == answer
        # The account came with its password.
        replacement.mariadb("mysql", "CREATE DATABASE wiki; CREATE TABLE wiki.there (id INT)")
        replacement.write("/root/app.cnf", b'[client]\nuser=wiki-app\npassword="lab-only\'s \\\\ \\"word\\""\n')
        assert "there" in replacement.run("mariadb --defaults-file=/root/app.cnf -e 'SHOW TABLES' wiki")

    def test_sqlite(
        self, client: Machine, server: Machine, replacement: Machine, loaded: Loaded, carried: Callable[[str], str]
    ) -> None:
        copy = carried("notes/notes.sqlite")
        rows = replacement.rows("sqlite", copy)
        assert rows == notes(server, loaded.record["generation"], "notes/notes.json")["tables"]
        assert rows['the "notes" メモ'] == 2000
        assert replacement.run(f"sqlite3 {copy} 'PRAGMA integrity_check'").strip() == "ok"
        question = """SELECT count(*), sum(length(data)), max(text) FROM "the ""notes"" メモ";"""
        answers = {machine.run(f"sqlite3 {path} {shlex.quote(question)}") for machine, path in (
            (client, "/srv/data/notes.sqlite"), (replacement, copy))}  # fmt: skip
        assert len(answers) == 1


class TestSecrets:
    """A password is in one file, for one account, and nowhere else."""

    def test_it_is_in_a_file_of_its_own(self, client: Machine) -> None:
        paths = [f"{CONFIGURATION}/databases/{name}" for name in ("tcp", "vaulted")]
        for path in paths:
            assert client.run(f"stat -c '%a %U' {path}").split() == ["600", "root"]
            assert SECRET in client.read(path).decode()
        assert sorted(client.run(f"grep -rl {SECRET} {CONFIGURATION}").split()) == paths

    @pytest.mark.parametrize(
        ("entry", "database", "tables"),
        [("pgpass", "emptyish", {"public.Empty": 0}), ("mycnf", "small", {"t": 3}), ("vaulted", "small", {"t": 3})],
    )
    def test_each_way_to_a_password_leads_into_its_server(
        self, server: Machine, loaded: Loaded, entry: str, database: str, tables: dict[str, int]
    ) -> None:
        noted = notes(server, loaded.record["generation"], f"{entry}/{database}.json")
        assert noted["tables"] == tables
        assert noted["stale_since"] == ""

    def test_it_is_on_no_command_line_and_in_no_environment(self, loaded: Loaded) -> None:
        assert "pg_dump --host=127.0.0.1" in loaded.watched
        assert "PGPASSFILE=" in loaded.watched
        assert "mariadb-dump" in loaded.watched
        assert SECRET not in loaded.watched

    def test_it_is_in_no_log_and_no_record(self, client: Machine, server: Machine, loaded: Loaded) -> None:
        assert loaded.record["generation"] in client.read(f"{STATE}/runs.jsonl").decode()
        for path in (STATE, "/root/project/logs", STAGING, "/var/log"):
            assert client.run(f"grep -rlF {SECRET} {path} || true") == "", path
        assert SECRET not in client.run("journalctl --no-pager --output=cat")
        assert server.run(f"grep -rlF {SECRET} /var/log /var/lib/sedai /etc/sedai || true") == ""

    def test_nobody_else_reads_the_dumps(self, client: Machine, loaded: Loaded) -> None:
        assert client.run(f"find {STAGING} -type f | wc -l").strip() != "0"
        assert client.run(f"find {STAGING} -type f -perm /077") == ""
        assert client.run(f"find {STAGING} -type d -perm /077") == ""


class TestUnchanged:
    """Databases that nobody wrote to cost nothing."""

    def test_their_dumps_are_linked_and_not_sent(self, client: Machine, server: Machine, loaded: Loaded) -> None:
        first = client.backup()
        time.sleep(1.1)  # a dump that names its second must differ
        second = client.backup()
        for name in ("main/shop.dump", "main/@globals.sql", "main/emptyish.dump", "tcp/shop.dump", "wiki/wiki.sql",
                     "wiki/@globals.sql", "notes/notes.sqlite"):  # fmt: skip
            old, new = (inode(server, stored(run["generation"], name)) for run in (first, second))
            assert old == new, name
        assert second["new_bytes"] < 20_000
        assert notes(server, second["generation"], "main/shop.json")["dumped"] > notes(
            server, first["generation"], "main/shop.json"
        )["dumped"]  # fmt: skip


class TestChanged:
    """Of a large dump in which little changed, little goes over the wire."""

    def test_a_row_that_changed_costs_no_whole_dump(self, client: Machine, server: Machine, loaded: Loaded) -> None:
        before = client.backup()
        client.postgresql("shop", "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid % 20000 = 7")
        sent = client.sent_bytes()
        after = client.backup()
        sent = client.sent_bytes() - sent
        for entry in ("main", "tcp"):
            name = stored(after["generation"], f"{entry}/shop.dump")
            assert inode(server, name) != inode(server, stored(before["generation"], f"{entry}/shop.dump"))
            assert int(server.run(f"stat -c %s {shlex.quote(name)}")) > 15_000_000
        assert sent < 2_000_000


class TestFailure:
    """One database that can't be dumped stops nothing else, and its last good dump stays."""

    def test_a_stopped_server(self, client: Machine, server: Machine, loaded: Loaded, mailbox: Mailbox) -> None:
        mails = mailbox.names()
        good = client.backup()["generation"]
        client.run(f"echo new > {LETTER}")
        client.postgresql("shop", 'INSERT INTO "Lager"."注文" DEFAULT VALUES')
        client.run("systemctl stop mariadb")
        try:
            record = client.backup(expect=1)
        finally:
            client.run("systemctl start mariadb")
        text = mailbox.wait("client: backup done", mails)
        assert "wiki" in text
        assert "stale" in text

        generation = record["generation"]
        assert server.read(f"{STORE}/{generation}/tree{LETTER}") == b"new\n"
        rows = [notes(server, name, "main/shop.json")["tables"]["Lager.注文"] for name in (good, generation)]
        assert rows[1] == rows[0] + 1
        assert inode(server, stored(generation, "wiki/wiki.sql")) == inode(server, stored(good, "wiki/wiki.sql"))
        before, after = (notes(server, name, "wiki/wiki.json") for name in (good, generation))
        assert before["stale_since"] == ""
        assert after["stale_since"] > after["dumped"] == before["dumped"]
        assert after["tables"] == before["tables"]

        again = client.backup()["generation"]
        assert notes(server, again, "wiki/wiki.json")["stale_since"] == ""

    def test_its_dump_stays_though_this_machine_lost_it(self, client: Machine, server: Machine, loaded: Loaded) -> None:
        good = client.backup()["generation"]
        client.run(f"rm -r {STAGING}/wiki; systemctl stop mariadb")
        try:
            record = client.backup(expect=1)
        finally:
            client.run("systemctl start mariadb")
        assert any("wiki/wiki is not here any more" in line for line in record["not_in_backup"])
        for name in ("wiki/wiki.sql", "wiki/wiki.json", "wiki/@globals.sql"):
            assert inode(server, stored(record["generation"], name)) == inode(server, stored(good, name))
        client.backup()

    def test_one_that_nobody_brought_back_stays_until_it_may_go(
        self, client: Machine, server: Machine, loaded: Loaded
    ) -> None:
        client.postgresql("postgres", "CREATE DATABASE forgotten")
        client.backup()
        client.postgresql("postgres", "DROP DATABASE forgotten")
        client.run(f"rm -r {STAGING}/main")
        for _ in range(2):
            record = client.backup(expect=1)
            assert any("--forget main/forgotten" in line for line in record["not_in_backup"])
            assert notes(server, record["generation"], "main/forgotten.json")["tables"] == {}
        record = client.backup("--forget", "main/forgotten")
        assert (
            server.run(f"ls {STORE}/{record['generation']}/tree{STAGING}/main | grep -c forgotten", expect=1) == "0\n"
        )
        client.backup()


STRAYS = {"/srv/data/cache": "Redis", "/srv/data/documents": "MongoDB", "/srv/data/cluster": "PostgreSQL",
          "/srv/data/tables": "MariaDB", "/srv/data/photos.sqlite": "SQLite", "/srv/data/usb": "fstab"}  # fmt: skip


class TestNotInThisBackup:
    """What a person may believe to be safe is named, in the mail and in every report."""

    @pytest.fixture
    def strays(self, client: Machine) -> Iterator[None]:
        client.run(
            "cd /srv/data; mkdir -p cache documents cluster/global tables usb; touch cache/dump.rdb "
            "documents/WiredTiger.wt tables/ibdata1 photos.sqlite-wal; echo 15 >cluster/PG_VERSION; "
            "sqlite3 photos.sqlite 'CREATE TABLE t (n)'; touch photos.sqlite-wal; "
            "cp /etc/fstab /root/fstab; echo 'UUID=0000 /srv/data/usb ext4 defaults 0 2' >>/etc/fstab"
        )
        yield
        client.run("cp /root/fstab /etc/fstab; cd /srv/data; rm -r cache documents cluster tables usb photos.sqlite*")

    def test_all_of_it_is_told(self, client: Machine, strays: None, mailbox: Mailbox) -> None:
        mails = mailbox.names()
        record = client.backup(expect=1)
        reports = {
            "record": "\n".join(record["not_in_backup"]),
            "mail": mailbox.wait("client: backup done", mails),
            "check": client.program("check_backup_integrity.py"),
            "drill": client.program("restore_drill.py", "--files", "1", "--database", "notes"),
        }
        for name, text in reports.items():
            for path, kind in STRAYS.items():
                assert any(path in line and kind in line for line in text.splitlines()), (name, path)
