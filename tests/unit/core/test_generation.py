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
        ("1 of 1", "daily 2026-01-03"),
    ]
    verdicts = decide([*daily(3), Generation(4, START + timedelta(days=2, hours=1))], Retention(keep_last=3))
    assert [verdict.reasons for verdict in verdicts] == [
        (),
        ("3 of 3", "first of 2026-01-02"),
        ("2 of 3", "first of 2026-01-03"),
        ("1 of 3",),
    ]


def test_the_rule_is_said_in_words() -> None:
    assert str(Retention()) == (
        "10 generations are kept: the first of each of the last 9 days with a backup, so that many in a short time push "
        "none of them out, and the newest in the places that are left. Days are those of UTC."
    )
    assert str(Retention(keep_last=3, guard_days=0, keep_weekly=4)) == (
        "3 generations are kept; beside them 4 weekly. Days are those of UTC."
    )


rules = st.builds(Retention, st.integers(1, 5), st.integers(0, 4), st.integers(0, 4), st.integers(0, 4))
times = st.lists(st.integers(0, 400 * 24), max_size=40)


def at(hours: list[int], start: int = 1) -> list[Generation]:
    """Generations so many hours after the start."""
    return [Generation(number, START + timedelta(hours=hour)) for number, hour in enumerate(hours, start)]


@given(times, rules)
def test_the_newest_stays_and_the_number_is_bounded(hours: list[int], rule: Retention) -> None:
    """Whatever the clock did: the times need not rise."""
    remaining = kept(at(hours), rule)
    assert set(remaining) >= ({len(hours)} if hours else set())
    assert len(remaining) >= min(len(hours), rule.keep_last)
    assert len(remaining) <= rule.keep_last + rule.keep_daily + rule.keep_weekly + rule.keep_monthly


@given(times, rules)
def test_pruning_twice_is_pruning_once(hours: list[int], rule: Retention) -> None:
    generations = at(sorted(hours))
    once = [verdict.generation for verdict in decide(generations, rule) if verdict.keep]
    assert [verdict.generation for verdict in decide(once, rule) if verdict.keep] == once


@given(times, st.integers(1, 12))
def test_without_guard_the_newest_stay(hours: list[int], count: int) -> None:
    generations = at(sorted(hours))
    assert kept(generations, Retention(count, guard_days=0)) == [one.sequence for one in generations][-count:]


@given(st.lists(st.integers(0, 20 * 24), min_size=1, max_size=30), st.lists(st.integers(0, 20 * 24), max_size=60))
def test_a_burst_pushes_out_no_first_of_its_day(before: list[int], burst: list[int]) -> None:
    """However many come, at whatever hours, pruned after each: what was the first of its day stays for eight days."""
    rule = Retention()
    generations: list[Generation] = []
    own = sorted(before)
    moments = [(hour, "own") for hour in own] + [(own[-1] + hour, "theirs") for hour in sorted(burst)]
    firsts: dict[str, Generation] = {}
    for sequence, (hour, who) in enumerate(moments, 1):
        made = Generation(sequence, START + timedelta(hours=hour))
        generations = [verdict.generation for verdict in decide([*generations, made], rule) if verdict.keep]
        if who == "own":
            firsts.setdefault(f"{made.time:%j}", made)
        assert len(generations) <= rule.keep_last
        assert made in generations
        guarded = {one for one in firsts.values() if made.time - one.time < timedelta(days=8)}
        assert guarded <= set(generations)


def test_twelve_in_a_row_leave_ten() -> None:
    quick = [Generation(number, START + timedelta(seconds=number)) for number in range(1, 13)]
    assert kept(quick, Retention()) == [1, *range(4, 13)]


def test_endless_seals_after_ten_days_leave_nine_of_them() -> None:
    burst = [Generation(number, START + timedelta(days=9, minutes=number)) for number in range(11, 1011)]
    assert kept([*daily(10), *burst], Retention()) == [*range(2, 11), 1010]


@pytest.mark.parametrize(
    "each_day, days, left",
    [
        (20, 0, [*range(2, 11)]),  # on the day of the last honest ones: the second of that day goes, no first of a day
        *((20, days, [*range(2 + days, 11)]) for days in range(1, 9)),
        (20, 9, []),
        (1, 8, [10, 11]),
        (1, 9, [11]),
        (1, 10, []),
    ],
)
def test_what_a_thief_pushes_out_in_so_many_days(each_day: int, days: int, left: list[int]) -> None:
    """One generation on each of ten days and a second on the last of them; then the thief's, pruned after each."""
    honest = [*daily(10), Generation(11, START + timedelta(days=9, hours=1))]
    generations = [verdict.generation for verdict in decide(honest, Retention()) if verdict.keep]
    moments = [
        START + timedelta(days=9 + day, hours=2, minutes=number)
        for day in range(min(days, 1), days + 1)
        for number in range(each_day)
    ]
    for sequence, moment in enumerate(moments, 12):
        made = [*generations, Generation(sequence, moment)]
        generations = [verdict.generation for verdict in decide(made, Retention()) if verdict.keep]
    assert [one.sequence for one in generations if one.sequence < 12] == left


def test_a_rule_for_few_guards_one_day_less_than_it_has_places() -> None:
    burst = [Generation(number, START + timedelta(days=9, minutes=number)) for number in range(11, 1011)]
    assert kept([*daily(10), *burst], Retention(keep_last=3)) == [9, 10, 1010]
    assert kept([*daily(10), *burst], Retention(keep_last=1)) == [1010]


@pytest.mark.parametrize("wrong", [{"keep_last": 0}, {"keep_daily": -1}, {"guard_days": -1}])
def test_a_rule_that_keeps_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|negative"):
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
