"""Seal: base + delta become a generation, or nothing does.

Every byte of the delta is read once and must be what the client's rsync read. The farm is then edited, never the base:
changed paths are linked from the delta into it, removed ones dropped from it. One rename makes the generation appear.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sedai import __version__
from sedai.core import lock, manifest, wire
from sedai.core.beneath import Beneath, allow_deep_paths
from sedai.core.counted import counted
from sedai.core.errors import IntegrityError, UsageError
from sedai.core.generation import Generation, Record
from sedai.core.merge import merge
from sedai.core.process import run, start
from sedai.core.wire import Change
from sedai.server import ahead, anomaly, farm, known, restore_note
from sedai.server.arrived import Arrived
from sedai.server.asked import Asked
from sedai.server.checking import CheckedChange, Checking
from sedai.server.edit import Edit, Edits
from sedai.server.farm import Farm
from sedai.server.freeze import freeze
from sedai.server.kept import Kept
from sedai.server.restore_note import Examples
from sedai.server.sharing import Sharing
from sedai.server.store import MANIFEST, NOTE, ClientStore
from sedai.server.stored import sha256

# What a client may say of what its backup lacks.
_MOST_LINES, _LONGEST_LINE = 100, 300


@dataclass(frozen=True)
class Request:
    """What the client says of the generation to be sealed."""

    base: str
    base_manifest_sha256: str
    entries: int
    started: str
    sources: tuple[str, ...]
    not_in_backup: tuple[str, ...] = ()

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> Request:
        """Read the request of a ``seal``.

        Raises:
            UsageError: it is not one.
        """
        asked = Asked("seal", table)
        return cls(
            asked.text("base"),
            asked.text("base_manifest_sha256"),
            asked.whole("entries"),
            asked.text("started")[:40],
            tuple(asked.texts("sources")),
            tuple(_printable(line) for line in asked.texts("not_in_backup", [])[:_MOST_LINES]),
        )


@dataclass(frozen=True)
class Origin:
    """Of a generation that another program made: its own time, and in words where it was."""

    moment: datetime
    words: str


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in line[:_LONGEST_LINE])


def seal(
    store: ClientStore,
    client: str,
    request: Request,
    changes: Iterator[Change],
    answer: Callable[[bytes], None],
    progress: Callable[[int], None],
    freeze_percent: int = 100,
    origin: Origin | None = None,
) -> Record:
    """Make a generation of the base, the delta and ``changes``; the caller holds the store's lock.

    ``answer`` gets one line ``+crc32 size mtime_ns`` for each regular file among the changes, in order, and
    ``+crc32 size mtime_ns mode uid gid`` for each file or directory that was not stable; ``progress`` gets the number of
    changes checked so far. Where more than ``freeze_percent`` of the base's files are removed or changed, or files turned into
    noise, the generation is made all the same, but the store is frozen. What is imported from ``origin`` is no news: it freezes
    nothing.

    Raises:
        IntegrityError: something is not what the client said; there is no generation then, and the delta stays.
        UsageError: the client plans on another base than the newest.
    """
    base = store.base()
    base_record = store.record(base) if base else None
    if (str(base) if base else "") != request.base or (
        base_record.manifest_sha256 if base_record else ""
    ) != request.base_manifest_sha256:
        raise UsageError("The newest generation changed since this run began.", "Run the backup again.")
    allow_deep_paths()
    staging = store.incoming / "staging"
    staging.mkdir(mode=0o700)
    tree = staging / "tree"

    with contextlib.ExitStack() as stack:
        # While what arrived is read: all of it has to be on the disk in the end, and the disk has nothing else to do.
        flushing = start(["sync", "-f", str(store.delta)])
        threading.Thread(target=flushing.wait, daemon=True).start()  # nobody waits for it where there is no generation
        delta = stack.enter_context(Beneath(store.delta))
        ahead_of_it = stack.enter_context(Beneath(store.delta))
        checking = Checking(Arrived(delta, ahead_of_it), answer, progress)
        compared = anomaly.Compared(base_record.files if base_record else 0)
        kept = stack.enter_context(Kept(delta, store.tree(base))) if base else None
        sharing = Sharing(delta, store.tree(base) if base else None, staging / "shared")
        # Before the tree is edited: a manifest that is not nested could lead an edit through a symlink out of the tree.
        with Edits(staging / "edits") as edits:
            seen = _Seen(compared, edits, kept, sharing)
            totals = _write_manifest(store, base, base_record, checking.check(changes), seen, staging / MANIFEST)
        # Until the generation is there: whoever lays the next farm then sees it.
        ahead.make_way(store)
        stack.enter_context(lock.exclusive(store.farm_lock, "The laying of a farm", wait_seconds=math.inf))
        laid, lost = _lay(store, base, base_record, tree, edits)
        with Beneath(tree) as new_tree:
            edit = Edit(delta, new_tree, lost)
            edit.apply(edits)
        judged = base if edit.removed and origin is None else None
        reason = _anomaly(store, judged, tree, compared, freeze_percent) if judged else ""
        _compare_counts(laid + edit.added - edit.removed, totals.entries, request.entries)

        moment = origin.moment if origin else datetime.now(UTC)
        generation = Generation(_next_sequence(store), moment.replace(microsecond=0))
        record = Record(
            generation=str(generation),
            client=client,
            started=request.started,
            sealed=moment.isoformat(timespec="seconds"),
            entries=totals.entries,
            files=totals.files,
            bytes=totals.bytes,
            changed=edit.placed,
            removed=edit.dropped,
            new_bytes=checking.read_bytes - (kept.bytes if kept else 0) - sharing.bytes,
            manifest_sha256=totals.sha256,
            previous=request.base,
            previous_manifest_sha256=request.base_manifest_sha256,
            sedai_version=__version__,
            sources=request.sources,
            anomaly=reason,
            not_in_backup=request.not_in_backup,
            imported=origin.words if origin else "",
            shared_bytes=sharing.bytes,
            shareable_bytes=sharing.missed,
        )
        note = restore_note.text(record, store.tree(generation), seen.examples)
        (staging / NOTE).write_text(note, encoding="utf-8")
        record = replace(record, stored_sha256={name: sha256(staging / name) for name in (MANIFEST, NOTE)})
        record.write(staging / "generation.json")
        if reason:
            freeze(store, reason, str(generation))
        edits.forget()
        _publish(store, staging, generation)
        known.note(store)
        return record


@dataclass(frozen=True)
class _Seen:
    """What becomes of each change in the tree, told with the line that the base has of its path."""

    compared: anomaly.Compared
    edits: Edits
    kept: Kept | None
    sharing: Sharing
    examples: Examples = field(default_factory=Examples)

    def __call__(self, change: CheckedChange, old: bytes | None) -> None:
        self.compared.see(change.path, old, change.line)
        if change.line is None or change.identity is None:
            self.edits.remove(change.path)
        elif not (self.kept and old and self.kept.has(old, change.line)):
            identity = self.sharing.share(old, change.line, change.identity) if old else change.identity
            self.edits.place(change.line, identity, replaces=old is not None)


def _write_manifest(
    store: ClientStore,
    base: Generation | None,
    record: Record | None,
    changes: Iterator[CheckedChange],
    seen: _Seen,
    path: Path,
) -> manifest.Totals:
    base_blocks = manifest.proven(store.manifest(base), record.manifest_sha256) if base and record else iter(())
    first = next(changes, None)
    if first is None and base and record:  # nothing changed
        shutil.copyfile(store.manifest(base), path)
        # A count that rotted in the record must not go on into the next one.
        manifest.prove(path, record.totals, seen.examples.see)
        return record.totals
    with manifest.Writer(path) as writer:
        for block in merge(base_blocks, itertools.chain([first] if first else [], changes), seen):
            writer.add(block)
            seen.examples.see(block)
        return writer.totals


def _lay(
    store: ClientStore, base: Generation | None, record: Record | None, tree: Path, edits: Edits
) -> tuple[int, set[bytes]]:
    """The farm; how many entries it has, and which of the base's are lost but replaced or removed by this run."""
    if base is None or record is None:
        farm.make_root(tree)
        return 0, set()
    waiting = Farm(store, base)
    laid, missing = waiting.lay()
    waiting.move_to(tree)
    lost = set(missing)
    unmended = lost.difference(edits.paths()) if lost else lost
    if unmended or laid + len(missing) != record.entries:
        store.want_again(missing)
        names = ", ".join(wire.text(path) for path in sorted(unmended)[:5])
        raise IntegrityError(
            f"The base {base} has lost {record.entries - laid} of {counted(record.entries, 'entry')} ({names}).",
            "Run the backup again: it sends what the base has lost.",
        )
    return laid, lost


def _anomaly(store: ClientStore, base: Generation, tree: Path, compared: anomaly.Compared, percent: int) -> str:
    """Why the new tree looks wrong beside its base, in words; empty where it does not."""
    with Beneath(store.tree(base)) as old, Beneath(tree) as new:
        return anomaly.judge(compared, percent, old, new)


def _compare_counts(in_tree: int, in_manifest: int, at_client: int) -> None:
    if not in_tree == in_manifest == at_client:
        raise IntegrityError(
            f"The counts differ: {counted(in_tree, 'entry')} in the tree, {in_manifest} in the manifest, {at_client} at the client."
        )


def _next_sequence(store: ClientStore) -> int:
    """One more than any sequence number that this client ever had, pruned generations included."""
    counter = store.root / "sequence"
    newest = store.newest()
    with contextlib.suppress(FileNotFoundError, ValueError):
        return max(int(counter.read_text(encoding="ascii")), newest.sequence if newest else 0) + 1
    return (newest.sequence if newest else 0) + 1


def _publish(store: ClientStore, staging: Path, generation: Generation) -> None:
    counter = store.root / "sequence"
    counter.write_text(f"{generation.sequence}\n", encoding="ascii")
    # Everything must be on the disk before the name is.
    run(["sync", "-f", str(staging)])
    # The delta's inodes are the generation's from here on: no later run may ever write to them.
    store.delta.rename(store.incoming / "spent")
    _sync_names(store.incoming)
    staging.rename(store.directory(generation))
    _sync_names(store.generations_directory)
    latest = store.root / "latest"
    swap = store.root / "latest.new"
    swap.unlink(missing_ok=True)
    swap.symlink_to(Path("generations") / str(generation))
    swap.rename(latest)


def _sync_names(directory: Path) -> None:
    """Put what was renamed in ``directory`` on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
