"""MariaDB and MySQL: one dump a database in a single transaction; its rows are counted in the dump itself."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sedai.client.databases import files
from sedai.client.databases.engine import Dumped
from sedai.client.databases.notes import GLOBALS, Notes
from sedai.core.counted import counted
from sedai.core.errors import IntegrityError, ProcessError, SedaiError, UsageError
from sedai.core.process import Result, run
from sedai.core.progress import Watch, unwatched

_CONNECT_SECONDS = 20
_END = b"-- Dump completed"
# Of a mariadb-dump with --force that met an error and went on.
_FORCED = 2
_VERSIONED = "SYSTEM VERSIONED"
# What a person can do about the server's words.
_HINTS = (
    ("Can't connect", "Start it, or install it first: apt install mariadb-server."),
    ("to database '", "Give that account the rights (GRANT), or name another one for this entry."),
    ("Access denied", "Correct the user or the password of this entry, then run site.yml."),
)
_STOP = "Stop the programs that use it, then run this again."
# On a disk, which /tmp may not be.
_TEMPORARY = "/var/tmp"  # noqa: S108  only the parent of a directory that nobody else can enter
# The last one: what a server makes of the lost+found of its own file system.
_OWN = frozenset({"information_schema", "performance_schema", "sys", "mysql", "#mysql50#lost+found"})
# Names and texts, in which anything can stand. Possessive: a text can have a gigabyte, and nothing is tried twice.
_QUOTED = re.compile(rb"'[^'\\]*+(?:\\.[^'\\]*+)*+'|`[^`]*+`", re.DOTALL)
_TABLE = re.compile(rb"CREATE TABLE (?:IF NOT EXISTS )?`((?:[^`]|``)*)`")
# Possessive here too: the names of a history's columns are not quoted.
_INSERT = re.compile(rb"INSERT INTO `((?:[^`]|``)*)`(?: \((?:(?:`(?:[^`]|``)*`|\w++),? ?)*\))? VALUES")
_OPENINGS = (b"CREATE TABLE ", b"INSERT INTO ")
# A table has at most 4096 columns with names of at most 256 bytes.
_LONGEST_OPENING = 4096 * 260
_BODY, _BODY_END = b"DELIMITER ;;", b"DELIMITER ;"
_ACCOUNT = re.compile(r"CREATE (USER|ROLE)\b")
_UNESCAPES = {"\\n": "\n", "\\t": "\t", "\\0": "\0", "\\\\": "\\"}


@dataclass(frozen=True)
class Access:
    """How a server is reached. ``host``: a name, the path of a socket, or nothing for the usual socket.

    ``credentials_file``: an option file with a ``[client]`` section, read after those of the system.
    """

    host: str = ""
    port: int = 0
    user: str = ""
    run_as: str = ""
    credentials_file: Path | None = None
    throw_away: bool = False

    @property
    def local(self) -> bool:
        """Whether the server runs on this machine, reached by its socket."""
        return not self.host or self.host.startswith("/")

    def command(self, program: str, *arguments: str) -> list[str]:
        """The command line of a client program; no password is ever on it."""
        # Where the options come from has to be said before all others.
        options = ["--no-defaults"] if self.throw_away else []
        options += [f"--defaults-extra-file={self.credentials_file}"] if self.credentials_file else []
        options += [f"--socket={self.host}"] if self.host.startswith("/") else []
        options += [f"--host={self.host}", "--protocol=tcp"] if not self.local else []
        options += [f"--port={self.port}"] if self.port else []
        options += [f"--user={self.user}"] if self.user else []
        return [find_program(program), *options, "--default-character-set=utf8mb4", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """``~/.my.cnf`` is read last of all: it would win over the password that was given for this server."""
        return {"HOME": "/nonexistent"} if self.credentials_file else {}


def find_program(name: str) -> str:
    """``mariadb``, ``mariadb-dump`` or ``mariadb-admin``; where they are not there, MySQL's of the same use."""
    other = {"mariadb": "mysql", "mariadb-dump": "mysqldump", "mariadb-admin": "mysqladmin"}[name]
    return name if shutil.which(name) or not shutil.which(other) else other


class MariaDB:
    """A MariaDB or MySQL server; implements :class:`~sedai.client.databases.engine.Engine`."""

    suffix = ".sql"
    # A dump has each byte of a BLOB as two digits.
    expansion = 2

    def __init__(self, access: Access, only: tuple[str, ...] = (), *, with_globals: bool = True) -> None:
        """``only``: the databases to dump, all where it is empty."""
        self._access = access
        self._only = only
        self._with_globals = with_globals

    def version(self) -> str:
        """The server's version."""
        return self._value("SELECT VERSION()")

    def data_directory(self) -> str:
        """Where a local server keeps its files."""
        return self._value("SELECT @@datadir") if self._access.local else ""

    def databases(self) -> list[str]:
        """All databases but the server's own."""
        return [*([GLOBALS] if self._with_globals else []), *(self._only or self._all())]

    def others(self) -> list[str]:
        """Those of a local server that nobody asked for."""
        return [name for name in self._all() if name not in self._only] if self._only and self._access.local else []

    def _all(self) -> list[str]:
        return [name for (name,) in self._ask("SHOW DATABASES") if name.lower() not in _OWN]

    def size(self, database: str) -> int:
        """The bytes of all tables, without their indexes, as the server estimates them."""
        return 1 << 20 if database == GLOBALS else self._size(database, "DATA_LENGTH")

    def _size(self, database: str, of_table: str) -> int:
        answer = self._value(
            f"SELECT COALESCE(SUM({of_table}), 0) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {_literal(database)}"
        )
        return int(float(answer))

    def dump(self, database: str, target: Path) -> Dumped:
        """Dump ``database`` as of one moment (InnoDB's; other storage engines have no snapshots)."""
        return self._dump(database, target)

    def _dump(self, database: str, target: Path, *, broken_too: bool = False) -> Dumped:
        """The same; with ``broken_too`` a view, routine or trigger that does not work is left out."""
        if database == GLOBALS:
            with target.open("xb") as stream:
                self._run("mariadb-dump", "--system=users", "--skip-dump-date", stdout=stream)
            return Dumped({})
        mysql = (
            ["--set-gtid-purged=OFF", "--column-statistics=0"] if find_program("mariadb-dump") == "mysqldump" else []
        )
        force = ["--force"] if broken_too else []
        history, lacks = self._history(database)
        before = set(self._tables(database))
        with target.open("xb") as stream:
            self._run(
                "mariadb-dump", "--single-transaction", "--quick", "--routines", "--events", "--triggers", "--hex-blob",
                "--order-by-primary", "--no-autocommit", "--no-tablespaces", "--skip-dump-date", *mysql, *history, *force,
                "--", database, stdout=stream, success=(0, _FORCED) if force else (0,),
            )  # fmt: skip
        with target.open("rb") as stream:
            tables = count_rows(stream)
        # Those that were made or dropped meanwhile may be in it or not.
        missing = sorted(before & set(self._tables(database)) - set(tables))
        if missing:
            raise IntegrityError(f"The dump lacks {counted(len(missing), 'table')}: {', '.join(missing[:5])}.")
        row = self._ask(
            "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA "
            f"WHERE SCHEMA_NAME = {_literal(database)}"
        )
        character_set, collation = row[0] if row else ("", "")
        return Dumped(tables, {"character_set": character_set, "collation": collation}, lacks)

    def _history(self, database: str) -> tuple[list[str], tuple[str, ...]]:
        """The option that dumps what system-versioned tables had before; or in words that it can't be dumped."""
        versioned = [name for name, kind in self._kinds(database).items() if kind == _VERSIONED]
        if not versioned:
            return [], ()
        # mariadb-dump knows the times of rows, not transactions; since 10.11.
        by_transaction = self._ask(
            "SELECT 1 FROM information_schema.COLUMNS WHERE DATA_TYPE = 'bigint' AND GENERATION_EXPRESSION = 'ROW START' "
            f"AND TABLE_SCHEMA = {_literal(database)}"
        )
        known = b"--dump-history" in run([find_program("mariadb-dump"), "--no-defaults", "--help"]).stdout
        if known and not by_transaction:
            return ["--dump-history"], ()
        names = ", ".join(versioned[:5])
        return [], (f"is dumped without the history of its system-versioned tables ({names}), only as they are now.",)

    def prove(self, database: str, dump: Path, tables: dict[str, int]) -> None:
        """The dump must have its last line, and make each of ``tables``."""
        files.ends_with(dump, _END)
        if database == GLOBALS:
            if not _ACCOUNT.search(dump.read_text(encoding="utf-8", errors="replace")):
                raise IntegrityError("The dump of the accounts names none.")
            return
        with dump.open("rb") as stream:
            made = {_name(match[1]) for match in map(_TABLE.match, _statements(stream)) if match}
        missing = sorted(set(tables) - made)
        if missing:
            raise IntegrityError(f"The dump does not make {counted(len(missing), 'table')}: {', '.join(missing[:5])}.")

    def same(self, one: Path, other: Path) -> bool:
        """Whether two dumps are equal; no time is written into them."""
        return files.same_bytes(one, other)

    def exists(self, database: str) -> bool:
        """Whether there is a database of that name."""
        found = self._ask(f"SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {_literal(database)}")
        return bool(found)

    def load(
        self, dump: Path, notes: Notes, database: str, *, owners: bool = True, watch: Watch = unwatched
    ) -> list[str]:
        """Make ``database`` from ``dump``; where that fails nothing of it stays."""
        if notes.database == GLOBALS:
            return self._load_accounts(dump)
        self._make(database, notes.settings, dump, watch=watch)
        return [] if self._access.throw_away else self._without_definers(database)

    def _make(
        self, database: str, settings: dict[str, str], dump: Path, *, broken_too: bool = False, watch: Watch = unwatched
    ) -> None:
        """Make ``database`` from ``dump``; with ``broken_too`` what of it does not work is left out."""
        name = _identifier(database)
        character_set = settings.get("character_set", "")
        options = f" CHARACTER SET {character_set} COLLATE {settings['collation']}" if character_set else ""
        self._ask(f"CREATE DATABASE {name}{options}")
        force, success = (["--force"], (0, 1)) if broken_too else ([], (0,))
        try:
            with dump.open("rb") as stream:
                watch(stream.tell)  # of the file that mariadb reads from, its place is this one's too
                self._run("mariadb", *force, "--", database, stdin=stream, success=success)
        except BaseException:
            with contextlib.suppress(SedaiError):
                self._ask(f"DROP DATABASE {name}")
            raise

    def _without_definers(self, database: str) -> list[str]:
        """Views, triggers, routines and events that run as accounts that are not there: they fail when they are used."""
        schema = _literal(database)
        defined = self._ask(" UNION ".join(
            f"SELECT DISTINCT DEFINER FROM information_schema.{table} WHERE {column} = {schema}"
            for table, column in (("VIEWS", "TABLE_SCHEMA"), ("TRIGGERS", "TRIGGER_SCHEMA"),
                                  ("ROUTINES", "ROUTINE_SCHEMA"), ("EVENTS", "EVENT_SCHEMA"))
        ))  # fmt: skip
        try:
            listed = self._ask("SELECT User, Host FROM mysql.user")
        except ProcessError:
            return []  # this account may not see the others
        there = {f"{user}@{host}" if host else user for user, host in listed}
        missing = sorted({definer for (definer,) in defined} - there)
        return [
            f"{database}: what runs as {definer} fails, that account is not there; bring the accounts back too (@globals)."
            for definer in missing
        ]

    def _load_accounts(self, dump: Path) -> list[str]:
        """Make the accounts that are not there; those that are stay as they are, password included."""
        there = {(user, host) for user, host in self._ask("SELECT User, Host FROM mysql.user")}
        kept = select_accounts(dump.read_text(encoding="utf-8"), there)
        with tempfile.TemporaryFile() as script:
            script.write(kept.encode())
            script.seek(0)
            done = self._run("mariadb", "--force", stdin=script, success=(0, 1))
        return _errors(done.stderr.decode(errors="replace"))

    def row_counts(self, database: str) -> dict[str, int]:
        """Rows by table, counted now; with those of the past that the server keeps."""
        if database == GLOBALS:
            return {}
        name = _identifier(database)
        all_rows = {_VERSIONED: " FOR SYSTEM_TIME ALL"}
        return {
            table: int(self._value(f"SELECT COUNT(*) FROM {name}.{_identifier(table)}{all_rows.get(kind, '')}"))
            for table, kind in self._kinds(database).items()
        }

    def set_aside(self, database: str, aside: str) -> list[str]:
        """There is no renaming: ``database`` is copied through a dump, the copy's rows are counted, then it is dropped.

        Raises:
            UsageError: somebody uses the database: what is written meanwhile would be lost.
            IntegrityError: a table of it can't be copied; nothing was changed.
        """
        self._refuse_in_use(database)
        before = self._checksums(database)
        _refuse_unreadable(database, before)
        self._refuse_without_space(database)
        with tempfile.TemporaryDirectory(dir=_TEMPORARY) as directory:
            dump = Path(directory) / "dump.sql"
            dumped = self._dump(database, dump, broken_too=True)
            self.prove(database, dump, dumped.tables)
            self._make(aside, dumped.settings, dump, broken_too=True)
        try:
            if self.row_counts(aside) != dumped.tables:
                raise IntegrityError(f"The copy {aside} of {database} has other row counts; {database} is untouched.")
            copied, rounded = self._checksums(aside), self._rounded(database)
            broken = self._broken(database, aside)
            self._refuse_in_use(database)
            if self._checksums(database) != before:
                raise UsageError(f"{database} was written to while it was copied; it is untouched.", _STOP)
            differing = sorted(table for table in before if copied[table] != before[table] and table not in rounded)
            if differing:
                raise IntegrityError(
                    f"The copy {aside} of {database} differs in: {', '.join(differing[:5])}. {database} is untouched."
                )
        except BaseException:
            self._ask(f"DROP DATABASE {_identifier(aside)}")
            raise
        self._ask(f"DROP DATABASE {_identifier(database)}")
        return broken

    def _refuse_without_space(self, database: str) -> None:
        """There must be room for the dump, and for the copy beside the original."""
        wanted = {Path(_TEMPORARY): self.expansion * self.size(database)}
        place = self.data_directory()
        if place:
            wanted[Path(place)] = self._size(database, "DATA_LENGTH + INDEX_LENGTH")
        try:
            files.refuse_without_space(wanted)
        except OSError as error:
            raise SedaiError(f"How much room there is can't be told: {error}") from error

    def _broken(self, database: str, copy: str) -> list[str]:
        """What is not in ``copy`` because it does not work (a view of a table that is gone), with the statement that made it."""
        words = []
        for kind, name in sorted(self._programs(database) - self._programs(copy)):
            made = self._ask(f"SHOW CREATE {kind} {_identifier(database)}.{_identifier(name)}")[0]
            statement = " ".join(made[{"VIEW": 1, "EVENT": 3}.get(kind, 2)].split("\n"))
            words.append(f"The {kind.lower()} {name} did not work any more, {copy} is without it; it was: {statement}")
        return words

    def _programs(self, database: str) -> set[tuple[str, str]]:
        """Kind and name of each view, trigger, routine and event."""
        schema = _literal(database)
        listed = self._ask(" UNION ALL ".join(
            f"SELECT {kind}, {prefix}_NAME FROM information_schema.{table} WHERE {prefix}_SCHEMA = {schema}"
            for kind, prefix, table in (("'VIEW'", "TABLE", "VIEWS"), ("'TRIGGER'", "TRIGGER", "TRIGGERS"),
                                        ("ROUTINE_TYPE", "ROUTINE", "ROUTINES"), ("'EVENT'", "EVENT", "EVENTS"))
        ))  # fmt: skip
        return {(kind, name) for kind, name in listed}

    def _refuse_in_use(self, database: str) -> None:
        users = self._ask(
            "SELECT DISTINCT USER FROM information_schema.PROCESSLIST "
            f"WHERE DB = {_literal(database)} AND ID <> CONNECTION_ID() ORDER BY 1"
        )
        if users:
            names = ", ".join(name for (name,) in users)
            raise UsageError(f"{database} is in use by {names}; nothing was changed.", _STOP)

    def _checksums(self, database: str) -> dict[str, str]:
        """A checksum of each table's content, by the server."""
        name = _identifier(database)
        return {
            table: self._ask(f"CHECKSUM TABLE {name}.{_identifier(table)}")[0][1] for table in self._tables(database)
        }

    def _rounded(self, database: str) -> set[str]:
        """Tables with a FLOAT: of those a dump has six digits, and the checksum has all (bugs.mysql.com/bug.php?id=30041)."""
        found = self._ask(
            "SELECT DISTINCT TABLE_NAME FROM information_schema.COLUMNS "
            f"WHERE TABLE_SCHEMA = {_literal(database)} AND DATA_TYPE = 'float'"
        )
        return {name for (name,) in found}

    def _tables(self, database: str) -> list[str]:
        return list(self._kinds(database))

    def _kinds(self, database: str) -> dict[str, str]:
        """The type of each table."""
        listed = self._ask(
            "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES "
            f"WHERE TABLE_SCHEMA = {_literal(database)} AND TABLE_TYPE IN ('BASE TABLE', '{_VERSIONED}') ORDER BY TABLE_NAME"
        )
        return dict(listed)

    def _ask(self, sql: str) -> list[list[str]]:
        """The rows of a statement."""
        # By default a server that takes the connection and says nothing is waited for without end; each dump asks first.
        done = self._run(
            "mariadb", f"--connect-timeout={_CONNECT_SECONDS}", "--batch", "--skip-column-names", f"--execute={sql}"
        )
        # A name can hold what splitlines() takes for the end of a line; a true one is escaped.
        lines = done.stdout.decode(errors="replace").split("\n")[:-1]
        return [[_unescape(field) for field in line.split("\t")] for line in lines]

    def _value(self, sql: str) -> str:
        return self._ask(sql)[0][0]

    def _run(
        self,
        program: str,
        *arguments: str,
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
        success: tuple[int, ...] = (0,),
    ) -> Result:
        argv = self._access.command(program, *arguments)
        run_as, extra = self._access.run_as, self._access.environment
        try:
            if stdin is None:
                return run(argv, stdout=stdout, run_as=run_as, extra_environment=extra, success=success)
            return run(argv, stdin=stdin, stdout=stdout, run_as=run_as, extra_environment=extra, success=success)
        except ProcessError as error:
            words = "\n".join(_errors(error.stderr)) or error.stderr or error.message
            hints = (hint for said, hint in _HINTS if said in words)
            raise ProcessError(f"MariaDB: {words}", error.status, words, next(hints, error.hint)) from error


def _refuse_unreadable(database: str, checksums: dict[str, str]) -> None:
    """Insist that every table can be read: of one that can't there is no copy, and it may still be mended."""
    unreadable = [table for table, found in checksums.items() if found == "NULL"]
    if unreadable:
        raise IntegrityError(
            f"{database} can't be kept under another name, so it was not replaced: {len(unreadable)} of its tables "
            f"can't be read: {', '.join(unreadable[:5])}.",
            "Restore under another name with --as; or mend it first (CHECK TABLE, REPAIR TABLE).",
        )


def count_rows(lines: Iterable[bytes]) -> dict[str, int]:
    """Rows by table of a dump; a row is a parenthesis outside all names and texts, behind ``VALUES``."""
    tables: dict[str, int] = {}
    inserting = ""
    for line in _statements(iter(lines)):
        if inserting:
            values = _QUOTED.sub(b"", line)
        else:
            made, insert = _TABLE.match(line), _INSERT.match(line)
            if made:
                tables.setdefault(_name(made[1]), 0)
            if insert is None:
                continue
            inserting = _name(insert[1])
            values = _QUOTED.sub(b"", line[insert.end() :])
        tables[inserting] = tables.get(inserting, 0) + values.count(b"(")
        if values.rstrip().endswith(b";"):
            inserting = ""
    return tables


def _statements(lines: Iterator[bytes]) -> Iterator[bytes]:
    """The lines without the bodies of triggers, routines and events, which look like statements of the dump.

    A name with a newline in it makes one line of two.
    """
    for line in lines:
        if line.startswith(_BODY):
            for inner in lines:
                if inner.rstrip() == _BODY_END:
                    break
            continue
        whole = line
        if line.startswith(_OPENINGS):
            while not _TABLE.match(whole) and not _INSERT.match(whole) and len(whole) < _LONGEST_OPENING:
                more = next(lines, b"")
                if not more:
                    break
                whole += more
        yield whole


def select_accounts(text: str, there: set[tuple[str, str]]) -> str:
    """The statements of a ``mariadb-dump --system=users`` about accounts (user and host) that are not ``there``."""
    lines = text.split("\n")
    return "\n".join(line for line in lines if not any(_names(line, user, host) for user, host in there))


def _names(line: str, user: str, host: str) -> bool:
    """Whether ``line`` is about this account, however it is quoted, or makes or widens this role (which has no host)."""
    if not host:
        return any(f"CREATE ROLE {q}{user}{q}" in line or re.search(f" TO {q}{re.escape(user)}{q}(?!@)", line)
                   for q in "'`")  # fmt: skip
    return any(f"{q}{user}{q}@{q}{host}{q}" in line for q in "'`")


def _errors(text: str) -> list[str]:
    """The lines that tell an error, without the statements that the client prints around them."""
    return [line for line in text.splitlines() if line.startswith("ERROR")]


def _name(quoted: bytes) -> str:
    return quoted.replace(b"``", b"`").decode(errors="replace")


def _identifier(name: str) -> str:
    """``name`` as an SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def _literal(text: str) -> str:
    """``text`` as an SQL string; in hexadecimal, because a backslash means what the server's sql_mode says."""
    return f"_utf8mb4 X'{text.encode().hex()}'"


def _unescape(field: str) -> str:
    return re.sub(r"\\[nt0\\]", lambda match: _UNESCAPES[match[0]], field)
