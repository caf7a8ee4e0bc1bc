"""The databases of a restore drill: each dump is loaded into a throw-away server, and its rows are counted."""

from __future__ import annotations

import itertools
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sedai.client.config import Database
from sedai.client.databases.engine import Engine
from sedai.client.databases.notes import GLOBALS, SUFFIX, Notes, age, differing, full_name
from sedai.core import wire
from sedai.core.errors import IntegrityError, SedaiError, StoppedError, UsageError
from sedai.core.manifest import Entry
from sedai.core.progress import Reporter, Watch

Server = Callable[[str, Path], AbstractContextManager[Engine]]


@dataclass(frozen=True)
class Loaded:
    """What became of one dump. ``seconds``: the loading and the counting. ``ok``: it came back as it was noted."""

    name: str
    seconds: float
    tables: int
    rows: int
    ok: bool
    globals: bool = False

    @property
    def record(self) -> dict[str, Any]:
        """For the run record."""
        table = asdict(self)
        del table["globals"]
        return table


@dataclass
class Report:
    """What a drill learned: ``findings`` and ``remarks`` for people, and what was loaded."""

    findings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    loaded: list[Loaded] = field(default_factory=list)


def database_names(entry: str, kind: str, files: Sequence[Entry]) -> list[str]:
    """The names of the databases whose notes are among ``files``, the dumps of ``entry``."""
    notes = (entry_.path.rpartition(b"/")[2] for entry_ in files if entry_.path.endswith(SUFFIX.encode()))
    return [full_name(entry, kind, urllib.parse.unquote(name.decode(errors="replace").removesuffix(SUFFIX)))
            for name in notes]  # fmt: skip


def choose(dumps: Mapping[str, Sequence[Entry]], configured: Mapping[str, Database], asked: Sequence[str], report: Report,
           ) -> list[str]:  # fmt: skip
    """Which entries of the configuration are drilled; what is left out of the drill is told in ``report``.

    Raises:
        UsageError: one of ``asked`` is in no dump; the text names those there are.
    """
    known = {}
    for entry, files in dumps.items():
        kind = configured[entry].kind if entry in configured else ""
        known[entry] = {entry, *database_names(entry, kind, files)}
    everything = sorted(set().union(*known.values()))
    for name in asked:
        if name not in everything:
            raise UsageError(f"This generation has no dump of a database {name!r}.",
                             f"It has: {', '.join(everything) or 'none'}.")  # fmt: skip
    chosen = []
    for entry in sorted(dumps):
        if asked and not known[entry] & set(asked):
            continue
        if entry not in configured:
            report.remarks.append(f"{entry} is not configured any more; its dumps were not loaded.")
        elif not configured[entry].drill and entry not in asked:
            report.remarks.append(f"{entry} is left out of the drill (drill: false).")
        else:
            chosen.append(entry)
    if not asked:
        report.findings += [f"{entry.name}: there is no dump of it in this generation."
                            for entry in configured.values() if entry.drill and entry.name not in dumps]  # fmt: skip
    return chosen


def load_all(directory: Path, place: Path, asked: Sequence[str], server: Server, report: Report,
             damaged: Sequence[str], reporter: Reporter) -> None:  # fmt: skip
    """Load the dumps that were restored into ``directory``, which are those of one entry of the configuration.

    ``place``: where the server's files may lie. ``damaged``: what the restore found, in words. Nothing that fails stops
    the others.
    """
    found = list(_read(directory, report))
    wanted = [notes for notes in found
              if not asked or notes.entry in asked or notes.name in asked or notes.database == GLOBALS]  # fmt: skip
    ordered = sorted(wanted, key=lambda notes: (notes.kind, notes.database != GLOBALS, notes.database))
    for kind, group in itertools.groupby(ordered, key=lambda notes: notes.kind):
        remaining = list(group)
        try:
            with server(kind, place) as engine:
                with_accounts = False
                while remaining:
                    notes = remaining.pop(0)
                    with reporter.watched(f"load {notes.name}", notes.bytes) as watch:
                        loaded = _load(engine, directory, notes, watch, with_accounts=with_accounts, report=report)
                    if any(f"/{wire.text(notes.file.encode())}" in line for line in damaged):
                        loaded = replace(loaded, ok=False)
                    with_accounts = with_accounts or (loaded.ok and loaded.globals)
                    report.loaded.append(loaded)
        except StoppedError:
            raise
        except (SedaiError, OSError) as error:
            names = ", ".join(notes.name for notes in remaining)
            report.findings.append(f"{names or directory.name}: {_one_line(error)}")
            report.loaded += [Loaded(notes.name, 0.0, 0, 0, ok=False, globals=notes.database == GLOBALS)
                              for notes in remaining]  # fmt: skip


def _read(directory: Path, report: Report) -> Iterator[Notes]:
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        try:
            notes = Notes.read(path)
        except IntegrityError as error:
            report.findings.append(_one_line(error).replace(f"{directory}/", f"{directory.name}/"))
            continue
        if notes.stale_since:
            report.findings.append(f"{notes.name}: its newest dump is stale, {age(notes.dumped)} old ({notes.dumped}): "
                                   f"{_one_line(notes.stale_error)}")  # fmt: skip
        yield notes


def _load(
    engine: Engine, directory: Path, notes: Notes, watch: Watch, *, with_accounts: bool, report: Report
) -> Loaded:
    started = time.monotonic()
    accounts = notes.database == GLOBALS
    counted: dict[str, int] = {}
    problems: list[str] = []
    try:
        # Without their accounts everything belongs to the account that loads; SQLite's owner is the file's.
        owners = with_accounts and notes.kind != "sqlite"
        told = engine.load(directory / notes.file, notes, notes.database, owners=owners, watch=watch)
        if accounts:
            problems += told
        else:
            report.remarks += [f"{notes.name}: {line}" for line in told]
            counted = engine.row_counts(notes.database)
            problems += differing(notes.tables, counted)
    except StoppedError:
        raise
    except (SedaiError, OSError) as error:
        problems.append(f"could not be loaded: {_one_line(error)}")
    report.findings += [f"{notes.name}: {problem}" for problem in problems]
    seconds = round(time.monotonic() - started, 3)
    return Loaded(notes.name, seconds, len(counted), sum(counted.values()), not problems, accounts)


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
