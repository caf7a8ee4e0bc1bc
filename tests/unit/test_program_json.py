"""What each program prints with ``--json`` is what its schema says, and nothing that the schema does not know."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from gate_pair import Pair
from jsonschema import Draft202012Validator

from sedai.client.config import Backup, Database, Drill
from sedai.core import lock

SCHEMAS = Path(__file__).parents[2] / "files/schema"
# What a server of an earlier version does not tell.
LATER = ("anomaly", "imported", "not_in_backup", "shareable_bytes", "shared_bytes", "stored_sha256")
USERS = ("alerts", "check", "drill", "run_backup")


class Programs:
    """The programs of a client with a database, whose one source has a file, a link and a directory."""

    def __init__(self, root: Path, drills: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.pair = pair = Pair(root, direct=True)
        self._capsys = capsys
        pair.write("file")
        (pair.source / "link").symlink_to("file")
        with contextlib.closing(sqlite3.connect(root / "app.db")) as made:
            made.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)")
        pair.config = dataclasses.replace(
            pair.config, staging_directory=root / "staging", drill=Drill(5, 1 << 20, drills),
            databases=(Database("app", "sqlite", path=root / "app.db"),),
        )  # fmt: skip

    def json(self, program: str, *words: str) -> tuple[int, list[Any]]:
        """The exit code, and what was printed: one value a line."""
        module = importlib.import_module(program)
        with contextlib.ExitStack() as stack:
            for user in (module, *(importlib.import_module(f"sedai.client.{name}") for name in USERS)):
                if hasattr(user, "Connection"):
                    stack.enter_context(
                        mock.patch.object(user, "Connection", side_effect=lambda _: self.pair.connect())
                    )
            stack.enter_context(mock.patch.object(module, "open_context", lambda name, _: self.pair.context(name)))
            stack.enter_context(mock.patch.object(sys, "argv", [f"/x/{program}.py", *words, "--json"]))
            self._capsys.readouterr()
            code = int(module.main())
        return code, [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]


@pytest.fixture
def programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Programs]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as drills:  # the path of a socket has to be short
        yield Programs(tmp_path, Path(drills), capsys)


def valid(name: str, value: Any) -> Any:
    """``value``, which fits the schema; with a key more, wherever that is, or less, it does not."""
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    checker = Draft202012Validator(schema)
    checker.validate(value)
    for place in _objects(value):
        place["unknown"] = None
        assert not checker.is_valid(value), f"{name} takes a new key beside {sorted(place)}"
        del place["unknown"]
    for whole in value if isinstance(value, list) else [value]:
        for key in list(whole):
            gone = whole.pop(key)
            assert not checker.is_valid(value) or key in LATER, f"{name} does without {key}"
            whole[key] = gone
    return value


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(inner)


PROGRAMS = ("backup_data", "check_backup_integrity", "restore_drill")


def test_what_is_well(programs: Programs) -> None:
    for program in PROGRAMS:
        code, [value] = programs.json(program)
        assert code == value["exit"] == 0 and valid(program, value)["lines"] == []
    assert valid("backup_data", programs.json("backup_data", "--dry-run")[1][0])["dry_run"]


def test_what_is_not(programs: Programs) -> None:
    pair = programs.pair
    programs.json("backup_data")
    pair.rot(str(pair.store.generations()[0]), pair.source / "file")
    (pair.root / "app.db").write_bytes(b"no database")
    (pair.source / "live").mkdir()
    (pair.source / "live/PG_VERSION").write_text("15")
    found = {program: programs.json(program, "--level=full") if "check" in program else programs.json(program)
             for program in ("check_backup_integrity", "restore_drill", "backup_data")}  # fmt: skip
    for program, (code, [value]) in found.items():
        assert code == value["exit"] == 1 and valid(program, value)["lines"], program
    assert found["backup_data"][1][0]["databases"][0]["stale_since"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_could_not_be_done(programs: Programs, program: str) -> None:
    (programs.pair.root / "ssh").unlink()
    programs.pair.direct = False
    code, [value] = programs.json(program)
    assert (code, sorted(value)) == (3, ["exit", "lines"]) and valid(program, value)["lines"]


def test_a_backup_whose_closing_command_fails(programs: Programs) -> None:
    programs.pair.config = dataclasses.replace(programs.pair.config, backup=Backup(after=("false",)))
    code, [value] = programs.json("backup_data")
    assert code == valid("backup_data", value)["exit"] == 3 and value["generation"]


def test_a_backup_that_another_run_is_at(programs: Programs) -> None:
    with lock.exclusive(programs.pair.state.run_lock, "A backup"):
        assert programs.json("backup_data", "--catch-up") == (0, [valid("backup_data", {"exit": 0, "lines": []})])


def back_up_twice(programs: Programs) -> None:
    """Two generations, between which something was added, changed and removed."""
    pair = programs.pair
    programs.json("backup_data")
    pair.write("file", "more")
    pair.write("new")
    (pair.source / "link").unlink()
    programs.json("backup_data")


def test_what_restores_are_asked_for(programs: Programs) -> None:
    pair = programs.pair
    back_up_twice(programs)
    (pair.store.directory(pair.store.generations()[0]) / "generation.json").write_text("{}")
    broken, whole = valid("restore_data_list", programs.json("restore_data", "list")[1][0])
    assert "error" in broken and whole["files"] > 0
    _, [found] = programs.json("restore_data", "find", "*")
    assert {version["kind"] for version in valid("restore_data_find", found)} >= {"f", "d", "l"}
    assert valid("restore_data_databases", programs.json("restore_data", "databases")[1][0])


def test_what_differs_between_two_generations(programs: Programs) -> None:
    back_up_twice(programs)
    _, lines = programs.json("restore_data", "diff", "previous", "latest", str(programs.pair.source))
    *changes, counts = [valid("restore_data_diff", line) for line in lines]
    assert {change["change"] for change in changes} == {"added", "removed", "changed"}
    assert sum(counts[name] for name in ("added", "removed", "changed")) == len(changes)
