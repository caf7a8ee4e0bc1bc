"""A backup's findings and summary as people read them, and what a dry run does not do."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sedai.client import backup, run_backup
from sedai.client.alerts import Outbox
from sedai.client.backup import Outcome
from sedai.client.config import Backup, ClientConfig, Database, Server, Source
from sedai.client.databases.notes import Notes
from sedai.client.describe import describe
from sedai.client.plan import Tally
from sedai.client.program import Context, Result
from sedai.client.run_backup import back_up, summary
from sedai.client.scan import Problem
from sedai.client.stage import Staged
from sedai.client.state import State


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (Problem("database", b"", "main/shop could not be dumped: no"), "database: main/shop could not be dumped: no"),
        (Problem("clock", b"", "differs"), "clock: differs"),
        (
            Problem("not_mounted", b"mnt/usb", "it is in /etc/fstab"),
            "/mnt/usb is not mounted, so what belongs there is not in this backup (it is in /etc/fstab).",
        ),
        (
            Problem("live_database", b"srv/a\xff\nb", "Redis"),
            (
                "/srv/a\\xff\\nb holds files that a database server may be writing, and no dump of it is configured; their copy "
                "may be of no use. Add it to backup_client_databases, exclude it, or name it in backup_client_accept_live (Redis)."
            ),
        ),
        (
            Problem("unreadable", b"etc/x", "Permission denied"),
            "/etc/x could not be read; the generation keeps the last version that could, if there is one (Permission denied).",
        ),
        (Problem("staging", b"var/x", "can't be made: no"), "/var/x staging: can't be made: no"),
    ],
)
def test_a_problem_is_one_line_that_says_what_it_means(problem: Problem, line: str) -> None:
    assert describe(problem) == line


def result(**changes: Any) -> Result:
    record: dict[str, Any] = run_backup._record(Outcome(Tally(), record={"generation": "G", "files": 3}), False)
    notes = changes.pop("notes", ())
    findings = changes.pop("findings", ())
    return Result(findings, record | {"databases": [], "canary": {"unmade": []}} | changes, notes=notes)


def test_a_plain_summary_has_nothing_of_databases() -> None:
    text = summary(result())
    assert text.startswith("Generation G: 3 files, ") and text.endswith("\n")
    assert "database" not in text and "NOT IN" not in text and "FINDING" not in text


def test_a_summary_names_the_dumps_what_is_left_out_and_the_findings() -> None:
    databases = [run_backup._database(Notes("m", "mariadb", name, "f", "2026", 1, {"t": 5, "u": 2})) for name in "ab"]
    text = summary(result(databases=databases, notes=["/srv: another file system"], findings=["a/b failed"]))
    assert "With 2 database dumps (14 rows).\n" in text
    assert text.endswith("NOT IN THIS BACKUP, as configured: /srv: another file system\nFINDING: a/b failed\n")


def test_a_run_without_a_record_has_no_summary() -> None:
    assert summary(Result()) == ""


@pytest.fixture
def context(tmp_path: Path) -> Context:
    server = Server("127.0.0.1", tmp_path / "key", tmp_path / "known", port=1)
    config = ClientConfig(
        "laptop", tmp_path / "state", tmp_path / "log", server, (Source(Path("/etc")),),
        backup=Backup(before=(f"touch {tmp_path}/frozen",)), staging_directory=tmp_path / "staging",
        databases=(Database("app", "sqlite", path=tmp_path / "app.db"),),
    )  # fmt: skip
    state = State(config.state_directory)
    state.prepare()
    return Context(config, state, Outbox(tmp_path / "alerts", logging.getLogger("test")), logging.getLogger("test"))


class Connected:
    """A connection that is never used."""

    def __init__(self, server: Server) -> None:
        pass

    def __enter__(self) -> Connected:
        return self

    def __exit__(self, *ignored: object) -> None:
        pass


@pytest.mark.parametrize("wanted", [True, False])
def test_it_has_the_machine_when_nobody_else_wants_it_where_that_is_asked_for(
    wanted: bool, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    class Run:
        def __init__(self, *arguments: object) -> None:
            pass

        def carry_out(self, *, dry_run: bool, alerts_stuck: float) -> Outcome:
            done.append("backup")
            return Outcome(Tally())

    monkeypatch.setattr(run_backup, "Connection", Connected)
    monkeypatch.setattr(context.outbox, "flush", lambda connection: None)
    monkeypatch.setattr(backup, "Run", Run)
    monkeypatch.setattr(run_backup, "be_idle", lambda: done.append("idle"))
    settings = replace(context.config.backup, idle_priority=wanted)
    back_up(replace(context, config=replace(context.config, backup=settings)), quiet=True)
    assert done == (["idle", "backup"] if wanted else ["backup"])


@pytest.mark.parametrize("dry_run", [True, False])
def test_only_a_true_run_dumps_and_both_know_the_live_files(
    dry_run: bool, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Staged] = []

    class Run:
        def __init__(self, config: ClientConfig, state: State, connection: object, reporter: object, staged: Staged):
            seen.append(staged)

        def carry_out(self, *, dry_run: bool, alerts_stuck: float) -> Outcome:
            return Outcome(Tally(), list(seen[0].problems), left_out=["/srv: another file system"])

    monkeypatch.setattr(run_backup, "Connection", Connected)
    monkeypatch.setattr(context.outbox, "flush", lambda connection: None)
    monkeypatch.setattr(backup, "Run", Run)
    (tmp_path / "app.db").touch()
    ended = back_up(context, dry_run=dry_run, quiet=True, forget=["app/a/b"])
    assert seen[0].live == [tmp_path / "app.db"]
    assert (tmp_path / "staging").exists() is not dry_run and (tmp_path / "frozen").exists() is not dry_run
    assert [database["name"] for database in ended.record["databases"]] == ([] if dry_run else ["app"])
    assert seen[0].gone == {tmp_path / "staging/databases/app/a%2Fb"}
    assert ended.findings == [] and ended.notes == ["/srv: another file system"]
    assert ended.record["left_out"] == ["/srv: another file system"]
