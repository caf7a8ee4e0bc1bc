"""The notes beside a dump: they come back as they were, or are refused; and every database has one plain file name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sedai.client.databases.notes import GLOBALS, SUFFIX, Notes, full_name, stem
from sedai.core.errors import IntegrityError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NOTES = Notes("main", "postgresql", "shop", "shop.dump", "2026-11-25T03:15:00+00:00", 7, {"public.t": 3, "u": 4},
              "15.4", "/var/lib/pg", {"encoding": "UTF8"})  # fmt: skip


@given(TEXT, TEXT, st.dictionaries(TEXT, st.integers(0)), st.dictionaries(TEXT, TEXT))
def test_notes_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory,
    database: str,
    error: str,
    tables: dict[str, int],
    settings: dict[str, str],
) -> None:
    path = tmp_path_factory.mktemp("notes") / "x.json"
    notes = Notes("main", "mariadb", database, stem(database) + ".sql", NOTES.dumped, 1, tables, "10", "/d", settings,
                  "2026-11-26T00:00:00+00:00", error)  # fmt: skip
    path.write_text(notes.text(), encoding="utf-8")
    assert Notes.read(path) == notes


def test_a_person_can_read_them() -> None:
    table = json.loads(NOTES.text())
    assert table["name"] == "main/shop" and table["tables"] == {"public.t": 3, "u": 4} and NOTES.rows == 7
    assert NOTES.text().count("\n") > 10


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"tables": [1]},
        {"tables": {"a": "many"}},
        {"tables": None},
        {"bytes": "x"},
        {"unknown": 1},
        {"database": ["shop"]},
        {"dumped": "2026-11-2X"},
        {"dumped": "2026-11-25T03:15:00"},
        {"dumped": 7},
        {"settings": {"encoding": 1}},
        {"settings": None},
        {"file": ""},
        {"file": ".."},
        {"file": "../../etc/passwd"},
        {"file": "/etc/passwd"},
        {"file": "a\0b"},
    ],
)
def test_damaged_notes_are_refused(change: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(json.loads(NOTES.text()) | change))
    with pytest.raises(IntegrityError, match=r"x\.json"):
        Notes.read(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff", NOTES.text().encode()[:-3]])
def test_what_are_no_notes_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(IntegrityError):
        Notes.read(path)
    with pytest.raises(IntegrityError):
        Notes.read(tmp_path / "none.json")


def test_stale_keeps_the_time_of_the_first_failure_and_the_last_reason() -> None:
    stale = NOTES.stale("2026-11-26", "no answer").stale("2026-11-27", "still none")
    assert (stale.stale_since, stale.stale_error) == ("2026-11-26", "still none")
    assert stale.dumped == NOTES.dumped and NOTES.stale_since == ""


@pytest.mark.parametrize(
    ("kind", "name"), [("sqlite", "app"), ("postgresql", "app/x"), ("mariadb", "app/x"), ("mysql", "app/x")]
)
def test_names_for_people(kind: str, name: str) -> None:
    assert full_name("app", kind, "x") == name


@given(st.lists(TEXT.filter(bool), min_size=2, max_size=2, unique=True))
@example([".", ".."])
@example(["a/b", "a%2Fb"])
@example(["/etc/passwd", "../../x"])
@example(["@globals2", "%40globals"])
@example(["世" * 21, "代" * 64])
@example(["世" * 63 + "あ", "世" * 63 + "い"])
@example(["\N{GRINNING FACE}" * 64, "x" * 64])
def test_every_name_is_a_plain_file_of_its_own(names: list[str]) -> None:
    stems = [stem(name) for name in names]
    assert stems[0] != stems[1]
    for name, made in zip(names, stems, strict=True):
        for ending in (".sqlite.new-journal", ".dump.new", f"{SUFFIX}.new", ".sql"):
            file = made + ending
            assert os.path.basename(file) == file and file not in (".", "..") and "\0" not in file and "\n" not in file
            assert len(os.fsencode(file)) <= 255
        assert made.isascii() and (made == GLOBALS) == (name == GLOBALS)


def test_ordinary_names_stay_readable() -> None:
    assert [stem(name) for name in ("shop", "my shop", "a.b-c_d", GLOBALS)] == ["shop", "my shop", "a.b-c_d", GLOBALS]
