"""Backups of a machine that took another's place are paused until a person says that everything is on it again."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from sedai.client.alerts import Outbox
from sedai.client.config import Backup, ClientConfig, Server, Source
from sedai.client.program import Context
from sedai.client.run_backup import back_up
from sedai.client.state import State
from sedai.core.errors import PausedError, UnreachableError

LOG = logging.getLogger("test")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A paused client whose server refuses connections (port 1 of this machine), so that a backup ends there."""
    server = Server("127.0.0.1", tmp_path / "key", tmp_path / "known", port=1)
    backup = Backup(before=(f"touch '{tmp_path}/begun'",))
    config = ClientConfig(
        "laptop", tmp_path / "state", tmp_path / "log", server, (Source(Path("/etc")),), backup=backup
    )
    state = State(config.state_directory)
    state.prepare()
    mark(state).write_text("It took the place of a lost one;\nthe disk is empty.\n")
    return Context(config, state, Outbox(tmp_path / "alerts", LOG), LOG)


def mark(state: State) -> Path:
    """The mark that the role adopt writes."""
    return state.root / "paused"


def test_nothing_begins_while_backups_are_paused(context: Context, tmp_path: Path) -> None:
    with pytest.raises(PausedError) as refused:
        back_up(context, quiet=True)
    assert "It took the place of a lost one; the disk is empty." in refused.value.message
    assert "--resume" in refused.value.hint
    assert not (tmp_path / "begun").exists()
    assert mark(context.state).exists()


def test_resume_takes_the_mark_away_and_backs_up(context: Context, tmp_path: Path) -> None:
    with pytest.raises(UnreachableError):
        back_up(context, quiet=True, resume=True)
    assert (tmp_path / "begun").exists()
    assert not mark(context.state).exists()


def test_a_machine_that_is_not_paused_can_be_resumed(context: Context) -> None:
    mark(context.state).unlink()
    with pytest.raises(UnreachableError):
        back_up(context, quiet=True, resume=True)


def test_a_dry_run_says_that_backups_are_paused_and_goes_on(
    context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnreachableError):
        back_up(context, dry_run=True)
    assert "paused: It took the place" in capsys.readouterr().err
    assert mark(context.state).exists()


@pytest.mark.parametrize("content", ["", "\n \n", None])
def test_a_mark_without_a_reason_pauses_too(context: Context, content: str | None) -> None:
    mark(context.state).unlink()
    assert context.state.paused() is None
    if content is None:
        mark(context.state).mkdir()  # nobody can read it
    else:
        mark(context.state).write_text(content)
    assert str(mark(context.state)) in (context.state.paused() or "")
