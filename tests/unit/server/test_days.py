"""What came on which day: kept longer than the generations, bounded, and never in the way of a backup."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sedai.core.generation import Generation
from sedai.core.page import WEEKS
from sedai.server import days
from sedai.server.store import ClientStore


@pytest.fixture
def store(tmp_path: Path) -> ClientStore:
    made = ClientStore(tmp_path / "laptop")
    made.prepare()
    return made


def test_a_day_counts_what_was_sealed_and_a_run_that_only_began_is_nought(store: ClientStore) -> None:
    days.begun(store, "2026-01-01")
    days.sealed(store, "2026-01-01")
    days.begun(store, "2026-01-01")
    days.sealed(store, "2026-01-01")
    days.begun(store, "2026-01-02")
    days.begun(store, "2026-01-04")
    days.sealed(store, "2026-01-04")
    days.begun(store, "2026-01-04")
    assert days.noted(store) == {"2026-01-01": 2, "2026-01-02": 0, "2026-01-04": 1}


def test_one_that_went_on_past_midnight_has_not_failed(store: ClientStore) -> None:
    for today, tomorrow in (("2026-01-01", "2026-01-02"), ("2026-01-02", "2026-01-03")):
        days.begun(store, today)
        days.sealed(store, tomorrow)
    assert days.noted(store) == {"2026-01-02": 1, "2026-01-03": 1}


def test_no_more_is_kept_than_is_shown(store: ClientStore) -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    every = [days.day(first + timedelta(days=number)) for number in range(7 * WEEKS + 10)]
    for today in every:
        days.begun(store, today)
    assert list(days.noted(store)) == every[10:]


def test_what_is_there_counts_too(store: ClientStore) -> None:
    days.begun(store, "2026-01-02")
    days.sealed(store, "2026-01-03")
    there = [Generation(number, datetime(2026, 1, day, tzinfo=UTC)) for number, day in ((1, 1), (2, 3), (3, 3))]
    assert days.counted(store, there) == {"2026-01-01": 1, "2026-01-03": 2}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"days": 3}', '{"days": {"x": 1, "2026-1-1": 1, "2026-01-32": 1}}',
                                  '{"days": {"2026-01-01": -1, "2026-01-02": true, "2026-01-03": "1"}, "began": []}'])  # fmt: skip
def test_damaged_notes_begin_anew(store: ClientStore, text: str) -> None:
    (store.root / "days.json").write_text(text)
    assert days.noted(store) == {}
    days.sealed(store, "2026-01-04")
    assert days.noted(store) == {"2026-01-04": 1}
    json.loads((store.root / "days.json").read_text())


def test_notes_that_can_not_be_kept_stop_nothing(store: ClientStore) -> None:
    (store.root / "days.json.new").mkdir()
    days.begun(store, "2026-01-04")
    days.sealed(store, "2026-01-04")
    assert days.noted(store) == {}
