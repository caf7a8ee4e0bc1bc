"""Which dump a name means, under which name it comes back, and that nothing is lost when loading fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from watching import Watcher

from sedai.client import restore_database as rd
from sedai.client.config import ClientConfig, Database, Server, Source
from sedai.client.databases.notes import GLOBALS, Notes
from sedai.core.errors import ProcessError, SedaiError, UsageError
from sedai.core.progress import Watch, unwatched

MAIN = Database("main", "postgresql")
WIKI = Database("wiki", "mariadb")
FILE = Database("notes", "sqlite", path=Path("/srv/notes.sqlite"))
ENTRIES = (MAIN, WIKI, FILE)


def noted(entry: Database, database: str, tables: dict[str, int] | None = None) -> Notes:
    """The notes of one dump."""
    rows = {"t": 3, "u": 0} if tables is None else tables
    return Notes(entry.name, entry.kind, database, f"{database}.dump", "2026-01-31T03:15:00+00:00", 10, rows)


NOTES = [
    noted(MAIN, GLOBALS, {}),
    noted(MAIN, "shop"),
    noted(MAIN, "wiki"),
    noted(FILE, "notes"),
    noted(WIKI, GLOBALS, {}),
    noted(WIKI, "wiki"),
    noted(Database("old", "postgresql"), "archive"),
]


@dataclass
class Engine:
    """A server as a dictionary: name -> rows by table.

    ``broken``: loading fails; ``half``: and leaves what it made. ``damage``: what does not come along when one is set aside.
    ``uncounted``: counting fails with this.
    """

    databases: dict[str, dict[str, int]]
    broken: bool = False
    half: bool = False
    damage: tuple[str, ...] = ()
    uncounted: BaseException | None = None
    loaded: dict[str, int] = field(default_factory=lambda: {"t": 3, "u": 0})
    owners: bool | None = None

    def exists(self, database: str) -> bool:
        return database in self.databases

    def load(
        self, dump: Path, notes: Notes, database: str, *, owners: bool = True, watch: Watch = unwatched
    ) -> list[str]:
        assert database == GLOBALS or database not in self.databases
        if self.half:
            self.databases[database] = {}
        if self.broken:
            raise ProcessError("it broke", 1, "it broke")
        self.owners = owners
        watch(lambda: 7)
        self.databases[database] = self.loaded
        return []

    def row_counts(self, database: str) -> dict[str, int]:
        if self.uncounted is not None:
            raise self.uncounted
        return self.databases[database]

    def set_aside(self, database: str, aside: str) -> list[str]:
        if aside in self.databases:
            raise ProcessError(f"{aside} already exists", 1, "")
        self.databases[aside] = self.databases.pop(database)
        return list(self.damage)


class Archive:
    """A generation that holds :data:`NOTES`."""

    config = ClientConfig("t", Path("/state"), Path("/log"), Server("vps.example.com", Path("/key"), Path("/known")),
                          (Source(Path("/etc")),), staging_directory=Path("/staging"), databases=ENTRIES)  # fmt: skip

    def __init__(self) -> None:
        self.reporter = Watcher()

    def notes(self) -> list[Notes]:
        return NOTES

    def dump(self, notes: Notes) -> Path:
        return Path("/dump")


def restored(engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str, **how: Any) -> rd.RestoredDatabase:
    """Restore ``name`` into ``engine``; whoever looks sees it go in."""
    monkeypatch.setattr(rd.servers, "connect", lambda entry: engine)
    archive = Archive()
    done = rd.restore_database(archive, name, **how)  # type: ignore[arg-type]
    [phase] = archive.reporter.phases
    assert (phase.phase, phase.size) == (f"load {done.target}", done.notes.bytes)
    assert [moved() for moved in phase.moved] == [7]
    return done


@pytest.mark.parametrize("name, expected", [
    ("main/shop", "main/shop"), ("shop", "main/shop"), ("notes", "notes"), ("wiki/wiki", "wiki/wiki"),
    ("main/@globals", "main/@globals"),
])  # fmt: skip
def test_a_name_means_one_dump(name: str, expected: str) -> None:
    notes, entry = rd.choose(NOTES, name, ENTRIES)
    assert notes.name == expected
    assert entry.name == notes.entry


@pytest.mark.parametrize("name, words", [
    ("wiki", "main/wiki, wiki/wiki"),
    (GLOBALS, "main/@globals, wiki/@globals"),
    ("shp", "Near names: shop"),
    ("main/shap", "main/shop"),
    ("nothing like it", "There are: main/@globals"),
    ("archive", "The server old"),
])  # fmt: skip
def test_a_name_that_means_none_or_several_is_refused_with_the_nearest(name: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        rd.choose(NOTES, name, ENTRIES)
    assert words in str(refused.value)


def test_a_database_comes_back_under_its_name_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine({})
    done = restored(engine, monkeypatch, "main/shop", owners=False)
    assert (done.target, done.aside, done.findings) == ("shop", "", [])
    assert engine.databases == {"shop": {"t": 3, "u": 0}}
    assert engine.owners is False


def test_one_that_is_there_is_never_replaced_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine({"shop": {"precious": 1}})
    with pytest.raises(UsageError) as refused:
        restored(engine, monkeypatch, "main/shop")
    assert "--as shop_restored" in refused.value.hint
    assert engine.databases == {"shop": {"precious": 1}}
    with pytest.raises(UsageError):
        restored(Engine({"shop2": {}}), monkeypatch, "main/shop", as_name="shop2")


def test_beside_the_present_one(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine({"shop": {"precious": 1}})
    assert restored(engine, monkeypatch, "main/shop", as_name="shop2").target == "shop2"
    assert engine.databases == {"shop": {"precious": 1}, "shop2": {"t": 3, "u": 0}}


def test_overwriting_keeps_the_present_one_under_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine({"shop": {"precious": 1}})
    done = restored(engine, monkeypatch, "main/shop", overwrite=True)
    assert done.aside.startswith("shop_before_")
    assert engine.databases == {"shop": {"t": 3, "u": 0}, done.aside: {"precious": 1}}


def test_what_was_broken_in_the_present_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine({"shop": {"precious": 1}}, damage=("the view v fails",))
    done = restored(engine, monkeypatch, "main/shop", overwrite=True)
    assert done.findings == ["the view v fails"]
    assert engine.databases == {"shop": {"t": 3, "u": 0}, done.aside: {"precious": 1}}


def test_when_loading_fails_the_present_one_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine({"shop": {"precious": 1}}, broken=True)
    with pytest.raises(ProcessError):
        restored(engine, monkeypatch, "main/shop", overwrite=True)
    assert engine.databases == {"shop": {"precious": 1}}


def test_when_the_present_one_can_not_be_put_back_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine({"shop": {"precious": 1}}, broken=True, half=True, damage=("the view v fails",))
    with pytest.raises(SedaiError) as failed:
        restored(engine, monkeypatch, "main/shop", overwrite=True)
    (aside,) = set(engine.databases) - {"shop"}
    assert engine.databases[aside] == {"precious": 1}
    for words in ("it broke", "shop already exists", f"is now {aside}", "the view v fails", "Stop the programs"):
        assert words in str(failed.value)


@pytest.mark.parametrize("error", [ProcessError("gone", 1, ""), KeyboardInterrupt()])
def test_where_the_old_one_is_is_told_whenever_it_ends(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    engine = Engine({"shop": {"precious": 1}}, uncounted=error)
    with pytest.raises(SedaiError, match=r"The one that was there is now shop_before_"):
        restored(engine, monkeypatch, "main/shop", overwrite=True)
    with pytest.raises(type(error)):
        restored(Engine({}, uncounted=error), monkeypatch, "main/shop")


@pytest.mark.parametrize(
    ("loaded", "words"),
    [
        ({"t": 2, "u": 0}, "shop: the table t came back with 2 rows; noted when it was dumped: 3"),
        ({"t": 3}, "shop: the table u did not come back; it had 0 rows"),
        ({"t": 3, "u": 0, "v": 1}, "shop: the table v is in the dump, but was not noted"),
    ],
)
def test_rows_that_differ_from_the_notes_are_findings(
    monkeypatch: pytest.MonkeyPatch, loaded: dict[str, int], words: str
) -> None:
    (finding,) = restored(Engine({}, loaded=loaded), monkeypatch, "main/shop").findings
    assert words in finding


def test_an_sqlite_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engine = Engine({"/srv/notes.sqlite": {}})
    with pytest.raises(UsageError) as refused:
        restored(engine, monkeypatch, "notes")
    assert "--as /srv/notes.sqlite.restored" in refused.value.hint
    monkeypatch.chdir(tmp_path)
    assert restored(engine, monkeypatch, "notes", as_name="n.sqlite").target == f"{tmp_path}/n.sqlite"


def test_beside_a_link_is_beside_what_it_leads_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    real, link = tmp_path / "disk/n.sqlite", tmp_path / "n.sqlite"
    link.symlink_to(real)
    engine = Engine({str(real): {"precious": 1}})
    done = restored(engine, monkeypatch, "notes", as_name=str(link), overwrite=True)
    assert done.target == str(real) and done.aside.startswith(f"{real}.before_")


def test_accounts_have_no_other_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert restored(Engine({}), monkeypatch, "main/@globals").findings == []
    with pytest.raises(UsageError):
        restored(Engine({}), monkeypatch, "main/@globals", as_name="x")


def test_a_path_is_no_name_for_a_servers_database(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError):
        restored(Engine({}), monkeypatch, "main/shop", as_name="/srv/shop")


def test_names_that_are_made_up_fit_the_servers_limit() -> None:
    made = rd._beside("世" * 21, "before_20260131000000")
    assert len(made.encode()) <= 63 and made.endswith("_before_20260131000000")
