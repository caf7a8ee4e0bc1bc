"""Import: the snapshots of another program become generations, oldest first, each sealed as if a client had sent it.

The old tree is only read. What its snapshots share, the generations share; what was imported is not imported again, so a run
that broke off goes on.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from logging import Logger
from pathlib import Path

from sedai.core import lock, manifest, wire
from sedai.core.counted import counted
from sedai.core.errors import ExitCode, IntegrityError, SedaiError, UsageError
from sedai.core.generation import Generation, Record
from sedai.core.wire import Change
from sedai.server import ahead, import_plan, words
from sedai.server.config import ServerConfig
from sedai.server.differ import differences
from sedai.server.fill import Fill
from sedai.server.import_plan import Plan, Wish
from sedai.server.old_tree import OldTree, UnreadableError
from sedai.server.quota import Quota
from sedai.server.rights import as_root
from sedai.server.seal import Origin, Request, seal
from sedai.server.snapshots import Snapshot
from sedai.server.store import ClientStore

_MOST_TOLD = 100
_SPEAK_EVERY = 10.0

Say = Callable[[str], None]


def carry_out(config: ServerConfig, wish: Wish, say: Say, log: Logger) -> ExitCode:
    """Import what ``wish`` says.

    Raises:
        UsageError: it can't be; nothing was changed.
        SedaiError: it broke off; what was imported stays, and started again it goes on.
    """
    config.retention_for(wish.client)
    store = ClientStore(config.store / wish.client)
    if not store.root.is_dir():
        raise UsageError(f"{store.root} is not there.", "Run `ansible-playbook site.yml`; it makes it.")
    with contextlib.ExitStack() as held:
        if not wish.dry_run:
            held.enter_context(lock.exclusive(store.lock, f"A backup of {wish.client}"))
        plan = import_plan.make(config, store, wish)
        room = Quota(store, config.clients[wish.client].quota_gib, config.reserve_percent).free_bytes()
        needed = import_plan.needed_bytes(wish.directory, plan)
        for line in import_plan.told(wish, plan, needed, room):
            say(line)
        if needed > room:
            raise SedaiError(
                f"There is not enough room: {words.size(needed)} are needed, {words.size(room)} are free for {wish.client}.",
                "Free some, raise the quota, or keep fewer generations. Nothing was changed.",
            )
        if wish.dry_run:
            return ExitCode.CLEAN
        try:
            meter = _Meter(say, needed)
            records = [_import_one(store, wish, plan, snapshot, meter, log) for snapshot in plan.wanted]
        except KeyboardInterrupt as error:
            raise SedaiError("It was interrupted. What was imported stays.", "Start it again: it goes on.") from error
        ahead.empty_trash(store)
    say(f"{wish.client}: imported {counted(len(records), 'generation')}; {plan.present} were there already.")
    return ExitCode.FINDINGS if any(record.not_in_backup for record in records) else ExitCode.CLEAN


def _import_one(store: ClientStore, wish: Wish, plan: Plan, snapshot: Snapshot, meter: _Meter, log: Logger) -> Record:
    say = meter.say
    store.prepare()
    _begin_delta(store, f"{wish.directory}/{snapshot.name} {snapshot.time.isoformat()}")
    base = store.base()
    if base != store.newest():
        raise IntegrityError(f"The newest generation, {store.newest()}, is damaged.", "Look at the store first.")
    scanned, changes = store.incoming / "scanned", store.incoming / "changes"
    try:
        place = wish.directory / snapshot.name
        with OldTree(place, plan.strip, plan.below, as_root) as old, Fill(store.delta, old) as fill:
            entries, sources = _scan(old, scanned)
            lost = _fill(store, base, scanned, changes, fill, old, meter)
            lacking = tuple(f"/{wire.text(path)}: {why}" for path, why in sorted(old.problems.items()))
            reduced = fill.reduced
    except OSError as error:
        raise SedaiError(
            f"{snapshot.name} was not imported: {error}", "Mend that, then start the import again."
        ) from error
    record_of_base = store.record(base) if base else None
    request = Request(
        base=str(base or ""),
        base_manifest_sha256=record_of_base.manifest_sha256 if record_of_base else "",
        entries=entries - lost,
        started=snapshot.time.isoformat(timespec="seconds"),
        sources=sources,
        not_in_backup=lacking[:_MOST_TOLD],
    )
    origin = Origin(
        snapshot.time, f"{wire.text(os.fsencode(snapshot.name))} of {wire.text(os.fsencode(wish.directory))}"
    )
    try:
        with changes.open("rb") as stream:
            record = seal(store, wish.client, request, wire.read_changes(stream), lambda answer: None, lambda checked: None,
                          origin=origin)  # fmt: skip
    except IntegrityError:
        store.empty_delta()
        raise
    for path in (scanned, changes, _mark(store)):
        path.unlink()
    store.prepare()
    for line in lacking[:_MOST_TOLD]:
        say(f"NOT IN {record.generation}: {line}")
    if reduced:
        say(f"{snapshot.name}: files or directories with ACLs or capabilities, which are not taken over: {reduced}")
    content = f"{counted(record.files, 'file')}, {words.size(record.new_bytes)} of new content"
    say(f"imported {snapshot.name} as {record.generation}: {content}")
    log.info("%s: imported %s, %s, %d entries", wish.client, record.generation, record.imported, record.entries)
    return record


def _mark(store: ClientStore) -> Path:
    return store.incoming / "importing"


def _begin_delta(store: ClientStore, name: str) -> None:
    """Go on with what is in the delta if it is of the same snapshot, else begin with an empty one."""
    mark = _mark(store)
    try:
        known = mark.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        known = ""
    if known != name:
        store.empty_delta()
        mark.write_text(name, encoding="utf-8", errors="surrogateescape")


def _scan(old: OldTree, scanned: Path) -> tuple[int, tuple[str, ...]]:
    """Write all entries to ``scanned``, with how many names each inode has in this snapshot; their count, and the topmost paths."""
    names: Counter[int] = Counter()
    tops: list[str] = []
    count = 0
    raw = scanned.with_name("scanned.raw")
    with raw.open("wb") as stream:
        for entry in old.entries():
            stream.write(manifest.encode(entry))
            count += 1
            if entry.nlink > 1:
                names[entry.inode] += 1
            if b"/" not in entry.path:
                tops.append(f"/{wire.text(entry.path)}")
    with raw.open("rb") as stream, scanned.open("wb") as numbered:
        for line in stream:
            entry = manifest.decode(line)
            numbered.write(manifest.encode(entry._replace(nlink=names[entry.inode])) if entry.nlink > 1 else line)
    raw.unlink()
    return count, tuple(tops)


def _fill(
    store: ClientStore, base: Generation | None, scanned: Path, changes: Path, fill: Fill, old: OldTree, meter: _Meter
) -> int:
    """Copy what differs from the base into the delta, and write the changes; how many entries could not be copied."""

    def entries() -> Iterator[manifest.Entry]:
        with scanned.open("rb") as stream:
            yield from map(manifest.decode, stream)

    def lines() -> Iterator[bytes]:
        return manifest.read(store.manifest(base)) if base else iter(())

    lost = 0
    with changes.open("wb") as stream:
        for path, entry, replaces in differences(entries, lines):
            change: Change | None = Change(path, None)
            if entry is not None:
                try:
                    change = Change(path, manifest.encode(fill.place(entry)))
                except UnreadableError as error:
                    old.failed(path, error)
                    lost += 1
                    change = Change(path, None) if replaces else None
                meter.advance(entry.size)
            if change is not None:
                stream.write(wire.encode_change(change))
        stream.write(wire.CHANGES_END)
    return lost


class _Meter:
    """Says what was done, and now and then how far the copying of about ``total`` bytes is."""

    def __init__(self, say: Say, total: int) -> None:
        self.say = say
        self._total = total
        self._begun = self._spoken = time.monotonic()
        self._entries = self._bytes = 0

    def advance(self, size: int) -> None:
        """One entry more was copied."""
        self._entries += 1
        self._bytes += size
        now = time.monotonic()
        if now - self._spoken > _SPEAK_EVERY:
            self._spoken = now
            rate = self._bytes / (now - self._begun)
            left = f", {max(0, self._total - self._bytes) / rate // 60 + 1:.0f} min left" if rate else ""
            self.say(
                f"copied so far: {counted(self._entries, 'entry')}, {words.size(self._bytes)} of about {words.size(self._total)}, "
                f"{words.size(rate)} a second{left}"
            )
