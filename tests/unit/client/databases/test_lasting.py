"""Dumps of the last generation that this machine has not: which stay in the next one, and what a person is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sedai.client.config import ClientConfig, Database, Server, Source
from sedai.client.databases.lasting import Lasting, places
from sedai.client.databases.notes import GLOBALS, stem

SHOP = ("main/shop.dump", "main/shop.json")


def config(staging: Path | None) -> ClientConfig:
    databases = (
        Database("main", "postgresql"),
        Database("wiki", "mariadb"),
        Database("app", "sqlite", path=Path("/a")),
    )
    server = Server("vps.example.com", Path("/key"), Path("/known"))
    return ClientConfig("t", Path("/state"), Path("/log"), server, (Source(Path("/s")),), staging_directory=staging,
                        databases=databases if staging else ())  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The directory of the dumps, as a run that could dump nothing leaves it."""
    for entry in ("main", "wiki", "app"):
        (tmp_path / "databases" / entry).mkdir(parents=True)
    return tmp_path / "databases"


def asked(lasting: Lasting, place: Path, *names: str) -> list[str]:
    """Those of ``names`` below ``place`` that stay."""
    return [name for name in names if lasting.keeps(os.fsencode(place / name)[1:])]


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (SHOP, "main/shop"),
        (("main/@globals.sql", "main/@globals.json"), "main/@globals"),
        (("wiki/a%2Fb.x.sql", "wiki/a%2Fb.x.json"), "wiki/a/b.x"),
        (("app/app.sqlite", "app/app.json"), "app"),
    ],
)
def test_what_is_not_here_stays_and_is_told_with_both_ways_out(files: tuple[str, str], name: str, place: Path) -> None:
    lasting = Lasting(config(place.parent), set())
    assert asked(lasting, place, *files) == list(files)
    [line] = lasting.lines()
    assert line.startswith(f"{name} is not here any more")
    assert f"restore-db {name})" in line and f"--forget {name})" in line
    for let_go in (name, name.partition("/")[0]):
        lasting = Lasting(config(place.parent), places(place.parent, [let_go]))
        assert asked(lasting, place, *files) == [] and lasting.lines() == []


def test_a_dump_without_its_notes_or_notes_without_their_dump_are_not_enough(place: Path) -> None:
    (place / "main/shop.json").touch()
    lasting = Lasting(config(place.parent), set())
    assert asked(lasting, place, "main/shop.dump") == ["main/shop.dump"] and len(lasting.lines()) == 1
    (place / "main/shop.sql").touch()
    lasting = Lasting(config(place.parent), set())
    assert asked(lasting, place, "main/shop.dump") == [], "the server is of another kind now"
    assert lasting.lines() == []


def test_one_that_was_told_to_be_gone_does_not_stay(place: Path) -> None:
    lasting = Lasting(config(place.parent), {place / "main" / stem("shop"), place / "old"})
    assert asked(lasting, place, *SHOP, "old/x.dump", "old/x.json") == []
    assert asked(lasting, place, f"main/{GLOBALS}.sql", "main/shop2.dump") == [f"main/{GLOBALS}.sql", "main/shop2.dump"]
    assert len(lasting.lines()) == 2


def test_an_entry_that_is_not_configured_any_more_is_told_once(place: Path) -> None:
    lasting = Lasting(config(place.parent), set())
    assert asked(lasting, place, "old/x.dump", "old/x.json", "old/y.dump") == []
    assert lasting.lines() == ["old is not configured any more; its last dumps are in older generations."]


def test_nothing_else_stays(place: Path) -> None:
    lasting = Lasting(config(place.parent), set())
    others = ("main", "main/shop.dump.new", "main/shop", "main/shop.dump/x", "../canary/x.json", "stray.dump")
    assert asked(lasting, place, *others) == []
    (place / "wiki").rmdir()
    (place / "wiki").touch()
    assert asked(lasting, place, "wiki/x.sql") == [], "a file holds no others"
    assert not lasting.keeps(b"home/u/shop.dump")
    assert lasting.lines() == []
    assert not Lasting(config(None), set()).keeps(b"databases/main/shop.dump")
