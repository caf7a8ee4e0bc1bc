"""When cron runs what next, read from the crontab itself: what is planned counts, not what was configured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from sedai.core.errors import ProcessError
from sedai.core.process import run

# Ansible's module writes the name of a job into a comment above its line.
_NAME = re.compile(r"#Ansible: sedai (.+)")


def crontab() -> str:
    """This account's crontab; empty where there is none, or no cron."""
    try:
        return run(["crontab", "-l"]).stdout.decode(errors="replace")
    except ProcessError:
        return ""


def next_runs(table: str, now: datetime) -> dict[str, datetime]:
    """The next run of each of our jobs in a crontab (crontab(5)) after ``now``; what never runs again is left out."""
    from croniter import CroniterBadCronError, CroniterBadDateError, croniter  # slow to import, and wanted rarely

    found = {}
    for name, line in _jobs(table):
        fields = line.split(None, 5)
        if len(fields) < 6 or line.startswith("@"):
            continue  # "@reboot" has no time
        try:
            found[name] = croniter(" ".join(fields[:5]), now).get_next(datetime)
        except (CroniterBadCronError, CroniterBadDateError):
            continue
    return found


def _jobs(table: str) -> Iterator[tuple[str, str]]:
    name = ""
    for line in table.splitlines():
        match = _NAME.match(line)
        if match:
            name = match[1]
        elif name and line.strip():
            if not line.startswith("#"):
                yield name, line.strip()
            name = ""
