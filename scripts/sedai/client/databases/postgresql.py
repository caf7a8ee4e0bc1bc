"""PostgreSQL: one ``pg_dump -Fc`` a database, all rows counted in the same snapshot, and the accounts by ``pg_dumpall``."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from sedai.client.databases import files, properties
from sedai.client.databases.engine import Dumped
from sedai.client.databases.notes import GLOBALS, Notes
from sedai.core.counted import counted
from sedai.core.errors import IntegrityError, ProcessError, SedaiError, UsageError
from sedai.core.process import Result, run, start
from sedai.core.progress import Watch, unwatched

_GLOBALS_END = b"-- PostgreSQL database cluster dump complete"
# Differs from run to run though the accounts are the same.
_GLOBALS_VARIES = (b"\\restrict ", b"\\unrestrict ", b"-- Started on ", b"-- Completed on ")
_NAME = r'("(?:[^"]|"")+"|[^ ;]+)'
_ROLE = re.compile(rf"(?:CREATE ROLE|ALTER ROLE|COMMENT ON ROLE) {_NAME}")
_MEMBERSHIP = re.compile(rf"GRANT {_NAME} TO {_NAME}")
_PARAMETER = re.compile(rf"GRANT .* ON PARAMETER \S+ TO {_NAME}")
_QUOTED_SCHEMA = re.compile(r'"((?:[^"]|"")*)"\.(.*)', re.DOTALL)
# What pg_restore prints a blank for.
_LINE_BREAK = re.compile(r"[\r\n]")
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
# So long a table that somebody has locked is waited for; for ever would keep the files from being backed up.
_LOCK_SECONDS = 300
# Older servers drop no database that somebody is connected to.
_CAN_FORCE = 130000
# The server answered, and it is about this database: it is not there, may not be entered, takes no connections.
_OF_DATABASE = 'database "'
_SETTINGS = f"""
SET statement_timeout = 0; SET lock_timeout = '{_LOCK_SECONDS}s'; SET idle_in_transaction_session_timeout = 0;
SET row_security = off; SET client_encoding = 'UTF8'
"""

_TABLES = """
SELECT CASE WHEN n.nspname ~ '[."]' THEN quote_ident(n.nspname) ELSE n.nspname END || '.' || c.relname,
  format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1
"""
_ROLES = """
SELECT DISTINCT r.rolname FROM pg_roles r, pg_database d WHERE d.datname = current_database() AND (
  r.oid = d.datdba
  OR r.oid IN (SELECT s.refobjid FROM pg_shdepend s WHERE s.refclassid = 'pg_authid'::regclass
               AND (s.dbid = d.oid OR s.classid = 'pg_database'::regclass AND s.objid = d.oid)))
ORDER BY 1
"""


# What a person can do about the server's words.
_HINTS = (
    ("Is the server running", "Start it, or install it first: apt install postgresql."),
    ("is being accessed by other users", "Stop the programs that use the database, then run this again."),
    (
        "permission denied to create database",
        "Name an account that may create databases, or restore through another server entry.",
    ),
)


@dataclass(frozen=True)
class Access:
    """How a server is reached. ``host``: a name, a directory with a socket, or nothing for the usual socket.

    ``run_as``: the account that the client programs run as; ``bin``: the directory they are in, or nothing for PATH.
    """

    host: str = ""
    port: int = 0
    user: str = ""
    run_as: str = ""
    credentials_file: Path | None = None
    bin: str = ""

    @property
    def local(self) -> bool:
        """Whether the server runs on this machine, reached by its socket."""
        return not self.host or self.host.startswith("/")

    def command(self, program: str, *arguments: str) -> list[str]:
        """The command line of one of PostgreSQL's programs; no password is ever on it, and none is asked for."""
        options = [f"--host={self.host}"] if self.host else []
        options += [f"--port={self.port}"] if self.port else []
        options += [f"--username={self.user}"] if self.user else []
        return [f"{self.bin}/{program}" if self.bin else program, *options, "--no-password", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """What libpq reads from the environment."""
        passfile = {"PGPASSFILE": str(self.credentials_file)} if self.credentials_file else {}
        return {"PGCONNECT_TIMEOUT": "20", "PGAPPNAME": "sedai", **passfile}


class PostgreSQL:
    """A PostgreSQL server; implements :class:`~sedai.client.databases.engine.Engine`."""

    suffix = ".dump"
    # A dump is not compressed; long values are stored so.
    expansion = 2

    def __init__(
        self, access: Access, only: tuple[str, ...] = (), *, with_globals: bool = True, throw_away: bool = False
    ) -> None:
        """``only``: the databases to dump, all where it is empty. ``throw_away``: a drill's server."""
        self._access = access
        self._only = only
        self._with_globals = with_globals
        self._throw_away = throw_away

    def version(self) -> str:
        """The server's version."""
        with self._anywhere() as session:
            return session.value("SHOW server_version")

    def data_directory(self) -> str:
        """Where a local server keeps its files; nothing where it may not be asked."""
        if not self._access.local:
            return ""
        with self._anywhere() as session:
            return session.value("SELECT coalesce((SELECT setting FROM pg_settings WHERE name = 'data_directory'), '')")

    @contextlib.contextmanager
    def _anywhere(self) -> Iterator[_Session]:
        """A session in a database that lets us in, to ask about the server: one that is gone must not stop the others."""
        *names, last = ["template1"] if self._throw_away else [*self._only, "postgres", "template1"]
        with contextlib.ExitStack() as stack:
            for name in names:
                try:
                    session = stack.enter_context(self._session(name))
                except ProcessError as error:
                    if _OF_DATABASE not in error.stderr:
                        raise
                else:
                    break
            else:
                session = stack.enter_context(self._session(last))
            yield session

    def databases(self) -> list[str]:
        """All databases that take connections, without templates and an empty ``postgres``."""
        found = list(self._only) or [name for name, is_open in self._all().items() if is_open]
        return [*([GLOBALS] if self._with_globals else []), *found]

    def others(self) -> list[str]:
        """Those of a local server that nobody asked for, or that take no connections."""
        if not self._access.local:
            return []
        return [
            name for name, is_open in self._all().items() if (name not in self._only if self._only else not is_open)
        ]

    def _all(self) -> dict[str, bool]:
        """All databases without templates and an empty ``postgres``; and whether each takes connections."""
        with self._anywhere() as session:
            listed = session.ask("SELECT datname, datallowconn FROM pg_database WHERE NOT datistemplate ORDER BY 1")
        found = {name: is_open == "t" for name, is_open in listed}
        if found.get("postgres"):
            with self._session("postgres") as session:
                if not session.ask(_TABLES):
                    del found["postgres"]
        return found

    def size(self, database: str) -> int:
        """The bytes of all tables, without their indexes."""
        if database == GLOBALS:
            return 1 << 20
        with self._session(database) as session:
            return int(
                session.value("SELECT coalesce(sum(pg_table_size(oid)), 0) FROM pg_class WHERE relkind IN ('r', 'm')")
            )

    def dump(self, database: str, target: Path) -> Dumped:
        """Dump ``database`` uncompressed, so that the next transfer sends only what differs."""
        if database == GLOBALS:
            with target.open("xb") as stream:
                self._run("pg_dumpall", "--globals-only", *self._restrict_key(), stdout=stream)
            return Dumped({})
        with self._session(database) as session, target.open("xb") as stream:
            session.ask("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            snapshot = session.value("SELECT pg_export_snapshot()")
            session.lock_tables()
            self._run("pg_dump", "--format=custom", "--compress=0", f"--snapshot={snapshot}",
                      f"--lock-wait-timeout={_LOCK_SECONDS * 1000}", f"--dbname={_conninfo(database)}", stdout=stream)  # fmt: skip
            return Dumped(session.counts(), session.settings())

    def _restrict_key(self) -> list[str]:
        """Where pg_dumpall puts a random word into its output, the same word each time."""
        shown = run([self._program("pg_dumpall"), "--help"], run_as=self._access.run_as).stdout
        return ["--restrict-key=sedai"] if b"--restrict-key" in shown else []

    def prove(self, database: str, dump: Path, tables: dict[str, int]) -> None:
        """Read the dump whole with ``pg_restore``; it must list each of ``tables``."""
        if database == GLOBALS:
            files.ends_with(dump, _GLOBALS_END)
            return
        try:
            with dump.open("rb") as stream:
                listed = run([self._program("pg_restore"), "--list"], stdin=stream, run_as=self._access.run_as).stdout
            with dump.open("rb") as stream:
                run([self._program("pg_restore"), "--file=/dev/null"], stdin=stream, run_as=self._access.run_as)
        except ProcessError as error:
            raise IntegrityError(f"The dump can't be read back: {error.stderr or error.message}") from error
        found = _with_data(listed)
        if len(found) < len(tables):
            raise IntegrityError(
                f"The dump has the data of {counted(len(found), 'table')}, the database has {len(tables)}."
            )
        missing = sorted(table for table in tables if not _is_among(table, found))
        if missing:
            raise IntegrityError(
                f"The dump lacks the data of {counted(len(missing), 'table')}: {', '.join(missing[:5])}."
            )

    def same(self, one: Path, other: Path) -> bool:
        """Whether two dumps differ in nothing but the time that their headers name."""
        if one.name.startswith(GLOBALS):
            return files.same_lines(one, other, _GLOBALS_VARIES)
        return files.same_bytes(one, other, _time_in_header(one))

    def exists(self, database: str) -> bool:
        """Whether there is a database of that name."""
        with self._session(self._maintenance_for(database)) as session:
            return bool(session.ask(f"SELECT 1 FROM pg_database WHERE datname = {_literal(database)}"))

    def _maintenance_for(self, database: str) -> str:
        """A database to connect to that is not the one to be made or renamed."""
        return "template1" if database == "postgres" or self._throw_away else "postgres"

    def load(
        self, dump: Path, notes: Notes, database: str, *, owners: bool = True, watch: Watch = unwatched
    ) -> list[str]:
        """Make ``database`` from ``dump``; where that fails nothing of it stays.

        Raises:
            UsageError: accounts that own something in it are not there.
        """
        if notes.database == GLOBALS:
            return self._load_globals(dump)
        if owners:
            self._refuse_without_roles(json.loads(notes.settings.get("roles", "[]")), notes.entry)
        findings = self._create(database, notes.settings, owners=owners)
        ownership = [] if owners else ["--no-owner", "--no-privileges"]
        try:
            with dump.open("rb") as stream:
                watch(stream.tell)  # of the file that pg_restore reads from, its place is this one's too
                self._run("pg_restore", "--exit-on-error", "--no-tablespaces", *ownership,
                          f"--dbname={_conninfo(database)}", stdin=stream)  # fmt: skip
            with self._session(database) as session:
                session.ask("ANALYZE")
            findings += self._set_properties(database, notes.settings, owners=owners)
        except BaseException:
            with contextlib.suppress(SedaiError):
                self.drop(database)
            raise
        return findings

    def _set_properties(self, database: str, settings: dict[str, str], *, owners: bool) -> list[str]:
        """Who may connect, the settings and the comment of the database itself; what the server refuses is told."""
        findings = []
        told = json.loads(settings.get("properties", "{}"))
        wanted = properties.statements(
            told, database, settings.get("owner", ""), roles=owners, identifier=_identifier, literal=_literal
        )
        for statement in wanted:
            try:
                with self._session(self._maintenance_for(database)) as session:
                    session.ask(statement)
            except ProcessError as error:
                findings.append(f"{database}: `{statement}` was refused: {error.stderr.splitlines()[0]}")
        return findings

    def _refuse_without_roles(self, wanted: list[str], entry: str) -> None:
        with self._session(self._maintenance_for("")) as session:
            there = {name for (name,) in session.ask("SELECT rolname FROM pg_roles")}
        missing = [name for name in wanted if name not in there]
        if missing:
            raise UsageError(
                f"The server has no role {', '.join(missing)}, to whom something in this database belongs.",
                f"Bring the roles back first: restore_data.py restore-db {entry}/{GLOBALS}, or another entry's {GLOBALS} "
                "of the same server, as `restore_data.py databases` lists them; or add --no-owner.",
            )

    def _create(self, database: str, settings: dict[str, str], *, owners: bool) -> list[str]:
        """A new database as the old one was; with this server's own locale where it does not know the old one's."""
        name = _identifier(database)
        owner = f" OWNER {_identifier(settings['owner'])}" if owners and settings.get("owner") else ""
        encoding = f" ENCODING {_literal(settings['encoding'])}" if settings.get("encoding") else ""
        locale = "".join(
            f" {word} {_literal(settings[key])}"
            for word, key in (
                ("LOCALE_PROVIDER", "provider"), ("ICU_LOCALE", "icu_locale"), ("BUILTIN_LOCALE", "builtin_locale"),
                ("LC_COLLATE", "collate"), ("LC_CTYPE", "ctype"),
            )
            if settings.get(key)
        )  # fmt: skip
        with self._session(self._maintenance_for(database)) as session:
            try:
                session.ask(f"CREATE DATABASE {name} TEMPLATE template0{encoding}{locale}{owner}")
            except ProcessError as error:
                if "locale" not in error.stderr and "collation" not in error.stderr:
                    raise
                reason = error.stderr.splitlines()[0]
            else:
                return []
        with self._session(self._maintenance_for(database)) as session:
            session.ask(f"CREATE DATABASE {name} TEMPLATE template0{encoding}{owner}")
        return [f"{database} has this server's own locale, not the one that it had: {reason}"]

    def _load_globals(self, dump: Path) -> list[str]:
        """Make the roles that are not there; those that are stay as they are, password included."""
        with self._session(self._maintenance_for("")) as session:
            names = [name for (name,) in session.ask("SELECT rolname FROM pg_roles")]
        there = {*names, *map(_identifier, names)}  # quoted or not, as pg_dumpall sees fit
        kept, left_out = select_globals(dump.read_text(encoding="utf-8"), there)
        with tempfile.TemporaryFile() as script:
            script.write(kept.encode())
            script.seek(0)
            done = self._run(
                "psql", "--no-psqlrc", "--quiet", "--file=-", f"--dbname={self._maintenance_for('')}", stdin=script
            )
        complaints = [line for line in done.stderr.decode(errors="replace").splitlines() if "ERROR" in line]
        return complaints if self._throw_away else [*complaints, *left_out]

    def row_counts(self, database: str) -> dict[str, int]:
        """Rows by table, counted now."""
        if database == GLOBALS:
            return {}
        with self._session(database) as session:
            return session.counts()

    def set_aside(self, database: str, aside: str) -> list[str]:
        """Rename ``database``; the server refuses while somebody is connected to it."""
        with self._session(self._maintenance_for(database)) as session:
            session.ask(f"ALTER DATABASE {_identifier(database)} RENAME TO {_identifier(aside)}")
        return []

    def drop(self, database: str) -> None:
        """Drop ``database``, and who is connected to it: a program that reconnects would keep a half-loaded one there."""
        with self._session(self._maintenance_for(database)) as session:
            forced = " WITH (FORCE)" if int(session.value("SHOW server_version_num")) >= _CAN_FORCE else ""
            session.ask(f"DROP DATABASE {_identifier(database)}{forced}")

    def _program(self, name: str) -> str:
        return f"{self._access.bin}/{name}" if self._access.bin else name

    def _run(
        self, program: str, *arguments: str, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None
    ) -> Result:
        argv = self._access.command(program, *arguments)
        run_as, extra = self._access.run_as, self._access.environment
        if stdin is None:
            return run(argv, stdout=stdout, run_as=run_as, extra_environment=extra)
        return run(argv, stdin=stdin, stdout=stdout, run_as=run_as, extra_environment=extra)

    def _session(self, database: str) -> _Session:
        return _Session(self._access, database)


class _Session:
    """One psql that stays connected, so that a snapshot stays open while pg_dump runs."""

    def __init__(self, access: Access, database: str) -> None:
        self._access = access
        self._database = database

    def __enter__(self) -> Self:
        self._complaints = tempfile.TemporaryFile()
        argv = self._access.command(
            "psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1",
            "--field-separator-zero", "--record-separator=\x1e", f"--dbname={_conninfo(self._database)}",
        )  # fmt: skip
        self._process = start(argv, run_as=self._access.run_as, extra_environment=self._access.environment,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints)  # fmt: skip
        try:
            self.ask(_SETTINGS)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        if kind is not None:
            self._process.terminate()  # it may be counting for an hour
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._complaints.close()

    def ask(self, sql: str) -> list[list[str]]:
        """The rows of one or more statements.

        Raises:
            ProcessError: the server refused, with its own words.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        end = f"end-{uuid.uuid4().hex}"
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{sql};\n\\echo {end}\n".encode())
            self._process.stdin.flush()
        answer = b""
        while not answer.endswith(f"{end}\n".encode()):
            chunk = self._process.stdout.readline()
            if not chunk:
                raise self._refused()
            answer += chunk
        rows = answer[: -len(end) - 1].decode(errors="replace").removesuffix("\n").removesuffix("\x1e")
        return [row.split("\0") for row in rows.split("\x1e")] if rows else []

    def _refused(self) -> ProcessError:
        status = self._process.wait()
        self._complaints.seek(0)
        text = self._complaints.read().decode(errors="replace").strip()
        words = text.removeprefix("psql: ").removeprefix("error: ") or f"psql ended with status {status}"
        hints = (hint for said, hint in _HINTS if said in words)
        return ProcessError(f"PostgreSQL ({self._database}): {words}", status, words, next(hints, ""))

    def value(self, sql: str) -> str:
        """The only field of the only row; psql prints an empty one as nothing."""
        rows = self.ask(sql)
        return rows[0][0] if rows else ""

    def lock_tables(self) -> None:
        """Keep all tables as they are: TRUNCATE and DROP do not care for snapshots, but they wait for a reader."""
        tables = self.ask(_TABLES)
        if tables:
            self.ask(f"LOCK TABLE {', '.join(f'ONLY {quoted}' for _, quoted in tables)} IN ACCESS SHARE MODE")

    def counts(self) -> dict[str, int]:
        """Rows of each table that pg_dump dumps the data of."""
        return {shown: int(self.value(f"SELECT count(*) FROM ONLY {quoted}")) for shown, quoted in self.ask(_TABLES)}

    def settings(self) -> dict[str, str]:
        """What a new database must be made with."""
        row = json.loads(self.value("SELECT row_to_json(d) FROM pg_database d WHERE datname = current_database()"))
        provider = {"i": "icu", "b": "builtin", "c": "libc"}.get(row.get("datlocprovider", ""), "")
        locale = row.get("datlocale") or row.get("daticulocale") or ""
        return {
            "encoding": self.value(
                "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()"
            ),
            "owner": self.value("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"),
            "collate": row.get("datcollate") or "",
            "ctype": row.get("datctype") or "",
            "provider": provider if provider != "libc" else "",
            "icu_locale": locale if provider == "icu" else "",
            "builtin_locale": locale if provider == "builtin" else "",
            "properties": self.value(properties.QUERY),
            "roles": json.dumps([name for (name,) in self.ask(_ROLES)], ensure_ascii=False),
        }


def _with_data(listed: bytes) -> list[bytes]:
    """Of a ``pg_restore --list`` schema, name and owner of each table that the dump has data of, with blanks between."""
    lines = (line for line in listed.splitlines() if not line.startswith(b";"))
    return [after for _, found, after in (line.partition(b" TABLE DATA ") for line in lines) if found]


def _is_among(table: str, found: list[bytes]) -> bool:
    """Whether a table, named as in :class:`Dumped`, is one of those that a dump lists.

    A name that is not plain ASCII is in the encoding of its database there, which the list does not tell.
    """
    if not table.isascii():
        return True
    quoted = _QUOTED_SCHEMA.match(table)
    schema, name = (quoted[1].replace('""', '"'), quoted[2]) if quoted else table.split(".", 1)
    wanted = _LINE_BREAK.sub(" ", f"{schema} {name} ").encode()
    return any(line.startswith(wanted) for line in found)


def select_globals(text: str, there: set[str]) -> tuple[str, list[str]]:
    """The statements of a ``pg_dumpall --globals-only`` that touch no role of ``there``, and what is to be made by hand.

    Table spaces are: their directories belong to the machine that had them.
    """
    kept, left_out = [], []
    for statement in _statements(text):
        role, member, parameter = (kind.match(statement) for kind in (_ROLE, _MEMBERSHIP, _PARAMETER))
        if (
            (role and role[1] in there)
            or (member and {member[1], member[2]} <= there)
            or (parameter and parameter[1] in there)
        ):
            continue
        if "TABLESPACE" in statement.split("(")[0] and statement.startswith(
            ("CREATE ", "ALTER ", "GRANT ", "COMMENT ")
        ):
            if statement.startswith("CREATE "):
                left_out.append(f"The table space has to be made by hand: {statement.strip()}")
            continue
        kept.append(statement)
    return "".join(kept), left_out


def _statements(text: str) -> Iterator[str]:
    """The statements with the newlines at their ends; a comment or a command of psql is one, too.

    Names and texts can have newlines in them.
    """
    statement = ""
    for line in io.StringIO(text, newline="\n"):
        statement += line
        rest = _QUOTED.sub("", statement)
        if statement.startswith(("--", "\\", "\n")) or (
            rest.rstrip().endswith(";") and "'" not in rest and '"' not in rest
        ):
            yield statement
            statement = ""
    if statement:
        yield statement


def _time_in_header(dump: Path) -> slice:
    """Where the archive's creation time stands in a custom-format dump: seven integers (``pg_backup_archiver.c``)."""
    with dump.open("rb") as stream:
        head = stream.read(32)
    if head[:5] != b"PGDMP" or len(head) < 32:
        raise IntegrityError(f"{dump.name} is not a dump of PostgreSQL.")
    version, integer = head[5:8], 1 + head[8]
    # Since 1.15 (PostgreSQL 16) the compression is one byte, before it is an integer.
    start = 11 + (1 if version >= b"\x01\x0f" else integer)
    return slice(start, start + 7 * integer)


def _identifier(name: str) -> str:
    """``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    """``text`` as an SQL string, whatever standard_conforming_strings says."""
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _conninfo(database: str) -> str:
    """A connection string that names ``database`` and nothing else, whatever characters it has."""
    return "dbname='" + database.replace("\\", "\\\\").replace("'", "\\'") + "'"
