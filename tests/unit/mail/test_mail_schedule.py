"""What becomes of a mail after each exit status of msmtp."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedai.mail.schedule import Fate, decide, delay, is_due, meaning

DAY = 86400.0


@pytest.mark.parametrize(
    ("status", "attempts", "age_days", "fate", "round_goes_on"),
    [
        (0, 1, 0, Fate.DELIVERED, True),
        (0, 500, 30, Fate.DELIVERED, True),
        (65, 1, 0, Fate.WAITS, True),
        (69, 1, 0, Fate.WAITS, False),
        (75, 1, 0, Fate.WAITS, False),
        (77, 1, 0, Fate.WAITS, False),
        (78, 1, 0, Fate.WAITS, False),
        (127, 1, 0, Fate.WAITS, False),
        (-9, 1, 0, Fate.WAITS, False),
        (75, 19, 8, Fate.WAITS, False),  # old only because the clock jumped
        (75, 20, 6.9, Fate.WAITS, False),
        (75, 20, 7.1, Fate.PARKED, False),
        (65, 20, 7.1, Fate.PARKED, True),
    ],
)
def test_decision(status: int, attempts: int, age_days: float, fate: Fate, round_goes_on: bool) -> None:
    now = 1_800_000_000.0
    decision = decide(status, attempts=attempts, created=now - age_days * DAY, now=now, keep_trying_seconds=7 * DAY)
    assert (decision.fate, decision.round_goes_on) == (fate, round_goes_on)
    if fate is Fate.WAITS:
        assert decision.next_attempt == now + delay(attempts)


@pytest.mark.parametrize(
    ("attempts", "minutes"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (7, 30), (999, 30)]
)
def test_backoff_doubles_up_to_half_an_hour(attempts: int, minutes: int) -> None:
    assert delay(attempts) == minutes * 60


@pytest.mark.parametrize(
    ("next_attempt", "due"), [(0.0, True), (1000.0, True), (1001.0, False), (2800.0, False), (2801.0, True)]
)
def test_a_time_from_a_wrong_clock_counts_as_now(next_attempt: float, due: bool) -> None:
    assert is_due(next_attempt, 1000.0) is due


@given(st.integers(-64, 255), st.integers(1, 10_000), st.floats(0, 1e10))
def test_only_success_ends_a_mail_and_nothing_waits_for_ever(status: int, attempts: int, age: float) -> None:
    decision = decide(status, attempts=attempts, created=0.0, now=age, keep_trying_seconds=7 * DAY)
    assert (decision.fate is Fate.DELIVERED) is (status == 0)
    if decision.fate is Fate.WAITS:
        assert 60 <= decision.next_attempt - age <= 1801


def test_every_status_has_words() -> None:
    assert meaning(77).startswith("the login was refused")
    assert meaning(3) == "msmtp ended with status 3"
