"""What an import would do: found out by looking, at the store and at the old directory; nothing is changed here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sedai.core import wire
from sedai.core.errors import UsageError
from sedai.core.generation import Generation
from sedai.core.process import run
from sedai.server import snapshots, words
from sedai.server.config import ServerConfig
from sedai.server.rights import as_root
from sedai.server.snapshots import LeftOut, Snapshot
from sedai.server.store import ClientStore

# While it is there, rsync-time-backup is at work on the newest snapshot, or was interrupted there.
_IN_PROGRESS = "backup.inprogress"


@dataclass(frozen=True)
class Wish:
    """What is to be imported, as a person said it. ``strip`` None: to be found out; ``below``: where on the client it was."""

    client: str
    directory: Path
    layout: str = "auto"
    strip: str | None = None
    below: str = ""
    dry_run: bool = False


@dataclass(frozen=True)
class Plan:
    """What is imported and what is not. ``last``: the one that the newest generation was made of, if it is still there."""

    layout: str
    strip: bytes
    below: bytes
    wanted: tuple[Snapshot, ...]
    left_out: tuple[LeftOut, ...]
    present: int
    last: Snapshot | None


def make(config: ServerConfig, store: ClientStore, wish: Wish) -> Plan:
    """What is to be imported, from a look at the store and at the old directory."""
    newest = _newest_imported(store, wish.client)
    if not wish.directory.is_absolute():
        raise UsageError(f"{wish.directory} must be an absolute path.")
    layout, found = snapshots.find(_directories(wish.directory), wish.layout, str(wish.directory))
    with as_root():
        unfinished = found[-1].name if layout == "dated" and (wish.directory / _IN_PROGRESS).exists() else ""
    tops = {one.name: [os.fsencode(name) for name, _ in _directories(wish.directory / one.name)] for one in found}
    strip = snapshots.strip_of(tops, layout) if wish.strip is None else snapshots.tree_path(wish.strip)
    unfit = {name: f"it has no {wire.text(strip)}" for name in tops if not _has(wish.directory / name, strip)}
    if unfinished:
        unfit[unfinished] = "it is not finished"
    wanted, left_out = snapshots.choose(found, config.retention_for(wish.client), datetime.now(UTC), unfit)
    if not wanted:
        told = "; ".join(f"{one.snapshot.name}: {one.why}" for one in left_out)
        raise UsageError(f"No snapshot in {wish.directory} can be taken ({told}).", "Look at --strip.")
    older = [one for one in wanted if newest is not None and one.time <= newest.time]
    last = older[-1] if older and newest is not None and older[-1].time == newest.time else None
    below = snapshots.tree_path(wish.below)
    return Plan(layout, strip, below, tuple(wanted[len(older) :]), tuple(left_out), len(store.generations()), last)


def _newest_imported(store: ClientStore, client: str) -> Generation | None:
    """The newest generation, where all are imported ones.

    Raises:
        UsageError: the client has made some itself.
    """
    found = store.generations()
    own = [generation for generation in found if not store.record(generation).imported]
    if own:
        raise UsageError(
            f"{client} has generations of its own already ({own[0]} is the oldest); older ones can't be put before them.",
            f"If they may go: move {store.root} away, run `ansible-playbook site.yml`, then import, before the next backup.",
        )
    return found[-1] if found else None


def _directories(directory: Path) -> list[snapshots.Directory]:
    try:
        with as_root(), os.scandir(directory) as found:
            return [(item.name, item.stat().st_mtime) for item in found if item.is_dir(follow_symlinks=False)]
    except OSError as error:
        raise UsageError(
            f"{directory} can't be read: {error.strerror}.", "Name a directory, and run this as root."
        ) from error


def _has(snapshot: Path, strip: bytes) -> bool:
    with as_root():
        return os.path.isdir(os.fsencode(snapshot) + b"/" + strip)


def needed_bytes(directory: Path, plan: Plan) -> int:
    """Bytes of disk that the wanted snapshots take beside the last one; du counts an inode where it comes first."""
    chosen = [*([plan.last] if plan.last else []), *plan.wanted]
    if not plan.wanted:
        return 0
    paths = [os.fsencode(directory / one.name) + b"/" + plan.strip for one in chosen]
    with as_root():
        told = run(["du", "--summarize", "--null", "--block-size=1", "--", *paths], success=(0, 1)).stdout
    sizes = [int(item.split(b"\t")[0]) for item in told.split(b"\0") if item]
    return sum(sizes[1:] if plan.last else sizes)


def told(wish: Wish, plan: Plan, needed: int, room: int) -> Iterator[str]:
    """The plan in words, line by line."""
    for one in plan.left_out:
        yield f"left out: {one.snapshot.name} of {_local(one.snapshot.time)}: {one.why}"
    for snapshot in plan.wanted:
        yield f"to import: {snapshot.name} of {_local(snapshot.time)}"
    taken = f"{wire.text(plan.strip)}/ is taken off the paths" if plan.strip else "nothing is taken off the paths"
    put = f", /{wire.text(plan.below)} is put before them" if plan.below else ""
    yield f"{wish.client}: {len(plan.wanted)} to import of {wish.directory} ({plan.layout}); {taken}{put}."
    yield f"room: {words.size(needed)} are needed, {words.size(room)} are free for {wish.client}"


def _local(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"
