"""Seal: base + delta become a generation, or nothing does.

Every byte of the delta is read once and must be what the client's rsync read. The farm is then edited, never the base:
changed paths are linked from the delta into it, removed ones dropped from it. One rename makes the generation appear.
"""

from __future__ import annotations

import contextlib
import os
import stat as st
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sedai import __version__
from sedai.core import manifest, wire
from sedai.core.errors import IntegrityError, UsageError
from sedai.core.generation import Generation, Record
from sedai.core.process import run
from sedai.core.wire import Change
from sedai.server import farm, restore_note
from sedai.server.store import ClientStore
from sedai.server.stored import Digests, copy_attributes, digest, read_stored

_PROGRESS_SECONDS = 2.0


@dataclass(frozen=True)
class Request:
    """What the client says of the generation to be sealed."""

    base: str
    base_manifest_sha256: str
    entries: int
    started: str
    sources: tuple[str, ...]

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
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"The request to seal is not complete: {error!r}") from error


def seal(
    store: ClientStore,
    client: str,
    request: Request,
    changes: Iterator[Change],
    answer: Callable[[bytes], None],
    progress: Callable[[int], None],
) -> Record:
    """Make a generation of the base, the delta and ``changes``; the caller holds the store's lock.

    ``answer`` gets one line ``+crc32 size mtime_ns`` for each regular file among the changes, in order, ``progress``
    the number of changes checked so far.

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
    staging = store.incoming / "staging"
    staging.mkdir(mode=0o700)
    tree = staging / "tree"

    sealed = staging / "changes"
    added_bytes = _check_delta(store.delta, changes, sealed, answer, progress)
    # Before the tree is edited: a manifest that is not nested could lead an edit through a symlink out of the tree.
    totals = _write_manifest(store, base, sealed, staging / "manifest")
    laid, lost = _lay(store, base, base_record, tree, sealed)
    edit = _Edit(store.delta, tree, lost)
    edit.apply(sealed)
    edit.restore_directory_times(manifest.read(staging / "manifest"))
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
    )
    record.write(staging / "generation.json")
    (staging / "RESTORE.txt").write_text(restore_note.text(record, store.tree(generation)), encoding="utf-8")
    sealed.unlink()
    _publish(store, staging, generation)
    return record


def _write_manifest(store: ClientStore, base: Generation | None, sealed: Path, path: Path) -> manifest.Totals:
    base_lines = manifest.read(store.manifest(base)) if base else iter(())
    changes = ((change.path, change.line) for change in _stored_changes(sealed))
    with manifest.Writer(path) as writer:
        for line in manifest.nested(manifest.merge(base_lines, changes)):
            writer.add(line)
        return writer.totals


def _check_delta(
    delta: Path,
    changes: Iterator[Change],
    sealed: Path,
    answer: Callable[[bytes], None],
    progress: Callable[[int], None],
) -> int:
    """Compare each changed path with what arrived, write the changes with CRC32 to ``sealed``; returns bytes read."""
    checked = size = 0
    spoken = time.monotonic()
    group: _Group | None = None
    with sealed.open("wb") as stream:
        for change in changes:
            if change.line is not None:
                entry = manifest.decode(change.line)
                entry, read = _check_entry(delta, entry, change.unstable, group)
                if read is not None:
                    size += 0 if read is group else read.digests.size
                    group = read
                    answer(b"+%s %d %d\n" % (entry.crc32, entry.size, entry.mtime_ns))
                stream.write(wire.encode_change(Change(change.path, manifest.encode(entry))))
            else:
                stream.write(wire.encode_change(change))
            checked += 1
            if time.monotonic() - spoken > _PROGRESS_SECONDS:
                spoken = time.monotonic()
                progress(checked)
        stream.write(wire.CHANGES_END)
    return size


@dataclass(frozen=True)
class _Group:
    """The file that was read last; a further name of its inode need not be read again."""

    inode: int
    digests: Digests


def _check_entry(
    delta: Path, entry: manifest.Entry, unstable: bool, last: _Group | None
) -> tuple[manifest.Entry, _Group | None]:
    path = os.fsencode(delta) + b"/" + entry.path
    shown = wire.text(entry.path)
    try:
        stat = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise IntegrityError(f"{shown} did not arrive.") from error
    stored = read_stored(path, stat)
    if unstable:
        entry = entry._replace(size=stat.st_size, mtime_ns=stat.st_mtime_ns)
    wanted = (entry.kind, entry.mode, entry.uid, entry.gid)
    arrived = (stored.kind, stored.mode, stored.uid, stored.gid)
    # A symlink's own mode means nothing on Linux.
    if wanted != arrived and not (entry.kind == "l" == stored.kind and wanted[2:] == arrived[2:]):
        raise IntegrityError(f"{shown} arrived as {arrived}, the client has {wanted} (kind, mode, uid, gid).")
    # rsync does not keep the time of symlinks and devices that --fake-super stores as files; they get it when placed.
    if entry.kind == "f" and stat.st_mtime_ns != entry.mtime_ns:
        raise IntegrityError(f"{shown} arrived with mtime {stat.st_mtime_ns} ns, the client has {entry.mtime_ns} ns.")
    if entry.kind == "l":
        _check_symlink(path, stat, entry, shown)
    if entry.kind in "cb" and stored.device.replace(b" ", b"") != entry.target:
        raise IntegrityError(f"{shown} arrived as device {stored.device!r}, the client has {entry.target!r}.")
    if entry.kind != "f":
        return entry, None
    read = last if last is not None and last.inode == stat.st_ino else _Group(stat.st_ino, digest(path))
    digests = read.digests
    if digests.size != entry.size or digests.xxh128 != entry.xxh128:
        raise IntegrityError(
            f"{shown} arrived with {digests.size} bytes and XXH128 {digests.xxh128.decode()}, the client's rsync read "
            f"{entry.size} bytes and {entry.xxh128.decode()}."
        )
    return entry._replace(crc32=digests.crc32), read


def _check_symlink(path: bytes, stat: os.stat_result, entry: manifest.Entry, shown: str) -> None:
    # --fake-super stores a symlink as a file that holds its target.
    target = os.readlink(path) if st.S_ISLNK(stat.st_mode) else Path(os.fsdecode(path)).read_bytes()
    if target != entry.target:
        raise IntegrityError(f"The symlink {shown} arrived with target {target!r}, the client has {entry.target!r}.")


def _lay(
    store: ClientStore, base: Generation | None, record: Record | None, tree: Path, sealed: Path
) -> tuple[int, set[bytes]]:
    """The farm; how many entries it has, and which of the base's are lost but replaced or removed by this run."""
    tree.mkdir(mode=0o700)
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


class _Edit:
    """Applies the checked changes to the farm, and remembers which directories must get their times back."""

    def __init__(self, delta: Path, tree: Path, lost: set[bytes]) -> None:
        self._lost = lost
        self._delta = os.fsencode(delta)
        self._tree = os.fsencode(tree)
        self._touched: set[bytes] = set()
        self.added = self.removed = self.placed = self.dropped = 0

    def apply(self, sealed: Path) -> None:
        """Drop first, then place: a path may change from a directory to a file and back."""
        directories: list[bytes] = []
        for change in _stored_changes(sealed):
            self._drop(change, directories)
        for path in reversed(directories):
            os.rmdir(self._tree + b"/" + path)
        for change in _stored_changes(sealed):
            if change.line is not None:
                self._place(manifest.decode(change.line))

    def _drop(self, change: Change, directories: list[bytes]) -> None:
        path = self._tree + b"/" + change.path
        try:
            present = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            if change.line is None and change.path not in self._lost:
                raise IntegrityError(f"The client removes {wire.text(change.path)}, which the base has not.") from None
            return
        is_directory = st.S_ISDIR(present.st_mode)
        if change.line is not None and is_directory and change.line.split(b"\t", 2)[1] == b"d":
            return  # stays, and gets its new attributes when it is placed
        if change.line is None:
            self.dropped += 1
        self.removed += 1
        self._touch_parent(change.path)
        if is_directory:
            directories.append(change.path)
        else:
            os.unlink(path)

    def _place(self, entry: manifest.Entry) -> None:
        source, target = self._delta + b"/" + entry.path, self._tree + b"/" + entry.path
        self.placed += 1
        self._touch_parent(entry.path)
        if entry.kind == "d":
            if not os.path.isdir(target):
                os.mkdir(target, 0o700)
                self.added += 1
            copy_attributes(source, target)
            self._touched.add(entry.path)
            return
        if entry.kind == "l":
            os.symlink(entry.target, target)
        else:
            os.link(source, target, follow_symlinks=False)
        if entry.kind != "f":
            farm.set_mtime(target, entry.mtime_ns)
        self.added += 1

    def _touch_parent(self, path: bytes) -> None:
        parent = path.rpartition(b"/")[0]
        if parent:
            self._touched.add(parent)

    def restore_directory_times(self, lines: Iterator[bytes]) -> None:
        """Give the directories that were edited the times that the new manifest says."""
        for line in lines:
            fields = line.split(b"\t", 4)
            if fields[1] == b"d" and (path := manifest.unescape(fields[0])) in self._touched:
                farm.set_mtime(self._tree + b"/" + path, int(fields[3]))


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
