"""Seal: base + delta become a generation, or nothing does.

Every byte of the delta is read once and must be what the client's rsync read. The farm is then edited, never the base:
changed paths are linked from the delta into it, removed ones dropped from it. One rename makes the generation appear.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sedai import __version__
from sedai.core import manifest, wire
from sedai.core.errors import IntegrityError, UsageError
from sedai.core.generation import Generation, Record
from sedai.core.process import run
from sedai.core.wire import Change
from sedai.server import anomaly, farm, restore_note
from sedai.server.arrived import Arrived, Identity
from sedai.server.beneath import Beneath
from sedai.server.edit import Edit
from sedai.server.freeze import freeze
from sedai.server.store import MANIFEST, NOTE, ClientStore
from sedai.server.stored import STAT_ATTRIBUTE, sha256

_PROGRESS_SECONDS = 2.0
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
        try:
            return cls(
                str(table["base"]),
                str(table["base_manifest_sha256"]),
                int(table["entries"]),
                str(table["started"])[:40],
                tuple(str(source) for source in table["sources"]),
                tuple(_printable(line) for line in list(table.get("not_in_backup", ()))[:_MOST_LINES]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"The request to seal is not complete: {error!r}") from error


def _printable(line: object) -> str:
    return "".join(char if char.isprintable() else "?" for char in str(line)[:_LONGEST_LINE])


def seal(
    store: ClientStore,
    client: str,
    request: Request,
    changes: Iterator[Change],
    answer: Callable[[bytes], None],
    progress: Callable[[int], None],
    freeze_percent: int = 100,
) -> Record:
    """Make a generation of the base, the delta and ``changes``; the caller holds the store's lock.

    ``answer`` gets one line ``+crc32 size mtime_ns`` for each regular file among the changes, in order, followed by
    `` mode uid gid`` where it was not stable, ``progress``
    the number of changes checked so far. Where more than ``freeze_percent`` of the base's files are removed or changed, or
    files turned into noise, the generation is made all the same, but the store is frozen.

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
    # One descriptor a level of directories; the usual limit of 1,024 is less than a path can have.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    staging = store.incoming / "staging"
    staging.mkdir(mode=0o700)
    tree = staging / "tree"

    sealed = staging / "changes"
    with Beneath(store.delta) as delta:
        added_bytes = _check_delta(delta, changes, staging, answer, progress)
        # Before the tree is edited: a manifest that is not nested could lead an edit through a symlink out of the tree.
        totals = _write_manifest(store, base, request, sealed, staging / MANIFEST)
        laid, lost = _lay(store, base, base_record, tree, sealed)
        with Beneath(tree) as new_tree:
            edit = Edit(delta, new_tree, lost)
            edit.apply(lambda: _stored_changes(sealed), Identity.read(staging / "identities"))
            edit.restore_directory_times(manifest.read(staging / MANIFEST))
        reason = _anomaly(store, base, tree, sealed, freeze_percent) if base and edit.removed else ""
    _compare_counts(laid + edit.added - edit.removed, totals.entries, request.entries)

    moment = datetime.now(UTC)
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
        new_bytes=added_bytes,
        manifest_sha256=totals.sha256,
        previous=request.base,
        previous_manifest_sha256=request.base_manifest_sha256,
        sedai_version=__version__,
        sources=request.sources,
        anomaly=reason,
        not_in_backup=request.not_in_backup,
    )
    note = restore_note.text(record, store.tree(generation), manifest.read(staging / MANIFEST))
    (staging / NOTE).write_text(note, encoding="utf-8")
    record = replace(record, stored_sha256={name: sha256(staging / name) for name in (MANIFEST, NOTE)})
    record.write(staging / "generation.json")
    if reason:
        freeze(store, reason, str(generation))
    sealed.unlink()
    (staging / "identities").unlink()
    _publish(store, staging, generation)
    return record


def _write_manifest(
    store: ClientStore, base: Generation | None, request: Request, sealed: Path, path: Path
) -> manifest.Totals:
    base_lines = manifest.proven(store.manifest(base), request.base_manifest_sha256) if base else iter(())
    changes = ((change.path, change.line) for change in _stored_changes(sealed))
    with manifest.Writer(path) as writer:
        for line in manifest.nested(manifest.merge(base_lines, changes)):
            writer.add(line)
        return writer.totals


def _check_delta(
    delta: Beneath,
    changes: Iterator[Change],
    staging: Path,
    answer: Callable[[bytes], None],
    progress: Callable[[int], None],
) -> int:
    """Compare each changed path with what arrived; returns the bytes read.

    ``staging`` gets the changes with their CRC32, and what each checked entry is recognised by when it is placed.
    """
    checked = size = 0
    spoken = time.monotonic()
    arrived = Arrived(delta)
    with (staging / "changes").open("wb") as stream, (staging / "identities").open("wb") as identities:
        for change in changes:
            if change.line is not None:
                done = arrived.check(manifest.decode(change.line), change.unstable)
                size += done.read
                if done.entry.kind == "f":
                    answer(_found(done.entry, unstable=change.unstable))
                stream.write(wire.encode_change(Change(change.path, manifest.encode(done.entry))))
                done.identity.write(identities)
            else:
                stream.write(wire.encode_change(change))
            checked += 1
            if time.monotonic() - spoken > _PROGRESS_SECONDS:
                spoken = time.monotonic()
                progress(checked)
        stream.write(wire.CHANGES_END)
    arrived.refuse_names_outside()
    return size


def _found(entry: manifest.Entry, *, unstable: bool) -> bytes:
    words = b"+%s %d %d" % (entry.crc32, entry.size, entry.mtime_ns)
    return words + (b" %o %d %d\n" % (entry.mode, entry.uid, entry.gid) if unstable else b"\n")


def _lay(
    store: ClientStore, base: Generation | None, record: Record | None, tree: Path, sealed: Path
) -> tuple[int, set[bytes]]:
    """The farm; how many entries it has, and which of the base's are lost but replaced or removed by this run."""
    tree.mkdir(mode=0o700)
    # A restore by rsync alone gives the target the attributes of this directory: those of a root, not of a store.
    os.setxattr(tree, STAT_ATTRIBUTE, b"40755 0,0 0:0")
    if base is None or record is None:
        return 0, set()
    laid, missing = farm.lay(store.tree(base), manifest.read(store.manifest(base)), tree)
    lost = set(missing)
    unmended = lost - {change.path for change in _stored_changes(sealed) if change.path in lost} if lost else lost
    if unmended or laid + len(missing) != record.entries:
        store.want_again(missing)
        names = ", ".join(wire.text(path) for path in sorted(unmended)[:5])
        raise IntegrityError(
            f"The base {base} has lost {record.entries - laid} of {record.entries} entries ({names}).",
            "Run the backup again: it sends what the base has lost.",
        )
    return laid, lost


def _anomaly(store: ClientStore, base: Generation, tree: Path, sealed: Path, percent: int) -> str:
    """Why the new tree looks wrong beside its base, in words; empty where it does not."""
    compared = anomaly.compare(manifest.read(store.manifest(base)), _stored_changes(sealed))
    with Beneath(store.tree(base)) as old, Beneath(tree) as new:
        return anomaly.judge(compared, percent, old, new)


def _stored_changes(sealed: Path) -> Iterator[Change]:
    with sealed.open("rb") as stream:
        yield from wire.read_changes(stream)


def _compare_counts(in_tree: int, in_manifest: int, at_client: int) -> None:
    if not in_tree == in_manifest == at_client:
        raise IntegrityError(
            f"The counts differ: {in_tree} entries in the tree, {in_manifest} in the manifest, {at_client} at the client."
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
    staging.rename(store.directory(generation))
    run(["sync", "-f", str(store.root)])
    latest = store.root / "latest"
    swap = store.root / "latest.new"
    swap.unlink(missing_ok=True)
    swap.symlink_to(Path("generations") / str(generation))
    swap.rename(latest)
