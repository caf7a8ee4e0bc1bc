"""Find: which generations hold which versions of a file."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sedai.client import catalog
from sedai.client.connection import Connection
from sedai.client.nearest import has_word, nearest
from sedai.client.program import Context
from sedai.client.state import State
from sedai.core import manifest, wire
from sedai.core.errors import ExitCode, IntegrityError, ServerError, UsageError
from sedai.core.manifest import Entry
from sedai.core.progress import size

_KINDS = {"d": "directory", "p": "FIFO", "c": "character device", "b": "block device"}


class Match(NamedTuple):
    """An entry of one generation that was looked for."""

    generation: str
    entry: Entry


@dataclass
class Answer:
    """What the server found: ``matches`` by generation, oldest first, and the generations that could not be read."""

    matches: list[Match] = field(default_factory=list)
    searched: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Version:
    """A path as it was in ``generations``, oldest first: ``content`` is the XXH128 of a file, or what a link points to."""

    path: bytes
    kind: str
    size: int
    mtime_ns: int
    content: bytes
    generations: tuple[str, ...]


def ask(connection: Connection, *, pattern: bytes = b"", paths: Iterable[bytes] = ()) -> Answer:
    """Ask the server for the entries that fit ``pattern``, or are one of ``paths`` (relative to the tree).

    Raises:
        UsageError: the pattern is refused, or the server is older than this verb.
    """
    listed = [wire.pack(path) for path in paths]
    request: dict[str, Any] = {"paths": listed} if listed else {"pattern": wire.pack(pattern)}
    answer = Answer()

    def listen(told: dict[str, Any]) -> None:
        if "damaged" in told:
            answer.damaged[str(told["damaged"])] = str(told["reason"])
        elif "generation" in told:
            answer.searched.append(str(told["generation"]))

    try:
        for line in connection.stream("find", request, (), listen):
            if line[:1] != b"+" or not answer.searched:
                raise ServerError("The server answered `find` in an unknown form.")
            answer.matches.append(Match(answer.searched[-1], manifest.decode(line[1:])))
    except UsageError as error:
        if "knows no" in error.message:
            raise UsageError(
                "The server has an older version, which can't look into its generations.",
                "Run `ansible-playbook site.yml` so that both have the same version.",
            ) from error
        raise
    return answer


def versions(matches: Iterable[Match]) -> list[Version]:
    """The matches grouped: one version for each path and content, in walk order and then by its first generation."""
    found: dict[tuple[bytes, str, int, int, bytes], list[str]] = {}
    for generation, entry in matches:
        content = entry.xxh128 if entry.kind == "f" else entry.target
        # Of a directory only that it was there: its time changes with whatever is in it.
        mtime_ns = entry.mtime_ns if entry.kind != "d" else 0
        found.setdefault((entry.path, entry.kind, entry.size, mtime_ns, content), []).append(generation)
    grouped = [Version(*key, tuple(names)) for key, names in found.items()]
    return sorted(grouped, key=lambda version: manifest.order(version.path))  # stable: the first generation stays first


def rows(found: Iterable[Version]) -> Iterator[str]:
    """The versions for people: each path once, its versions below it."""
    last = None
    for version in found:
        if version.path != last:
            last = version.path
            yield f"/{wire.text(version.path)}"
        first, newest = version.generations[0], version.generations[-1]
        where = (
            first if len(version.generations) == 1 else f"{first} to {newest} ({len(version.generations)} generations)"
        )
        yield f"  {_what(version)}  in {where}"


def _what(version: Version) -> str:
    when = catalog.local(time(version.mtime_ns))
    if version.kind == "f":
        return f"{when}  {size(version.size):>10}  {version.content.decode()}"
    if version.kind == "l":
        return f"{when}  -> {wire.text(version.content)}"
    return _KINDS[version.kind] if version.kind == "d" else f"{when}  {_KINDS[version.kind]}"


def time(mtime_ns: int) -> datetime:
    """A modification time as a moment."""
    return datetime.fromtimestamp(mtime_ns // 1_000_000_000, UTC)


def table(version: Version) -> dict[str, Any]:
    """A version for programs; ``path_base64`` has the very bytes."""
    return {
        "path": "/" + wire.text(version.path),
        "path_base64": wire.pack(b"/" + version.path),
        "kind": version.kind,
        "size": version.size,
        "mtime_ns": version.mtime_ns,
        "xxh128": version.content.decode() if version.kind == "f" else "",
        "target": "" if version.kind == "f" else wire.text(version.content),
        "generations": list(version.generations),
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``find``."""
    parser.add_argument(
        "pattern", metavar="PATTERN", help="a glob: *, ?, [a-z]; with / the whole path has to fit, else the last name"
    )
    parser.add_argument("--json", action="store_true", help="print the versions as JSON")


def carry_out(options: argparse.Namespace, context: Context, connection: Connection) -> ExitCode:
    """Print the versions that fit.

    Raises:
        UsageError: nothing fits; the text has the nearest names.
    """
    pattern = os.fsencode(options.pattern)
    pattern = pattern.rstrip(b"/") or pattern
    if b"/" in pattern and pattern[:1] not in b"/*?[":
        raise UsageError(
            f"{options.pattern} would fit no path: with a / in it, a pattern has to fit the whole path from the first / on.",
            f"Try: '/{options.pattern}' or '*/{options.pattern}'.",
        )
    answer = ask(connection, pattern=pattern)
    for generation, error in answer.damaged.items():
        context.log.warning("find: %s: %s", generation, error)
    if not answer.matches:
        raise _nothing(pattern, connection, context.state)
    found = versions(answer.matches)
    if options.json:
        print(json.dumps([table(version) for version in found], ensure_ascii=False))
    else:
        print("\n".join([*rows(found), *(f"FINDING: {name} could not be searched: {error}"
                                         for name, error in answer.damaged.items())]))  # fmt: skip
    return ExitCode.FINDINGS if answer.damaged else ExitCode.CLEAN


def _nothing(pattern: bytes, connection: Connection, state: State) -> UsageError:
    """That nothing fits, with the newest generation's nearest names."""
    records = catalog.generations(connection)
    if not records:
        return UsageError("There is no generation yet.", "Run backup_data.py first.")
    plain = pattern.translate(None, b"*?[]!").strip(b"/")
    near: list[bytes] = []
    try:
        with catalog.fetched(connection, state, records[-1]) as path:
            near = nearest(plain, map(manifest.line_path, manifest.read(path)))
    except IntegrityError:
        pass  # names are only a help; the check tells what is wrong with the manifest
    return UsageError(f"No file in any generation fits '{wire.text(pattern)}'.", _part_of_a_name(plain, near))


def _part_of_a_name(plain: bytes, near: Sequence[bytes]) -> str:
    """The hint where nothing fits; a person may not know that a pattern has to fit the whole name."""
    word = plain.rpartition(b"/")[2]
    if any(has_word(path, word) and word in path.rpartition(b"/")[2] for path in near):
        return f"Part of a name? Try: restore_data.py find {shlex.quote(f'*{wire.text(word)}*')}. {near_names(near)}"
    return near_names(near)


def near_names(near: Iterable[bytes]) -> str:
    """The hint that names what was perhaps meant."""
    names = ", ".join(f"/{wire.text(path)}" for path in near)
    return f"Near names: {names}." if names else "Search for a part of the name: restore_data.py find '*part*'."
