"""Restore: files of a generation, brought back by rsync and compared with the manifest afterwards."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xxhash

from sedai.client import send
from sedai.client.connection import HOST_ALIAS, Connection
from sedai.client.progress import Reporter
from sedai.client.scan import signature
from sedai.client.state import State, fetch_manifest
from sedai.core import manifest, wire
from sedai.core.errors import IntegrityError, ProcessError, UsageError
from sedai.core.manifest import Entry

_CHUNK = 1 << 20


@dataclass
class Restored:
    """What a restore did: counts, and lines about what is not as the manifest says."""

    generation: str
    entries: int = 0
    files: int = 0
    bytes: int = 0
    findings: list[str] = field(default_factory=list)


def generations(connection: Connection) -> list[dict[str, Any]]:
    """The records of all generations on the server, oldest first."""
    return list(connection.ask("list", {})["generations"])


def choose(records: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """The record of the generation ``name``, or the newest for ``latest``.

    Raises:
        UsageError: there is none; the text names those there are.
    """
    if not records:
        raise UsageError("There is no generation yet.", "Run backup_data.py first.")
    if name == "latest":
        return records[-1]
    for record in records:
        if record["generation"] == name:
            return record
    known = ", ".join(str(record["generation"]) for record in records)
    raise UsageError(f"There is no generation {name!r}.", f"There are: {known}.")


def select(lines: Iterator[bytes], paths: Sequence[bytes]) -> list[Entry]:
    """The entries at or below ``paths`` (relative to the tree), in walk order.

    Raises:
        UsageError: a path is not in the manifest; the text has the nearest names.
    """
    chosen: list[Entry] = []
    unmet = set(paths)
    known: list[str] = []
    for line in lines:
        path = manifest.line_path(line)
        for wanted in paths:
            if not wanted or path == wanted or path.startswith(wanted + b"/"):
                unmet.discard(wanted)
                chosen.append(manifest.decode(line))
                break
        else:
            if unmet:
                known.append(wire.text(path))
    if unmet:
        missing = wire.text(min(unmet))
        near = difflib.get_close_matches(missing, known, n=3, cutoff=0.5)
        hint = (
            f"Near names: {', '.join('/' + name for name in near)}."
            if near
            else "restore_data.py list shows what there is."
        )
        raise UsageError(f"/{missing} is not in this generation.", hint)
    return chosen


def restore(
    connection: Connection,
    state: State,
    record: dict[str, Any],
    paths: Sequence[Path],
    target: Path | None,
    *,
    overwrite: bool,
    reporter: Reporter,
) -> Restored:
    """Bring ``paths`` of the generation of ``record`` back, below ``target`` or (None) to where they were.

    Raises:
        UsageError: a path is not there, or something would be overwritten and ``overwrite`` is not set.
        IntegrityError: the server's manifest is not the one that was sealed.
        ProcessError: rsync broke off.
    """
    generation = str(record["generation"])
    local = state.root / "restore.manifest"
    fetch_manifest(connection, generation, trusted_digest(state, record), local)
    chosen = select(manifest.read(local), [_tree_path(path) for path in paths])
    above = list(_ancestors(manifest.read(local), chosen))
    local.unlink()
    root = os.fsencode(target) if target else b""
    if not overwrite:
        _refuse_overwriting(root, target, chosen)
    if target:
        target.mkdir(parents=True, exist_ok=True)
    absent = [entry for entry in above if not os.path.lexists(root + b"/" + entry.path)]
    done = Restored(generation, len(chosen), sum(entry.kind == "f" for entry in chosen),
                    sum(entry.size for entry in chosen if entry.kind == "f"))  # fmt: skip
    sent = send.Sent()
    argv = send.pull_arguments(connection.remote_shell, f"{HOST_ALIAS}:/{generation}/", os.fsdecode(root or b"/"))
    with reporter.transfer("restore", done.files, done.bytes) as advance:
        send.push(argv, (entry.path for entry in sorted([*absent, *chosen], key=_order)), sent, advance)
    if sent.status not in (0, 23):
        raise ProcessError(f"Restoring broke off (rsync status {sent.status}): {' '.join(sent.complaints[-4:])}",
                           sent.status, "", "Run it again with --overwrite: it goes on from there.")  # fmt: skip
    done.findings = [*sent.complaints, *_compare(root, [*absent, *chosen])]
    return done


def _order(entry: Entry) -> bytes:
    return manifest.order(entry.path)


def trusted_digest(state: State, record: dict[str, Any]) -> str:
    """The manifest digest that this client saw sealed; on a machine that saw none, the server's word."""
    generation = str(record["generation"])
    sealed = state.sealed()
    if generation not in sealed and "manifest_sha256" not in record:
        raise IntegrityError(
            f"The record of {generation} is damaged: {record.get('error', '')}", "Restore from another generation."
        )
    return sealed[generation] if generation in sealed else str(record["manifest_sha256"])


def _tree_path(path: Path) -> bytes:
    if not path.is_absolute():
        raise UsageError(f"{path} must be an absolute path, as it was on the client.")
    return os.fsencode(os.path.normpath(path)).lstrip(b"/")


def _ancestors(lines: Iterable[bytes], chosen: Sequence[Entry]) -> Iterator[Entry]:
    """The directories above ``chosen``, which rsync makes where they are not there."""
    inside = {entry.path for entry in chosen}
    wanted = set()
    for entry in chosen:
        parts = entry.path.split(b"/")
        wanted |= {b"/".join(parts[:depth]) for depth in range(1, len(parts))}
    wanted -= inside
    return (manifest.decode(line) for line in lines if manifest.line_path(line) in wanted)


def _refuse_overwriting(root: bytes, target: Path | None, chosen: Sequence[Entry]) -> None:
    if target is not None:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UsageError(f"{target} is not empty.", "Name another directory, or add --overwrite.")
        return
    there = [entry for entry in chosen if entry.kind != "d" and os.path.lexists(root + b"/" + entry.path)]
    if there:
        raise UsageError(
            f"/{wire.text(there[0].path)} exists already ({len(there)} of {len(chosen)} do).",
            "Restore elsewhere with --to DIRECTORY, or add --overwrite.",
        )


def _compare(root: bytes, entries: Iterable[Entry]) -> Iterator[str]:
    """Everything that did not come back as the manifest says; owners are set here where rsync could not."""
    privileged = os.geteuid() == 0
    for entry in entries:
        path = root + b"/" + entry.path
        shown = wire.text(path)
        try:
            stat = os.lstat(path)
            if entry.kind not in "fd":
                # The server keeps symlinks as symlinks, whose owner only the manifest knows; rsync sets no times of devices.
                if privileged:
                    os.lchown(path, entry.uid, entry.gid)
                os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)
                stat = os.lstat(path)
            yield from _differences(shown, path, stat, entry, privileged)
        except OSError as error:
            yield f"{shown} did not come back: {error.strerror}"


def _differences(shown: str, path: bytes, stat: os.stat_result, entry: Entry, privileged: bool) -> Iterator[str]:
    line = signature(entry.path, stat)
    found = manifest.decode(line + b"-\t-\t\n") if line else None
    if found is None or found.kind != entry.kind:
        yield f"{shown} is not what it was (kind {entry.kind})"
        return
    if entry.kind == "f" and (found.size != entry.size or _xxh128(path) != entry.xxh128):
        yield f"{shown} does not have the bytes that the manifest says"
    if entry.kind == "l" and os.readlink(path) != entry.target:
        yield f"{shown} does not point to {wire.text(entry.target)}"
    if found.mtime_ns != entry.mtime_ns:
        yield f"{shown} has another modification time"
    if entry.kind != "l" and found.mode != entry.mode:
        yield f"{shown} has mode {found.mode:o}, it was {entry.mode:o}"
    if privileged and (found.uid, found.gid) != (entry.uid, entry.gid):
        yield f"{shown} has owner {found.uid}:{found.gid}, it was {entry.uid}:{entry.gid}"
    if entry.kind in "cb" and b"%d,%d" % (os.major(stat.st_rdev), os.minor(stat.st_rdev)) != entry.target:
        yield f"{shown} is another device"


def _xxh128(path: bytes) -> bytes:
    digest = xxhash.xxh3_128()
    with open(path, "rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest().encode()
