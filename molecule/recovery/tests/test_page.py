"""What docs/restore.md and RESTORE.txt tell a person to type, typed; test_adopt.py follows the page on a new machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import PAGE, STORE, Machine

from labkit import instructions

# How many commands the page has under each heading, and who follows them.
FOLLOWED = {
    "Getting things back": 1,
    "One file, or one directory": 7,
    "One database": 3,
    # Installing from the package index, and a login: the latter is tried here.
    "0. Get the tools back": 3,
    "2. Give it the generations": 1,  # test_adopt.py, as all others of a new machine
    "3. Bring the files back": 6,
    "4. Bring the databases back": 3,
    "5. Let the backups go on": 1,
    "Without sedai": 2,
    "How you know that it works": 1,
}
# Databases that are loaded by hand: the kind of server, its name there, the dump's file.
BY_HAND = {
    "emptyish": ("postgresql", "emptyish", "main/emptyish.dump"),
    "shop": ("postgresql", "shop", "main/shop.dump"),
    "small": ("mariadb", "small", "wiki/small.sql"),
    "wiki": ("mariadb", "wiki", "wiki/wiki.sql"),
    "notes": ("sqlite", "/srv/data/notes.sqlite", "notes/notes.json"),
}


def test_every_command_of_the_page_is_followed() -> None:
    assert {heading: len(commands) for heading, commands in PAGE.items()} == FOLLOWED


@pytest.fixture(scope="module")
def backed_up(client: Machine) -> Iterator[None]:
    """Two generations at least."""
    client.run("rm -rf /root/restored /root/restored-january; date >/srv/data/letters/today.txt")
    client.backup()
    client.run("date >>/srv/data/letters/today.txt")
    client.backup()
    yield
    client.run("rm -rf /root/restored /root/restored-january /srv/data/letters/today.txt")


class TestOnTheMachine:
    """Nothing is lost but a file, or a database."""

    def test_one_file_or_one_directory(self, client: Machine, backed_up: None) -> None:
        (listing,) = PAGE["Getting things back"]
        assert client.generations()[-1] in client.run(listing)
        beside, copy, by_name, by_path, differences, by_time, trial = PAGE["One file, or one directory"]
        client.run("cp -a /etc/ssh /root/ssh-before && echo '# spoilt' >>/etc/ssh/sshd_config")
        client.run(beside)
        client.run(copy)
        client.run("diff -r /root/ssh-before /etc/ssh && rm -r /root/ssh-before")
        assert "/etc/ssh/sshd_config\n" in client.run(by_name)
        found = client.run(by_path)
        assert "/etc/ssh/sshd_config\n" in found and "/etc/ssh/ssh_config\n" in found
        assert "/srv/data/letters/today.txt" in client.run(differences)
        today = datetime.now(UTC).date().isoformat()
        client.run(by_time.replace("2026-01-31", today))
        client.run("diff -r /root/restored-january/etc/ssh /etc/ssh")
        assert "Nothing was written" in client.run(trial)

    def test_one_database(self, client: Machine, backed_up: None) -> None:
        rows = client.rows("postgresql", "shop")
        which, beside, in_place = PAGE["One database"]
        assert "main/shop" in client.run(which)
        try:
            client.run(beside)
            assert client.rows("postgresql", "shop_restored") == rows
            client.run(in_place)
            assert client.rows("postgresql", "shop") == rows
        finally:
            names = client.postgresql("postgres", "SELECT datname FROM pg_database WHERE datname ~ '^shop_'").split()
            for name in names:
                client.postgresql("postgres", f"DROP DATABASE {name}")
        assert len(names) == 2

    def test_how_you_know(self, client: Machine, backed_up: None) -> None:
        (drill,) = PAGE["How you know that it works"]
        assert "everything came back as it was" in client.run(drill)


@pytest.fixture(scope="module")
def bare(replacement: Machine, server: Machine, client: Machine, backed_up: None) -> Iterator[Machine]:
    """A machine without sedai whose root may log in to the server; its database servers are as they were, afterwards."""
    databases = "SELECT datname FROM pg_database WHERE datname !~ '^(postgres|template[01])$'"
    roles = "SELECT rolname FROM pg_roles WHERE rolname !~ '^(pg_.*|postgres)$'"
    schemas = "SHOW DATABASES WHERE `Database` NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')"
    users = "SELECT CONCAT(QUOTE(User), '@', QUOTE(Host)) FROM mysql.user WHERE NOT is_role = 'Y'"
    before = set(replacement.mariadb("mysql", users).splitlines())
    replacement.run(
        "rm -f /root/.ssh/id_ed25519; mkdir -p -m 700 /root/.ssh; ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519"
    )
    replacement.write("/root/.ssh/known_hosts", client.read("/root/.ssh/sedai_known_hosts"))
    key = replacement.read("/root/.ssh/id_ed25519.pub").decode().strip()
    for home in ("/root", "/home/admin"):
        server.run(f"mkdir -p -m 700 {home}/.ssh && echo '{key}' >>{home}/.ssh/authorized_keys")
    yield replacement
    for home in ("/root", "/home/admin"):
        server.run(f"sed -i '\\#{key.split()[1]}#d' {home}/.ssh/authorized_keys")
    for name in replacement.postgresql("postgres", databases).splitlines():
        replacement.postgresql("postgres", f'DROP DATABASE "{name}"')
    for name in replacement.postgresql("postgres", roles).splitlines():
        replacement.postgresql("postgres", f'DROP ROLE "{name}"')
    for name in replacement.mariadb("mysql", schemas).splitlines():
        replacement.mariadb("mysql", f"DROP DATABASE `{name}`")
    for name in set(replacement.mariadb("mysql", users).splitlines()) - before:
        replacement.mariadb("mysql", f"DROP USER {name}")
    replacement.run("rm -rf /root/restored /srv/data /root/.ssh/id_ed25519* /root/.ssh/known_hosts")


@pytest.fixture(scope="module")
def commands(bare: Machine, client: Machine) -> dict[str, str]:
    """What RESTORE.txt tells to type."""

    def follow(command: str, generation: str = "") -> str:
        filled = command.replace("USER@VPS", "admin@server").replace("NAME", "client")
        return bare.run(f"{filled.replace('GENERATION', generation)} </dev/null")

    follow(PAGE["0. Get the tools back"][-1])
    which, what = PAGE["Without sedai"]
    newest = follow(which).split()[-1]
    assert newest == client.generations()[-1]
    return instructions.indented(follow(what, newest))


@pytest.fixture(scope="module")
def back(bare: Machine, commands: dict[str, str]) -> Callable[..., str]:
    """Follows a command of RESTORE.txt; the files are there already."""

    def follow(title: str, shown: str = "", meant: str = "", expect: int = 0) -> str:
        command = commands[title].replace("THIS-SERVER", "server")
        assert shown in command
        return bare.run(command.replace(shown, meant) if shown else command, expect)

    follow("EVERYTHING")
    return follow


class TestWithoutSedai:
    """RESTORE.txt, found as the page says, and followed: files first, then the databases."""

    def test_databases(self, bare: Machine, client: Machine, back: Callable[..., str]) -> None:
        bare.run("mkdir /srv/data")
        back("PostgreSQL's accounts come first")
        back("PostgreSQL's databases")
        back("PostgreSQL's databases", "emptyish.dump", "shop.dump")
        back("MariaDB's or MySQL's accounts come first")
        back("MariaDB's or MySQL's databases")
        back("MariaDB's or MySQL's databases", "/small.", "/wiki.")
        assert back("SQLite's").strip() == "/srv/data/notes.sqlite"
        for kind, name, file in BY_HAND.values():
            assert bare.host.file(f"/root/restored/var/lib/sedai-client/databases/{file}").exists
            assert bare.rows(kind, name) == client.rows(kind, name)
        owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'shop'"
        assert bare.postgresql("postgres", owner) == client.postgresql("postgres", owner) == "shop_owner"
        collation = "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'wiki'"
        assert bare.mariadb("mysql", collation) == client.mariadb("mysql", collation)
        assert "wiki-app" in bare.mariadb("mysql", "SELECT User FROM user")
        look = "stat -c '%a %u:%g' /srv/data/notes.sqlite"
        assert bare.run(look) == client.run(look)

    def test_nothing_is_replaced(self, bare: Machine, back: Callable[..., str]) -> None:
        """The same again fails, and what is there stays."""
        rows = bare.rows("mariadb", "small"), bare.rows("sqlite", "/srv/data/notes.sqlite")
        for title in ("PostgreSQL's databases", "MariaDB's or MySQL's databases", "SQLite's"):
            back(title, expect=1)
        assert (bare.rows("mariadb", "small"), bare.rows("sqlite", "/srv/data/notes.sqlite")) == rows


def test_the_store_is_where_the_page_says() -> None:
    assert all(str(Path(STORE).parent.parent) + "/NAME/generations" in command for command in PAGE["Without sedai"])
