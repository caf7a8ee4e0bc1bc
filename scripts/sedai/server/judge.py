"""What the watch calls wrong; pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sedai.core.wire import CLOCK_TOLERANCE_SECONDS
from sedai.server.config import Watch
from sedai.server.facts import ClientFacts, Disk, Facts, GenerationFacts

_DAY = 86400.0
# So many of the newest generations tell how fast the store grows.
_GROWTH_GENERATIONS = 7
# A night that was missed, and the hours of the night, are no reason for a mail.
_SCRUB_SLACK_DAYS = 2
# An alert that the server was not there to take is handed over by the next run, a day later where there is one a day.
_ALERTS_STUCK_SECONDS = 26 * 3600.0
# What was reported as nearly full is over only when it is clearly less full again.
_HYSTERESIS_PERCENT = 2.0

CLIENT_KINDS = ("never", "stale", "unchecked", "unheard", "small", "future", "order", "clock", "record", "unwritable")
SERVER_KINDS = ("disk", "growth", "inodes", "unread")


@dataclass(frozen=True)
class Finding:
    """Something that is wrong now: ``kind`` is a key of the words, ``figures`` go into them.

    ``client`` is empty for the server itself. ``last_good`` is the newest generation known to be usable, if any.
    """

    kind: str
    client: str = ""
    last_good: str = ""
    figures: dict[str, object] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The name of the incident; it stays the same as long as the trouble does."""
        return incident_key(self.kind, self.client)


_Make = Callable[..., Finding]


def incident_key(kind: str, client: str = "") -> str:
    """The name of the incident ``kind`` of a client, or of the server."""
    return f"client.{client}.{kind}" if client else f"server.{kind}"


def judge(facts: Facts, limits: Watch) -> list[Finding]:
    """Everything that is wrong, in a fixed order."""
    found = [finding for client in facts.clients for finding in _client(client, facts.now, limits)]
    found += _room(facts, limits)
    unread = facts.now - facts.unread_since
    if facts.unread_since and unread > (limits.scrub_days + _SCRUB_SLACK_DAYS) * _DAY:
        found.append(Finding("unread", figures={"seconds": unread, "limit": limits.scrub_days * _DAY}))
    return found


def is_known(facts: Facts, kind: str, client: str) -> bool:
    """Whether ``facts`` tell that ``kind`` is over when it is not found: what can't be looked at is not well."""
    if not client:
        return facts.disk is not None
    return kind == "unwritable" or not any(one.name == client and one.unseen for one in facts.clients)


def _client(client: ClientFacts, now: float, limits: Watch) -> Iterator[Finding]:
    whole = client.whole
    last_good = whole[-1].name if whole else ""

    def finding(kind: str, **figures: object) -> Finding:
        return Finding(kind, client.name, last_good, figures)

    if client.error:
        yield finding("unwritable", error=client.error)
    if client.unseen:
        return
    broken = [generation for generation in client.generations if generation.error]
    if broken:
        yield finding("record", names=", ".join(generation.name for generation in broken), error=broken[-1].error)
    yield from _age(client, now, finding)
    yield from _silence(client, now, limits, finding)
    if whole:
        yield from _size(whole, finding)
    if len(client.generations) > 1:
        previous, newest = client.generations[-2:]
        if newest.time < previous.time:
            yield finding("order", newest=newest.name, previous=previous.name)
    if not abs(client.clock_skew) <= CLOCK_TOLERANCE_SECONDS:
        yield finding("clock", seconds=client.clock_skew)


def _silence(client: ClientFacts, now: float, limits: Watch, finding: _Make) -> Iterator[Finding]:
    limit = limits.max_check_hours * 3600.0
    if limit and client.checked and now - client.checked > limit:
        yield finding("unchecked", seconds=now - client.checked, limit=limit)
    if client.alerts_stuck > _ALERTS_STUCK_SECONDS:
        yield finding("unheard", seconds=client.alerts_stuck)


def _age(client: ClientFacts, now: float, finding: _Make) -> Iterator[Finding]:
    future = [one for one in client.generations if one.time > now + CLOCK_TOLERANCE_SECONDS]
    if future:
        yield finding("future", newest=future[-1].name, seconds=future[-1].time - now)
    # A generation from the future says nothing about how old the newest really is.
    past = [one for one in client.whole if one not in future]
    if past:
        newest = max(past, key=lambda one: one.time)
        if now - newest.time > client.max_age_seconds:
            yield finding("stale", newest=newest.name, seconds=now - newest.time, limit=client.max_age_seconds)
    elif not client.generations and now - client.known_since > client.max_age_seconds:
        yield finding("never", seconds=now - client.known_since)


def _size(whole: tuple[GenerationFacts, ...], finding: _Make) -> Iterator[Finding]:
    *earlier, newest = whole
    if not earlier:
        return
    files = statistics.median(one.files for one in earlier)
    size = statistics.median(one.bytes for one in earlier)
    if newest.files < files / 2 or newest.bytes < size / 2:
        yield finding("small", newest=newest.name, files=newest.files, usual_files=round(files), bytes=newest.bytes,
                      usual_bytes=round(size))  # fmt: skip


def _room(facts: Facts, limits: Watch) -> Iterator[Finding]:
    disk = facts.disk
    if disk is None or disk.total == 0:
        return
    figures: dict[str, object] = {"free": disk.free, "total": disk.total}
    used = used_percent(disk)
    if used >= _limit(limits.disk_percent, "disk", facts):
        yield Finding("disk", figures=figures | {"percent": used})
    daily = growth(facts)
    days = disk.free / daily if daily > 0 else float("inf")
    if days < limits.disk_days:
        yield Finding("growth", figures=figures | {"daily": daily, "days": days})
    if disk.inodes:
        percent = 100.0 * (1 - disk.free_inodes / disk.inodes)
        if percent >= _limit(limits.disk_percent, "inodes", facts):
            yield Finding("inodes", figures={"percent": percent, "left": disk.free_inodes})


def _limit(percent: float, kind: str, facts: Facts) -> float:
    return percent - _HYSTERESIS_PERCENT if incident_key(kind) in facts.open else percent


def used_percent(disk: Disk) -> float:
    """How full ``disk`` is for the store's account."""
    return 100.0 * (1 - disk.free / disk.total)


def growth(facts: Facts) -> float:
    """Bytes of new content a day, of all clients, by the newest generations; what pruning frees is not counted."""
    return sum(_growth(client.whole) for client in facts.clients)


def _growth(whole: tuple[GenerationFacts, ...]) -> float:
    recent = whole[-_GROWTH_GENERATIONS - 1 :]
    if len(recent) < 2:
        return 0.0
    seconds = max(recent[-1].time - recent[0].time, _DAY)
    return sum(one.new_bytes for one in recent[1:] if not one.is_first) / (seconds / _DAY)
