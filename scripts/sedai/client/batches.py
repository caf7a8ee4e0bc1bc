"""Batches: what is planned is sent in pieces, so that the memory of a run does not grow with what it sends."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Container, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import NamedTuple

from sedai.client.plan import Planned, Step
from sedai.core import manifest

SIZE = 100_000

# A run of rsync costs about what so many entries cost that begin further up: its receiver looks up each step of each path.
WORTH_A_RUN = 4_000

# A second run beside another is for so many bytes; an entry costs as much as so many more.
WORTH_A_LANE = 256 << 20
ENTRY_BYTES = 16 << 10

Push = Callable[[bytes, Iterable[bytes], bool], dict[bytes, bytes]]
Holes = Callable[[bytes, int], bool]
# What all names of one inode have in common: inode, ctime, mtime, size.
_Group = tuple[bytes, ...]


def always(path: bytes, size: int) -> bool:
    """There may be holes anywhere."""
    return True


@dataclass(frozen=True)
class Plan:
    """A plan to send: ``begin`` reads its ``length`` items from the start, ``linked`` of them have further names.

    ``partial``: directories that hold more than the plan has of them, or something with further names or with holes. What is in
    any other new directory is sent by the name of the directory. ``tops``: directories in which a run may begin, none inside
    another.
    ``holes``: whether the file at a path, with this size, may have some.
    """

    begin: Callable[[], Iterator[Planned]]
    length: int
    linked: int
    partial: Container[bytes]
    tops: Collection[bytes] = ()
    holes: Holes = always


class Weighed(NamedTuple):
    """The name by which rsync is to send an item, or nothing; what the item weighs in bytes, and whether it may have holes."""

    name: bytes
    weight: int
    sparse: bool


class Share(NamedTuple):
    """Names for one run after the other, in order; whether any of what they stand for may have holes."""

    names: list[bytes]
    sparse: bool


def _nothing() -> None:
    """No run is to be ended."""


def send(
    plan: Plan, push: Push, lanes: int = 1, end: Callable[[], None] = _nothing
) -> Generator[tuple[Planned, bytes]]:
    """Send a plan; yields each of its items, in order, when it was sent, with the digest that rsync told or nothing.

    ``push`` sends paths, all of them below the directory that it is given first, and returns the digests of files by path; the
    paths are relative to that, those of the digests are not. It is told whether there may be holes. Names of shared inodes go in
    one batch, or they would not stay one. Up to ``lanes`` threads call it at once, and go on with the next batch while the
    caller looks at one; ``end`` makes them come back early, where one fails or the caller wants no more. What comes out then
    is what the first of them raised.
    """
    groups = send_linked((item for item in plan.begin() if item.linked), push, plan.holes) if plan.linked else {}
    asked, answered = _weighed(plan), plan.begin()
    digests: dict[bytes, bytes] = {}  # what lies in a directory that was named may come much later in the plan

    failed: Future[dict[bytes, bytes]] = Future()

    def run(share: Share) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        try:
            for top, some in pieces(share.names, plan.tops):
                found |= push(top, some, share.sparse)
        except BaseException as error:
            with contextlib.suppress(InvalidStateError):  # another was the first
                failed.set_exception(error)
            raise
        return found

    with ThreadPoolExecutor(lanes) as pool, contextlib.ExitStack() as stack:
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        stack.callback(end)

        def begin() -> list[Future[dict[bytes, bytes]]]:
            return [pool.submit(run, share) for share in shares(itertools.islice(asked, SIZE), lanes)]

        following = begin()
        for _ in range(0, plan.length, SIZE):
            current, following = following, begin()
            for future in current:
                wait((future, failed), return_when=FIRST_COMPLETED)
                if failed.done():
                    failed.result()
                digests |= future.result()
            for item in itertools.islice(answered, SIZE):
                yield item, groups.get(_group(item), b"") if item.linked else digests.pop(item.path, b"")


def _weighed(plan: Plan) -> Iterator[Weighed]:
    items, same = itertools.tee(plan.begin())
    for name, item in zip(to_name(items, plan.partial), same, strict=True):
        if item.step is Step.REMOVED or item.linked:
            yield Weighed(b"", 0, sparse=False)
        else:
            size = _size(item)
            yield Weighed(name, ENTRY_BYTES + size, plan.holes(item.path, size))


def _size(item: Planned) -> int:
    """Of a file in bytes; 0 of anything else."""
    fields = item.line.split(b"\t", manifest.MTIME)
    return int(fields[manifest.SIZE]) if fields[manifest.KIND] == b"f" else 0


def shares(weighed: Iterable[Weighed], most: int) -> list[Share]:
    """Names, in their order, in up to ``most`` shares that weigh about the same; one where there is not enough for two.

    What has an empty name was sent by the name of a directory before it: whether it has holes does not matter here, as the name of
    a directory in which something has stands for that directory alone (:attr:`sedai.client.scan.Scan.partial`).
    """
    weighed = list(weighed)
    total = sum(item.weight for item in weighed)
    count = max(1, min(most, total // WORTH_A_LANE))
    parts: list[list[Weighed]] = [[]]
    before = 0
    for item in weighed:
        is_full = parts[-1] and before + item.weight // 2 >= total * len(parts) // count
        if item.name and is_full and len(parts) < count:
            parts.append([])
        parts[-1].append(item)
        before += item.weight
    found = (Share([item.name for item in part], any(item.sparse for item in part)) for part in parts)
    return [share for share in found if any(share.names)]


def to_name(planned: Iterable[Planned], partial: Container[bytes]) -> Iterator[bytes]:
    """For each item the name by which rsync is to send it; nothing where it is removed, linked, or sent by another's name.

    A name that ends in a slash stands for the directory and all that lies in it, but not deeper (rsync's ``--dirs``). rsync
    reads the names that it is given byte by byte, with two system calls for each.
    """
    whole: list[bytes] = []  # those that the walk is in, outermost first
    for item in planned:
        parent = item.path.rpartition(b"/")[0]
        while whole and not manifest.at_or_below(parent, whole[-1]):
            whole.pop()
        if item.step is Step.NEW and item.is_directory and item.path not in partial:
            whole.append(item.path)
            yield item.path + b"/"
        elif item.step is Step.REMOVED or item.linked or parent in whole[-1:]:
            yield b""
        else:
            yield item.path


def send_linked(items: Iterable[Planned], push: Push, holes: Holes = always) -> dict[_Group, bytes]:
    """Send names of shared inodes; rsync tells the digest of one name of each, which is that of all."""
    items = list(items)
    digests = (
        push(b"", (item.path for item in items), any(holes(item.path, _size(item)) for item in items)) if items else {}
    )
    return {_group(item): digests[item.path] for item in items if item.path in digests}


def pieces(names: Iterable[bytes], tops: Iterable[bytes]) -> Iterator[tuple[bytes, Iterable[bytes]]]:
    """``names`` by the directory in which their run begins, and relative to it: one of ``tops``, or (empty) the root.

    An empty name stands for an entry that comes by the name of a directory before it. A run of its own is for many entries, or
    for all.
    """
    prefixes = [top + b"/" for top in tops]
    current = inside = b""

    def prefix(name: bytes) -> bytes:
        nonlocal current, inside
        if name:
            if not current or not name.startswith(current):
                current = next(filter(name.startswith, prefixes), b"")
            inside = current if name != current else b""  # the directory itself is in the one above
        return inside

    few: list[tuple[bytes, list[bytes]]] = []
    for top, some in itertools.groupby(names, prefix):
        first = list(itertools.islice(some, WORTH_A_RUN))
        named = filter(None, itertools.chain(first, some))  # noqa: B031  what is left of it
        if (name := next(named, None)) is None:
            continue
        if len(first) < WORTH_A_RUN:
            few.append((top, [name, *named]))
        else:
            yield _below(top, itertools.chain([name], named))
    if len(few) == 1:
        yield _below(*few[0])
    elif few:
        yield b"", [name for _, some_names in few for name in some_names]


def _below(prefix: bytes, names: Iterable[bytes]) -> tuple[bytes, Iterable[bytes]]:
    return prefix[:-1], (name[len(prefix) :] for name in names)


def _group(item: Planned) -> _Group:
    fields = item.line.split(b"\t")
    return tuple(fields[number] for number in (manifest.INODE, manifest.CTIME, manifest.MTIME, manifest.SIZE))
