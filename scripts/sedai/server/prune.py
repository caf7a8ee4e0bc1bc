"""Prune: drop the generations that the retention rule does not keep; by the server's own rules, never the client's."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from sedai.core import lock
from sedai.core.errors import IntegrityError
from sedai.core.generation import Retention, Verdict, decide
from sedai.server import freeze, known
from sedai.server.store import ClientStore

_INTERVAL = timedelta(hours=1)


@dataclass(frozen=True)
class Pruned:
    """What a pruning did: names of generations dropped, and of those that stay only because somebody reads them.

    ``frozen``: why nothing was done, in words. ``entries``: how many those that were dropped have, by their records.
    """

    dropped: tuple[str, ...]
    in_use: tuple[str, ...]
    frozen: str = ""
    entries: int = 0


def prune(store: ClientStore, rule: Retention) -> Pruned:
    """Drop what ``rule`` does not keep; the caller holds the store's lock.

    A generation leaves the list in one rename, into the trash, so none is ever listed in part; whoever empties the trash
    removes its files.
    """
    frozen = freeze.read(store)
    if frozen is not None:
        return Pruned((), (), str(frozen))
    dropped: list[str] = []
    in_use: list[str] = []
    entries = 0
    store.trash.mkdir(mode=0o700, parents=True, exist_ok=True)
    for verdict in decide(store.generations(), rule):
        if verdict.keep:
            continue
        name = str(verdict.generation)
        record = store.record_path(verdict.generation)
        with contextlib.ExitStack() as held:  # until it has left the list: whoever comes meanwhile finds it gone
            if record.exists() and not held.enter_context(lock.unless_in_use(record)):
                in_use.append(name)
                continue
            with contextlib.suppress(IntegrityError):
                entries += store.record(verdict.generation).entries
            known.forget(store, verdict.generation)
            store.discard(store.directory(verdict.generation))
        dropped.append(name)
    known.forget_with_time(store, rule)
    return Pruned(tuple(dropped), tuple(in_use), entries=entries)


def too_many(store: ClientStore, rule: Retention, now: datetime) -> str:
    """Why no further generation is taken for now, in words; empty where one is.

    While pruning stands still, whatever the reason, a client that seals endlessly would fill the disk: from twice as many
    generations on as the rule keeps, one an hour is taken.
    """
    found = store.generations()
    most = rule.keep_last + rule.keep_daily + rule.keep_weekly + rule.keep_monthly
    since = now - found[-1].time if found else _INTERVAL
    if len(found) <= 2 * most or not timedelta(0) <= since < _INTERVAL:
        return ""
    return (
        f"{len(found)} generations are there because nothing is pruned ({freeze.read(store) or 'see the log'}); until that "
        f"is mended one an hour is taken, the next in {(_INTERVAL - since).seconds // 60 + 1} minutes."
    )


def explain(store: ClientStore, rule: Retention) -> list[Verdict]:
    """For each generation why it is kept or goes, oldest first."""
    return decide(store.generations(), rule)
