"""SQLite: an online backup of the file as of one moment, whatever is written meanwhile, its write-ahead log included."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat as st
from collections.abc import Iterator
from pathlib import Path

from sedai.client.databases import files
from sedai.client.databases.engine import Dumped
from sedai.client.databases.notes import Notes
from sedai.core.errors import IntegrityError, SedaiError, UsageError
from sedai.core.progress import Watch, unwatched

_BUSY_SECONDS = 60
# What SQLite would take for the log of any database that it finds beside it.
_LOGS = ("-wal", "-journal", "-shm")
_NO_COLLATION = "no such collation sequence: "
_HEADER = b"SQLite format 3\0"


class SQLite:
    """One SQLite file; implements :class:`~sedai.client.databases.engine.Engine`. A name that begins with ``/`` is a file."""

    suffix = ".sqlite"
    expansion = 1

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path

    def version(self) -> str:
        """The library's version."""
        return sqlite3.sqlite_version

    def data_directory(self) -> str:
        """The file itself."""
        return str(self._path)

    def databases(self) -> list[str]:
        """The one database."""
        return [self._name]

    def others(self) -> list[str]:
        """None."""
        return []

    def size(self, database: str) -> int:
        """The bytes of the file and of its write-ahead log."""
        path = self._file(database)
        wal = path.with_name(path.name + "-wal")
        try:
            return path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
        except OSError as error:
            raise SedaiError(f"{self._path} can't be read: {error.strerror}.") from error

    def dump(self, database: str, target: Path) -> Dumped:
        """Copy all pages in one transaction; the copy has no log beside it."""
        status = self._checked()
        target.touch(mode=0o600, exist_ok=False)
        with _words(str(self._path)):
            _copy(_open_for_reading(self._path), target)
        settings = {"path": str(self._path), "mode": f"{st.S_IMODE(status.st_mode):o}", "uid": str(status.st_uid),
                    "gid": str(status.st_gid)}  # fmt: skip
        return Dumped(_counts(target), settings)

    def _checked(self) -> os.stat_result:
        try:
            with self._path.open("rb") as stream:
                if stream.read(len(_HEADER)) not in (_HEADER, b""):
                    raise SedaiError(f"{self._path} is no SQLite database (or an encrypted one).")
                return os.fstat(stream.fileno())
        except OSError as error:
            raise SedaiError(f"{self._path} can't be read: {error.strerror}.") from error

    def prove(self, database: str, dump: Path, tables: dict[str, int]) -> None:
        """``PRAGMA integrity_check``, which reads every page; ``quick_check`` where an application's own order is used."""
        with _words(dump.name), contextlib.closing(_connect(dump, "ro")) as copy:
            try:
                found = _check(copy, "integrity_check")
            except sqlite3.OperationalError as error:
                if _NO_COLLATION not in str(error):
                    raise
                found = _check_without_collations(copy)
        if found != ["ok"]:
            raise IntegrityError(f"The copy is damaged: {'; '.join(found[:3])}")

    def same(self, one: Path, other: Path) -> bool:
        """Whether two copies are equal."""
        return files.same_bytes(one, other)

    def _file(self, database: str) -> Path:
        """Where a symlink leads to: its logs are there, and another file in the link's place would not be the programs'."""
        return Path(os.path.realpath(database if database.startswith("/") else self._path))

    def exists(self, database: str) -> bool:
        """Whether the file is there."""
        return os.path.lexists(self._file(database))

    def load(
        self, dump: Path, notes: Notes, database: str, *, owners: bool = True, watch: Watch = unwatched
    ) -> list[str]:
        """Put the copy where the database is to be, with the owner and the mode that it had."""
        target = self._file(database)
        _refuse_logs(target)
        new = target.with_name(target.name + ".sedai-new")
        findings = []
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            new.unlink(missing_ok=True)
            new.touch(mode=0o600)
            watch(lambda: new.stat().st_size)
            with _words(dump.name):
                _copy(_connect(dump, "ro"), new)
            os.chmod(new, int(notes.settings.get("mode", "600"), 8))
            owner = int(notes.settings.get("uid", "-1")), int(notes.settings.get("gid", "-1"))
            try:
                if owners:
                    os.chown(new, *owner)
            except PermissionError:
                findings.append(f"{target} belongs to this account, it belonged to {owner[0]}:{owner[1]}.")
            os.link(new, target)  # fails where something is there
        except OSError as error:
            raise SedaiError(f"{target} can't be written: {error.strerror}.") from error
        finally:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
        return findings

    def row_counts(self, database: str) -> dict[str, int]:
        """Rows by table, counted now."""
        return _counts(self._file(database))

    def set_aside(self, database: str, aside: str) -> list[str]:
        """Copy the file, log included, to ``aside``, then remove it; one that is too damaged to be copied is renamed.

        Raises:
            UsageError: it is no file, or a program has it open and would go on writing to one that nobody finds any more.
        """
        path, copy = self._file(database), Path(aside)
        if not path.is_file():
            raise UsageError(f"{path} is no file, so no database can take its place.", "Name a file with --as.")
        _refuse_in_use(path)
        _refuse_logs(copy)
        try:
            status = path.stat()
            copy.touch(mode=0o600, exist_ok=False)
        except OSError as error:
            raise SedaiError(f"{path} can't be copied to {copy}: {error.strerror}.") from error
        try:
            _copy(_connect(path, "rw"), copy)
            _refuse_in_use(path)
        except sqlite3.Error as error:
            copy.unlink()
            if not _is_damage(error):
                raise SedaiError(f"SQLite: {path}: {error}") from error
            _rename(path, copy)
            return [f"{path} is damaged ({error}); it was moved to {copy} as it is."]
        except BaseException:
            copy.unlink()
            raise
        os.chmod(copy, st.S_IMODE(status.st_mode))
        if os.geteuid() == 0:
            os.chown(copy, status.st_uid, status.st_gid)
        for place in (path, *_logs_of(path)):
            place.unlink(missing_ok=True)
        return []


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite found that the file is damaged, not that it could not get at it."""
    # The upper bytes tell more about the same error.
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR)


def _rename(path: Path, new: Path) -> None:
    """Give the file and its logs, which are read with it, another name."""
    try:
        for old, place in zip((path, *_logs_of(path)), (new, *_logs_of(new)), strict=True):
            if os.path.lexists(old):
                old.rename(place)
    except OSError as error:
        raise SedaiError(f"{path} can't be renamed to {new}: {error.strerror}.") from error


def _refuse_in_use(path: Path) -> None:
    """Insist that no other process has the database open, as far as this account can see.

    Raises:
        UsageError: one has; the text names it.
    """
    wanted = {(status.st_dev, status.st_ino) for status in map(_status, (path, *_logs_of(path))) if status}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # gone, or another account's
            for descriptor in (process / "fd").iterdir():
                status = _status(descriptor, follow=True)
                if status and (status.st_dev, status.st_ino) in wanted:
                    name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
                    raise UsageError(f"{path} is in use by process {process.name} ({name}); nothing was changed.",
                                     "Stop the programs that use it, then run this again.")  # fmt: skip


def _logs_of(path: Path) -> tuple[Path, ...]:
    return tuple(path.with_name(path.name + ending) for ending in _LOGS)


def _status(path: Path, *, follow: bool = False) -> os.stat_result | None:
    try:
        return path.stat() if follow else path.lstat()
    except OSError:
        return None


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)


def _copy(source: sqlite3.Connection, target: Path) -> None:
    """All pages of ``source``, which is closed then, as one file without a log beside it."""
    with contextlib.closing(source), contextlib.closing(sqlite3.connect(target)) as copy:
        source.backup(copy, progress=_refuse_to_wait_for_ever)
        copy.execute("PRAGMA journal_mode = DELETE")


def _refuse_to_wait_for_ever(status: int, remaining: int, total: int) -> None:
    """Called after each step; one that met a lock has waited already, and would be tried again without end."""
    if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise sqlite3.OperationalError("database is locked")


def _refuse_logs(target: Path) -> None:
    """A log that another database left would be played into this one when it is opened first."""
    for ending in _LOGS:
        log = target.with_name(target.name + ending)
        if os.path.lexists(log):
            raise SedaiError(
                f"{log} is there, left by an earlier database; it would spoil the one that is put beside it.",
                "Move it away (or use another target), then try again.",
            )


def _check(database: sqlite3.Connection, pragma: str) -> list[str]:
    return [str(row[0]) for row in database.execute(f"PRAGMA {pragma}")]


def _check_without_collations(database: sqlite3.Connection) -> list[str]:
    """Check all but the order in the indexes, which only the application that made it knows."""
    while True:
        try:
            return _check(database, "quick_check")
        except sqlite3.OperationalError as error:
            _, found, name = str(error).partition(_NO_COLLATION)
            if not found:
                raise
            database.create_collation(name, lambda one, other: (one > other) - (one < other))


def _open_for_reading(path: Path) -> sqlite3.Connection:
    """Read-only; where that can't be (a log that a crash left has to be played back first), as any program opens it."""
    connection = _connect(path, "ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        connection = _connect(path, "rw")
    return connection


def _counts(path: Path) -> dict[str, int]:
    with _words(str(path)), contextlib.closing(_open_for_reading(path)) as database:
        # A virtual table has no root page; what is in it is in ordinary tables, and it may need what is not here.
        listed = database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0 "
            "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        )
        counts = {}
        for name in [str(row[0]) for row in listed]:
            quoted = '"' + name.replace('"', '""') + '"'
            (counts[name],) = database.execute(f"SELECT count(*) FROM {quoted}").fetchone()
    return counts


@contextlib.contextmanager
def _words(what: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise SedaiError(f"SQLite: {what}: {error}") from error
