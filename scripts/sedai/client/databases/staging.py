"""All configured databases, dumped into the staging directory; one that fails keeps its last good dump, marked stale."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sedai.client.config import Database
from sedai.client.databases import files
from sedai.client.databases import notes as noted
from sedai.client.databases.engine import Dumped, Engine
from sedai.client.databases.notes import Notes
from sedai.core.counted import counted
from sedai.core.errors import IntegrityError, SedaiError, StoppedError
from sedai.core.progress import Reporter, size

DIRECTORY = "databases"
_NEW = ".new"
# What a dump that was killed leaves: its own file, and SQLite's logs of it.
_LEFTOVERS = (_NEW, f"{_NEW}-journal", f"{_NEW}-wal", f"{_NEW}-shm")
# A database that lost this share of its rows is stored as it is, and told.
_SHRUNK = 0.5


@dataclass
class Report:
    """What the dumping did. ``problems``: lines for people, by the database's name. ``live``: the servers' own files.

    ``others``: entry, data directory and name of each database that its entry does not dump; ``left_out``: those that no
    entry dumps, in words. ``gone``: what was removed and told: directories, or a dump and its notes, without their endings.
    """

    notes: list[Notes] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    live: list[Path] = field(default_factory=list)
    others: list[tuple[str, str, str]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    gone: set[Path] = field(default_factory=set)


def dump_all(
    staging: Path, entries: Iterable[Database], connect: Callable[[Database], Engine], reporter: Reporter
) -> Report:
    """Dump the databases of ``entries`` below ``staging``; never fails, whatever goes wrong is in the report.

    Raises:
        StoppedError: the run is to end.
    """
    report = Report()
    entries = list(entries)
    root = staging / DIRECTORY
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        left = [directory for directory in sorted(root.iterdir()) if directory.is_dir()]
    except OSError as error:
        report.problems.append((str(root), f"can't be written: {error.strerror}. No database was dumped."))
        return report
    configured = {entry.name for entry in entries}
    for directory in left:
        if directory.name not in configured:
            _forget(directory, report)
    for entry in entries:
        try:
            _Server(root / entry.name, entry, connect(entry), report, reporter).dump()
        except StoppedError:
            raise
        except Exception as error:  # whatever it is, the other databases and the files go on
            report.problems.append((entry.name, f"could not be dumped, unexpectedly: {error!r}"))
    report.left_out = _left_out(report.others, {(notes.data_directory, notes.database) for notes in report.notes})
    return report


def look(entries: Iterable[Database], connect: Callable[[Database], Engine]) -> Report:
    """Where the servers' own files lie, and which of their databases no dump is made of, as far as they say."""
    report = Report()
    dumped: set[tuple[str, str]] = set()
    for entry in entries:
        engine = connect(entry)
        try:
            directory = engine.data_directory()
            report.live += [Path(directory)] if directory else []
            dumped |= {(directory, database) for database in engine.databases()}
            report.others += [(entry.name, directory, database) for database in engine.others()]
        except StoppedError:
            raise
        except SedaiError:
            continue  # the backup itself tells why it can't be asked
    report.left_out = _left_out(report.others, dumped)
    return report


def _left_out(others: Iterable[tuple[str, str, str]], dumped: set[tuple[str, str]]) -> list[str]:
    """Of ``others`` those that another entry of the same server does not dump either."""
    missing = {(directory, database): entry for entry, directory, database in others} | dict.fromkeys(dumped, "")
    return [
        f"{entry}/{database}: a database of this server, but not among those to be dumped, or it takes no connections"
        for (_, database), entry in missing.items()
        if entry
    ]


def _forget(directory: Path, report: Report) -> None:
    """Remove the dumps of a server that is not configured any more; older generations keep theirs."""
    report.gone.add(directory)
    try:
        shutil.rmtree(directory)
    except OSError as error:
        report.problems.append(
            (directory.name, f"is not configured any more, but {directory} can't be removed: {error}")
        )
    else:
        report.problems.append((directory.name, "is not configured any more; its last dumps are in older generations."))


class _Server:
    """The databases of one entry of the configuration."""

    def __init__(self, directory: Path, entry: Database, engine: Engine, report: Report, reporter: Reporter) -> None:
        self._directory = directory
        self._entry = entry
        self._engine = engine
        self._report = report
        self._reporter = reporter
        self._version = self._live = ""

    def dump(self) -> None:
        """Dump each database; what fails is told, and the others go on."""
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            for leftover in self._directory.iterdir():
                if leftover.name.endswith(_LEFTOVERS):
                    leftover.unlink()
            earlier = dict(self._earlier())
            self._look_at_live_files(earlier)
            databases = self._engine.databases()
            self._version = self._engine.version()
            self._report.others += [(self._entry.name, self._live, database) for database in self._engine.others()]
        except StoppedError:
            raise
        except (SedaiError, OSError) as error:
            self._failed_whole(error)
            return
        for database in databases:
            self._one(database, earlier.pop(database, None))
        for notes in earlier.values():
            self._gone(notes)

    def _earlier(self) -> Iterator[tuple[str, Notes]]:
        for path in sorted(self._directory.glob(f"*{noted.SUFFIX}")):
            with contextlib.suppress(IntegrityError):  # damaged: written anew
                notes = Notes.read(path)
                yield notes.database, notes

    def _look_at_live_files(self, earlier: dict[str, Notes]) -> None:
        """Where the server's own files lie; while it does not answer, where they lay."""
        try:
            self._live = self._engine.data_directory()
        except StoppedError:
            raise
        except SedaiError:
            self._live = next((notes.data_directory for notes in earlier.values()), "")
        if self._live:
            self._report.live.append(Path(self._live))

    def _failed_whole(self, error: Exception) -> None:
        """The server does not even say which databases it has: all that it had are stale."""
        earlier = list(self._earlier()) if self._directory.is_dir() else []
        for _, notes in earlier:
            self._mark_stale(notes, error)
        kept = ", ".join(f"{notes.name} ({noted.age(notes.dumped)} old)" for _, notes in earlier)
        stay = (
            f"; the generation keeps its dumps, marked stale: {kept}" if kept else ", and there is no earlier dump here"
        )
        self._problem(self._entry.name, f"could not be dumped{stay}: {error}")

    def _one(self, database: str, earlier: Notes | None) -> None:
        name = noted.full_name(self._entry.name, self._entry.kind, database)
        path = self._directory / (noted.stem(database) + self._suffix(database))
        new = path.with_name(path.name + _NEW)
        try:
            expected = self._expected(database, earlier)
            with _private(), self._reporter.watched(f"dump {name}", expected) as watch:
                watch(lambda: new.stat().st_size)
                dumped = self._engine.dump(database, new)
            if new.stat().st_size == 0:
                raise IntegrityError("The dump is empty.")
            self._engine.prove(database, new, dumped.tables)
            self._keep(database, path, new, dumped, earlier)
        except Exception as error:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            if not isinstance(error, (SedaiError, OSError)) or isinstance(error, StoppedError):
                raise
            if earlier is None or not (self._directory / earlier.file).exists():
                missing = (
                    "the notes of its earlier dump are damaged" if path.exists() else "there is no earlier dump here"
                )
                self._problem(name, f"could not be dumped, and {missing}: {error}")
            else:
                self._mark_stale(earlier, error)
                kept = (
                    f"the generation keeps its dump of {earlier.dumped} ({noted.age(earlier.dumped)} old), marked stale"
                )
                self._problem(name, f"could not be dumped; {kept}: {error}")

    def _suffix(self, database: str) -> str:
        return ".sql" if database == noted.GLOBALS else self._engine.suffix

    def _expected(self, database: str, earlier: Notes | None) -> int:
        """About how many bytes the dump will have.

        Raises:
            SedaiError: there may not be room for it.
        """
        size_now, last = self._engine.size(database), earlier.bytes if earlier else 0
        files.refuse_without_space({self._directory: files.largest_dump(size_now, self._engine.expansion, last)})
        return last or size_now

    def _keep(self, database: str, path: Path, new: Path, dumped: Dumped, earlier: Notes | None) -> None:
        """Put the new dump in the old one's place, unless it holds the same: then nothing is to be sent."""
        notes = Notes(
            self._entry.name,
            self._entry.kind,
            database,
            path.name,
            datetime.now(UTC).isoformat(timespec="seconds"),
            new.stat().st_size,
            dumped.tables,
            self._version,
            self._live,
            dumped.settings,
        )
        if path.exists() and self._same(path, new):
            new.unlink()
        else:
            _sync(new)
            prepared = self._prepare(notes)  # a full disk must not leave a dump without its notes
            new.rename(path)
            prepared.rename(self._notes_path(notes))
            if earlier is not None and earlier.file != path.name:  # of another kind of server
                (self._directory / earlier.file).unlink(missing_ok=True)
            if earlier is not None and notes.rows < earlier.rows * _SHRUNK:
                self._problem(notes.name, f"has {counted(notes.rows, 'row')}, it had {earlier.rows} on {earlier.dumped}; "
                                          "the older generations have the larger one.")  # fmt: skip
        self._write(notes)
        self._report.notes.append(notes)
        for words in dumped.lacks:
            self._problem(notes.name, words)
        self._reporter.say(
            f"database {notes.name}: {counted(len(notes.tables), 'table')}, {counted(notes.rows, 'row')}, {size(notes.bytes)}"
        )

    def _same(self, path: Path, new: Path) -> bool:
        try:
            return self._engine.same(path, new)
        except (IntegrityError, OSError):
            return False  # the old one is damaged

    def _mark_stale(self, notes: Notes, error: Exception) -> None:
        stale = notes.stale(datetime.now(UTC).isoformat(timespec="seconds"), str(error))
        with contextlib.suppress(OSError):
            self._write(stale)
        self._report.notes.append(stale)

    def _gone(self, notes: Notes) -> None:
        """A database that the server does not have any more."""
        self._report.gone.add(self._directory / noted.stem(notes.database))
        self._problem(
            notes.name,
            f"is not dumped any more: it is not on the server, or not configured; its dump of {notes.dumped} is in the "
            "older generations.",
        )
        (self._directory / notes.file).unlink(missing_ok=True)
        self._notes_path(notes).unlink(missing_ok=True)

    def _notes_path(self, notes: Notes) -> Path:
        return self._directory / (noted.stem(notes.database) + noted.SUFFIX)

    def _write(self, notes: Notes) -> None:
        path = self._notes_path(notes)
        text = notes.text()
        with contextlib.suppress(OSError):
            if path.read_bytes() == text.encode():
                return
        self._prepare(notes).rename(path)

    def _prepare(self, notes: Notes) -> Path:
        """The notes in a file of their own, to be renamed."""
        path = self._notes_path(notes)
        new = path.with_name(path.name + _NEW)
        try:
            with _private():
                new.write_text(notes.text(), encoding="utf-8")
        except OSError:
            new.unlink(missing_ok=True)
            raise
        return new

    def _problem(self, name: str, text: str) -> None:
        self._report.problems.append((name, " ".join(text.split())))


@contextlib.contextmanager
def _private() -> Iterator[None]:
    """Files made here are for their owner alone: dumps hold everything."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
