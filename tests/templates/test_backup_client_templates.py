"""The client's configuration is one that its programs accept, and a database's password is read as it was set."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conftest import ROLES, Evaluate
from test_msmtp_templates import AWKWARD_PASSWORDS

from sedai.client.config import ClientConfig, Database, Drill
from sedai.core import toml

SETTINGS: dict[str, Any] = {
    "backup_client_name": "laptop",
    "backup_client_server_host": "vps.example.com",
    "backup_client_sources": [{"path": "/etc"}],
    "backup_client_user": "person",
}
DATABASES = [
    {"name": "main", "kind": "postgresql"},
    {
        "name": "far",
        "kind": "postgresql",
        "host": "db.example.com",
        "port": 5433,
        "user": "reader",
        "databases": ["shop", 'odd "name"'],
        "globals": False,
        "password": "secret-1",
        "drill": False,
    },
    {"name": "wiki", "kind": "mariadb", "credentials_file": "~/.wiki.cnf", "run_as": "wiki"},
    {"name": "notes", "kind": "sqlite", "path": "/home/person/メモ.sqlite"},
]


def test_the_programs_read_what_is_rendered(render: Evaluate) -> None:
    text = render("backup_client", "client.toml.j2", **SETTINGS, backup_client_databases=DATABASES)
    config = toml.decode(ClientConfig, tomllib.loads(text), "")
    assert config.staging_directory == Path("/var/lib/sedai-client")
    assert config.databases == (
        Database("main", "postgresql"),
        Database(
            "far",
            "postgresql",
            ("shop", 'odd "name"'),
            host="db.example.com",
            port=5433,
            user="reader",
            credentials_file=Path("/home/person/.config/sedai/databases/far"),
            globals=False,
            drill=False,
        ),
        Database("wiki", "mariadb", run_as="wiki", credentials_file=Path("/home/person/.wiki.cnf")),
        Database("notes", "sqlite", path=Path("/home/person/メモ.sqlite")),
    )
    assert "secret-1" not in text


def test_the_drill_is_as_it_was_set(render: Evaluate) -> None:
    def drill(**settings: object) -> Drill:
        text = render("backup_client", "client.toml.j2", **SETTINGS, **settings)
        return toml.decode(ClientConfig, tomllib.loads(text), "").drill

    assert drill() == Drill()
    assert drill(backup_client_drill_files=5, backup_client_drill_directory="/srv/big disk") == Drill(
        5, directory=Path("/srv/big disk")
    )


@pytest.mark.parametrize("setting, value", [
    ("backup_client_drill_files", 0),
    ("backup_client_drill_directory", "var/tmp"),
    ("backup_client_drill_directory", "/" + "x" * 46),
    ("backup_client_drill_schedule", "@monthly"),
])  # fmt: skip
def test_a_drill_that_cannot_work_is_refused(evaluate: Evaluate, setting: str, value: object) -> None:
    assert str(evaluate("backup_client", "__backup_client_problems | flatten", **SETTINGS)) == "[]"
    told = str(evaluate("backup_client", "__backup_client_problems | flatten", **SETTINGS, **{setting: value}))
    assert (setting if setting != "backup_client_drill_schedule" else "@monthly must be five fields") in told


@pytest.mark.parametrize("password", AWKWARD_PASSWORDS)
def test_libpq_reads_the_password(render: Evaluate, password: str) -> None:
    """As fe-connect.c does: fields end at a colon, and a backslash takes the next character as it is."""
    entry = {"name": "main", "kind": "postgresql", "password": password}
    text = render("backup_client", "credentials.j2", **SETTINGS, __backup_client_entry=entry)
    (line,) = [line for line in text.split("\n") if line and not line.startswith("#")]
    fields = re.findall(r"((?:[^:\\]|\\.)*)(?::|\Z)", line)
    assert [re.sub(r"\\(.)", r"\1", field) for field in fields[:5]] == ["*", "*", "*", "*", password]


@pytest.mark.parametrize("password", AWKWARD_PASSWORDS)
def test_mysql_reads_the_password(render: Evaluate, password: str) -> None:
    """As my_default.c does: in double quotes, where ``\\\\`` and ``\\"`` stand for one character."""
    entry = {"name": "wiki", "kind": "mariadb", "password": password}
    text = render("backup_client", "credentials.j2", **SETTINGS, __backup_client_entry=entry)
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    assert lines[0] == "[client]"
    quoted = re.fullmatch(r'password="(.*)"', lines[1])
    assert quoted is not None and len(lines) == 2
    assert re.sub(r"\\(.)", r"\1", quoted[1]) == password


@pytest.mark.parametrize("database, words", [
    ({"name": "Main", "kind": "postgresql"}, "Main in backup_client_databases"),
    ({"name": "notes", "kind": "sqlite", "path": "notes.sqlite"}, "needs a path"),
    ({"name": "wiki", "kind": "mariadb", "password": "two\nlines-secret"}, "line break"),
])  # fmt: skip
def test_settings_that_cannot_work_are_refused(evaluate: Evaluate, database: dict[str, Any], words: str) -> None:
    def problems(*databases: dict[str, Any]) -> str:
        found = evaluate(
            "backup_client", "__backup_client_problems | flatten", **SETTINGS, backup_client_databases=list(databases)
        )
        return str(found)

    assert problems(*DATABASES) == "[]"
    assert words in problems(database)
    assert "lines-secret" not in problems(database)
    assert "name twice" in problems(DATABASES[0], DATABASES[0])


@pytest.mark.parametrize("databases, packages", [([], []), (DATABASES, ["mariadb-client", "postgresql-client"])])
def test_only_the_clients_that_are_needed_are_installed(
    evaluate: Evaluate, databases: list[dict[str, Any]], packages: list[str]
) -> None:
    found = evaluate(
        "backup_client", "__backup_client_database_packages", **SETTINGS, backup_client_databases=databases
    )
    assert sorted(found) == packages


@pytest.mark.parametrize(
    ("name", "newest"),
    [
        ("lap.top", "20261125T120000Z-000010"),
        ("lapxtop", "20261126T120000Z-000001"),
        ("lap", ""),
        ("nobody", ""),
    ],
)
def test_a_new_machine_takes_over_the_newest_generation_of_its_own_name(
    evaluate: Evaluate, name: str, newest: str
) -> None:
    held = ["lapxtop/20261126T120000Z-000001", "lap.top/20261125T120000Z-000010", "lap.top/20261101T120000Z-000009"]
    settings = SETTINGS | {"backup_client_name": name, "backup_client_adopt_generations": held}
    assert evaluate("backup_client", "__backup_client_newest", **settings) == newest


def told(evaluate: Evaluate, paths: list[str], databases: list[dict[str, Any]]) -> list[str]:
    """The commands that the playbook leaves to a person, without the directory of the programs."""
    settings = SETTINGS | {
        "backup_client_sources": [{"path": path} for path in paths],
        "backup_client_databases": databases,
        "inventory_hostname": "laptop",
    }
    lines: list[str] = evaluate("backup_client", "__backup_client_next", **settings)
    numbers = [line[0] for line in lines if line[0].isdigit()]
    assert numbers == (["3", "4", "5"] if databases else ["3", "5"])
    commands = [line.strip() for line in lines if line.startswith("   /")]
    return [re.sub(r"^\S*/", "", command, count=1) for command in commands]


class TestNewMachine:
    """What a person is told to do on a machine that took a lost one's place."""

    def test_directories_of_the_system_come_back_beside_the_new_ones(self, evaluate: Evaluate) -> None:
        paths = ["/etc", "/home", "/var", "/usr/local", "/srv/two words", "/root", "/etcetera", "/lib64/x"]
        commands = told(evaluate, paths, [])
        assert commands == [
            "restore_data.py list",
            "restore_data.py restore --to /root/old-machine /etc /var /usr/local /root /lib64/x",
            "restore_data.py restore --keep-existing /home '/srv/two words' /etcetera",
            "backup_data.py --resume",
        ]

    def test_only_commands_that_have_something_to_do(self, evaluate: Evaluate) -> None:
        assert [command for command in told(evaluate, ["/etc"], []) if "--keep-existing" in command] == []
        assert [command for command in told(evaluate, ["/home"], []) if "--to" in command] == []

    def test_databases_after_the_accounts(self, evaluate: Evaluate) -> None:
        databases = [
            {"name": "main", "kind": "postgresql"},
            {"name": "wiki", "kind": "mariadb", "globals": False},
            {"name": "old", "kind": "mysql"},
            {"name": "notes", "kind": "sqlite", "path": "/srv/notes"},
        ]
        assert told(evaluate, ["/home"], databases)[2:-1] == [
            "restore_data.py databases",
            "restore_data.py restore-db main/@globals",
            "restore_data.py restore-db NAME",
        ]

    def test_the_commands_are_those_of_the_page(self, evaluate: Evaluate) -> None:
        commands = told(evaluate, ["/etc", "/home"], [{"name": "main", "kind": "postgresql"}])
        page = (ROLES.parent / "docs/restore.md").read_text(encoding="utf-8").partition("### 3.")[2]
        listed = re.findall(r"^/root/project/scripts/(.*)$", page.partition("## When")[0], re.MULTILINE)
        assert [command.replace("NAME", "main/shop") for command in commands] == listed


@pytest.mark.parametrize("host, port, name", [
    ("VPS.example.com", 22, "vps.example.com"),
    ("vps.example.com", 2222, "[vps.example.com]:2222"),
    ("2001:DB8::10", 22, "2001:db8::10"),
    ("2001:db8::10", "2222", "[2001:db8::10]:2222"),
])  # fmt: skip
def test_ssh_finds_the_server_s_host_key(evaluate: Evaluate, host: str, port: int | str, name: str) -> None:
    """ssh looks an address of either kind up as it was typed, in small letters; the scenario `default` logs in with one."""
    settings = SETTINGS | {"backup_client_server_host": host, "backup_client_server_port": port}
    assert evaluate("backup_client", "__backup_client_known_name", **settings) == name


@pytest.mark.parametrize("host", ["2001:db8::10", "::1", "vps", "198.51.100.7"])
def test_addresses_of_both_kinds_are_taken(evaluate: Evaluate, host: str) -> None:
    settings = SETTINGS | {"backup_client_server_host": host}
    assert evaluate("backup_client", "__backup_client_problems | flatten", **settings) == []
