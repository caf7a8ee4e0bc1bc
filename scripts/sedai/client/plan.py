"""Plan: what the scan found against what the last sealed manifest holds. Pure functions over streams of lines."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sedai.client.scan import Scanned
from sedai.core import manifest
from sedai.core.manifest import LinkGroup


class Step(enum.Enum):
    """What becomes of a path."""

    NEW = b"+"
    MODIFIED = b"*"
    REMOVED = b"-"


_STEPS = {step.value: step for step in Step}


class Planned(NamedTuple):
    """One path of the plan; ``line`` is its manifest line without digests, empty where it is removed."""

    step: Step
    path: bytes
    line: bytes

    @property
    def is_directory(self) -> bool:
        """Whether it is one now."""
        return self.line.split(b"\t", 2)[1:2] == [b"d"]

    @property
    def linked(self) -> bool:
        """Whether its inode has further names."""
        return self.step is not Step.REMOVED and self.line.split(b"\t", manifest.NLINK + 1)[manifest.NLINK] != b"1"


@dataclass
class Tally:
    """Counts of a plan. ``kept``: entries that were not found or could not be read, and stay as the base has them.

    ``linked``: how many of those to send share their inode with other names.
    """

    unchanged: int = 0
    new: int = 0
    modified: int = 0
    removed: int = 0
    kept: int = 0
    send_files: int = 0
    send_bytes: int = 0
    linked: int = 0

    def add(self, other: Tally) -> None:
        """Count in what ``other`` has."""
        for each in dataclasses.fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    @property
    def entries(self) -> int:
        """How many entries the generation will have."""
        return self.unchanged + self.kept + self.new + self.modified

    @property
    def planned(self) -> int:
        """How many entries the plan has: what is new, modified or removed."""
        return self.new + self.modified + self.removed


def _nothing(path: bytes) -> bool:
    return False


def compare(
    scanned: Iterable[Scanned], base: Iterator[bytes], tally: Tally, keeps: Callable[[bytes], bool] = _nothing
) -> Iterator[Planned]:
    """Merge-join ``scanned`` with the lines of the base manifest; both are in walk order, each read once.

    ``keeps`` is asked whether a path that was not found stays. Yields what differs, in walk order, and counts everything
    in ``tally``.
    """
    line = next(base, None)
    for item in scanned:
        if line is not None and item.signature and line.startswith(item.signature):
            tally.unchanged += 1
            line = next(base, None)
            continue
        wanted = manifest.order(item.path)
        present = False
        while line is not None:
            path = manifest.line_path(line)
            key = manifest.order(path)
            if key >= wanted:
                present = key == wanted
                break
            yield from _not_found(path, tally, keeps)
            line = next(base, None)
        if not item.signature:
            while line is not None and manifest.at_or_below(manifest.line_path(line), item.path):
                tally.kept += 1
                line = next(base, None)
        elif present and line is not None and line.startswith(item.signature):
            tally.unchanged += 1
            line = next(base, None)
        else:
            yield _planned(item, present, tally)
            if present:
                line = next(base, None)
    while line is not None:
        yield from _not_found(manifest.line_path(line), tally, keeps)
        line = next(base, None)


def groups_to_send(planned: Iterable[Planned]) -> set[LinkGroup]:
    """The inodes with several names of which at least one is sent."""
    groups = (manifest.decode(item.line).link_group for item in planned if item.linked)
    return {group for group in groups if group is not None}


def with_other_names(
    planned: Iterator[Planned],
    base: Iterable[bytes],
    groups: Container[LinkGroup],
    is_there: Callable[[bytes], bool],
    tally: Tally,
) -> Iterator[Planned]:
    """``planned``, and the names of inodes of ``groups`` that it has not, in walk order: sent alone one would be a file of its own.

    A directory that was renamed leaves the files in it as they were, and so their names elsewhere. ``base``: the lines of the
    base manifest; of an inode's other names those are sent that ``is_there`` finds as their line says.
    """
    item = next(planned, None)
    for line in base:
        if (
            line.split(b"\t", manifest.NLINK + 1)[manifest.NLINK] == b"1"
            or manifest.decode(line).link_group not in groups
        ):
            continue
        path = manifest.line_path(line)
        while item is not None and manifest.order(item.path) < manifest.order(path):
            yield item
            item = next(planned, None)
        if (item is None or item.path != path) and is_there(line):
            tally.unchanged -= 1
            yield _planned(_scanned(path, line), True, tally)
    if item is not None:
        yield item
    yield from planned


def _scanned(path: bytes, line: bytes) -> Scanned:
    """What a scan found of ``path`` where it found what ``line`` of a manifest says."""
    fields = line[:-1].split(b"\t")
    return Scanned(path, b"\t".join([*fields[: manifest.CRC32], b""]), manifest.unescape(fields[-1]))


def _not_found(path: bytes, tally: Tally, keeps: Callable[[bytes], bool]) -> Iterator[Planned]:
    if keeps(path):
        tally.kept += 1
        return
    tally.removed += 1
    yield Planned(Step.REMOVED, path, b"")


def _planned(item: Scanned, present: bool, tally: Tally) -> Planned:
    if present:
        tally.modified += 1
    else:
        tally.new += 1
    kind, size = item.signature.split(b"\t", 3)[1:3]
    if kind == b"f":
        tally.send_files += 1
        tally.send_bytes += int(size)
    planned = Planned(Step.MODIFIED if present else Step.NEW, item.path, line_of(item))
    tally.linked += planned.linked
    return planned


def line_of(item: Scanned) -> bytes:
    """The manifest line of a scanned path, digests not known yet."""
    return item.signature + b"-\t-\t" + manifest.escape(item.target) + b"\n"


def encode(planned: Planned) -> bytes:
    """One line of the plan file."""
    return planned.step.value + (planned.line or manifest.escape(planned.path) + b"\n")


def decode(line: bytes) -> Planned:
    """The inverse of :func:`encode`."""
    step = _STEPS[line[:1]]
    if step is Step.REMOVED:
        return Planned(step, manifest.unescape(line[1:-1]), b"")
    return Planned(step, manifest.line_path(line[1:]), line[1:])
