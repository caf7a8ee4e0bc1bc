"""What can't be carried out is refused in one clear sentence: patterns, times, names and answers that are none."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest
from gate_pair import LocalConnection, Pair

from sedai.client import catalog, find
from sedai.client.config import Backup
from sedai.client.destination import check_target
from sedai.client.placement import Existing
from sedai.core.errors import ConfigError, ServerError, UsageError


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    made = Pair(tmp_path, direct=True)
    made.write("letter")
    return made


@pytest.mark.parametrize("pattern", ["!", "\\"])
def test_a_pattern_that_is_none(pair: Pair, pattern: str) -> None:
    text = f"exclude: {pattern!r} is no pattern of the gitignore syntax."
    pair.config = replace(pair.config, backup=Backup(exclude=("*.tmp", pattern)))
    with pytest.raises(ConfigError) as refused:
        pair.run()
    assert refused.value.message == text
    assert pair.store.generations() == []


@pytest.mark.parametrize("text", ["", " ", "tomorrow", "2026-13-01", "9999-12-31"])
def test_a_time_that_is_none(pair: Pair, text: str) -> None:
    pair.backup()
    with pair.connect() as connection:
        records = catalog.generations(connection)
    with pytest.raises(UsageError, match="is not a time"):
        catalog.pick(argparse.Namespace(at=text, generation="latest"), records)


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000])
def test_a_target_with_a_name_that_is_too_long(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="can't be made: File name too long"):
        check_target(str(tmp_path / name).encode(), False, Existing.REFUSE)


def test_a_name_of_any_bytes_is_shown_as_everywhere_else(pair: Pair) -> None:
    pair.backup()
    with pair.connect() as connection, pytest.raises(UsageError) as refused:
        find.carry_out(argparse.Namespace(pattern="\udcff\n日", json=False), pair.context("restore"), connection)
    assert refused.value.message == r"No file in any generation fits '\xff\n日'."


def test_another_program_behind_the_key(pair: Pair) -> None:
    program = pair.root / "other"
    program.write_text("#!/bin/sh\necho This account is currently not available.\n")
    program.chmod(0o700)
    connection = LocalConnection(pair.config.server, program)
    with pytest.raises(ServerError, match=r"unknown form: This account is currently not available\."):
        connection.ask("begin", {})
