"""Names, records and retention."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedai.core.errors import IntegrityError
from sedai.core.generation import Generation, Record, Retention, decide

START = datetime(2026, 1, 1, 3, 15, tzinfo=UTC)


def daily(count: int) -> list[Generation]:
    """One generation a day."""
    return [Generation(number + 1, START + timedelta(days=number)) for number in range(count)]


def kept(generations: list[Generation], rule: Retention) -> list[int]:
    """Sequence numbers of what the rule keeps."""
    return [verdict.generation.sequence for verdict in decide(generations, rule) if verdict.keep]


@pytest.mark.parametrize(
    "name", ["", "latest", "20261301T000000Z-000001", "20260101T031500Z-1", "20260101T031500Z-000001/..", "x"]
)
def test_what_is_no_name_is_none(name: str) -> None:
    assert Generation.parse(name) is None


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1)), st.integers(1, 10**8))
def test_a_name_reads_back(moment: datetime, sequence: int) -> None:
    generation = Generation(sequence, moment.replace(microsecond=0, tzinfo=UTC))
    assert Generation.parse(str(generation)) == generation


def test_the_sequence_orders_not_the_clock() -> None:
    earlier, later = Generation(1, START), Generation(2, START - timedelta(hours=5))
    assert sorted([later, earlier]) == [earlier, later]


@pytest.mark.parametrize(
    ("rule", "count", "expected"),
    [
        (Retention(), 9, list(range(1, 10))),
        (Retention(), 10, list(range(1, 11))),
        (Retention(), 12, list(range(3, 13))),
        (Retention(keep_last=1), 3, [3]),
        (Retention(keep_last=2, keep_weekly=2), 15, [11, 14, 15]),
        (Retention(keep_last=1, keep_monthly=3), 62, [31, 59, 62]),
        (Retention(keep_last=1, keep_daily=3), 5, [3, 4, 5]),
        (Retention(), 0, []),
    ],
)
def test_what_a_rule_keeps(rule: Retention, count: int, expected: list[int]) -> None:
    assert kept(daily(count), rule) == expected


def test_each_verdict_says_why() -> None:
    verdicts = decide(daily(3), Retention(keep_last=1, keep_daily=2))
    assert [verdict.reasons for verdict in verdicts] == [
        (),
        ("daily 2026-01-02",),
        ("last 1 of 1", "daily 2026-01-03"),
    ]


rules = st.builds(Retention, st.integers(1, 5), st.integers(0, 4), st.integers(0, 4), st.integers(0, 4))
times = st.lists(st.integers(0, 400 * 24), max_size=40)


@given(times, rules)
def test_the_newest_always_stay(hours: list[int], rule: Retention) -> None:
    generations = [Generation(number, START + timedelta(hours=hour)) for number, hour in enumerate(hours, 1)]
    remaining = kept(generations, rule)
    newest = [generation.sequence for generation in generations][-rule.keep_last :]
    assert set(newest) <= set(remaining)
    limit = rule.keep_last + rule.keep_daily + rule.keep_weekly + rule.keep_monthly
    assert len(remaining) <= limit


@given(times, rules)
def test_pruning_twice_is_pruning_once(hours: list[int], rule: Retention) -> None:
    generations = [Generation(number, START + timedelta(hours=hour)) for number, hour in enumerate(hours, 1)]
    once = [verdict.generation for verdict in decide(generations, rule) if verdict.keep]
    assert [verdict.generation for verdict in decide(once, rule) if verdict.keep] == once


@pytest.mark.parametrize("wrong", [{"keep_last": 0}, {"keep_daily": -1}])
def test_a_rule_that_keeps_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="keep_"):
        Retention(**wrong)


RECORD = Record("20260101T031500Z-000001", "laptop", "a", "b", 3, 2, 10, 1, 0, 4, "ab", "", "", "0.1.0", ("/etc",))


def test_a_record_reads_back(tmp_path: Path) -> None:
    RECORD.write(tmp_path / "r")
    assert Record.read(tmp_path / "r") == RECORD


@pytest.mark.parametrize("damage", [{"entries": "3"}, {"entries": None}, {"generation": 3}, {"sources": 3}])
def test_a_damaged_record_is_refused(tmp_path: Path, damage: dict[str, object]) -> None:
    RECORD.write(tmp_path / "r")
    table = json.loads((tmp_path / "r").read_text()) | damage
    (tmp_path / "r").write_text(json.dumps(table))
    with pytest.raises(IntegrityError):
        Record.read(tmp_path / "r")


@pytest.mark.parametrize("content", ["", "[]", "{}", "3", '{"generation": '])
def test_what_is_no_record_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "r").write_text(content)
    with pytest.raises(IntegrityError):
        Record.read(tmp_path / "r")
