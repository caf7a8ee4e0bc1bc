"""Which generation a person means, and what is known of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from sedai.client import catalog, states
from sedai.core.errors import UsageError

NAMES = ["20260101T031500Z-000001", "20260102T031500Z-000002", "20260103T031500Z-000003"]
RECORDS: list[dict[str, Any]] = [
    {"generation": NAMES[0], "sealed": "2026-01-01T03:15:00+00:00"},
    {"generation": NAMES[1], "error": "unreadable"},  # its name tells when
    {"generation": NAMES[2], "sealed": "2026-01-03T03:15:00+00:00"},
]


@pytest.fixture(autouse=True)
def _tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nine hours ahead of UTC, so that local days are other days."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-01-02", "2026-01-02T14:59:59.999999"),
        ("20260102", "2026-01-02T14:59:59.999999"),
        ("2026-01-02T12:15", "2026-01-02T03:15:00"),
        ("2026-01-02 12:15:01", "2026-01-02T03:15:01"),
        ("2026-01-02T03:15:00Z", "2026-01-02T03:15:00"),
        ("2026-01-02T03:15:00+01:00", "2026-01-02T02:15:00"),
    ],
)
def test_a_time_means(text: str, utc: str) -> None:
    assert catalog.moment(text) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-02-30", "2026-01-02T25:00", "9999-12-31", "12:00", "0001-01-01T00:00"]
)
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        catalog.moment(text)


def test_a_bare_date_is_the_end_of_that_day_when_clocks_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    assert catalog.moment("2026-10-25") == datetime(2026, 10, 25, 22, 59, 59, 999999, tzinfo=UTC)  # 25 hours long


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("2026-01-01", NAMES[0]),
        ("2026-01-02", NAMES[1]),
        ("2026-01-02T12:14:59", NAMES[0]),
        ("2026-01-02T12:15", NAMES[1]),
        ("2026-01-03T03:15:00Z", NAMES[2]),
        ("2030-01-01", NAMES[2]),
    ],
)
def test_at_takes_the_newest_that_is_old_enough(text: str, name: str) -> None:
    assert catalog.choose_at(RECORDS, catalog.moment(text))["generation"] == name


def test_nothing_is_as_old_as_that() -> None:
    with pytest.raises(UsageError) as refused:
        catalog.choose_at(RECORDS, catalog.moment("2025-12-31"))
    assert refused.value.message == "No generation is as old as 2025-12-31 23:59."
    assert NAMES[0] in refused.value.hint and "2026-01-01 12:15" in refused.value.hint


@pytest.mark.parametrize(("name", "chosen"), [("latest", 2), ("previous", 1), (NAMES[0], 0)])
def test_names(name: str, chosen: int) -> None:
    assert catalog.choose(RECORDS, name) is RECORDS[chosen]


def test_an_unknown_name_is_told_which_there_are() -> None:
    with pytest.raises(UsageError) as refused:
        catalog.choose(RECORDS, "20260101T031500Z-000009")
    assert all(name in refused.value.hint for name in NAMES)
    with pytest.raises(UsageError, match="only one generation"):
        catalog.choose(RECORDS[:1], "previous")
    for choose in (catalog.choose, lambda records, name: catalog.choose_at(records, catalog.moment("2026-01-01"))):
        with pytest.raises(UsageError, match="There is no generation yet"):
            choose([], "latest")


def check(level: str, day: int, checked: list[str], *findings: tuple[str, str]) -> dict[str, Any]:
    """The record of a check; the findings are (code, generation)."""
    ended = datetime(2026, 1, day, 12, tzinfo=UTC).timestamp()
    found = [{"code": code, "generation": generation} for code, generation in findings]
    return {"program": "check", "level": level, "ended": ended, "checked": checked, "findings": found}


A, B = NAMES[:2]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([], {}),
        ([{"program": "backup", "generation": A}], {}),
        ([{"program": "check", "exit": 3, "lines": ["no"]}], {}),  # it could not be carried out
        ([check("quick", 1, [A])], {A: "names checked 2026-01-01"}),
        ([check("full", 1, [A, B])], {A: "every byte checked 2026-01-01", B: "every byte checked 2026-01-01"}),
        (
            [check("full", 1, [A]), check("quick", 2, [A])],
            {A: "every byte checked 2026-01-01, names checked 2026-01-02"},
        ),
        ([check("quick", 1, [A]), check("full", 2, [A])], {A: "every byte checked 2026-01-02"}),
        ([check("full", 1, [A], ("content", A), ("size", A))], {A: "DAMAGED: 2 problems (checked 2026-01-01)"}),
        # A quick check does not see what a full one saw; a later full one does.
        (
            [check("full", 1, [A], ("content", A)), check("quick", 2, [A])],
            {A: "DAMAGED: 1 problem (checked 2026-01-01)"},
        ),
        ([check("full", 1, [A], ("content", A)), check("full", 3, [A])], {A: "every byte checked 2026-01-03"}),
        (
            [check("full", 1, [A]), check("quick", 2, [A], ("missing", A))],
            {A: "DAMAGED: 1 problem (checked 2026-01-02)"},
        ),
        ([check("quick", 1, [A], ("missing", A)), check("quick", 2, [A])], {A: "names checked 2026-01-02"}),
        # Neither age nor clocks say anything about the bytes; a rewritten manifest does.
        ([check("quick", 1, [A], ("stale", A), ("clock", ""), ("time", A))], {A: "names checked 2026-01-01"}),
        ([check("quick", 1, [A], ("tampered", A))], {A: "DAMAGED: 1 problem (checked 2026-01-01)"}),
    ],
)
def test_the_state_is_what_the_checks_found(runs: list[dict[str, Any]], expected: dict[str, str]) -> None:
    assert {name: found.words() for name, found in states.conditions(runs).items() if name} == expected


def test_the_list_tells_local_time_counts_and_state() -> None:
    whole = RECORDS[0] | {"files": 12, "bytes": 2048, "new_bytes": 100}
    first, second = states.rows([whole, RECORDS[1]], {A: states.Condition(quick="2026-01-01", day="2026-01-01")})
    assert first.split(maxsplit=3)[:3] == [A, "2026-01-01", "12:15"]
    assert "12 files" in first and "2.0 KiB" in first and "new      100 B" in first
    assert first.endswith("names checked 2026-01-01")
    assert second == f"{B}  2026-01-02 12:15  DAMAGED: unreadable"
    assert states.condition(whole, {}).words() == "not checked yet"
