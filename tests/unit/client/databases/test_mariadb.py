"""MariaDB without a server: counting the rows of dumps as its own programs write them, accounts, quoting, command lines."""

from __future__ import annotations

import re
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedai.client.databases import mariadb
from sedai.client.databases.mariadb import Access, MariaDB, count_rows, select_accounts
from sedai.client.databases.notes import GLOBALS
from sedai.core.errors import IntegrityError, ProcessError
from sedai.core.process import Result

# What mysql_real_escape_string makes of a text, so that it can stand between quotes on one line.
_ESCAPES = {"\0": "\\0", "\n": "\\n", "\r": "\\r", "\\": "\\\\", "'": "\\'", '"': '\\"', "\x1a": "\\Z"}


def escaped(text: str) -> str:
    return "".join(_ESCAPES.get(letter, letter) for letter in text)


def quoted_name(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def value(item: object) -> str:
    """One value as mariadb-dump writes it."""
    if item is None:
        return "NULL"
    if isinstance(item, bytes):
        return f"0x{item.hex().upper()}" if item else "''"
    return f"'{escaped(item)}'" if isinstance(item, str) else str(item)


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["),(", "\\", "\\'", "'", "`", "),\n('", ");\n", "\nINSERT INTO `x` VALUES (1);", "VALUES (", "("]),
)
ROWS = st.lists(st.lists(st.one_of(st.none(), st.integers(), st.floats(), TEXTS, st.binary(max_size=9)), min_size=1))


@st.composite
def dumps(draw: st.DrawFn) -> tuple[bytes, dict[str, int]]:
    """A dump and the rows that it holds: MariaDB's form or MySQL's, with or without the names of the columns."""
    tables = draw(st.dictionaries(NAMES, ROWS, max_size=5))
    one_line = draw(st.booleans())
    parts = ["-- MariaDB dump 10.19  Distrib 10.11\n--\n\n/*!40101 SET NAMES utf8mb4 */;\n"]
    for name, rows in tables.items():
        parts.append(
            f"DROP TABLE IF EXISTS {quoted_name(name)};\nCREATE TABLE {quoted_name(name)} (\n  `id` int(11)\n);\n"
        )
        columns = f" ({', '.join(map(quoted_name, draw(st.lists(NAMES, min_size=1, max_size=3))))})"
        complete = columns if draw(st.booleans()) else ""
        per_statement = draw(st.integers(1, 4))
        for start in range(0, len(rows), per_statement):
            shown = [f"({','.join(map(value, row))})" for row in rows[start : start + per_statement]]
            begin, between = ("VALUES ", ",") if one_line else ("VALUES\n", ",\n")
            parts.append(f"INSERT INTO {quoted_name(name)}{complete} {begin}{between.join(shown)};\n")
    parts.append("\n-- Dump completed\n")
    return "".join(parts).encode(), {name: len(rows) for name, rows in tables.items()}


def lines(dump: bytes) -> Iterator[bytes]:
    """As a file gives them: only a newline ends a line."""
    yield from re.findall(rb"[^\n]*\n|[^\n]+\Z", dump)


@given(dumps())
def test_rows_are_counted_whatever_the_texts_and_names_are(made: tuple[bytes, dict[str, int]]) -> None:
    dump, rows = made
    assert count_rows(lines(dump)) == rows


@pytest.mark.parametrize(
    ("dump", "rows"),
    [
        (b"", {}),
        (b"CREATE TABLE `e` (\n  `id` int(11)\n);\n", {"e": 0}),
        (b"CREATE TABLE IF NOT EXISTS `e` (\n  `id` int(11)\n);\n", {"e": 0}),
        (b"INSERT INTO `t` VALUES\n(1,'a'),\n(2,'b');\n", {"t": 2}),
        (b"INSERT INTO `t` VALUES (1,'a'),(2,'b'),(3,NULL);\n", {"t": 3}),
        (b"INSERT INTO `t` (`a`, `(b`, `VALUES (`) VALUES\n(1,2,3);\n", {"t": 1}),
        (b"INSERT INTO `t` (`a`,`b`) VALUES (1,2),(3,4);\nINSERT INTO `t` (`a`,`b`) VALUES (5,6);\n", {"t": 3}),
        (b"INSERT INTO `h` (`a`, row_start, row_end) VALUES (1,'2026','2038'),\n(1,'2025','2026');\n", {"h": 2}),
        (b"INSERT INTO `a``b` VALUES\n(1);\n", {"a`b": 1}),
        (b"INSERT INTO `t` VALUES ('),(',';\\'),(\\\\'),('''',_binary 'a\\0b'),(0xFF00,'');\n", {"t": 3}),
        (b"INSERT INTO `t` VALUES\n('),\\n(');\nINSERT INTO `u` VALUES\n(');');\n", {"t": 1, "u": 1}),
        (b"CREATE TABLE `a\nb` (\n  `x\ny` int(11)\n);\nINSERT INTO `a\nb` VALUES\n(1),\n(2);\n", {"a\nb": 2}),
        (b"INSERT INTO `t` (`x\ny`) VALUES\n(1);\n", {"t": 1}),
        (b"INSERT INTO `\xff` VALUES\n(1);\n", {"\N{REPLACEMENT CHARACTER}": 1}),
        (b"/*!50001 CREATE VIEW `v` AS SELECT\n 1 AS `id` */;\n/*!50001 CREATE TABLE `v` (\n `id` int\n) */;\n", {}),
        (b"CREATE SEQUENCE `s` start with 1;\nDO SETVAL(`s`, 1, 0);\n", {}),
    ],
)
def test_rows_of_a_dump(dump: bytes, rows: dict[str, int]) -> None:
    assert count_rows(lines(dump)) == rows


def test_statements_in_routines_are_no_rows() -> None:
    dump = b"""\
CREATE TABLE `t` (
INSERT INTO `t` VALUES
(1);
DELIMITER ;;
CREATE DEFINER=`root`@`localhost` PROCEDURE `p`()
BEGIN
INSERT INTO `t` VALUES (5),(6);
CREATE TABLE `ghost` (id int);
END
;;
DELIMITER ;
CREATE TABLE `u` (
INSERT INTO `u` VALUES
(1),
(2);
"""
    assert count_rows(lines(dump)) == {"t": 1, "u": 2}


def test_a_long_text_needs_little_memory() -> None:
    line = b"INSERT INTO `t` VALUES (1,'" + b'x\\"y' * 500_000 + b"');\n"
    tracemalloc.start()
    try:
        assert count_rows([line]) == {"t": 1}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(line)


DUMP = b"CREATE TABLE `a` (\n);\nINSERT INTO `a` VALUES\n(1);\nCREATE TABLE `b` (\n);\n-- Dump completed\n"


def test_a_whole_dump_is_proven(tmp_path: Path) -> None:
    dump = tmp_path / "x.sql"
    dump.write_bytes(DUMP)
    MariaDB(Access()).prove("x", dump, {"a": 1, "b": 0})


@pytest.mark.parametrize(
    ("dump", "tables", "words"),
    [
        (DUMP[:-3], {"a": 1}, "broke off"),
        (b"", {}, "broke off"),
        (DUMP + b"x" * 5000, {"a": 1}, "broke off"),
        (DUMP, {"a": 1, "b": 0, "c": 2}, "does not make 1 table: c"),
    ],
)
def test_a_dump_that_lacks_something_is_no_proof(
    dump: bytes, tables: dict[str, int], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.sql"
    path.write_bytes(dump)
    with pytest.raises(IntegrityError, match=words):
        MariaDB(Access()).prove("x", path, tables)


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("CREATE USER `a`@`b`;\n-- Dump completed\n", True),
        ("/*M!100005 CREATE ROLE 'r' */;\n-- Dump completed\n", True),
        ("-- Dump completed\n", False),
        ("CREATE USER `a`@`b`;\n", False),
    ],
)
def test_a_dump_of_accounts_names_one(text: str, fine: bool, tmp_path: Path) -> None:
    dump = tmp_path / "@globals.sql"
    dump.write_text(text)
    if fine:
        MariaDB(Access()).prove(GLOBALS, dump, {})
    else:
        with pytest.raises(IntegrityError):
            MariaDB(Access()).prove(GLOBALS, dump, {})


ACCOUNTS = r"""
CREATE USER `root`@`localhost`;
CREATE USER `app`@`localhost` IDENTIFIED BY PASSWORD '*BEEDEF8A';
CREATE USER `app`@`%`;
CREATE ROLE IF NOT EXISTS mariadb_dump_import_role;
/*!80001 CREATE ROLE 'reader' */;
/*M!100005 CREATE ROLE 'reader' WITH ADMIN mariadb_dump_import_role */;
/*M!100005 GRANT 'reader' TO 'root'@'localhost' WITH ADMIN OPTION */;
GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION;
GRANT SELECT ON `wiki`.* TO `app`@`localhost`;
/*M!100005 SET DEFAULT ROLE NONE FOR 'app'@'localhost' */;
GRANT SELECT ON `wiki`.* TO `app`@`%`;
GRANT `reader` TO `app`@`%`;
GRANT SELECT ON `wiki`.* TO `reader`;
-- Dump completed
"""


def test_accounts_that_are_there_stay_as_they_are() -> None:
    kept = select_accounts(ACCOUNTS, {("root", "localhost"), ("app", "localhost")})
    assert "`root`" not in kept and "'root'" not in kept
    assert "`app`@`localhost`" not in kept and "'app'@'localhost'" not in kept and "BEEDEF8A" not in kept
    for line in ACCOUNTS.splitlines():
        if "`app`@`%`" in line or "CREATE ROLE" in line or "TO `reader`" in line:
            assert line in kept.splitlines()


def test_a_role_that_is_there_is_not_widened() -> None:
    kept = select_accounts(ACCOUNTS, {("reader", "")})
    assert "CREATE ROLE 'reader'" not in kept
    assert "GRANT SELECT ON `wiki`.* TO `reader`" not in kept
    assert "GRANT `reader` TO `app`@`%`;" in kept, "its members are other accounts, which are new"


def test_nothing_is_left_out_of_a_new_server() -> None:
    assert select_accounts(ACCOUNTS, set()) == ACCOUNTS


@pytest.mark.parametrize(
    ("name", "sql"), [("a", "`a`"), ("a`b", "`a``b`"), ("a'b\\\"", "`a'b\\\"`"), ("; DROP", "`; DROP`")]
)
def test_identifiers(name: str, sql: str) -> None:
    assert mariadb._identifier(name) == sql


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_literal_has_nothing_that_a_server_could_take_otherwise(text: str) -> None:
    literal = mariadb._literal(text)
    found = re.fullmatch(r"_utf8mb4 X'([0-9a-f]*)'", literal)
    assert found and bytes.fromhex(found[1]).decode() == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_unescaping_is_the_way_back(text: str) -> None:
    written = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\0", "\\0")
    assert mariadb._unescape(written) == text


@pytest.mark.parametrize(
    ("printed", "rows"),
    [
        (b"", []),
        (b"\n", [[""]]),
        (b"a\tb\nc\t\n", [["a", "b"], ["c", ""]]),
        (b"a\\nb\tc\\\\n\n", [["a\nb", "c\\n"]]),
        ("a\u2028b\x85c\x0cd\x1ee\r\n".encode(), [["a\u2028b\x85c\x0cd\x1ee\r"]]),
    ],
)
def test_answers_are_taken_apart_at_newlines_alone(
    printed: bytes, rows: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mariadb, "run", lambda argv, **kwargs: Result(0, printed, b""))
    assert MariaDB(Access())._ask("SELECT 1") == rows


def test_the_servers_own_databases_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = b"INFORMATION_SCHEMA\nmysql\nperformance_schema\nsys\n#mysql50#lost+found\nshop\nMySQL_app\n"
    monkeypatch.setattr(mariadb, "run", lambda argv, **kwargs: Result(0, listed, b""))
    assert MariaDB(Access()).databases() == [GLOBALS, "shop", "MySQL_app"]
    assert MariaDB(Access(), ("b", "a"), with_globals=False).databases() == ["b", "a"]
    assert MariaDB(Access(), ("shop",)).others() == ["MySQL_app"]
    assert MariaDB(Access("db.example.com"), ("shop",)).others() == [], "no files of it are on this machine"


@pytest.mark.parametrize(
    ("access", "options"),
    [
        (Access(), []),
        (Access("/run/mysqld/s"), ["--socket=/run/mysqld/s"]),
        (
            Access("db.example.com", 3307, "app"),
            ["--host=db.example.com", "--protocol=tcp", "--port=3307", "--user=app"],
        ),
        (Access(credentials_file=Path("/etc/x.cnf")), ["--defaults-extra-file=/etc/x.cnf"]),
        (
            Access("/s", user="root", throw_away=True, credentials_file=Path("/c")),
            ["--no-defaults", "--defaults-extra-file=/c", "--socket=/s", "--user=root"],
        ),
    ],
)
def test_the_command_line_begins_with_where_options_come_from(access: Access, options: list[str]) -> None:
    argv = access.command("mariadb", "--batch")
    assert argv[0] in ("mariadb", "mysql")
    assert argv[1:] == [*options, "--default-character-set=utf8mb4", "--batch"]
    assert not any("password" in word for word in argv)


def test_a_password_that_was_given_is_not_overridden_by_the_home_directorys() -> None:
    assert Access(credentials_file=Path("/etc/x.cnf")).environment["HOME"] == "/nonexistent"
    assert Access().environment == {}, "without one, ~/.my.cnf is where it comes from"


def test_mysqls_programs_do_where_mariadbs_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name.startswith("mysql") else None)
    assert mariadb.find_program("mariadb-dump") == "mysqldump"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert mariadb.find_program("mariadb-dump") == "mariadb-dump", "named in the error that follows"


def test_an_error_has_the_servers_words_and_not_the_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "--------------\nSET PASSWORD = 'hidden'\n--------------\n\nERROR 1045 (28000): Access denied\n"

    def refuse(argv: list[str], **kwargs: object) -> Result:
        raise ProcessError(f"`{argv[0]}` ended", 1, said)

    monkeypatch.setattr(mariadb, "run", refuse)
    with pytest.raises(ProcessError) as caught:
        MariaDB(Access())._ask("SELECT 1")
    assert caught.value.message == "MariaDB: ERROR 1045 (28000): Access denied"
    assert "hidden" not in caught.value.stderr


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("ERROR 2002 (HY000): Can't connect to local server through socket '/s' (2)", "apt install mariadb-server"),
        (
            "ERROR 1045 (28000): Access denied for user 'a'@'localhost' (using password: NO)",
            "the password of this entry",
        ),
        ("ERROR 1044 (42000): Access denied for user 'a'@'localhost' to database 'q'", "GRANT"),
        ("ERROR 1064 (42000): You have an error in your SQL syntax", ""),
    ],
)
def test_a_refusal_names_the_way_out(said: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(argv: list[str], **kwargs: object) -> Result:
        raise ProcessError("ended", 1, said)

    monkeypatch.setattr(mariadb, "run", refuse)
    with pytest.raises(ProcessError) as caught:
        MariaDB(Access()).version()
    assert hint in caught.value.hint and bool(hint) == bool(caught.value.hint)


def test_a_server_that_says_nothing_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def answer(argv: list[str], **kwargs: object) -> Result:
        asked.append(argv)
        return Result(0, b"10.11\n", b"")

    monkeypatch.setattr(mariadb, "run", answer)
    engine = MariaDB(Access("db.example.com"))
    assert engine.version() == "10.11" and engine.size("x") == 10 and engine.exists("x")
    assert len(asked) == 3 and all("--connect-timeout=20" in argv for argv in asked)
