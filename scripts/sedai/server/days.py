"""What came on which day (UTC): a number for each, kept for longer than the generations are.

It is how many were sealed, and 0 where a run began and none was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from sedai.core.generation import Generation
from sedai.server.notebook import read_json, write_json
from sedai.server.store import ClientStore

# All that the page shows (page.WEEKS, which is slow to import for a gate).
_KEPT = 7 * 18


def day(moment: datetime) -> str:
    """The day of ``moment``, which is in UTC: 2026-01-31."""
    return f"{moment:%Y-%m-%d}"


def begun(store: ClientStore, today: str) -> None:
    """A run has begun; the store's lock is held."""
    _write(store, {today: 0} | noted(store), today)


def sealed(store: ClientStore, today: str) -> None:
    """A run has ended well; the store's lock is held."""
    known, began = noted(store), str(_table(store).get("began"))
    if began != today and known.get(began) == 0:  # it went on past midnight
        del known[began]
    _write(store, known | {today: known.get(today, 0) + 1}, today)


def noted(store: ClientStore) -> dict[str, int]:
    """The days that were noted; none where the notes are missing or damaged."""
    days = _table(store).get("days")
    if not isinstance(days, dict):
        return {}
    return {name: count for name, count in days.items() if _is_day(name) and type(count) is int and count >= 0}


def counted(store: ClientStore, generations: Iterable[Generation]) -> dict[str, int]:
    """What was noted, with the ``generations`` that are there: some are older than the notes, or were imported."""
    there: dict[str, int] = {}
    for generation in generations:
        name = day(generation.time)
        there[name] = there.get(name, 0) + 1
    known = noted(store)
    return {name: max(known.get(name, 0), there.get(name, 0)) for name in sorted({*known, *there})}


def _is_day(name: str) -> bool:
    try:
        return day(datetime.strptime(name, "%Y-%m-%d")) == name
    except ValueError:
        return False


def _place(store: ClientStore) -> Path:
    return store.root / "days.json"


def _table(store: ClientStore) -> dict[str, Any]:
    table = read_json(_place(store))
    return table if isinstance(table, dict) else {}


def _write(store: ClientStore, days: dict[str, int], began: str) -> None:
    kept = dict(sorted(days.items())[-_KEPT:])
    with contextlib.suppress(OSError):  # a full disk: the day is then counted by what is there
        write_json(_place(store), {"began": began, "days": kept})
