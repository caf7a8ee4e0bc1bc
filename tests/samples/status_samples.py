"""A machine whose backups are well, for the tests of the status."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sedai.client.alerts import LastAlert
from sedai.client.runs import PROGRAMS, Run
from sedai.client.status import Status

NOW = 1_800_000_000.0
DAY = 86400.0
GIB = 1 << 30
SCRIPTS = Path("/home/a person/scripts")


def record(number: int, age_days: float, **changes: Any) -> dict[str, Any]:
    """A generation of 10 GiB, of which 1 GiB is new."""
    moment = time.gmtime(NOW - age_days * DAY)
    made = {
        "generation": f"{time.strftime('%Y%m%dT%H%M%SZ', moment)}-{number:06d}",
        "sealed": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", moment),
        "files": 1000, "bytes": 10 * GIB, "new_bytes": GIB,
    }  # fmt: skip
    return made | changes


WELL = Status(
    client="laptop",
    now=NOW,
    generations=(record(1, 2.1), record(2, 1.1), record(3, 0.1)),
    server={"time": NOW, "free_bytes": 100 * GIB, "total_bytes": 200 * GIB, "watch_ran": NOW - 1000, "frozen": ""},
    runs={"backup": Run(NOW - 9000, NOW - 8640, 0), "check": Run(NOW - 5000, NOW - 4990, 0)},
    next_runs=dict.fromkeys(PROGRAMS, NOW + 3600),
    last_alert=LastAlert(NOW - DAY, "laptop: backup is clean again"),
)


def runs() -> list[dict[str, Any]]:
    """Thirty days of run records: one failed backup, one without a generation, a check a day."""
    made: list[dict[str, Any]] = []
    for age in range(30, 0, -1):
        started, failed = NOW - age * DAY, age == 3
        made.append({
            "program": "backup", "started": started, "ended": started + 60 + age, "exit": 3 if failed else 0,
            "generation": "" if failed else record(40 - age, age)["generation"],
            "bytes": 10 * GIB, "new_bytes": GIB // age,
        })  # fmt: skip
        made.append({"program": "check", "level": "quick", "started": started + 600, "ended": started + 605, "exit": 0})
    return made
