"""The machines of the bad day: the client with its databases, the server, the machine that takes the client's place."""

from __future__ import annotations

import base64
import email
import email.message
import email.policy
import json
import os
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import testinfra
from testinfra.host import Host

from labkit import instructions
from labkit.system import podman, scenario_lab

SCENARIO = Path(__file__).parents[1]
PROJECT = SCENARIO.parents[1]
# Another lab with the same hosts, for work on the tests.
LAB = os.environ.get("SEDAI_TEST_LAB") or scenario_lab(SCENARIO.name)
# The commands of the page for a bad day, by heading.
PAGE = instructions.fenced((PROJECT / "docs/restore.md").read_text(encoding="utf-8"))
PROGRAMS = "/root/project/scripts"
CONFIGURATION = "/root/.config/sedai"
STATE = "/root/.local/state/sedai"
STAGING = "/var/lib/sedai-client/databases"
STORE = "/srv/sedai/client/generations"
MAILBOX = "/var/mail/example.com/user/Maildir"

# Rows of every table, asked of the servers in other words than our programs use.
_POSTGRESQL_ROWS = """
SELECT coalesce(json_object_agg(schemaname || '.' || tablename, (xpath('/row/rows/text()', query_to_xml(
    format('SELECT count(*) AS rows FROM %I.%I', schemaname, tablename), false, true, '')))[1]::text::bigint), '{}')
FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
"""
_MARIADB_ROWS = """
SELECT CONCAT('SELECT JSON_OBJECTAGG(name, total) FROM (', GROUP_CONCAT(CONCAT('SELECT ', QUOTE(TABLE_NAME),
    ' AS name, COUNT(*) AS total FROM `', REPLACE(TABLE_NAME, '`', '``'), '`') SEPARATOR ' UNION ALL '), ') AS counted')
FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE'
"""
_SQLITE_ROWS = """
import json, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
names = [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
count = 'SELECT count(*) FROM "{}"'
print(json.dumps({name: database.execute(count.format(name.replace('"', '""'))).fetchone()[0] for name in names}))
"""

T = TypeVar("T")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Last of all the client is lost."""
    items.sort(key=lambda item: item.path.name == "test_adopt.py")


def wait_for(what: str, look: Callable[[], T], seconds: float = 30.0) -> T:
    """Look until there is something, at most so long."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.25)
    return found


@dataclass(frozen=True)
class Machine:
    """One host of the lab, and what a person does on it as root."""

    name: str

    @property
    def container(self) -> str:
        return f"sedai-{LAB}-{self.name}"

    @property
    def host(self) -> Host:
        return testinfra.get_host(f"podman://{self.container}")

    def run(self, script: str, expect: int = 0) -> str:
        """The output of a shell script; its exit code has to be the one expected."""
        done = self.host.run(script)
        assert done.rc == expect, f"{script} ended with {done.rc}:\n{done.stdout}\n{done.stderr}"
        output: str = done.stdout
        return output

    def read(self, path: str) -> bytes:
        """The content of a file."""
        return podman("exec", self.container, "cat", path).stdout

    def write(self, path: str, content: bytes) -> None:
        """Write a file as root, for root alone."""
        script = f"umask 077; cat >{shlex.quote(path)}"
        podman("exec", "--interactive", self.container, "sh", "-c", script, stdin=content)

    def program(self, name: str, *arguments: str, expect: int = 0) -> str:
        """What one of our programs says; its exit code has to be the one expected."""
        return self.run(shlex.join([f"{PROGRAMS}/{name}", *arguments]) + " 2>&1", expect)

    def backup(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        """Back up and return the run record."""
        said = self.program("backup_data.py", "--json", *arguments, expect=expect)
        record: dict[str, Any] = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
        return record

    def sent_bytes(self) -> int:
        """How much this machine has sent so far."""
        return int(self.run("cat /sys/class/net/eth0/statistics/tx_bytes"))

    def generations(self) -> list[str]:
        """The generations that the server lists, oldest first."""
        return [record["generation"] for record in json.loads(self.program("restore_data.py", "list", "--json"))]

    def postgresql(self, database: str, sql: str) -> str:
        """The answer of the PostgreSQL server."""
        return self._feed(sql, f"runuser -u postgres -- psql -X -At --set=ON_ERROR_STOP=1 --dbname={database}")

    def mariadb(self, database: str, sql: str) -> str:
        """The answer of the MariaDB server."""
        return self._feed(sql, f"mariadb --batch --raw --skip-column-names --default-character-set=utf8mb4 {database}")

    def _feed(self, text: str, command: str) -> str:
        encoded = base64.b64encode(text.encode()).decode()
        return self.run(f"echo {encoded} | base64 -d | {command}").strip()

    def rows(self, kind: str, database: str) -> dict[str, int]:
        """Rows by table, counted now, in words that are not our programs' own. Of SQLite ``database`` is the file."""
        if kind == "postgresql":
            answer = self.postgresql(database, _POSTGRESQL_ROWS)
        elif kind == "mariadb":
            count = self.mariadb(database, f"SET group_concat_max_len = 100000; {_MARIADB_ROWS}")
            answer = self.mariadb(database, count)
        else:
            answer = self.run(f"python3 -c {shlex.quote(_SQLITE_ROWS)} {shlex.quote(database)}")
        counted: dict[str, int] = json.loads(answer)
        assert counted, "nothing was counted"
        return counted


@dataclass(frozen=True)
class Mailbox:
    """The mailbox of the person who gets the alerts."""

    host: Host

    def names(self) -> set[str]:
        """The messages in it."""
        return set(self.host.check_output(f"find {MAILBOX}/new {MAILBOX}/cur -type f 2>/dev/null || true").split())

    def read(self, name: str) -> str:
        """Subject and text of one message."""
        raw = base64.b64decode(self.host.check_output(f"base64 -w0 {shlex.quote(name)}"))
        message = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(message, email.message.EmailMessage)
        body = message.get_body(("plain",))
        assert body is not None
        return f"{message['Subject']}\n{body.get_content()}"

    def wait(self, word: str, before: set[str]) -> str:
        """Wait for the mail that has a word in its subject and was not there before; returns its text."""

        def look() -> str:
            texts = (self.read(name) for name in sorted(self.names() - before))
            return next((text for text in texts if word in text.splitlines()[0]), "")

        return wait_for(f"a mail about {word!r}", look)


@pytest.fixture(scope="session")
def client() -> Machine:
    return Machine("client")


@pytest.fixture(scope="session")
def server() -> Machine:
    return Machine("server")


@pytest.fixture(scope="session")
def replacement() -> Machine:
    return Machine("replacement")


@pytest.fixture(scope="session")
def mailbox() -> Mailbox:
    return Mailbox(testinfra.get_host(f"podman://sedai-{LAB}-mail"))


@pytest.fixture
def new_mail(mailbox: Mailbox) -> Callable[[str], str]:
    """Waits for the mail that arrives in this test and has a word in its subject; returns its text."""
    before = mailbox.names()
    return lambda word: mailbox.wait(word, before)
