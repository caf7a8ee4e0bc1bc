"""The file for programs that watch this machine: what it says is what its schema says, and no run is the worse for it."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from sedai.client import state_file
from sedai.client.alerts import Outbox
from sedai.client.config import ClientConfig, Server, Source
from sedai.client.program import Context, Result, carry_out
from sedai.client.state import State
from sedai.core.errors import ExitCode

SCHEMA = json.loads((Path(__file__).parents[3] / "files/schema/client_state.schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A client whose server refuses connections (port 1 of this machine)."""
    server = Server("127.0.0.1", tmp_path / "key", tmp_path / "known", port=1)
    config = ClientConfig("laptop", tmp_path / "state", tmp_path / "log", server, (Source(Path("/etc")),),
                          state_file=tmp_path / "told.json")  # fmt: skip
    state, log = State(config.state_directory), logging.getLogger("test")
    state.prepare()
    return Context(config, state, Outbox(tmp_path / "alerts", log), log)


def told(context: Context) -> dict[str, Any]:
    assert context.config.state_file
    table: dict[str, Any] = json.loads(context.config.state_file.read_text(encoding="utf-8"))
    Draft202012Validator(SCHEMA).validate(table)
    return table


def test_it_is_written_after_each_run(context: Context) -> None:
    carry_out("backup", context, lambda: Result(record={"generation": "20260101T000000Z-000001"}), "again")
    first = told(context)
    assert (first["client"], first["newest"], first["paused"]) == ("laptop", "20260101T000000Z-000001", "")
    assert first["runs"]["backup"]["exit"] == 0
    carry_out("check", context, lambda: Result(["rot in 世代"], record={"level": "full"}), "again")
    second = told(context)
    assert (second["runs"]["full check"]["exit"], second["runs"]["full check"]["lines"]) == (1, ["rot in 世代"])
    assert second["runs"]["backup"] == first["runs"]["backup"]
    assert second["newest"] == first["newest"], "a check seals nothing"
    assert second["written"] > first["written"]
    assert second["alerts_waiting"] > first["alerts_waiting"], "port 1 takes none"


def test_anybody_may_read_it(context: Context) -> None:
    carry_out("backup", context, Result, "again")
    assert context.config.state_file and context.config.state_file.stat().st_mode & 0o777 == 0o644


def test_alerts_that_were_set_aside_and_a_pause_are_told(context: Context) -> None:
    carry_out("backup", context, lambda: Result(["x"]), "again")
    [waiting] = context.outbox.waiting()
    waiting.rename(waiting.with_suffix(".refused"))
    (context.config.state_directory / "paused").write_text("on a new machine\n")
    carry_out("drill", context, lambda: Result(idle=True), "again")
    table = told(context)
    assert (table["alerts_set_aside"], table["paused"]) == (1, "on a new machine")


def test_where_it_can_not_be_written_the_run_is_what_it_was(context: Context) -> None:
    nowhere = replace(context, config=replace(context.config, state_file=Path("/nowhere/told.json")))
    assert carry_out("backup", nowhere, Result, "again")[0] is ExitCode.CLEAN


@pytest.mark.parametrize("wrong", ["told.json", "/told.txt", "/told"])
def test_a_place_that_is_none_is_refused(context: Context, wrong: str) -> None:
    with pytest.raises(ValueError, match=r"absolute path that ends with \.json"):
        replace(context.config, state_file=Path(wrong))


def test_the_schema_takes_nothing_else() -> None:
    table = state_file.table("laptop", 1.5, [], waiting=0, set_aside=0, paused=None)
    checker = Draft202012Validator(SCHEMA)
    checker.validate(table)
    for key in table:
        with pytest.raises(ValidationError):
            checker.validate({name: value for name, value in table.items() if name != key})
    with pytest.raises(ValidationError):
        checker.validate(table | {"unknown": 1})
