"""Shares: a scan held against the base by several processes, each of which walks whole subtrees.

What the base has of a directory tells how much there is to walk in it. So the sources are walked down to directories of a few
thousand entries, and what lies below these, with the base's lines of it, is a share of its own. A plan is made of shares in
their order: it is the same, however many have made it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from sedai.client import plan
from sedai.client.live import Live
from sedai.client.plan import Tally
from sedai.client.scan import Problem, Scan, Scanned, Subtree
from sedai.core import manifest, workers
from sedai.core.merge import key, last_line

# Fewer entries are walked before a process would have started.
WORTH_WORKERS = 20_000
_STRIDE = 50
_MOST = 10_000
# So much is gathered for a process before it is given any of it.
_PIECE = 2_000
# Behind a path in walk order: what comes next to it, and to all that lies below it.
_BEHIND_ITSELF, _BEHIND_ALL_BELOW = b"\0", b"\1"


class Share(NamedTuple):
    """What is to be walked, in walk order, and the lines that the base has of it and of what lay in between."""

    steps: list[Scanned | Subtree]
    base: bytes


@dataclass(frozen=True)
class Compared:
    """What came of a share: encoded lines of the plan, their tally, and what the scan noted beside.

    ``asked``: paths that are not here any more, about which whoever keeps dumps was asked.
    """

    planned: bytes
    tally: Tally
    problems: list[Problem]
    live: list[Live]
    not_entered: list[bytes]
    partial: set[bytes]
    asked: list[bytes]


class Comparison:
    """Of ``scan`` with the base. ``another()`` makes a scan like it, for a share; ``keeps`` is asked as by :func:`plan.compare`,
    in the end by this process, of what lies below ``staged``.
    """  # fmt: skip

    def __init__(self, scan: Scan, another: Callable[[], Scan], keeps: Callable[[bytes], bool], staged: bytes) -> None:
        self._scan = scan
        self._another = another
        self._keeps = keeps
        self._staged = staged + b"/"

    def carry_out(self, base: Callable[[], Iterable[bytes]], tally: Tally, crew: int) -> Iterator[bytes]:
        """Encoded lines of the plan, many at a time; counts all in ``tally``.

        ``base()`` gives blocks of lines of the base's manifest from their beginning; ``crew``: how many processes to start.
        """
        sizes = subtrees(base())
        for done in workers.spread(self._compare, shares(self._scan.steps(sizes), sizes, Base(base())), crew):
            tally.add(done.tally)
            self._scan.problems += done.problems
            self._scan.live += done.live
            self._scan.not_entered += done.not_entered
            self._scan.partial |= done.partial
            for path in done.asked:
                self._keeps(path)
            yield done.planned
        self._scan.problems.sort(key=lambda problem: manifest.order(problem.path))

    def _compare(self, share: Share) -> Compared:
        """What a worker does."""
        scan, tally, asked = self._another(), Tally(), []

        def keeps(path: bytes) -> bool:
            if path.startswith(self._staged):
                asked.append(path)
            return self._keeps(path)

        compared = plan.compare(scan.walked(share.steps), manifest.lines_of(share.base), tally, keeps)
        planned = b"".join(map(plan.encode, compared))
        return Compared(planned, tally, scan.problems, scan.live, scan.not_entered, scan.partial, asked)


def subtrees(base: Iterable[bytes]) -> dict[bytes, int]:
    """The directories that are walked apart, and about how many entries each has: the largest of at most ``_MOST``.

    ``base``: blocks of lines of a manifest. Every so many lines one is looked at; what has none is not worth it.
    """
    sampled = (line for block in base for line in list(manifest.lines_of(block))[::_STRIDE])
    found: dict[bytes, int] = {}
    _divide([manifest.line_path(line).split(b"/")[:-1] for line in sampled], 0, found)
    return found


def _divide(above: list[list[bytes]], depth: int, found: dict[bytes, int]) -> None:
    """``above``: the directories in which the sampled entries lie, in walk order, alike in their first ``depth`` names."""
    deeper = [names for names in above if len(names) > depth]
    for _, group in groupby(deeper, key=lambda names: names[depth]):
        inside = list(group)
        if len(inside) * _STRIDE <= _MOST:
            found[b"/".join(inside[0][: depth + 1])] = len(inside) * _STRIDE
        else:
            _divide(inside, depth + 1, found)


def shares(steps: Iterable[Scanned | Subtree], sizes: dict[bytes, int], base: Base) -> Iterator[Share]:
    """``steps`` by shares of some size; between them they have all lines of ``base``, none of them more than some."""
    gathered: list[Scanned | Subtree] = []
    weight = 0
    for step in steps:
        begin = manifest.order(step.path)
        kept = isinstance(step, Scanned) and not step.signature  # with all that the base has below it
        if gathered and (weight >= _PIECE or kept or base.is_behind(begin)):
            yield Share(gathered, b"".join(base.until(_end(gathered[-1]))))
            gathered, weight = [], 0
        if not gathered and (kept or base.is_behind(begin)):
            yield from (Share([], removed) for removed in base.until(begin))
        if kept:
            yield from (Share([step], some) for some in base.until(begin + _BEHIND_ALL_BELOW))
            continue
        gathered.append(step)
        # A source may lie below a directory that is small enough.
        weight += sizes.get(step.path, _PIECE) if isinstance(step, Subtree) else 1
    if gathered:
        yield Share(gathered, b"".join(base.until(_end(gathered[-1]))))
    yield from (Share([], removed) for removed in base.until(None))


def _end(step: Scanned | Subtree) -> bytes:
    """Where in walk order ``step`` ends: behind the entry itself, or behind all that is below it."""
    return manifest.order(step.path) + (_BEHIND_ALL_BELOW if isinstance(step, Subtree) else _BEHIND_ITSELF)


class Base:
    """The lines of the base's manifest, taken in order."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._block = next(self._blocks, b"")

    def is_behind(self, begin: bytes) -> bool:
        """Whether a whole block of lines lies before ``begin``."""
        return self._block != b"" and key(last_line(self._block)) < begin

    def until(self, end: bytes | None) -> Iterator[bytes]:
        """The lines that were not taken and whose path comes before ``end`` in walk order, or all, a block at a time."""
        while self._block and (end is None or self.is_behind(end)):
            yield self._block
            self._block = next(self._blocks, b"")
        if self._block and end is not None:
            lines = list(manifest.lines_of(self._block))
            place = bisect_left(lines, end, key=key)
            if place:
                yield b"".join(lines[:place])
                self._block = b"".join(lines[place:])
