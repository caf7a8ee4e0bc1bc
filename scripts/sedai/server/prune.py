"""Prune: drop the generations that the retention rule does not keep; by the server's own rules, never the client's."""

from __future__ import annotations

from dataclasses import dataclass

from sedai.core import lock
from sedai.core.generation import Retention, Verdict, decide
from sedai.server import removal
from sedai.server.store import ClientStore


@dataclass(frozen=True)
class Pruned:
    """What a pruning did: names of generations dropped, and of those that stay only because somebody reads them."""

    dropped: tuple[str, ...]
    in_use: tuple[str, ...]


def prune(store: ClientStore, rule: Retention) -> Pruned:
    """Drop what ``rule`` does not keep; the caller holds the store's lock.

    A generation first leaves the list in one rename, then its files go, so none is ever listed in part.
    """
    dropped: list[str] = []
    in_use: list[str] = []
    trash = store.incoming / "trash"
    for verdict in decide(store.generations(), rule):
        if verdict.keep:
            continue
        name = str(verdict.generation)
        record = store.record_path(verdict.generation)
        if record.exists() and lock.in_use(record):
            in_use.append(name)
            continue
        trash.mkdir(mode=0o700, parents=True, exist_ok=True)
        store.directory(verdict.generation).rename(trash / name)
        dropped.append(name)
    if trash.exists():
        removal.remove(trash)
    return Pruned(tuple(dropped), tuple(in_use))


def explain(store: ClientStore, rule: Retention) -> list[Verdict]:
    """For each generation why it is kept or goes, oldest first."""
    return decide(store.generations(), rule)
