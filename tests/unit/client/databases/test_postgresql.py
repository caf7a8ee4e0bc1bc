"""PostgreSQL without a server: which roles come back, what differs between two dumps, quoting, and command lines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedai.client.databases import postgresql
from sedai.client.databases.notes import GLOBALS
from sedai.client.databases.postgresql import Access, PostgreSQL, select_globals
from sedai.core.errors import IntegrityError, ProcessError

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))

CLUSTER = r"""--
-- PostgreSQL database cluster dump
--

\restrict sedai

SET default_transaction_read_only = off;

CREATE ROLE "Od""d r";
ALTER ROLE "Od""d r" WITH NOSUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:H91m==$aXO7:Wzyb=';
CREATE ROLE grp;
COMMENT ON ROLE grp IS 'multi
CREATE ROLE mem;
it''s the "last line';
CREATE ROLE mem;
ALTER ROLE mem WITH NOSUPERUSER PASSWORD 'md5hash';
CREATE ROLE "nl
role";
ALTER ROLE "nl
role" WITH NOLOGIN;
ALTER ROLE mem SET search_path TO 'a';
ALTER ROLE mem IN DATABASE shop SET work_mem TO '1MB';
CREATE TABLESPACE fast OWNER mem LOCATION '/mnt/fast';
GRANT ALL ON TABLESPACE fast TO grp;
GRANT grp TO mem WITH INHERIT TRUE GRANTED BY postgres;
GRANT SET ON PARAMETER work_mem TO mem;

\unrestrict sedai

--
-- PostgreSQL database cluster dump complete
--
"""


def test_on_a_new_server_only_table_spaces_are_left_out() -> None:
    kept, left_out = select_globals(CLUSTER, {"postgres"})
    gone = [line for line in CLUSTER.splitlines() if line not in kept.splitlines()]
    assert gone == [line for line in CLUSTER.splitlines() if "TABLESPACE" in line] and len(gone) == 2
    assert left_out == [
        "The table space has to be made by hand: CREATE TABLESPACE fast OWNER mem LOCATION '/mnt/fast';"
    ]


def test_a_role_that_is_there_is_not_touched() -> None:
    kept, _ = select_globals(CLUSTER, {"mem", '"mem"', '"nl\nrole"', "nl\nrole"})
    assert "md5hash" not in kept and "search_path" not in kept and "work_mem" not in kept
    assert "nl\nrole" not in kept and 'role"' not in kept
    assert "GRANT grp TO mem" in kept, "grp is new, and to have this member is part of it"
    assert "COMMENT ON ROLE grp IS 'multi\nCREATE ROLE mem;\nit''s the \"last line';\n" in kept


def test_a_member_of_what_is_there_is_not_made_again() -> None:
    """Who was put out of a group since the dump must not be let in again."""
    kept, _ = select_globals(CLUSTER, {"mem", "grp"})
    assert "GRANT grp TO mem" not in kept and "COMMENT ON ROLE grp" not in kept and "last line" not in kept


def test_a_name_with_a_quote_is_found() -> None:
    kept, left_out = select_globals(CLUSTER, {postgresql._identifier('Od"d r')})
    assert "SCRAM" not in kept and len(left_out) == 1


@given(st.lists(st.sampled_from([*CLUSTER.splitlines(keepends=True), "\n", "'", '"', ";\n", "x\u2028y"])))
def test_statements_lose_nothing(parts: list[str]) -> None:
    text = "".join(parts)
    assert "".join(postgresql._statements(text)) == text
    assert select_globals(text, set())[0] == "".join(
        part for part in postgresql._statements(text) if part in select_globals(part, set())[0]
    )


def archive(version: tuple[int, int, int], integer: int, moment: bytes, rest: bytes = b"TOC") -> bytes:
    """A custom-format dump's beginning: magic, version, sizes of integer and offset, format, compression, time."""
    compression = b"\0" if version >= (1, 15, 0) else b"\0" * (1 + integer)
    time = b"".join(b"\0" + moment[i : i + 1].ljust(integer, b"\0") for i in range(7))
    return b"PGDMP" + bytes(version) + bytes([integer, 8, 1]) + compression + time + rest.ljust(64, b"x")


@pytest.mark.parametrize("version", [(1, 14, 0), (1, 15, 0), (1, 16, 0)])
@pytest.mark.parametrize("integer", [4, 8])
def test_two_dumps_differ_in_no_more_than_their_time(
    version: tuple[int, int, int], integer: int, tmp_path: Path
) -> None:
    one, other = tmp_path / "x.dump", tmp_path / "x.dump.new"
    engine = PostgreSQL(Access())
    one.write_bytes(archive(version, integer, b"1234567"))
    other.write_bytes(archive(version, integer, b"7654321"))
    assert engine.same(one, other)
    raw = bytearray(other.read_bytes())
    start = postgresql._time_in_header(one).start
    for place in (8, start - 1, start + 7 * (1 + integer), len(raw) - 1):
        changed = bytearray(raw)
        changed[place] ^= 1
        other.write_bytes(changed)
        assert not engine.same(one, other), place
    other.write_bytes(raw + b"x")
    assert not engine.same(one, other)


@pytest.mark.parametrize("content", [b"", b"PGDMP", b"x" * 100, b"PGDMP" + b"\x01" * 20])
def test_what_is_no_dump_has_no_time(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.dump"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="not a dump of PostgreSQL"):
        postgresql._time_in_header(path)


def test_the_dumps_of_accounts_are_compared_without_what_varies(tmp_path: Path) -> None:
    one, other = tmp_path / "@globals.sql", tmp_path / "@globals.sql.new"
    one.write_text("-- Started on 2026-01-01\n\\restrict abc\nCREATE ROLE a;\n\\unrestrict abc\n-- Completed on 1\n")
    other.write_text(
        "-- Started on 2026-01-02\n\\restrict xyz1\nCREATE ROLE a;\n\\unrestrict xyz1\n-- Completed on 22\n"
    )
    assert PostgreSQL(Access()).same(one, other)
    other.write_text(other.read_text().replace("ROLE a", "ROLE b"))
    assert not PostgreSQL(Access()).same(one, other)


@pytest.mark.parametrize(("text", "fine"), [(CLUSTER, True), (CLUSTER[:-60], False), ("", False)])
def test_the_dump_of_accounts_has_its_last_line(text: str, fine: bool, tmp_path: Path) -> None:
    path = tmp_path / "@globals.sql"
    path.write_text(text)
    if fine:
        PostgreSQL(Access()).prove(GLOBALS, path, {})
    else:
        with pytest.raises(IntegrityError, match="broke off"):
            PostgreSQL(Access()).prove(GLOBALS, path, {})


@given(TEXT)
def test_names_and_texts_are_quoted_so_that_they_end_where_they_should(text: str) -> None:
    identifier = postgresql._identifier(text)
    assert re.fullmatch(r'"(?:[^"]|"")*"', identifier) and identifier[1:-1].replace('""', '"') == text
    literal = postgresql._literal(text)
    assert re.fullmatch(r"E'(?:[^'\\]|\\.)*'", literal, re.DOTALL)
    assert re.sub(r"\\(.)", r"\1", literal[2:-1], flags=re.DOTALL) == text
    conninfo = postgresql._conninfo(text)
    found = re.fullmatch(r"dbname='((?:[^'\\]|\\.)*)'", conninfo, re.DOTALL)
    assert found and re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL) == text


@pytest.mark.parametrize("name", ["x host=evil", "postgresql://evil/x", "password='x'", "a' password='x", "-f"])
def test_a_databases_name_is_no_connection_string(name: str) -> None:
    assert postgresql._conninfo(name).startswith("dbname='")
    assert not re.search(r"(?<!\\)' ", postgresql._conninfo(name))


@pytest.mark.parametrize(
    ("access", "argv", "environment"),
    [
        (Access(), ["psql", "--no-password", "-x"], {}),
        (
            Access("/run/pg", 5433, "app", bin="/usr/lib/postgresql/15/bin"),
            [
                "/usr/lib/postgresql/15/bin/psql",
                "--host=/run/pg",
                "--port=5433",
                "--username=app",
                "--no-password",
                "-x",
            ],
            {},
        ),
        (Access(credentials_file=Path("/etc/pass")), ["psql", "--no-password", "-x"], {"PGPASSFILE": "/etc/pass"}),
    ],
)
def test_the_command_line_has_no_password(access: Access, argv: list[str], environment: dict[str, str]) -> None:
    assert access.command("psql", "-x") == argv
    assert access.environment == {"PGCONNECT_TIMEOUT": "20", "PGAPPNAME": "sedai"} | environment


@pytest.mark.parametrize(("host", "local"), [("", True), ("/run/postgresql", True), ("db.example.com", False)])
def test_only_a_socket_is_this_machine(host: str, local: bool) -> None:
    assert Access(host).local is local
    if not local:
        assert PostgreSQL(Access(host)).data_directory() == "", "nobody is asked"


PSQL = """#!/usr/bin/env python3
import re, sys, time
ORDER, text = __file__ + ".order", ""
for refused, words in {"missing": 'FATAL:  database "missing" does not exist', "down": "Is the server running?"}.items():
    if any(refused in word for word in sys.argv):
        sys.stderr.write(f"psql: error: connection to server failed: {words}\\n")
        sys.exit(2)
open(__file__ + ".entered", "a").write(sys.argv[-1] + "\\n")
for line in sys.stdin:
    text += line
    if line.startswith("\\\\echo "):
        print(line[len("\\\\echo "):], end="", flush=True)
    elif not line.rstrip().endswith(";"):
        continue
    for word in ("pg_export", "LOCK TABLE", "count(*)"):
        if word in text:
            open(ORDER, "a").write(word + "\\n")
    if "FAIL" in text:
        sys.stderr.write("psql:<stdin>:2: ERROR:  no such thing\\n")
        sys.exit(3)
    if "HANG" in text:
        time.sleep(60)
    found = re.search(r"ANSWER (.*?);", text)
    if found:
        sys.stdout.write(eval(found[1]))
    elif "format(" in text:
        sys.stdout.write('s.t\\0s.t\\x1eq"x\\0"q""x"\\n')
    elif "LOCK TABLE" in text:
        assert 'ONLY s.t, ONLY "q""x" IN ACCESS SHARE' in text, text
    elif "row_to_json" in text:
        print("{}")
    elif "SELECT" in text:
        print("7")
    text = ""
"""


@pytest.fixture
def psql(tmp_path: Path) -> Access:
    """A psql that answers what it is asked to."""
    program = tmp_path / "psql"
    program.write_text(PSQL)
    program.chmod(0o755)
    return Access(bin=str(tmp_path))


@pytest.mark.parametrize(
    ("printed", "rows"),
    [
        ("", []),
        ("a\\n", [["a"]]),
        ("a\\0b\\x1ec\\0\\n", [["a", "b"], ["c", ""]]),
        ("line\\nbreak\\x1eend-x\\n\\n", [["line\nbreak"], ["end-x\n"]]),
        ("世\\u2028代\\n", [["世\u2028代"]]),
    ],
)
def test_a_session_takes_answers_apart(psql: Access, printed: str, rows: list[list[str]]) -> None:
    with postgresql._Session(psql, "x") as session:
        assert session.ask(f"ANSWER '{printed}'") == rows
        assert session.value("ANSWER '7\\n'") == "7" and session.value("ANSWER ''") == ""


def test_a_database_that_is_gone_does_not_keep_the_server_from_answering(psql: Access, tmp_path: Path) -> None:
    engine = PostgreSQL(psql, ("missing", "shop"))
    assert engine.data_directory() == "7"
    assert engine.databases() == [GLOBALS, "missing", "shop"], "it is told when it is dumped"
    assert PostgreSQL(psql, ("missing",)).data_directory() == "7"
    assert (tmp_path / "psql.entered").read_text().split() == ["--dbname=dbname='shop'", "--dbname=dbname='postgres'"]


def test_a_server_that_is_down_is_asked_once(psql: Access, tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="Is the server running"):
        PostgreSQL(psql, ("down", "shop")).version()
    assert not (tmp_path / "psql.entered").exists()


def test_a_refusal_has_the_servers_words(psql: Access) -> None:
    with pytest.raises(ProcessError) as caught, postgresql._Session(psql, "x") as session:
        session.ask("FAIL")
    assert str(caught.value) == "PostgreSQL (x): psql:<stdin>:2: ERROR:  no such thing"


def test_an_interrupted_session_waits_for_nothing(psql: Access) -> None:
    session = postgresql._Session(psql, "x").__enter__()
    process = session._process
    assert process.stdin is not None
    process.stdin.write(b"HANG\n")
    process.stdin.flush()
    session.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert process.returncode is not None and process.returncode < 0


@pytest.mark.parametrize(
    ("listed", "complaint"),
    [
        ("3; 0 1 TABLE DATA public a o\n4; 0 2 TABLE DATA public b o\n", ""),
        ("3; 0 1 TABLE DATA public b o\n4; 0 2 TABLE DATA other a o\n", "lacks the data of 1 table: public.a"),
        ("; TABLE DATA of comments does not count TABLE DATA \n3; 0 1 TABLE DATA public a o\n", "the data of 1 table"),
    ],
)
def test_every_table_must_be_in_the_dump(listed: str, complaint: str, tmp_path: Path) -> None:
    program = tmp_path / "pg_restore"
    program.write_text(f"#!/bin/sh\ncase $1 in --list) printf '%s' '{listed}';; *) cat > /dev/null;; esac\n")
    program.chmod(0o755)
    dump = tmp_path / "x.dump"
    dump.write_bytes(b"x")
    engine = PostgreSQL(Access(bin=str(tmp_path)))
    if complaint:
        with pytest.raises(IntegrityError, match=complaint):
            engine.prove("x", dump, {"public.a": 1, "public.b": 1})
    else:
        engine.prove("x", dump, {"public.a": 1, "public.b": 1})


@pytest.mark.parametrize(
    ("table", "line", "among"),
    [
        ("public.a", "public a postgres", True),
        ("public.a", "public ab postgres", False),
        ('s p.t "x', 's p t "x two words', True),
        ('"x.y".z', "x.y z o", True),
        ('"x.y".z', "x y.z o", False),
        ('"q""s".a.b', 'q"s a.b o', True),
        ("public.a\nb\rc", "public a b c o", True),
        ("public.\u6ce8\u6587", "public \xc3\xed o", True),
    ],
)
def test_a_table_is_found_in_the_list_of_a_dump(table: str, line: str, among: bool) -> None:
    listed = f"; TABLE DATA {line}\n3; 1259 16 TABLE public a o\n4; 0 16 TABLE DATA {line}\n".encode("latin-1")
    found = postgresql._with_data(listed)
    assert len(found) == 1 and postgresql._is_among(table, found) is among


def test_a_dump_that_pg_restore_does_not_read_is_no_proof(tmp_path: Path) -> None:
    program = tmp_path / "pg_restore"
    program.write_text("#!/bin/sh\ncase $1 in --list) ;; *) echo 'could not read from input file' >&2; exit 1;; esac\n")
    program.chmod(0o755)
    dump = tmp_path / "x.dump"
    dump.write_bytes(b"x")
    with pytest.raises(IntegrityError, match="can't be read back: could not read"):
        PostgreSQL(Access(bin=str(tmp_path))).prove("x", dump, {})


def test_tables_are_locked_from_before_the_dump_until_they_are_counted(psql: Access, tmp_path: Path) -> None:
    """TRUNCATE does not care for snapshots: without a lock the count would be of another moment than the dump."""
    order = tmp_path / "psql.order"
    (tmp_path / "pg_dump").write_text(f'#!/bin/sh\necho dump "$@" >> {order}\n')
    (tmp_path / "pg_dump").chmod(0o755)
    dumped = PostgreSQL(psql).dump("x", tmp_path / "x.dump")
    assert dumped.tables == {"s.t": 7, 'q"x': 7}
    lines = order.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["pg_export", "LOCK", "dump", "count(*)", "count(*)"]
    assert "--snapshot=7" in lines[2] and "--lock-wait-timeout=" in lines[2]
