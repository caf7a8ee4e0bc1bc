"""A server whose backups are well, for the tests of its report, status and page."""

from __future__ import annotations

from datetime import UTC, datetime

from sedai.server.facts import ClientFacts, Disk, Facts, GenerationFacts
from sedai.server.report import Material

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC).timestamp()
DAY = 86400.0
GIB = 1 << 30
LAPTOP = ClientFacts(
    "laptop",
    NOW - 100 * DAY,
    28 * 3600,
    tuple(GenerationFacts(f"g{n}", NOW - (5 - n) * DAY + 20 * 3600, 1000 + n, 10 * GIB, 2 * GIB) for n in range(5)),
    days={"2026-03-02": 1, "2026-03-03": 2, "2026-03-05": 0} | {f"2026-03-{day:02}": 1 for day in range(6, 11)},
)
DESK = ClientFacts("desk", NOW - DAY, 28 * 3600)
WELL = Material(Facts(NOW, (DESK, LAPTOP), Disk(100 * GIB, 40 * GIB)), [], [], NOW - 5 * DAY, {}, "No mail waits.")
