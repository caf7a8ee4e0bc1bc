"""How the backups of this machine are: gathered from its own records, the crontab and the server, and judged."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sedai.client import catalog, schedule, states
from sedai.client.alerts import LastAlert
from sedai.client.check import freshness, unwatched
from sedai.client.connection import Connection
from sedai.client.program import Context
from sedai.client.runs import PROGRAMS, Run, last_runs
from sedai.core.errors import ExitCode, SedaiError

# So many of the newest generations tell how fast the store grows; as the watch on the server has it.
_GROWTH_GENERATIONS = 7
_DAY = 86400.0
_FEW_DAYS = 7.0


@dataclass(frozen=True)
class Attention:
    """Something that a person should look at: ``kind`` is a key of the words, ``detail`` goes with it."""

    kind: str
    detail: str = ""


@dataclass(frozen=True)
class Status:
    """Everything at one moment; times in seconds since the epoch.

    ``error``: why the server could not be asked; what it would have said is empty then. ``generations``: the records as
    the server has them, oldest first. ``conditions``: what is known of each, by its name. ``server``: the answer to the
    verb ``status``.
    ``runs`` and ``next_runs``: by program. ``waiting``: alerts that the server has not taken yet; ``set_aside``: the files of
    those that it never will; ``last_alert``: the one that it took last.
    """

    client: str
    now: float
    error: str = ""
    generations: tuple[catalog.Record, ...] = ()
    conditions: Mapping[str, states.Condition] = field(default_factory=dict)
    server: Mapping[str, Any] = field(default_factory=dict)
    runs: Mapping[str, Run] = field(default_factory=dict)
    next_runs: Mapping[str, float] = field(default_factory=dict)
    paused: str = ""
    waiting: int = 0
    set_aside: tuple[str, ...] = ()
    last_alert: LastAlert | None = None
    not_in_backup: tuple[str, ...] = ()
    max_age_hours: int = 26
    language: str = "en"

    def condition(self, record: catalog.Record) -> states.Condition:
        """What is known of one of the generations."""
        return self.conditions.get(str(record["generation"]), states.Condition())

    @property
    def daily_bytes(self) -> float:
        """New content a day, by the newest generations; the first one, in which everything is new, does not count."""
        whole = [record for record in self.generations if "error" not in record][-_GROWTH_GENERATIONS - 1 :]
        if len(whole) < 2:
            return 0.0
        span = (catalog.sealed_at(whole[-1]) - catalog.sealed_at(whole[0])).total_seconds()
        return sum(int(one["new_bytes"]) for one in whole[1:]) / (max(span, _DAY) / _DAY)

    @property
    def shareable_bytes(self) -> int:
        """About how much less these generations would use, if the server's file system had reflinks."""
        whole = [record for record in self.generations if "error" not in record]
        return sum(int(one.get("shareable_bytes", 0)) for one in whole[1:])  # an earlier server does not tell it

    @property
    def days_left(self) -> float | None:
        """For how many days there is room at that pace, what pruning frees not counted; None where it can't be told."""
        daily, free = self.daily_bytes, self.server.get("free_bytes")
        return float(free) / daily if daily > 0 and free is not None else None

    def table(self) -> dict[str, Any]:
        """For programs: one JSON object."""
        table = asdict(self)
        del table["conditions"]
        return table | {
            "schema": 1,
            "generations": [self._generation(record) for record in self.generations],
            "daily_bytes": round(self.daily_bytes),
            "days_left": self.days_left,
            "shareable_bytes": self.shareable_bytes,
            "attention": [asdict(item) for item in attention(self)],
        }

    def _generation(self, record: catalog.Record) -> dict[str, Any]:
        condition = self.condition(record)
        return record | {"state": condition.words(), "condition": asdict(condition)}


def gather(context: Context) -> Status:
    """Look at everything; a server that can't be reached is part of the answer."""
    state, now = context.state, time.time()
    error, records, server = "", [], {}
    try:
        with Connection(context.config.server) as connection:
            records, server = catalog.generations(connection), connection.ask("status", {})
    except SedaiError as failure:
        error = str(failure)
    runs = list(state.runs())
    known = states.conditions(runs)
    moment = datetime.fromtimestamp(now).astimezone()
    planned = schedule.next_runs(schedule.crontab(), moment)
    return Status(
        client=context.config.client,
        now=now,
        error=error,
        generations=tuple(records),
        conditions={str(record["generation"]): states.condition(record, known) for record in records},
        server=server,
        runs=last_runs(runs),
        next_runs={name: planned[name].timestamp() for name in PROGRAMS if name in planned},
        paused=state.paused() or "",
        waiting=len(context.outbox.waiting()),
        set_aside=tuple(map(str, context.outbox.set_aside())),
        last_alert=context.outbox.last(),
        not_in_backup=tuple(state.not_in_backup()),
        max_age_hours=context.config.backup.max_age_hours,
        language=context.config.language,
    )


def attention(status: Status) -> list[Attention]:
    """What a person should look at, the most pressing first; empty where all is well."""
    return list(_attention(status))


def _attention(status: Status) -> Iterator[Attention]:
    if status.error:
        yield Attention("unreachable", status.error)
    if status.paused:
        yield Attention("paused", status.paused)
    for record in status.generations:
        condition = status.condition(record)
        if condition.damaged:
            yield Attention("damaged", f"{record['generation']}: {condition.words(status.language)}")
    if not status.error:
        yield from _of_the_server(status)
    yield from _of_the_runs(status)


def _of_the_runs(status: Status) -> Iterator[Attention]:
    for name, run in status.runs.items():
        if run.exit != ExitCode.CLEAN:
            kind = "findings" if run.exit == ExitCode.FINDINGS else "failed"
            yield Attention(f"{kind}_{name.replace(' ', '_')}", run.lines[0] if run.lines else "")
    if status.waiting:
        yield Attention("waiting", str(status.waiting))
    if status.set_aside:
        yield Attention("set_aside", shlex.join(status.set_aside))
    for name in PROGRAMS:
        if name not in status.next_runs:
            yield Attention("unplanned", name)


def _of_the_server(status: Status) -> Iterator[Attention]:
    if not status.generations:
        yield Attention("none")
    else:
        newest, server_now = str(status.generations[-1]["generation"]), float(status.server["time"])
        for finding in freshness(newest, status.now, server_now, status.max_age_hours):
            yield Attention(finding.code, f"{finding.found} ({finding.expected})")
        for finding in unwatched(status.server.get("watch_ran"), server_now):
            yield Attention("watch", finding.found)
    if status.server.get("frozen"):
        yield Attention("frozen", str(status.server["frozen"]))
    if status.days_left is not None and status.days_left < _FEW_DAYS:
        yield Attention("full", f"{status.days_left:.0f}")
