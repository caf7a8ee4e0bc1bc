"""A backup with everything around it: lock, hooks, connection, and its findings as lines for people."""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sedai.client import advice, backup
from sedai.client.config import ClientConfig
from sedai.client.connection import Connection
from sedai.client.databases.lasting import places
from sedai.client.databases.notes import Notes
from sedai.client.describe import lines
from sedai.client.program import Context, Result
from sedai.client.rehash import rehash
from sedai.client.stage import look, stage
from sedai.core import lock, wire
from sedai.core.counted import counted
from sedai.core.errors import PausedError, SedaiError, UsageError
from sedai.core.process import be_idle
from sedai.core.progress import Reporter, size


def back_up(
    context: Context,
    *,
    dry_run: bool = False,
    quiet: bool = False,
    resume: bool = False,
    forget: Sequence[str] = (),
    shares: int = 0,
) -> Result:
    """Carry out one backup under the client's lock; ``resume`` ends a pause first.

    ``forget`` names databases whose dumps need not stay though this machine has none any more. Of the files that did not
    change one of ``shares`` parts is read again in the end (1: all, 0: none).

    Raises:
        UsageError: ``forget`` has a name that is not in the configuration.
        LockedError: another backup runs.
        PausedError: backups are paused.
        SedaiError: there is no new generation.
    """
    reporter = Reporter(quiet=quiet)
    settings = context.config.backup
    with lock.exclusive(context.state.run_lock, "A backup of this machine"):
        _refuse_unknown(context.config, forget)
        _mind_the_pause(context, reporter, dry_run=dry_run, resume=resume)
        if settings.idle_priority:
            be_idle()
        late: list[str] = []
        try:
            for command in () if dry_run else settings.before:
                backup.run_hook(command)
            staged = look(context.config) if dry_run else stage(context.config, reporter)
            staged.gone |= places(context.config.staging_directory or Path("/"), forget)
            with Connection(context.config.server) as connection:
                context.outbox.flush(connection)
                run = backup.Run(context.config, context.state, connection, reporter, staged)
                outcome = run.carry_out(dry_run=dry_run, alerts_stuck=context.outbox.stuck_seconds(time.time()))
            rehashed = rehash(context.state, shares, reporter, keep_notes=not dry_run)
            outcome.problems += rehashed.problems
        except SedaiError as error:
            late = [] if dry_run else _after(context)
            error.message = "\n".join([error.message, *late])
            raise
    late = [] if dry_run else _after(context)
    for path in outcome.vanished:
        context.log.info("vanished while it was backed up: /%s", path)
    findings = [*lines(outcome.problems), *late]
    record = _record(outcome, dry_run) | {
        "databases": [_database(notes) for notes in staged.notes],
        "canary": {"unmade": staged.unmade},
        "rehashed": {"files": rehashed.files, "bytes": rehashed.bytes},
    }
    return Result(findings, record, incident="after_failed" if late else "", notes=outcome.left_out,
                  advice=advice.own_settings(outcome.problems, context.config.databases))  # fmt: skip


def _refuse_unknown(config: ClientConfig, forget: Sequence[str]) -> None:
    configured = [database.name for database in config.databases]
    for name in forget:
        if name.partition("/")[0] not in configured:
            near = difflib.get_close_matches(name.partition("/")[0], configured, n=1) or configured
            raise UsageError(f"The configuration has no databases {name!r}.", f"It has: {', '.join(near) or 'none'}.")


def _mind_the_pause(context: Context, reporter: Reporter, *, dry_run: bool, resume: bool) -> None:
    reason = context.state.paused()
    if reason is None:
        return
    if resume:
        context.state.resume()
        context.log.info("backups are resumed; they were paused because: %s", reason)
    elif dry_run:
        reporter.say(f"Backups are paused: {reason}")
    else:
        raise PausedError(
            f"Nothing was backed up, backups of this machine are paused: {reason}",
            "When everything that this machine should have is on it (restore_data.py list, restore, restore-db), "
            "`backup_data.py --resume` ends the pause and backs up.",
        )


def _database(notes: Notes) -> dict[str, object]:
    return {"name": notes.name, "dumped": notes.dumped, "bytes": notes.bytes, "tables": len(notes.tables),
            "rows": notes.rows, "stale_since": notes.stale_since}  # fmt: skip


def _after(context: Context) -> list[str]:
    """Run the closing commands, whatever came before: they may have to thaw what an opening one froze."""
    failed = []
    for command in context.config.backup.after:
        try:
            backup.run_hook(command)
        except SedaiError as error:
            context.log.error("%s", error)
            failed.append(error.message)
    return failed


def _record(outcome: backup.Outcome, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "generation": str(outcome.record.get("generation", "")),
        "files": outcome.record.get("files", 0),
        "bytes": outcome.record.get("bytes", 0),
        "new_bytes": outcome.record.get("new_bytes", 0),
        "plan": asdict(outcome.tally),
        "sent_files": outcome.sent_files,
        "vanished": len(outcome.vanished),
        "changed_while_read": outcome.changed_while_read,
        "pruned": outcome.pruned,
        "seconds": outcome.seconds,
        "left_out": outcome.left_out,
        "not_in_backup": outcome.not_in_backup,
        "findings": [problem._asdict() | {"path": wire.text(problem.path)} for problem in outcome.problems],
    }


def summary(result: Result) -> str:
    """What a person reads at the end of a backup."""
    record = result.record
    if "plan" not in record:
        return ""
    tally = record["plan"]
    if record["dry_run"]:
        told = [
            (
                f"Would send {tally['new']} new and {tally['modified']} changed entries "
                f"({counted(tally['send_files'], 'file')}, {size(tally['send_bytes'])} to look through), "
                f"drop {tally['removed']}, keep {tally['unchanged']} unchanged. Nothing was changed."
            )
        ]
    else:
        told = [
            f"Generation {record['generation']}: {counted(record['files'], 'file')}, {size(record['bytes'])}.",
            (
                f"{tally['new']} new, {tally['modified']} changed, {tally['removed']} removed, {tally['unchanged']} unchanged "
                f"entries; {counted(record['sent_files'], 'file')} sent, {size(record['new_bytes'])} of new content."
            ),
        ]
        if record["pruned"]:
            told.append(f"Pruned: {', '.join(record['pruned'])}.")
        if record["vanished"] or record["changed_while_read"]:
            told.append(
                f"While it ran {counted(record['vanished'], 'file')} vanished and {record['changed_while_read']} kept changing."
            )
    rehashed = record.get("rehashed", {"files": 0})
    if rehashed["files"]:
        told.append(
            f"Read again of what did not change: {counted(rehashed['files'], 'file')} ({size(rehashed['bytes'])})."
        )
    if record["databases"]:
        rows = sum(database["rows"] for database in record["databases"])
        told.append(f"With {counted(len(record['databases']), 'database dump')} ({counted(rows, 'row')}).")
    told += [f"This machine can't have it: {line}" for line in record["canary"]["unmade"]]
    left_out, copied_open = wire.apart(result.notes)
    told += [f"NOT IN THIS BACKUP, as configured: {line}" for line in left_out]
    told += [f"COPIED WHILE OPEN, as configured: {line}" for line in copied_open]
    told += [f"FINDING: {line}" for line in result.findings]
    told += [result.advice["en"]] if result.advice else []
    return "\n".join(told) + "\n"
