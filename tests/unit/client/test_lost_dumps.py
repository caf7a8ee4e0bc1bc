"""Backups by the real gate after this machine has lost its dumps: what the next generation has of them."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from gate_pair import QUIET, Pair

from sedai.client.backup import Run
from sedai.client.config import Database
from sedai.client.databases.lasting import places
from sedai.client.stage import stage


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A client with the databases ``one`` and ``two``, backed up once and then left without any dump."""
    pair = Pair(tmp_path)
    pair.write("file")
    entries = tuple(Database(name, "sqlite", path=tmp_path / f"{name}.db") for name in ("one", "two"))
    for entry in entries:
        with closing(sqlite3.connect(str(entry.path))) as made:
            made.execute("CREATE TABLE t (a)")
    pair.config = dataclasses.replace(pair.config, staging_directory=tmp_path / "staging", databases=entries)
    assert back_up(pair)[1] == []
    shutil.rmtree(tmp_path / "staging")
    return pair


def back_up(pair: Pair, *forget: str) -> tuple[Path, list[str]]:
    """A backup with its dumps; returns where the server keeps those of the new generation, and the findings."""
    place = pair.root / "staging"
    staged = stage(pair.config, QUIET)
    staged.gone |= places(place, forget)
    with pair.connect() as connection:
        outcome = Run(pair.config, pair.state, connection, QUIET, staged).carry_out()
    return pair.stored(str(outcome.record["generation"]), place / "databases"), [p.detail for p in outcome.problems]


def test_one_that_fails_keeps_the_dump_of_the_last_generation(pair: Pair) -> None:
    (pair.root / "one.db").write_text("no database")
    for _ in range(2):
        stored, findings = back_up(pair)
        assert sorted(path.name for path in stored.rglob("*.*")) == ["one.json", "one.sqlite", "two.json", "two.sqlite"]
        with closing(sqlite3.connect(f"file:{stored}/one/one.sqlite?mode=ro&immutable=1", uri=True)) as dump:
            assert dump.execute("SELECT count(*) FROM t").fetchone() == (0,)
        assert [line.split(" ", 1)[0] for line in findings] == ["one", "one"]
        assert "could not be dumped" in findings[0] and "the generation keeps the dump" in findings[1]


def test_until_it_may_go(pair: Pair) -> None:
    (pair.root / "one.db").unlink()
    stored, findings = back_up(pair, "one")
    assert sorted(path.name for path in stored.rglob("*.*")) == ["two.json", "two.sqlite"]
    assert len(findings) == 1 and "could not be dumped" in findings[0]


def test_one_that_is_not_configured_any_more_goes_and_is_told_once(pair: Pair) -> None:
    pair.config = dataclasses.replace(pair.config, databases=pair.config.databases[1:])
    stored, findings = back_up(pair)
    assert sorted(path.name for path in stored.rglob("*.*")) == ["two.json", "two.sqlite"]
    assert findings == ["one is not configured any more; its last dumps are in older generations."]
    assert back_up(pair)[1] == []
