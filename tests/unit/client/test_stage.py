"""What is made ready before the scan: dumps in the staging directory, and what goes wrong as lines for people."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest
from gate_pair import QUIET

from sedai.client.config import ClientConfig, Database, Server, Source
from sedai.client.databases.notes import Notes
from sedai.client.describe import describe
from sedai.client.stage import Staged, look, stage
from sedai.core.progress import Reporter


def config(staging: Path | None, *databases: Database) -> ClientConfig:
    server = Server("vps.example.com", Path("/key"), Path("/known"))
    return ClientConfig("t", Path("/state"), Path("/log"), server, (Source(Path("/s")),), staging_directory=staging,
                        databases=databases)  # fmt: skip


def database(path: Path) -> Database:
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE IF NOT EXISTS t (a)")
    return Database("app", "sqlite", path=path)


def test_nothing_is_staged_where_there_is_no_place_for_it() -> None:
    assert stage(config(None), QUIET) == Staged() and look(config(None)) == Staged()


def test_a_database_is_dumped_into_a_private_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    staged = stage(config(tmp_path / "a/staging", database(tmp_path / "app.db")), Reporter(quiet=False))
    assert staged.problems == [] and staged.live == [tmp_path / "app.db"]
    assert [notes.name for notes in staged.notes] == ["app"]
    place = tmp_path / "a/staging/databases/app"
    assert sorted(os.listdir(place)) == ["app.json", "app.sqlite"] and Notes.read(place / "app.json").tables == {"t": 0}
    assert (tmp_path / "a/staging").stat().st_mode & 0o777 == 0o700
    assert capsys.readouterr().err == "database app: 1 table, 0 rows, 8.0 KiB\n"


def test_a_place_that_can_not_be_made_is_a_problem_and_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    staged = stage(config(tmp_path / "file/staging"), QUIET)
    [problem] = staged.problems
    assert problem.code == "staging" and "can't be made: Not a directory" in describe(problem)
    assert str(tmp_path / "file/staging") in describe(problem)


def test_what_fails_is_told_by_the_databases_name(tmp_path: Path) -> None:
    missing = Database("app", "sqlite", path=tmp_path / "none.db")
    staged = stage(config(tmp_path / "staging", missing), QUIET)
    [line] = map(describe, staged.problems)
    assert line.startswith("database: app could not be dumped, and there is no earlier dump here: ")
    assert "none.db" in line and "No such file" in line


def test_a_dry_run_knows_the_live_files_and_writes_nothing(tmp_path: Path) -> None:
    before = database(tmp_path / "app.db")
    staged = look(config(tmp_path / "staging", before))
    assert staged.live == [tmp_path / "app.db"] and staged.notes == [] and staged.problems == []
    assert os.listdir(tmp_path) == ["app.db"]
