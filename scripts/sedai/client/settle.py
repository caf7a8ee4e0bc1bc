"""Settle: what rsync sent, held against the plan path by path, so that nothing is sealed that was not read whole."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field

from sedai.client import plan
from sedai.client.plan import Planned, Step
from sedai.client.scan import Problem, Scanned, signature, target
from sedai.client.send import unescape_name
from sedai.core import manifest
from sedai.core.wire import Change

Look = Callable[[bytes], Scanned | None]

# A file written twice within one tick of the kernel's clock keeps its ctime: one that is this young is sent again.
_RACY_NS = 100_000_000
_NOISE = ("rsync error:", "rsync warning:", "file has vanished:")
_NAMED = re.compile(r'"([^"]*)"')


def look(path: bytes, root: bytes = b"/") -> Scanned | None:
    """The path as it is now; None where it is gone, an empty signature where it can't be looked at."""
    try:
        stat = os.lstat(root + path)
        line = signature(path, stat)
        return None if line is None else Scanned(path, line, target(root + path, stat))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return Scanned(path, b"", b"")


def is_there(line: bytes) -> bool:
    """Whether the path of a manifest line is there and just as the line says."""
    current = look(manifest.line_path(line))
    return current is not None and current.signature != b"" and line.startswith(current.signature)


@dataclass
class Settlement:
    """What became of the plan.

    ``again``: paths that changed since the scan, as they are now, to be sent once more; ``digests_again``: of that sending.
    ``unstable``: files and directories that changed yet again; they are sealed as they arrived. ``restless``: what became
    something else yet again, so that nobody knows what arrived.
    """

    again: dict[bytes, Planned] = field(default_factory=dict)
    digests_again: dict[bytes, bytes] = field(default_factory=dict)
    gone: set[bytes] = field(default_factory=set)
    unreadable: set[bytes] = field(default_factory=set)
    unstable: set[bytes] = field(default_factory=set)
    restless: set[bytes] = field(default_factory=set)
    young: set[bytes] = field(default_factory=set)
    unsent: list[bytes] = field(default_factory=list)
    entries_lost: int = 0


def find_changed(
    item: Planned, found: Settlement, look_at: Look = look, now_ns: Callable[[], int] = time.time_ns
) -> None:
    """Look at a path that was sent: is it still what the scan saw?"""
    current = look_at(item.path)
    if current is not None and current.signature and item.line.startswith(current.signature):
        if now_ns() - int(item.line.split(b"\t", manifest.CTIME + 1)[manifest.CTIME]) < _RACY_NS:
            found.young.add(item.path)
    elif current is None or (item.is_directory and not _is_directory(current.signature)):
        found.gone.add(item.path)
    elif not current.signature:
        found.unreadable.add(item.path)
    else:
        found.again[item.path] = Planned(item.step, item.path, plan.line_of(current))


def find_unstable(found: Settlement, look_at: Look) -> None:
    """After the second sending: which paths changed yet again, or went."""
    for path, item in found.again.items():
        current = look_at(path)
        if current is None or (_is_directory(item.line) and not _is_directory(current.signature)):
            found.gone.add(path)
        elif not current.signature:
            found.unreadable.add(path)
        elif item.line.startswith(current.signature):
            continue
        elif _kind(item.line) == _kind(current.signature) and _kind(item.line) in (b"f", b"d"):
            found.unstable.add(path)
        else:
            found.restless.add(path)


def _kind(line: bytes) -> bytes:
    return line.split(b"\t", 2)[1] if line else b""


def _is_directory(line: bytes) -> bool:
    return _kind(line) == b"d"


def changes(
    planned: Iterable[tuple[Planned, bytes]], found: Settlement, rotten: Container[bytes] = ()
) -> Iterator[Change]:
    """The changes that the server is to seal, in walk order; counts in ``found`` what is left out.

    ``planned``: the plan, each path with the digest that rsync told of it, or nothing. What could not be read, would not hold
    still, or is ``rotten``, stays as the base has it; where the base has none it is left out. What is new below a directory
    that is left out goes with it.
    """
    for item, digest in _with_directories(planned, found):
        if item.step is Step.REMOVED:
            sealed: Change | None = Change(item.path, None)
        elif item.path in found.gone:
            sealed = _gone(item, found)
        elif item.path in rotten:
            sealed = _sealed(item, b"", found)
        elif item.path in found.again:
            sealed = _sealed(found.again[item.path], found.digests_again.get(item.path, b""), found)
        else:
            sealed = _sealed(item, digest, found)
        if sealed is not None:
            yield sealed


def _gone(item: Planned, found: Settlement) -> Change | None:
    if item.step is Step.MODIFIED and item.is_directory:
        return None  # what the base has below it stays too; the next scan drops it as a whole
    found.entries_lost += 1
    return Change(item.path, None) if item.step is Step.MODIFIED else None


def _sealed(item: Planned, digest: bytes, found: Settlement) -> Change | None:
    fields = item.line.split(b"\t")
    is_file = fields[manifest.KIND] == b"f"
    if item.path in found.unreadable or item.path in found.restless or (is_file and not digest):
        found.unsent.append(item.path)
        if item.step is Step.NEW:
            found.entries_lost += 1
        return None
    if is_file:
        fields[manifest.XXH128] = digest
    unstable = item.path in found.unstable
    if unstable or item.path in found.young:
        fields[manifest.CTIME] = b"0"  # no scan will ever see this signature: it is sent again next time
    return Change(item.path, b"\t".join(fields), unstable)


def _with_directories(planned: Iterable[tuple[Planned, bytes]], found: Settlement) -> Iterator[tuple[Planned, bytes]]:
    """``planned``; what is new below a directory that is left out counts as gone, though it came back meanwhile."""
    left_out = b""
    for item, digest in planned:
        if item.step is Step.NEW and left_out and manifest.at_or_below(item.path, left_out):
            found.gone.add(item.path)
        elif item.is_directory and _is_left_out(item.path, found):
            left_out = item.path
        yield item, digest


def _is_left_out(path: bytes, found: Settlement) -> bool:
    return path in found.gone or path in found.unreadable or path in found.restless


def drop_lost(settled: Iterable[Change], lost: Iterable[bytes], dropped: list[bytes]) -> Iterator[Change]:
    """``settled``, and among them the removal of each path of ``lost`` that they don't mend; those go to ``dropped``.

    ``lost``: what the base names and has not any more. Kept as the base has it, it would keep every seal from being made.
    """
    remaining = deque(sorted(lost, key=manifest.order))
    for change in settled:
        while remaining and manifest.order(remaining[0]) < manifest.order(change.path):
            yield _drop(remaining, dropped)
        if remaining and remaining[0] == change.path:
            remaining.popleft()
        yield change
    while remaining:
        yield _drop(remaining, dropped)


def _drop(remaining: deque[bytes], dropped: list[bytes]) -> Change:
    path = remaining.popleft()
    dropped.append(path)
    return Change(path, None)


def problems(found: Settlement, complaints: Iterable[str]) -> Iterator[Problem]:
    """What a person must hear: files that could not be read, and everything else that rsync complained about."""
    explained = {*found.unsent, *found.gone}
    for path in found.unsent:
        if path in found.restless:
            yield Problem("restless", path, "it kept becoming something else")
        else:
            yield Problem("unreadable", path, "it could not be read")
    for line in complaints:
        named = {unescape_name(os.fsencode(name)).lstrip(b"/") for name in _NAMED.findall(line)}
        if not line.startswith(_NOISE) and not named & explained:
            yield Problem("rsync", b"", line)
