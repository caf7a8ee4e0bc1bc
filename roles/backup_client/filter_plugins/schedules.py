"""Filter: when cron runs something, in words."""

from __future__ import annotations

import re
from collections.abc import Callable

_DAYS = {
    "en": ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"),
    "ja": ("日曜", "月曜", "火曜", "水曜", "木曜", "金曜", "土曜"),
}
_WORDS = {
    "en": {"day": "every day at {at}", "week": "every {day} at {at}", "month": "on day {date} of each month at {at}"},
    "ja": {"day": "毎日 {at}", "week": "毎週{day} {at}", "month": "毎月 {date} 日 {at}"},
}


def in_words(schedule: str, language: str) -> str:
    """``schedule``: minute, hour, day of month, month, day of week, as in crontab(5). What is not that simple stays as it is.

    ``language``: en or ja.
    """
    found = re.fullmatch(r"(\d+) (\d+) (\*|\d+) \* (\*|[0-7])", schedule.strip())
    if not found or (found[3] != "*" and found[4] != "*"):  # cron takes either of two days
        return schedule
    at = f"{int(found[2]):02}:{int(found[1]):02}"
    kind = "month" if found[3] != "*" else "week" if found[4] != "*" else "day"
    day = _DAYS[language][int(found[4]) % 7] if kind == "week" else ""
    return _WORDS[language][kind].format(at=at, day=day, date=found[3])


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Callable[[str, str], str]]:
        """The filters by name."""
        return {"schedule_in_words": in_words}
