"""How much a client may store, and how much of the disk is left for all: refused in words before the disk is full."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import IO

from sedai.core.errors import IntegrityError
from sedai.core.process import run
from sedai.server import ahead
from sedai.server.receiver import Limit, LimitError
from sedai.server.store import ClientStore

GIB = 1 << 30
_CHUNK = 1 << 20
_LOOK_EVERY = 16 * _CHUNK


@dataclass(frozen=True)
class Quota:
    """The limits of one client: ``quota_gib`` of disk for everything it stores, None without a limit.

    ``reserve_percent``: the share of the disk (and of its inodes) that no client may use.
    """

    store: ClientStore
    quota_gib: int | None
    reserve_percent: int

    def free_bytes(self) -> int:
        """How much the client can still send; never negative."""
        disk = os.statvfs(self.store.root)
        free = disk.f_bavail * disk.f_frsize - disk.f_blocks * disk.f_frsize * self.reserve_percent // 100
        if self.quota_gib is not None:
            free = min(free, self.quota_gib * GIB - self._stored())
        return max(0, free)

    def used_up(self) -> str:
        """What is used up, in words; empty while there is room. What was dropped counts until it is removed."""
        disk = os.statvfs(self.store.root)
        for what, free, all_of_it in (
            ("the disk", disk.f_bavail, disk.f_blocks),
            ("the disk's inodes", disk.f_favail, disk.f_files),
        ):
            if free * 100 < all_of_it * self.reserve_percent:
                return (
                    f"Only {free * 100 // all_of_it} % of {what} at {self.store.root.parent} are free; the server keeps "
                    f"{self.reserve_percent} % for itself."
                )
        if self.quota_gib is not None and self._used() > self.quota_gib * GIB:
            return f"The quota of {self.quota_gib} GiB is used up."
        return ""

    def make_room(self) -> str:
        """What is used up, in words, without what waits for nobody: what was dropped goes first, then the farm."""
        for give_up in (ahead.empty_trash, ahead.give_back):
            if not self.used_up():
                return ""
            give_up(self.store)
        return self.used_up()

    def refuse_if_used_up(self) -> None:
        """Make room.

        Raises:
            LimitError: there is none.
        """
        if words := self.make_room():
            raise LimitError(words, "Free some of it, or raise the limit, on the server.")

    def drop_or_refuse(self) -> None:
        """Drop what was sent if there is no room with it, and refuse if there is none without it; the lock is held.

        Raises:
            LimitError: there is none.
        """
        if self.make_room():
            self.store.empty_delta()
            self.refuse_if_used_up()

    def limit(self) -> Limit:
        """For the receiver: what a file may have, and the words that end it."""
        largest = None
        if self.quota_gib is not None:
            largest = max(_CHUNK, self.free_bytes() - _disk_use(self.store.incoming))
        return Limit(largest, self.make_room)

    def copy(self, chunks: Iterable[bytes], target: IO[bytes]) -> None:
        """Write what comes to the disk, however much it is.

        Raises:
            LimitError: there is no room for all of it.
        """
        since = _LOOK_EVERY
        for chunk in chunks:
            since += len(chunk)
            if since >= _LOOK_EVERY:
                since = 0
                target.flush()
                if words := self.make_room():
                    raise LimitError(words, "Free some of it, or raise the limit, on the server.")
            target.write(chunk)

    def _used(self) -> int:
        from sedai.server import farm  # only who has a quota needs it

        waiting = farm.waiting_bytes(self.store)
        return self._stored() + _disk_use(self.store.incoming) + _disk_use(self.store.trash) + waiting

    def _stored(self) -> int:
        """What the sealed generations use of the disk, measured anew only when there are others than last time."""
        names = [str(generation) for generation in self.store.generations()]
        note = self.store.root / "usage"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(note.read_text(encoding="utf-8"))
            if known["generations"] == names:
                return int(known["bytes"])
        used = _disk_use(self.store.generations_directory) - self._shared(names)
        with contextlib.suppress(
            OSError
        ):  # on a full disk it is measured again; what is used up must be said all the same
            note.write_text(json.dumps({"generations": names, "bytes": used}), encoding="utf-8")
        return used

    def _shared(self, names: Container[str]) -> int:
        """What du counts in two generations, and the disk has once: what each of them shares with the one before it."""
        shared = 0
        for generation in self.store.generations():
            with contextlib.suppress(IntegrityError):
                record = self.store.record(generation)
                # Where that was pruned, its part is this one's own.
                shared += record.shared_bytes if record.previous in names else 0
        return shared


def _disk_use(directory: os.PathLike[str]) -> int:
    """Bytes that ``directory`` takes on the disk, each inode once. Files may vanish meanwhile, hence the status 1."""
    if shutil.which("du") is None or not os.path.isdir(directory):
        return 0
    done = run(["du", "--summarize", "--block-size=1", os.fspath(directory)], success=(0, 1))
    return int(done.stdout.split()[0]) if done.stdout.split() else 0
