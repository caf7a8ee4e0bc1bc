"""Batches: what is planned is sent in pieces, so that the memory of a run does not grow with what it sends."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass

from sedai.client.plan import Planned, Step
from sedai.core import manifest

SIZE = 100_000

Push = Callable[[Iterable[bytes]], dict[bytes, bytes]]
# What all names of one inode have in common: inode, ctime, mtime, size.
_Group = tuple[bytes, ...]


@dataclass(frozen=True)
class Plan:
    """A plan to send: ``begin`` reads its ``length`` items from the start, ``linked`` of them have further names.

    ``partial``: directories that hold more than the plan has of them, or something with further names. What is in any other
    new directory is sent by the name of the directory.
    """

    begin: Callable[[], Iterator[Planned]]
    length: int
    linked: int
    partial: Container[bytes]


def send(plan: Plan, push: Push) -> Iterator[tuple[Planned, bytes]]:
    """Send a plan; yields each of its items, in order, when it was sent, with the digest that rsync told or nothing.

    ``push`` sends paths and returns the digests of files by path. Names of shared inodes go in one batch, or they would not
    stay one.
    """
    groups = send_linked((item for item in plan.begin() if item.linked), push) if plan.linked else {}
    asked, answered = to_name(plan.begin(), plan.partial), plan.begin()
    digests: dict[bytes, bytes] = {}  # what lies in a directory that was named may come much later in the plan
    for _ in range(0, plan.length, SIZE):
        digests |= _push((path for path in itertools.islice(asked, SIZE) if path), push)
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
    digests = _push((item.path for item in items), push)
    return {_group(item): digests[item.path] for item in items if item.path in digests}


def _push(paths: Iterator[bytes], push: Push) -> dict[bytes, bytes]:
    first = next(paths, None)
    if first is None:
        return {}
    digests = push(itertools.chain([first], paths))
    collections.deque(paths, maxlen=0)  # where rsync ended early
    return digests


def _group(item: Planned) -> _Group:
    fields = item.line.split(b"\t")
    return tuple(fields[number] for number in (manifest.INODE, manifest.CTIME, manifest.MTIME, manifest.SIZE))
