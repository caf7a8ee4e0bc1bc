"""Which generations there should be: one that nobody pruned and that is not there any more is missed, and named.

A file for each, without content: pruning takes it away first, which needs no room on a full disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sedai.core.generation import Generation, Retention, decide
from sedai.server.store import ClientStore


def _place(store: ClientStore) -> Path:
    return store.root / "known"


def note(store: ClientStore) -> None:
    """All that are there now are known; the store's lock is held. On a full disk some are noted later."""
    place = _place(store)
    with contextlib.suppress(OSError):
        place.mkdir(mode=0o700, exist_ok=True)
        for generation in store.generations():
            (place / str(generation)).touch()


def forget(store: ClientStore, generation: Generation) -> None:
    """``generation`` is about to be dropped; the store's lock is held."""
    (_place(store) / str(generation)).unlink(missing_ok=True)


def forget_with_time(store: ClientStore, rule: Retention) -> None:
    """What is gone and would have been pruned by now is missed no more; the store's lock is held."""
    gone_now = {generation for generation, _ in gone(store)}
    for verdict in decide(sorted({*gone_now, *store.generations()}), rule) if gone_now else ():
        if verdict.generation in gone_now and not verdict.keep:
            forget(store, verdict.generation)


def gone(store: ClientStore) -> Iterator[tuple[Generation, Path]]:
    """Those that were never dropped and are not there, and what to remove where somebody did it by hand."""
    for generation in _noted(store):
        note = _place(store) / str(generation)
        # In this order: whoever prunes takes the note away before the generation.
        if not store.directory(generation).exists() and note.exists():
            yield generation, note


def _noted(store: ClientStore) -> list[Generation]:
    place = _place(store)
    found = map(Generation.parse, (path.name for path in place.iterdir())) if place.is_dir() else ()
    return sorted(generation for generation in found if generation is not None)
