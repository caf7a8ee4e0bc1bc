"""What is mailed of an incident that is reported again and again."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedai.mail import words
from sedai.mail.fold import Incident, Say, is_forgotten, is_key, is_reminder_due, reminded, report

HOUR = 3600.0
DAY = 24 * HOUR
NOW = 1_800_000_000.0


def incident(**changes: object) -> Incident:
    """One that was mailed ten hours ago and reported twice since."""
    known = Incident("backup", NOW - 34 * HOUR, NOW - HOUR, NOW - 10 * HOUR, 5, 2, ("FAILED",), "FAILED", "why")
    return dataclasses.replace(known, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("known", "subject", "waiting", "say", "folded"),
    [
        (None, "FAILED", False, Say.THIS, 0),
        (None, "FAILED", True, Say.THIS, 0),
        (incident(), "FAILED", False, Say.NOTHING, 3),
        (incident(), "worse", False, Say.THIS, 0),
        (incident(), "worse", True, Say.THIS, 0),
        (incident(told=("FAILED", "worse")), "worse", False, Say.NOTHING, 3),
        (incident(told=tuple(map(str, range(20)))), "the 21st subject", False, Say.NOTHING, 3),
        (incident(mailed=NOW - DAY + 1), "FAILED", False, Say.NOTHING, 3),
        (incident(mailed=NOW - DAY), "FAILED", False, Say.REMINDER, 3),
        (incident(mailed=NOW - DAY), "FAILED", True, Say.NOTHING, 3),
        (incident(mailed=NOW - DAY), "worse", False, Say.THIS, 0),
        (incident(mailed=NOW + HOUR / 2), "FAILED", False, Say.NOTHING, 3),  # the clock was set back a little
        (incident(mailed=NOW + 30 * DAY), "FAILED", False, Say.REMINDER, 3),  # or had run ahead by far
    ],
)
def test_a_report(known: Incident | None, subject: str, waiting: bool, say: Say, folded: int) -> None:
    after, said = report(known, key="backup", subject=subject, body="text", now=NOW, waiting=waiting)
    assert (said, after.folded, after.last, after.subject, after.body) == (say, folded, NOW, subject, "text")
    assert (after.first, after.total) == ((known.first, known.total + 1) if known else (NOW, 1))


def test_a_reminder_is_due_only_for_something_new() -> None:
    assert not is_reminder_due(incident(folded=0, mailed=0.0), NOW)
    assert is_reminder_due(incident(folded=1, mailed=0.0), NOW)
    after = reminded(incident(mailed=0.0, told=("a", "b", "FAILED")), NOW)
    assert (after.mailed, after.folded, after.told, after.total) == (NOW, 0, ("FAILED",), 5)


def test_what_was_quiet_for_a_month_is_forgotten() -> None:
    assert is_forgotten(incident(folded=0, last=NOW - 31 * DAY), NOW)
    assert not is_forgotten(incident(folded=0, last=NOW - 29 * DAY), NOW)
    assert not is_forgotten(incident(folded=1, last=NOW - 31 * DAY), NOW)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 2 * DAY), st.sampled_from("abc")), min_size=1, max_size=60))
def test_nothing_is_held_back_longer_than_a_day_and_nothing_is_repeated_sooner(
    reports: list[tuple[float, str]],
) -> None:
    """With cron's flush each minute every report is mailed, or told by a reminder within a day of the last mail."""
    now = NOW
    known: Incident | None = None
    mailed: list[tuple[float, str]] = []
    for wait, subject in reports:
        if known is not None and known.folded and now + wait >= known.mailed + DAY:
            assert is_reminder_due(known, known.mailed + DAY)
            mailed.append((known.mailed + DAY, known.subject))
            known = reminded(known, known.mailed + DAY)
        now += wait
        known, say = report(known, key="k", subject=subject, body="", now=now, waiting=False)
        if say is Say.REMINDER:
            known = reminded(known, now)
        if say is not Say.NOTHING:
            mailed.append((now, subject))
        assert known.folded == 0 or now - known.mailed < DAY
        assert mailed[-1][0] == known.mailed
    assert known is not None
    assert known.total == len(reports)
    for subject in "abc":
        times = [time for time, told in mailed if told == subject]
        assert all(later - earlier >= DAY - 1 for earlier, later in itertools.pairwise(times))


@pytest.mark.parametrize("key", ["backup", "client:laptop:check-full-all", "watch:disk", "a" * 200])
def test_keys(key: str) -> None:
    assert is_key(key)


@pytest.mark.parametrize("key", ["", "-x", "a b", "a\n", "世代", "a" * 201, "--flush"])
def test_what_is_no_key(key: str) -> None:
    assert not is_key(key)


@pytest.mark.parametrize("language", words.LANGUAGES)
def test_reminder_and_end_say_how_often_and_since_when(language: str) -> None:
    known = incident(first=NOW)
    subject, body = words.reminder(known, language)
    assert subject.endswith("FAILED") and subject != "FAILED"
    assert "2027-01-15" in body and "5" in body and "2" in body and body.startswith("why\n\n")
    over = words.over(known, "all is well\n", language)
    assert over.startswith("all is well\n\n") and "2027-01-15" in over and "5" in over
