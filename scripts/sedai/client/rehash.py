"""Rehash: files that nobody wrote to, by their stat, are read again. Do they still have the bytes that were backed up?

A file that rots on this machine keeps its size and times, so no scan sees it, and no backup takes the rotten bytes: each
generation keeps those that were read when it was sent. That holds for as long as somebody hears of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sedai.client import target
from sedai.client.scan import Problem, signature
from sedai.client.state import State, write_atomically
from sedai.core import manifest, prefetch, wire
from sedai.core.counted import counted
from sedai.core.manifest import Entry, LinkGroup
from sedai.core.progress import Reporter


@dataclass(frozen=True)
class Notes:
    """``turns``: how many shares were read so far; ``rotten``: files that had other bytes when they were last read."""

    turns: int = 0
    rotten: frozenset[bytes] = frozenset()


@dataclass
class Rehashed:
    """What was read, and which files have other bytes now."""

    files: int = 0
    bytes: int = 0
    problems: list[Problem] = field(default_factory=list)


def share(inode: int, shares: int) -> int:
    """The share that ``inode`` falls into; all names of a file fall into the same."""
    return zlib.crc32(inode.to_bytes(8, "little", signed=False)) % shares


def rehash(state: State, shares: int, reporter: Reporter, *, keep_notes: bool = True, root: bytes = b"/") -> Rehashed:
    """Read one of ``shares`` parts of all files, the next one each time (1: all, 0: none), and what is known to be rotten.

    Compared is the newest generation's manifest that this client knows.
    """
    notes = read_notes(state.rehash)
    if not state.base.exists() or not (shares or notes.rotten):
        return Rehashed()
    turn = notes.turns % shares if shares else 0

    def chosen(entry: Entry) -> bool:
        return entry.path in notes.rotten or (shares > 0 and share(entry.inode, shares) == turn)

    rehashed = Rehashed()
    with reporter.steps("rehash", manifest.totals(state.base).entries) as advance:
        rehashed.problems += compare(manifest.read(state.base), chosen, rehashed, advance, root)
    if shares:
        reporter.say(f"rehash: {counted(rehashed.files, 'file')} read, {len(rehashed.problems)} with other bytes")
    if keep_notes:
        rotten = frozenset(problem.path for problem in rehashed.problems)
        write_notes(state.rehash, Notes(notes.turns + (shares > 0), rotten))
    return rehashed


def compare(
    lines: Iterator[bytes],
    chosen: Callable[[Entry], bool],
    rehashed: Rehashed,
    advance: Callable[[int], None] = lambda done: None,
    root: bytes = b"/",
) -> Iterator[Problem]:
    """The ``chosen`` files of ``lines`` that have other bytes now; those whose stat changed are not looked at."""
    read: dict[LinkGroup, bytes] = {}

    def begin(item: tuple[Entry, bytes]) -> int | None:
        entry, _ = item
        if entry.link_group not in read:
            with contextlib.suppress(OSError):  # tried again, and told, when it is read
                return _open_anew(root + entry.path)
        return None

    for (entry, line), descriptor in prefetch.opened(_untouched(lines, chosen, advance, root), begin):
        group = entry.link_group
        found = read.get(group) if group else None
        if found is None:
            try:
                found = _read_from_disk(root + entry.path, descriptor)
            except OSError as error:
                if _is_untouched(entry.path, line, root):
                    yield Problem("rotten", entry.path, f"it can't be read: {error.strerror}")
                continue
            rehashed.files += 1
            rehashed.bytes += entry.size
            if group:
                read[group] = found
        if found != entry.xxh128 and _is_untouched(entry.path, line, root):
            yield _rotten(entry, found)


def _untouched(
    lines: Iterator[bytes], chosen: Callable[[Entry], bool], advance: Callable[[int], None], root: bytes
) -> Iterator[tuple[Entry, bytes]]:
    for number, line in enumerate(lines):
        if not number & 0x3FF:
            advance(number)
        if line.split(b"\t", 2)[1] == b"f":
            entry = manifest.decode(line)
            if chosen(entry) and _is_untouched(entry.path, line, root):
                yield entry, line


def sent_rotten(lines: Sequence[bytes], digests: Mapping[bytes, bytes]) -> dict[bytes, Problem]:
    """Of files that are sent again because the server's copy is damaged, those that have rotted here too.

    ``lines`` are those of the base, ``digests`` what rsync read. The right bytes are nowhere on this machine.
    """
    entries = [manifest.decode(line) for line in lines]
    read = {entry.link_group or entry.path: digests[entry.path] for entry in entries if entry.path in digests}
    found = {}
    for line, entry in zip(lines, entries, strict=True):
        digest = read.get(entry.link_group or entry.path, entry.xxh128)
        if entry.kind == "f" and digest != entry.xxh128 and _is_untouched(entry.path, line, b"/"):
            found[entry.path] = _rotten(entry, digest)
    return found


def _rotten(entry: Entry, digest: bytes) -> Problem:
    return Problem("rotten", entry.path, f"XXH128 {digest.decode()}, backed up {entry.xxh128.decode()}")


def _is_untouched(path: bytes, line: bytes, root: bytes) -> bool:
    """Whether the stat of ``path`` is still that of its manifest line."""
    try:
        found = signature(path, os.lstat(root + path))
    except OSError:
        return False
    return found is not None and line.startswith(found)


def _open_anew(path: bytes) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    prefetch.anew(descriptor)
    return descriptor


def _read_from_disk(path: bytes, begun: int | None) -> bytes:
    """The XXH128 of what lies on the disk at ``path``: without what the kernel still had of it in memory.

    ``begun``: a descriptor of it, if there is one.
    """
    descriptor = _open_anew(path) if begun is None else begun
    try:
        return target.digest(descriptor)
    finally:
        prefetch.forget(descriptor)
        if begun is None:
            os.close(descriptor)


def read_notes(path: Path) -> Notes:
    """The notes; new ones where they are missing or damaged."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return Notes(int(table["turns"]), frozenset(wire.unpack(name) for name in table["rotten"]))
    except (OSError, ValueError, TypeError, KeyError):
        return Notes()


def write_notes(path: Path, notes: Notes) -> None:
    """Replace the notes."""
    table = {"turns": notes.turns, "rotten": [wire.pack(name) for name in sorted(notes.rotten)]}
    write_atomically(path, json.dumps(table) + "\n")
