"""What the watch calls wrong: tables of single troubles, and rules that hold for any store."""

from __future__ import annotations

import dataclasses
import math
import os
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedai.server import words
from sedai.server.config import Watch
from sedai.server.facts import ClientFacts, Disk, Facts, GenerationFacts
from sedai.server.judge import CLIENT_KINDS, SERVER_KINDS, Finding, growth, is_known, judge

HOUR = 3600.0
DAY = 24 * HOUR
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC).timestamp()
GIB = 1 << 30
LIMITS = Watch()
ROOMY = Disk(1000 * GIB, 500 * GIB, 1000, 500)


def generation(number: int, age: float, **changes: object) -> GenerationFacts:
    """One of 1,000 files with 10 GiB, of which 1 GiB is new."""
    made = GenerationFacts(f"g{number}", NOW - age, 1000, 10 * GIB, GIB)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def daily(count: int, **newest: object) -> tuple[GenerationFacts, ...]:
    """One a day, the newest two hours old."""
    made = [generation(number, 2 * HOUR + (count - 1 - number) * DAY) for number in range(count)]
    made[0] = dataclasses.replace(made[0], is_first=True, new_bytes=10 * GIB)
    made[-1] = dataclasses.replace(made[-1], **newest)  # type: ignore[arg-type]
    return tuple(made)


def client(*generations: GenerationFacts, **changes: object) -> ClientFacts:
    """A client that has been known for a year."""
    made = ClientFacts("laptop", NOW - 365 * DAY, 28 * HOUR, generations)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def kinds(found: ClientFacts, disk: Disk | None = ROOMY, **changes: object) -> list[str]:
    """What is wrong with one client and the disk."""
    facts = dataclasses.replace(Facts(NOW, (found,), disk), **changes)  # type: ignore[arg-type]
    return [finding.kind for finding in judge(facts, LIMITS)]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (client(*daily(5)), []),
        (client(*daily(1)), []),
        (client(generation(1, 28 * HOUR)), []),
        (client(generation(1, 28 * HOUR + 1)), ["stale"]),
        (client(generation(1, 40 * HOUR), max_age_seconds=50 * HOUR), []),
        # None at all: since the client was configured.
        (client(known_since=NOW - 28 * HOUR), []),
        (client(known_since=NOW - 28 * HOUR - 1), ["never"]),
        # From the future: it hides no lateness.
        (client(generation(1, -299)), []),
        (client(generation(1, -301)), ["future"]),
        (client(generation(1, 3 * DAY), generation(2, -DAY)), ["future", "stale"]),
        (client(generation(1, -2 * DAY), generation(2, HOUR)), ["future", "order"]),
        # Older than its predecessor: only the newest two, so that it is over with the next one.
        (client(generation(1, HOUR), generation(2, 2 * HOUR)), ["order"]),
        (client(generation(1, HOUR), generation(2, 2 * HOUR), generation(3, 0)), []),
        # The check, which the client asks for; one that never began a backup owes none.
        (client(*daily(2), checked=NOW - 50 * HOUR), []),
        (client(*daily(2), checked=NOW - 50 * HOUR - 1), ["unchecked"]),
        (client(*daily(2), checked=0.0), []),
        # Its alerts: what waited for a run that comes once a day is no trouble.
        (client(*daily(2), alerts_stuck=26 * HOUR), []),
        (client(*daily(2), alerts_stuck=26 * HOUR + 1), ["unheard"]),
        (client(*daily(2), alerts_stuck=math.inf), ["unheard"]),
        # Suspiciously small: half of the median of the earlier ones.
        (client(*daily(5, files=500)), []),
        (client(*daily(5, files=499)), ["small"]),
        (client(*daily(5, bytes=5 * GIB)), []),
        (client(*daily(5, bytes=5 * GIB - 1)), ["small"]),
        (client(*daily(2, files=0, bytes=0)), ["small"]),
        (client(*daily(1, files=0, bytes=0)), []),
        (client(*daily(5, files=9000)), []),
        # One that can't be read: it is named, and the newest whole one is judged.
        (client(*daily(5, error="damaged", files=0, bytes=0)), ["record"]),
        (client(*daily(3), generation(4, HOUR, error="damaged", files=0)), ["record"]),
        (client(generation(1, 3 * DAY), generation(2, HOUR, error="damaged", files=0)), ["record", "stale"]),
        (client(generation(1, HOUR, error="damaged", files=0)), ["record"]),
        # The clocks, by what the last run recorded.
        (client(*daily(2), clock_skew=300.0), []),
        (client(*daily(2), clock_skew=-301.0), ["clock"]),
        (client(*daily(2), clock_skew=math.inf), ["clock"]),
        (client(*daily(2), clock_skew=math.nan), ["clock"]),
        # A directory that can't be used.
        (client(*daily(2), error="read-only"), ["unwritable"]),
        (client(error="not there", unseen=True), ["unwritable"]),
    ],
)
def test_one_client(found: ClientFacts, expected: list[str]) -> None:
    assert kinds(found) == expected


@pytest.mark.parametrize(
    ("disk", "expected"),
    [
        (Disk(100 * GIB, 11 * GIB, 100, 11), []),
        (Disk(100 * GIB, 10 * GIB, 100, 11), ["disk"]),
        (Disk(100 * GIB, 11 * GIB, 100, 10), ["inodes"]),
        (Disk(100 * GIB, 11 * GIB, 0, 0), []),  # btrfs counts none
        (Disk(100 * GIB, 0, 100, 0), ["disk", "growth", "inodes"]),
        (Disk(20 * GIB, 3 * GIB, 100, 50), []),  # three days at 1 GiB a day
        (Disk(20 * GIB, 3 * GIB - 1, 100, 50), ["growth"]),
        (Disk(0, 0), []),
        (None, []),
    ],
)
def test_the_disk(disk: Disk | None, expected: list[str]) -> None:
    assert kinds(client(*daily(5)), disk) == expected


@pytest.mark.parametrize(("used", "still"), [(89, True), (88, True), (87, False)])
def test_a_disk_at_its_limit_is_not_full_and_well_again_each_hour(used: int, still: bool) -> None:
    disk = Disk(1000 * GIB, (100 - used) * 10 * GIB, 100, 50)
    assert kinds(client(*daily(5)), disk) == []
    assert (kinds(client(*daily(5)), disk, open=frozenset({"server.disk"})) == ["disk"]) is still


@pytest.mark.parametrize(
    ("generations", "expected"),
    [
        ((), 0.0),
        (daily(1), 0.0),  # the first is all new, and says nothing of the days to come
        (daily(2), GIB),
        (daily(30), GIB),
        ((generation(1, 2 * HOUR), generation(2, HOUR)), GIB),  # two within a day are not a day each
        ((generation(1, 10 * DAY), generation(2, 0)), GIB / 10),
    ],
)
def test_growth(generations: tuple[GenerationFacts, ...], expected: float) -> None:
    one = client(*generations)
    assert growth(Facts(NOW, (one,), ROOMY)) == pytest.approx(expected)
    assert growth(Facts(NOW, (one, one), ROOMY)) == pytest.approx(2 * expected)


@pytest.mark.parametrize(("days", "expected"), [(9, []), (9.1, ["unread"])])
def test_a_scrub_that_does_not_come_around_is_told(days: float, expected: list[str]) -> None:
    assert kinds(client(*daily(5)), unread_since=NOW - days * DAY) == expected
    assert kinds(client(*daily(5)), unread_since=0.0) == []


def test_the_last_good_generation_is_the_newest_that_can_be_read() -> None:
    found = client(generation(1, 4 * DAY), generation(2, 3 * DAY), generation(3, HOUR, error="damaged"))
    assert {finding.last_good for finding in judge(Facts(NOW, (found,), ROOMY), LIMITS)} == {"g2"}


def test_what_can_not_be_looked_at_is_not_well() -> None:
    facts = Facts(NOW, (client(error="gone", unseen=True),), None)
    assert [is_known(facts, kind, "laptop") for kind in ("stale", "unwritable")] == [False, True]
    assert not is_known(facts, "disk", "")
    assert is_known(facts, "stale", "a client that is not configured any more")
    assert is_known(Facts(NOW, (client(error="read-only"),), ROOMY), "stale", "laptop")


times = st.integers(-10, 1000).map(lambda hours: hours * HOUR)
any_generation = st.builds(
    generation, st.integers(0, 99), times, files=st.integers(0, 2000), bytes=st.integers(0, 20 * GIB),
    error=st.sampled_from(["", "", "damaged"]),
)  # fmt: skip
any_client = st.builds(
    lambda generations, **changes: client(*generations, **changes),
    st.lists(any_generation, max_size=12),
    known_since=times.map(lambda age: NOW - age),
    clock_skew=st.floats(),
    error=st.sampled_from(["", "read-only"]),
)


@settings(deadline=None)
@given(any_client)
def test_no_client_is_late_unnoticed(found: ClientFacts) -> None:
    """Whatever lies there: without a whole generation young enough something is said."""
    fresh = [one for one in found.whole if -300 <= NOW - one.time <= found.max_age_seconds]
    said = kinds(found)
    if not fresh and NOW - found.known_since > found.max_age_seconds:
        assert {"stale", "never", "future", "record"} & set(said)
    assert len(said) == len(set(said))


@settings(deadline=None)
@given(any_client, st.sampled_from(words.LANGUAGES))
def test_every_finding_can_be_told(found: ClientFacts, language: str) -> None:
    for finding in judge(Facts(NOW, (found,), Disk(GIB, 0, 100, 0)), LIMITS):
        words.alert(finding, "/srv/sedai", "/var/log/x", language).checked()


ALL = [
    *((kind, "laptop") for kind in (*CLIENT_KINDS, "rot")),
    *((kind, "") for kind in (*SERVER_KINDS, "watch", "scrub", "report")),
]
FIGURES = {
    "newest": "g2", "previous": "g1", "names": "g1, g2", "error": "some error", "seconds": 90 * HOUR, "limit": 28 * HOUR,
    "files": 3, "usual_files": 1000, "bytes": 5 * GIB, "usual_bytes": 10 * GIB, "free": GIB, "total": 2 * GIB,
    "percent": 91.3, "daily": GIB, "days": 1.5, "left": 12, "count": 2, "lines": "/etc/x in g1",
}  # fmt: skip


@pytest.mark.parametrize("language", words.LANGUAGES)
@pytest.mark.parametrize(("kind", "name"), ALL)
def test_each_mail_says_what_to_do_what_it_means_and_what_is_left(kind: str, name: str, language: str) -> None:
    finding = Finding(kind, name, "g2", FIGURES)
    alert = words.alert(finding, "/srv/sedai", "/var/log/sedai/server.log", language).checked()
    over = words.over(kind, name, finding.key, language).checked()
    assert alert.incident == over.resolved == finding.key
    parts = alert.body.split("\n\n")
    assert len(parts) == (4 if name else 3)
    assert all(":\n" in part and part.partition(":\n")[2].strip() for part in parts)
    assert "{" not in alert.body + alert.subject + over.subject + over.body
    host = f"[sedai] {name or os.uname().nodename}: "
    assert alert.subject.startswith(host)
    assert not any(character.isdigit() for character in alert.subject.removeprefix(host))
    if name:
        assert "g2" in parts[3]
    assert "/" in parts[0] or "timedatectl" in parts[0]
    assert alert.body.isascii() is (language == "en")


def test_keys_do_not_meet() -> None:
    found = [Finding(kind, name).key for kind, name in ALL] + [Finding("disk", "server").key]
    assert len(set(found)) == len(found)
