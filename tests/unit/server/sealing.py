"""Sealing by hand: what a client sends and says, for tests of the server alone."""

from __future__ import annotations

import os
from pathlib import Path

import xxhash

from sedai.client import scan
from sedai.core import manifest
from sedai.core.generation import Record
from sedai.core.wire import Change
from sedai.server.seal import Request, seal
from sedai.server.store import ClientStore

Picture = dict[str, tuple[object, ...]]


def picture(root: Path) -> Picture:
    """Everything below ``root`` by name: kind, mode, owner, times, attributes and bytes."""
    found: Picture = {}
    for path in [root, *sorted(root.rglob("*"))]:
        stat = path.lstat()
        attributes = () if path.is_symlink() else tuple((name, os.getxattr(path, name)) for name in os.listxattr(path))
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        found[str(path)] = (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_mtime_ns, attributes, content)
    return found


def line(store: ClientStore, path: str, **changes: object) -> Change:
    """The change that seals ``path`` as it lies in the delta; symlinks on the way are followed."""
    place = store.delta / path
    begin = scan.signature(os.fsencode(path), place.lstat())
    assert begin is not None
    target = manifest.escape(os.readlink(os.fsencode(place))) if place.is_symlink() else b""
    entry = manifest.decode(begin + b"-\t-\t" + target + b"\n")
    if entry.kind == "f":
        entry = entry._replace(xxh128=xxhash.xxh3_128(place.read_bytes()).hexdigest().encode())
    return Change(entry.path, manifest.encode(entry._replace(**changes)))  # type: ignore[arg-type]


def put(store: ClientStore, files: dict[str, bytes]) -> list[Change]:
    """Put files and the directories above them into the delta; the changes for all of them."""
    store.prepare()
    names: set[str] = set()
    for name, content in files.items():
        place = store.delta / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        names |= {name, *(str(above) for above in Path(name).parents if str(above) != ".")}
    return [line(store, name) for name in sorted(names)]


def sealed(store: ClientStore, changes: list[Change], entries: int, freeze_percent: int = 100) -> Record:
    """Seal ``changes`` on the newest generation."""
    store.prepare()
    base = store.base()
    record = store.record(base) if base else None
    request = Request(str(base or ""), record.manifest_sha256 if record else "", entries, "now", ("/s",))
    ordered = sorted(changes, key=lambda change: manifest.order(change.path))
    return seal(store, "laptop", request, iter(ordered), lambda answer: None, lambda checked: None, freeze_percent)
