"""Diff: what was added, removed and changed between two generations, by their manifests."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sedai.client import catalog
from sedai.client.connection import Connection
from sedai.client.find import near_names
from sedai.client.nearest import nearest
from sedai.client.program import Context
from sedai.core import manifest, wire
from sedai.core.errors import ExitCode, UsageError
from sedai.core.manifest import Entry
from sedai.core.selection import Selection

_WORDS = {"+": "added", "-": "removed", "*": "changed"}


class Difference(NamedTuple):
    """One path that differs. ``mark``: ``+`` added, ``-`` removed, ``*`` changed, then ``what`` tells in which respect."""

    mark: str
    path: bytes
    kind: str
    what: tuple[str, ...] = ()


def differences(old: Iterator[bytes], new: Iterator[bytes]) -> Iterator[Difference]:
    """What differs between two manifests' lines; both in walk order, each read once."""
    before, after = next(old, None), next(new, None)
    while before is not None or after is not None:
        # Most lines are the same, byte for byte.
        if before == after:
            before, after = next(old, None), next(new, None)
            continue
        gone, come = _path(before), _path(after)
        if come is None or (gone is not None and manifest.order(gone) < manifest.order(come)):
            assert before is not None and gone is not None
            yield Difference("-", gone, manifest.decode(before).kind)
            before = next(old, None)
        elif gone is None or gone != come:
            assert after is not None
            yield Difference("+", come, manifest.decode(after).kind)
            after = next(new, None)
        else:
            assert before is not None and after is not None
            entry = manifest.decode(after)
            if what := _what(manifest.decode(before), entry):
                yield Difference("*", come, entry.kind, what)
            before, after = next(old, None), next(new, None)


def _path(line: bytes | None) -> bytes | None:
    return None if line is None else manifest.line_path(line)


def _what(old: Entry, new: Entry) -> tuple[str, ...]:
    """In which respects an entry changed; that it only has another inode or change time is none."""
    if old.kind != new.kind:
        return (f"kind {old.kind} to {new.kind}",)
    respects = (
        ("content", (old.size, old.xxh128, old.target) != (new.size, new.xxh128, new.target)),
        ("mode", old.mode != new.mode and old.kind != "l"),
        ("owner", (old.uid, old.gid) != (new.uid, new.gid)),
        ("time", old.mtime_ns != new.mtime_ns),
    )
    return tuple(word for word, differs in respects if differs)


def row(difference: Difference) -> str:
    """A difference for people."""
    slash = "/" if difference.kind == "d" else ""
    what = f"  ({', '.join(difference.what)})" if difference.what else ""
    return f"{difference.mark} /{wire.text(difference.path)}{slash}{what}"


def table(difference: Difference) -> dict[str, object]:
    """A difference for programs."""
    return {
        "change": _WORDS[difference.mark],
        "path": "/" + wire.text(difference.path),
        "path_base64": wire.pack(b"/" + difference.path),
        "kind": difference.kind,
        "what": list(difference.what),
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``diff``."""
    parser.add_argument("old", metavar="A", help="a generation; also: previous, latest")
    parser.add_argument("new", metavar="B", help="another one")
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="only at and below these; absolute")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line, the counts last")


def carry_out(options: argparse.Namespace, context: Context, connection: Connection) -> ExitCode:
    """Print what differs, in walk order, and the counts.

    Raises:
        UsageError: there is no such generation, or a path is in neither.
    """
    records = catalog.generations(connection)
    old, new = catalog.choose(records, options.old), catalog.choose(records, options.new)
    paths = [catalog.tree_path(path) for path in options.paths] or [b""]
    with (
        catalog.fetched(connection, context.state, old) as old_manifest,
        catalog.fetched(connection, context.state, new) as new_manifest,
    ):
        selections = Selection(paths), Selection(paths)
        counts = dict.fromkeys(_WORDS, 0)
        lines = [
            (taken.line for taken in selection.take(manifest.read(path)) if taken.chosen)
            for selection, path in zip(selections, (old_manifest, new_manifest), strict=True)
        ]
        for difference in differences(*lines):
            counts[difference.mark] += 1
            print(json.dumps(table(difference), ensure_ascii=False) if options.json else row(difference))
        if unmet := selections[0].unmet & selections[1].unmet:
            missing = min(unmet, key=manifest.order)
            near = nearest(missing, map(manifest.line_path, manifest.read(new_manifest)))
            raise UsageError(f"/{wire.text(missing)} is in neither of the two generations.", near_names(near))
    told = {_WORDS[mark]: count for mark, count in counts.items()}
    if options.json:
        print(json.dumps({"from": old["generation"], "to": new["generation"]} | told))
    else:
        shown = ", ".join(f"{count} {word}" for word, count in told.items())
        print(f"{old['generation']} to {new['generation']}: {shown}")
    return ExitCode.CLEAN
