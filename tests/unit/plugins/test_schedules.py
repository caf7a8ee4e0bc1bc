"""What site.yml's last lines say of cron's times."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[3] / "roles/backup_client/filter_plugins/schedules.py"
_SPECIFICATION = importlib.util.spec_from_file_location("schedules", PATH)
assert _SPECIFICATION is not None and _SPECIFICATION.loader is not None
schedules = importlib.util.module_from_spec(_SPECIFICATION)
_SPECIFICATION.loader.exec_module(schedules)


@pytest.mark.parametrize("schedule, english, japanese", [
    ("15 3 * * *", "every day at 03:15", "毎日 03:15"),
    ("45 5 * * 0", "every Sunday at 05:45", "毎週日曜 05:45"),
    ("45 5 * * 7", "every Sunday at 05:45", "毎週日曜 05:45"),
    ("5 16 * * 6", "every Saturday at 16:05", "毎週土曜 16:05"),
    ("15 6 1 * *", "on day 1 of each month at 06:15", "毎月 1 日 06:15"),
    ("15 6 1 * 1", "15 6 1 * 1", "15 6 1 * 1"),
    ("*/10 * * * *", "*/10 * * * *", "*/10 * * * *"),
    ("15 3 * 1 *", "15 3 * 1 *", "15 3 * 1 *"),
    ("@daily", "@daily", "@daily"),
])  # fmt: skip
def test_in_words(schedule: str, english: str, japanese: str) -> None:
    assert schedules.in_words(schedule, "en") == english
    assert schedules.in_words(schedule, "ja") == japanese
