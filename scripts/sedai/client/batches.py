"""Batches: what is planned is sent in pieces, so that the memory of a run does not grow with what it sends."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from dataclasses import dataclass

from sedai.client.plan import Planned, Step
from sedai.core import manifest

SIZE = 100_000

# A run of rsync costs about what so many entries cost that begin further up: its receiver looks up each step of each path.
WORTH_A_RUN = 4_000

Push = Callable[[bytes, Iterable[bytes]], dict[bytes, bytes]]
# What all names of one inode have in common: inode, ctime, mtime, size.
_Group = tuple[bytes, ...]


@dataclass(frozen=True)
class Plan:
    """A plan to send: ``begin`` reads its ``length`` items from the start, ``linked`` of them have further names.

    ``partial``: directories that hold more than the plan has of them, or something with further names. What is in any other
    new directory is sent by the name of the directory. ``tops``: directories in which a run may begin, none inside another.
    """

    begin: Callable[[], Iterator[Planned]]
    length: int
    linked: int
    partial: Container[bytes]
    tops: Collection[bytes] = ()


def send(plan: Plan, push: Push) -> Iterator[tuple[Planned, bytes]]:
    """Send a plan; yields each of its items, in order, when it was sent, with the digest that rsync told or nothing.

    ``push`` sends paths, all of them below the directory that it is given first, and returns the digests of files by path; the
    paths are relative to that, those of the digests are not. Names of shared inodes go in one batch, or they would not
    stay one.
    """
    groups = send_linked((item for item in plan.begin() if item.linked), push) if plan.linked else {}
    asked, answered = to_name(plan.begin(), plan.partial), plan.begin()
    digests: dict[bytes, bytes] = {}  # what lies in a directory that was named may come much later in the plan
    for _ in range(0, plan.length, SIZE):
        for top, some in pieces(itertools.islice(asked, SIZE), plan.tops):
            digests |= push(top, some)
        for item in itertools.islice(answered, SIZE):
            yield item, groups.get(_group(item), b"") if item.linked else digests.pop(item.path, b"")


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


def send_linked(items: Iterable[Planned], push: Push) -> dict[_Group, bytes]:
    """Send names of shared inodes; rsync tells the digest of one name of each, which is that of all."""
    items = list(items)
    digests = push(b"", (item.path for item in items)) if items else {}
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
