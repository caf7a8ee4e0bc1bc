"""Restore of a database: its dump out of a generation, proven by digest, loaded under a free name, its rows counted."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sedai.client import catalog
from sedai.client.archive import Archive, archive
from sedai.client.config import Database
from sedai.client.connection import Connection
from sedai.client.databases import notes as noted
from sedai.client.databases import servers
from sedai.client.databases.engine import Engine
from sedai.client.databases.notes import Notes
from sedai.client.program import Context, given
from sedai.core.counted import counted
from sedai.core.errors import ExitCode, SedaiError, UsageError
from sedai.core.progress import Reporter


@dataclass
class RestoredDatabase:
    """What was made of a dump. ``target``: the name it has now; ``aside``: that of the one that was there before."""

    notes: Notes
    target: str
    aside: str = ""
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)


def choose(all_notes: Sequence[Notes], name: str, entries: Iterable[Database]) -> tuple[Notes, Database]:
    """The notes and the configured server that ``name`` (``server/database``, or a database's name alone) means.

    Raises:
        UsageError: there is none, or more than one; the text names the nearest.
    """
    found = [notes for notes in all_notes if name in (notes.name, notes.database)]
    exact = [notes for notes in found if notes.name == name]
    if len(exact or found) > 1:
        names = ", ".join(notes.name for notes in found)
        raise UsageError(f"{name!r} may be any of {names}.", "Name one of these.")
    configured = {entry.name: entry for entry in entries}
    known = [notes.name for notes in all_notes]
    if not found:
        databases = {notes.database for notes in all_notes}
        near = difflib.get_close_matches(name, sorted({*known, *databases}), n=3, cutoff=0.5)
        hint = f"Near names: {', '.join(near)}." if near else f"There are: {', '.join(known)}."
        raise UsageError(f"This generation has no database {name!r} of the configuration.", hint)
    notes = (exact or found)[0]
    if notes.entry not in configured:
        names = ", ".join(sorted(configured)) or "none"
        raise UsageError(
            f"The server {notes.entry} of {notes.name} is not in the configuration (there: {names}).",
            "Add it to backup_client_databases and run site.yml, or bring the dump back as a file with `restore`.",
        )
    return notes, configured[notes.entry]


def restore_database(
    source: Archive, name: str, *, as_name: str = "", overwrite: bool = False, owners: bool = True
) -> RestoredDatabase:
    """Load the dump of ``name`` as ``as_name``, or under its old name.

    Where a database of that name is, nothing happens without ``overwrite``; with it, the present one is renamed first.

    Raises:
        UsageError: see :func:`choose`; or a database of that name is there.
        SedaiError: it failed; what was there before is there again, or the text tells under which name.
    """
    notes, entry = choose(source.notes(), name, source.config.databases)
    engine = servers.connect(entry)
    target = _target(notes, entry, as_name)
    present = engine.exists(target) if notes.database != noted.GLOBALS else False
    if present and not overwrite:
        raise UsageError(
            f"The database {target} is there already.",
            f"Restore beside it with --as {_beside(target, 'restored')}, or add --overwrite: "
            "the present one is kept under another name.",
        )
    dump = source.dump(notes)
    done = RestoredDatabase(notes, target)
    started = time.monotonic()
    if present:
        done.aside = _beside(target, f"before_{datetime.now(UTC):%Y%m%d%H%M%S}")
    with _told_where_it_is(engine, done):
        if present:
            done.findings += engine.set_aside(target, done.aside)
        try:
            with source.reporter.watched(f"load {target}", notes.bytes) as watch:
                done.findings += engine.load(dump, notes, target, owners=owners, watch=watch)
        except BaseException as error:
            if present:
                _put_back(engine, done, error)
            raise
        if notes.database != noted.GLOBALS:
            done.findings += [f"{target}: {line}" for line in noted.differing(notes.tables, engine.row_counts(target))]
    done.seconds = time.monotonic() - started
    return done


def _put_back(engine: Engine, done: RestoredDatabase, error: BaseException) -> None:
    """After ``error`` the database that was there gets its name back."""
    try:
        engine.set_aside(done.aside, done.target)
    except SedaiError as failure:
        raise SedaiError(
            f"{error}\nThe database that was there could not be put back: {failure}",
            f"Stop the programs that use {done.target}, then run this again with --overwrite.",
        ) from error


@contextlib.contextmanager
def _told_where_it_is(engine: Engine, done: RestoredDatabase) -> Iterator[None]:
    """Whatever goes wrong, a person must know under which name the database is that was there."""
    try:
        yield
    except BaseException as error:
        if not _may_exist(engine, done.aside):
            raise
        where = "\n".join([f"The one that was there is now {done.aside}.", *done.findings])
        if not isinstance(error, SedaiError):
            raise SedaiError(f"It broke off ({error!r}). {where}") from error
        error.message = f"{error.message}\n{where}"
        raise


def _may_exist(engine: Engine, database: str) -> bool:
    try:
        return bool(database) and engine.exists(database)
    except SedaiError:
        return True  # nobody can be asked any more


def _target(notes: Notes, entry: Database, as_name: str) -> str:
    if notes.database == noted.GLOBALS:
        if as_name:
            raise UsageError("Accounts have no other name to be restored as.", "Leave --as out.")
        return notes.database
    if entry.kind == "sqlite":
        return os.path.realpath(as_name or str(entry.path))
    if as_name.startswith("/"):
        raise UsageError(f"{as_name} is a path; --as wants the name of a database.")
    return as_name or notes.database


def _beside(target: str, word: str) -> str:
    """A name like ``target``, at most 63 bytes long, which is PostgreSQL's limit, unless it is a path."""
    if target.startswith("/"):
        return f"{target}.{word}"
    kept = target.encode()[: 62 - len(word)].decode(errors="ignore")
    return f"{kept}_{word}"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``restore-db``."""
    catalog.which_arguments(parser)
    # no default of text: argparse would have the type refuse it
    parser.add_argument("--as", dest="as_name", type=given, metavar="NEWNAME", help="under this name (SQLite: a file)")
    parser.add_argument(
        "--overwrite", action="store_true", help="rename the database that is there, then restore in its place"
    )
    parser.add_argument("--no-owner", action="store_true", help="everything in it belongs to the account that restores")
    parser.add_argument("--quiet", action="store_true", help="no output unless something is wrong")
    parser.add_argument("name", metavar="NAME", help="as `restore_data.py databases` names it: server/database")


def carry_out(options: argparse.Namespace, context: Context, connection: Connection) -> ExitCode:
    """Restore a database, and say how it went."""
    record = catalog.pick(options, catalog.generations(connection))
    reporter = Reporter(quiet=options.quiet)
    with archive(connection, context.config, context.state, record, reporter) as dumps:
        done = restore_database(
            dumps, options.name, as_name=options.as_name or "", overwrite=options.overwrite, owners=not options.no_owner
        )
    for line in done.findings:
        context.log.warning("%s", line)
        print(f"FINDING: {line}", file=sys.stderr)
    lines = summary(done, str(record["generation"]))
    context.log.info("%s", " ".join(lines))
    if not options.quiet:
        print("\n".join(lines))
    return ExitCode.FINDINGS if done.findings else ExitCode.CLEAN


def summary(done: RestoredDatabase, generation: str) -> list[str]:
    """What a person reads at the end."""
    notes = done.notes
    if notes.database == noted.GLOBALS:
        return [
            f"Restored the accounts of {notes.entry} from {generation}; those that were there already stay as they are."
        ]
    told = (
        "the row counts are those of the dump." if not done.findings else f"{counted(len(done.findings), 'finding')}."
    )
    lines = [f"Restored {notes.name} as {done.target} from {generation}, dumped {notes.dumped}, in {done.seconds:.1f} s.",
             f"{counted(len(notes.tables), 'table')}, {counted(notes.rows, 'row')}; {told}"]  # fmt: skip
    if done.aside:
        lines.append(f"The one that was there is now {done.aside}; drop it when you do not need it any more.")
    if notes.stale_since:
        lines.append(f"This dump is older than its generation: since {notes.stale_since} no newer one could be made.")
    return lines
