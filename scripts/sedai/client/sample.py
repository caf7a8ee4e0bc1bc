"""A random sample of a manifest's files, the same one each time for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterable

from sedai.core.manifest import Entry


def draw(files: Iterable[Entry], count: int, size: int, seed: int) -> list[Entry]:
    """At most ``count`` of ``files`` with at most ``size`` bytes in all, in the order in which they came.

    Every file of at most ``size`` bytes is as likely as any other to be drawn (a reservoir, Vitter's algorithm R: one
    pass, and no more than ``count`` entries in memory). Where the drawn ones have too many bytes in all, those that do
    not fit are left out at random.
    """
    chance = random.Random(seed)  # noqa: S311  nobody gains by guessing it
    drawn: list[tuple[int, Entry]] = []
    seen = 0
    for entry in files:
        if entry.size > size:
            continue
        seen += 1
        if len(drawn) < count:
            drawn.append((seen, entry))
        else:
            place = int(chance.random() * seen)
            if place < count:
                drawn[place] = (seen, entry)
    chance.shuffle(drawn)
    kept = []
    for number, entry in drawn:
        if entry.size <= size:
            size -= entry.size
            kept.append((number, entry))
    return [entry for _, entry in sorted(kept, key=lambda pair: pair[0])]
