"""Databases that were open while they were copied: told as what they are, together, and with what to do about it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from gate_pair import Pair
from status_samples import WELL

from sedai.client import check, drill, messages, run_backup, status_page, status_words
from sedai.client.advice import own_settings
from sedai.client.backup import Outcome
from sedai.client.config import LANGUAGES, Database
from sedai.client.describe import LIVE, lines, not_in_backup
from sedai.client.messages import Incident, compose
from sedai.client.plan import Tally
from sedai.client.program import Result
from sedai.client.scan import Problem
from sedai.core import wire
from sedai.mail import html

PROFILE = b"home/u/.mozilla/firefox/p"
COOKIES = Problem(LIVE, PROFILE + b"/cookies.sqlite", "SQLite")
BROWSER = [
    Problem(LIVE, PROFILE + b"/%s.sqlite" % name, "SQLite") for name in (b"cookies", b"places", b"a", b"b", b"c")
]
REDIS = Problem(LIVE, b"srv/redis", "Redis")
GONE = Problem("source_missing", b"srv/x", "No such file or directory")
P = "/home/u/.mozilla/firefox/p"


def test_the_files_of_a_browser_are_one_finding() -> None:
    assert lines([COOKIES]) == [
        f"The SQLite file {P}/cookies.sqlite was open while it was copied; the copy may not open."
    ]
    told = lines([*BROWSER, REDIS])
    assert len(told) == 2 and told[0].startswith("/srv/redis holds files that a database server may be writing")
    assert told[1] == (
        "5 SQLite files were open while they were copied; the copies may not open: "
        f"{P}/cookies.sqlite, {P}/places.sqlite, {P}/a.sqlite and 2 more."
    )
    assert lines([]) == []


def test_a_copy_is_not_told_as_missing() -> None:
    told = not_in_backup([*BROWSER, REDIS, GONE, Problem("clock", b"", "x")], ["/srv: another file system"])
    missing, copied_open = wire.apart(told)
    assert missing == [*lines([GONE]), "/srv: another file system"]
    assert copied_open == [
        f"{P}/cookies.sqlite, {P}/places.sqlite, {P}/a.sqlite and 2 more: live files of SQLite, not dumped",
        "/srv/redis: live files of Redis, not dumped",
    ]


def test_a_backup_says_so_to_person_and_server(tmp_path: Path) -> None:
    pair = Pair(tmp_path, direct=True)
    for name in ("one.db", "two.db"):
        pair.write(name, "SQLite format 3\0")
        pair.write(f"{name}-wal")
    result = pair.program()
    both = f"{pair.source}/one.db, {pair.source}/two.db"
    assert result.findings == [f"2 SQLite files were open while they were copied; the copies may not open: {both}."]
    assert [finding["code"] for finding in result.record["findings"]] == [LIVE, LIVE]
    [record] = [pair.store.record(name) for name in pair.store.generations()]
    assert record.not_in_backup == (f"copied while open: {both}: live files of SQLite, not dumped",)
    assert "backup_client_databases:\n" in run_backup.summary(result)


@pytest.mark.parametrize("program", [check, drill])
def test_no_report_calls_it_missing(program: Any) -> None:
    shown = check.lacking(not_in_backup([COOKIES, GONE], []))
    assert shown[0].startswith("NOT IN THE NEWEST BACKUP: /srv/x is missing")
    assert shown[1] == f"COPIED WHILE OPEN, in the newest backup: {P}/cookies.sqlite: live files of SQLite, not dumped"
    record: dict[str, Any] = {"level": "quick", "checked": ["G"], "entries": 3}
    record |= {"seed": 1, "databases": [], "files": 1, "bytes": 1, "remarks": [], "canary": {"unmade": []}}
    record |= {"seconds": {"all": 1.0}, "generation": "G", "most_files": 1}
    assert "\n".join(shown) in program.summary(Result(record=record, notes=not_in_backup([COOKIES, GONE], [])))


def test_what_is_accepted_is_told_apart_too() -> None:
    record = run_backup._record(Outcome(Tally(), record={"generation": "G"}), False)
    notes = ["/srv: another file system", f"{wire.COPIED_OPEN}/srv/redis: live files of Redis, not dumped"]
    text = run_backup.summary(Result(record=record | {"databases": [], "canary": {"unmade": []}}, notes=notes))
    assert "NOT IN THIS BACKUP, as configured: /srv: another file system\n" in text
    assert text.endswith("COPIED WHILE OPEN, as configured: /srv/redis: live files of Redis, not dumped\n")


@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_and_mails_have_both_lists(language: str) -> None:
    told = tuple(not_in_backup([COOKIES, GONE], []))
    words = status_words.LABELS[language]
    notes = dict(status_page.build(replace(WELL, not_in_backup=told, language=language), [], Path("/s")).notes)
    assert list(notes[str(words["lacks"])]) == lines([GONE])
    assert list(notes[str(words["copied_open"])]) == [f"{P}/cookies.sqlite: live files of SQLite, not dumped"]
    assert words["copied_open"] not in dict(status_page.build(replace(WELL, language=language), [], Path("/s")).notes)
    labels = messages._LABELS[language]
    body = compose(Incident("check_findings", ["x"], "g", "c", told), "laptop", "/log", language).body
    assert f"{labels['left_out']}:\n{lines([GONE])[0]}\n\n{labels['copied_open']}:\n{P}/cookies.sqlite: live" in body


def settings(advice: str) -> dict[str, Any]:
    """What a person gets who writes the lines of ``advice`` into a file."""
    told: dict[str, Any] = yaml.safe_load("\n".join(re.findall(r"^(?:backup_client_\w+:|  .*)$", advice, re.MULTILINE)))
    return told


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_advice_is_what_the_inventory_takes(language: str) -> None:
    configured = (Database("main", "postgresql"), Database("places", "sqlite", path=Path("/x")))
    odd = Problem(LIVE, 'home/u/"Ä {b}: x'.encode(), "SQLite")
    problems = [*BROWSER[:3], odd, REDIS, Problem(LIVE, b"var/lib/mysql", "MariaDB/MySQL"), GONE]
    told = own_settings(problems, configured)[language]
    assert "inventory/mine/group_vars/backup_clients/own.yml" in told and told.endswith("ansible-playbook site.yml")
    assert settings(told) == {
        "backup_client_databases": [
            {"name": "cookies", "kind": "sqlite", "path": f"{P}/cookies.sqlite"},
            {"name": "places-2", "kind": "sqlite", "path": f"{P}/places.sqlite"},
            {"name": "a", "kind": "sqlite", "path": f"{P}/a.sqlite"},
            {"name": "b-x", "kind": "sqlite", "path": '/home/u/"Ä {b}: x'},
            {"name": "main-2", "kind": "mariadb"},
        ],
        "backup_client_accept_live": [P, '/home/u/"Ä {b}: x', "/srv/redis", "/var/lib/mysql"],
    }
    for entry in settings(told)["backup_client_databases"]:
        Database(entry["name"], entry["kind"], path=Path(entry["path"]) if "path" in entry else None)


def test_there_is_advice_only_where_it_helps() -> None:
    assert own_settings([GONE], ()) == own_settings([Problem(LIVE, b"home/\xff.db", "SQLite")], ()) == {}
    assert list(settings(own_settings([REDIS], ())["en"])) == ["backup_client_accept_live"]
    many = [Problem(LIVE, b"home/u/a/b/%d.db" % number, "SQLite") for number in range(30)]
    told = own_settings([*many, Problem(LIVE, b"home/u/a/b/c/d.db", "SQLite")], ())["en"]
    assert "  # 11 more can be added in the same way\n" in told
    assert settings(told)["backup_client_accept_live"] == ["/home/u/a/b"]
    few = [Problem(LIVE, b"home/u/%d.db" % number, "SQLite") for number in range(3)]
    assert len(settings(own_settings(few, ())["en"])["backup_client_accept_live"]) == 3, "not all of somebody's home"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_mail_begins_with_what_mends_it(language: str) -> None:
    advice = own_settings(BROWSER, ())[language]
    incident = Incident("backup_findings", lines(BROWSER), "g", "/p/backup_data.py", advice=advice)
    body = compose(incident, "laptop", "/log", language).body
    labels = messages._LABELS[language]
    assert body.startswith(f"{labels['next']}:\n{advice}\n{labels['then']}\n/p/backup_data.py\n\n")
    shown = html.page(body, language)
    assert re.search(r"<pre[^>]*>backup_client_databases:\n  - [^<]*</pre>", shown)
    assert re.search(r"<pre[^>]*>ansible-playbook site.yml</pre>", shown)


@pytest.mark.parametrize("name", [b"{{ lookup('pipe','id') }}", b"{% raw %}", b"{# x #}"])
def test_what_ansible_would_carry_out_is_never_in_the_advice(name: bytes) -> None:
    """Anybody on the machine may name a directory so, and an admin pastes these lines on the machine that holds all others."""
    bad = Problem("live_database", b"home/mallory/" + name + b"/x.db", "SQLite")
    good = Problem("live_database", b"home/taro/notes.db", "SQLite")
    assert own_settings([bad], []) == {}
    for advice in own_settings([bad, good], []).values():
        assert "notes.db" in advice
        assert "{" + name.decode()[1] not in advice
