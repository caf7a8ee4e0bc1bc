"""The place that a restore writes to: what is there already, and what came back as it was."""

from __future__ import annotations

import os
import stat as st
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from sedai.client import scan
from sedai.core import manifest, wire
from sedai.core.beneath import Beneath
from sedai.core.manifest import Entry, LinkGroup

_CHUNK = 1 << 20
_SHOWN_EXAMPLES = 3

# In which respect something is not as the manifest says -> the sentence about one path, and about several.
_SENTENCES = {
    "missing": ("did not come back", "did not come back"),
    "kind": ("is not of the kind that it was", "are not of the kind that they were"),
    "content": ("does not have the bytes that the manifest says", "do not have the bytes that the manifest says"),
    "target": ("does not point where it did", "do not point where they did"),
    "device": ("is another device", "are other devices"),
    "time": ("has another modification time", "have another modification time"),
    "mode": ("has another mode", "have another mode"),
    "owner": ("could not get its owner and group", "could not get their owner and group"),
    "links": ("is no longer one file with its other names", "are no longer one file with their other names"),
    "unread": ("could not be read back to be compared", "could not be read back to be compared"),
    "surplus": ("is there and is no part of this generation", "are there and are no part of this generation"),
    "device_left_out": ("was left out: only root can make devices", "were left out: only root can make devices"),
}


# What only the manifest knows of symlinks, FIFOs and devices; see mend().
MENDED = frozenset({"owner", "time"})


@dataclass
class Findings:
    """What is not as it was: counted by respect, with a few examples, so that ten thousand files make one line."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, respect: str, path: bytes) -> None:
        """Note that ``path`` differs in ``respect``."""
        self.counts[respect] = self.counts.get(respect, 0) + 1
        shown = self.examples.setdefault(respect, [])
        if len(shown) < _SHOWN_EXAMPLES:
            shown.append(wire.text(path))

    def take(self, others: Findings) -> None:
        """Add what another look found."""
        for respect, count in others.counts.items():
            self.counts[respect] = self.counts.get(respect, 0) + count
            shown = self.examples.setdefault(respect, [])
            shown += others.examples[respect][: _SHOWN_EXAMPLES - len(shown)]

    def lines(self) -> list[str]:
        """One sentence for each respect."""
        return [self._line(respect) for respect in _SENTENCES if respect in self.counts]

    def _line(self, respect: str) -> str:
        count, shown = self.counts[respect], self.examples[respect]
        if count == 1:
            return f"{shown[0]} {_SENTENCES[respect][0]}"
        more = ", …" if count > len(shown) else ""
        return f"{count} entries {_SENTENCES[respect][1]}: {', '.join(shown)}{more}"


def only_root(line: str) -> bool:
    """Whether a line of :class:`Findings` tells of what only root can bring back."""
    return any(words in line for respect in ("owner", "device_left_out") for words in _SENTENCES[respect])


def privileged() -> bool:
    """Whether this process can set owners and make devices."""
    return os.geteuid() == 0


def opened(root: bytes) -> Beneath:
    """The tree that is restored below ``root``, which may be a symlink; below it none is followed."""
    return Beneath(Path(os.fsdecode(os.path.realpath(root or b"/"))))


def differs(path: bytes, status: os.stat_result, entry: Entry) -> Iterator[str]:
    """In which respects what lies at ``path`` is not ``entry``; the bytes of a file are read last."""
    line = scan.signature(entry.path, status)
    found = manifest.decode(line + b"-\t-\t\n") if line else None
    if found is None or found.kind != entry.kind:
        yield "kind"
        return
    if entry.kind == "l" and os.readlink(path) != entry.target:
        yield "target"
    if entry.kind in "cb" and b"%d,%d" % (os.major(status.st_rdev), os.minor(status.st_rdev)) != entry.target:
        yield "device"
    if found.mtime_ns != entry.mtime_ns:
        yield "time"
    if entry.kind != "l" and found.mode != entry.mode:
        yield "mode"
    if (found.uid, found.gid) != (entry.uid, entry.gid):
        yield "owner"
    if entry.kind == "f":
        try:
            if found.size != entry.size or _xxh128(path, status) != entry.xxh128:
                yield "content"
        except PermissionError:
            yield "unread"


def is_there(path: bytes, status: os.stat_result, entry: Entry) -> bool:
    """Whether exactly ``entry`` lies at ``path``; an owner that this account could not set does not count."""
    return all(respect == "owner" and not privileged() for respect in differs(path, status, entry))


def look(path: bytes) -> os.stat_result | None:
    """The lstat of what is at ``path``, or None where nothing is to be seen."""
    try:
        return os.lstat(path)
    except OSError:
        return None


def mend(path: bytes, status: os.stat_result, entry: Entry) -> os.stat_result:
    """Set owner, mode and times that rsync could not set, or the server does not keep; returns the new lstat.

    The server keeps a symlink's owner only in the manifest, and rsync sets no times of devices.
    """
    if scan.signature(entry.path, status) is None:
        return status
    if privileged() and (status.st_uid, status.st_gid) != (entry.uid, entry.gid):
        os.lchown(path, entry.uid, entry.gid)
        status = os.lstat(path)  # the kernel takes set-uid away with the owner
    if entry.kind != "l" and not st.S_ISLNK(status.st_mode) and st.S_IMODE(status.st_mode) != entry.mode:
        os.chmod(path, entry.mode)
    if status.st_mtime_ns != entry.mtime_ns:
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)
    return os.lstat(path)


def compare(path: bytes, entry: Entry, findings: Findings, shown: bytes) -> os.stat_result | None:
    """Mend what came back at ``path`` and note what is still not as the manifest says; the lstat, where there is one.

    ``shown``: the path as people know it.
    """
    status = look(path)
    if status is None:
        findings.add("missing", shown)
        return None
    try:
        if _kind(status) == entry.kind:
            status = mend(path, status, entry)
    except OSError:
        pass  # what could not be set is found in the comparison
    try:
        respects = list(differs(path, status, entry))
    except OSError:
        respects = ["unread"]
    for respect in respects:
        findings.add(respect, shown)
    return status


def _kind(status: os.stat_result) -> str:
    line = scan.signature(b"x", status)
    return line.split(b"\t", 2)[1].decode() if line else ""


class Links:
    """Names that were one inode must be one again; remembers the first name of each group."""

    def __init__(self) -> None:
        self._first: dict[LinkGroup, tuple[int, int]] = {}

    def are_one(self, entry: Entry, inode: tuple[int, int]) -> bool:
        """Whether the file ``entry`` is one with the names of its group that were told before; ``inode``: its device and inode."""
        group = entry.link_group
        return group is None or self._first.setdefault(group, inode) == inode


def link(leader: bytes, path: bytes) -> None:
    """Make ``path`` a further name of the file ``leader``, in place of whatever file is there."""
    swap = os.path.dirname(path) + b"/.sedai-link-%d" % os.getpid()
    os.link(leader, swap, follow_symlinks=False)
    try:
        os.rename(swap, path)
    finally:
        if os.path.lexists(swap):  # a rename between two names of one inode does nothing
            os.unlink(swap)


def _xxh128(path: bytes, status: os.stat_result) -> bytes:
    try:
        return digest(path)
    except PermissionError:
        if status.st_uid != os.geteuid():
            raise
    # Our own file, of mode 0: opened for this one look.
    os.chmod(path, st.S_IMODE(status.st_mode) | st.S_IRUSR)
    try:
        return digest(path)
    finally:
        os.chmod(path, st.S_IMODE(status.st_mode))


def digest(at: bytes | int) -> bytes:
    """The XXH128 of the file at a path, or behind a descriptor from its position on, hexadecimal."""
    found = xxhash.xxh3_128()
    with open(at, "rb", buffering=0, closefd=not isinstance(at, int)) as stream:
        while chunk := stream.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest().encode()
