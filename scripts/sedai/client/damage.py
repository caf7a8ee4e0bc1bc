"""Damage: the server reads what is to be restored before anything is written, and names who else has it whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sedai.client import catalog, find
from sedai.client.connection import Connection
from sedai.client.find import Version
from sedai.core import wire
from sedai.core.errors import IntegrityError, UsageError
from sedai.core.generation import Generation
from sedai.core.progress import size

# Problems that mean that the right bytes can't come back. Owner, mode and time the client sets from the manifest.
_BYTES_LOST = frozenset({"missing", "content", "size", "kind", "unreadable"})
_NOT_THERE = frozenset({"missing", "kind", "unreadable"})
_PATHS_AT_A_TIME = 1000
_SHOWN = 5
_LOOKED_UP = 100


@dataclass(frozen=True)
class Problem:
    """Why an entry can't come back as it was."""

    code: str
    path: bytes
    expected: str
    found: str

    @property
    def is_there(self) -> bool:
        """Whether there is at least something of the right kind to bring back."""
        return self.code not in _NOT_THERE

    def __str__(self) -> str:
        return f"/{wire.text(self.path)}: {self.code}, expected {self.expected}, found {self.found}"


@dataclass
class _Heard:
    """What one verify said."""

    problems: dict[bytes, Problem] = field(default_factory=dict)

    def take(self, answer: dict[str, Any]) -> None:
        told = answer.get("problem")
        if isinstance(told, dict) and told["code"] in _BYTES_LOST:
            problem = Problem(str(told["code"]), wire.unpack(told["path"]), str(told["expected"]), str(told["found"]))
            self.problems.setdefault(problem.path, problem)


def read(
    connection: Connection,
    generation: str,
    sha256: str,
    paths: Sequence[bytes],
    advance: Callable[[int], None] = lambda done: None,
) -> dict[bytes, Problem]:
    """Let the server read every byte at or below ``paths``; what is lost, by path (an older server may tell of others too).

    Raises:
        IntegrityError: the server's manifest is not the one with the digest ``sha256``.
    """
    heard = _Heard()
    done = 0

    def listen(answer: dict[str, Any]) -> None:
        heard.take(answer)
        if "progress" in answer:
            advance(done + int(answer["progress"]))

    for some in _batches(paths):
        request = {"level": "full", "generation": generation, "paths": [wire.pack(path) for path in some]}
        verified = connection.ask("verify", request, listen)
        done += int(verified["entries"])
        if verified["manifests"].get(generation) != sha256:
            raise IntegrityError(
                f"The manifest of {generation} on the server is not the one that was sealed.",
                "Restore from another generation, and run check_backup_integrity.py --all.",
            )
    return heard.problems


def _batches(paths: Iterable[bytes]) -> Iterator[list[bytes]]:
    remaining = iter(paths)
    while some := list(islice(remaining, _PATHS_AT_A_TIME)):
        yield some


@dataclass(frozen=True)
class Remedy:
    """A generation that has the entry whole; ``same`` bytes, or another version of it."""

    version: Version
    generation: str
    same: bool

    def __str__(self) -> str:
        if self.same:
            return f"the same bytes are whole in {self.generation}"
        when = catalog.local(find.time(self.version.mtime_ns))
        return f"no other generation has these bytes; a version of {when} ({size(self.version.size)}) is whole in {self.generation}"


def remedies(
    connection: Connection,
    generation: str,
    records: Sequence[catalog.Record],
    trusted: Callable[[catalog.Record], str],
    lost: Iterable[bytes],
) -> dict[bytes, Remedy]:
    """For each of ``lost`` the nearest generation that has it whole, proven by reading it there: the same bytes, if there are any.

    Only the first hundred are looked up.
    """
    wanted = list(islice(lost, _LOOKED_UP))
    try:
        found = find.versions(find.ask(connection, paths=wanted).matches)
    except UsageError:
        return {}  # an older server: the refusal stands without it
    here = {version.path: version for version in found if generation in version.generations}
    by_name = {str(record["generation"]): record for record in records}
    remedied: dict[bytes, Remedy] = {}
    for same in (True, False):
        for name in nearest_first(generation, by_name):
            candidates = {
                version.path: version
                for version in found
                if name in version.generations
                and version.path not in remedied
                and (same_bytes(version, here.get(version.path)) is same)
            }
            if candidates:
                whole = _whole(connection, by_name[name], trusted, candidates)
                remedied |= {path: Remedy(candidates[path], name, same) for path in whole}
    return remedied


def _whole(
    connection: Connection,
    record: catalog.Record,
    trusted: Callable[[catalog.Record], str],
    candidates: dict[bytes, Version],
) -> list[bytes]:
    try:
        problems = read(connection, str(record["generation"]), trusted(record), list(candidates))
    except (IntegrityError, UsageError):
        return []  # damaged itself, or pruned meanwhile
    return [path for path in candidates if path not in problems]


def same_bytes(version: Version, other: Version | None) -> bool:
    """Whether two versions hold the same bytes, whatever their times."""
    return other is not None and (version.kind, version.size, version.content) == (
        other.kind,
        other.size,
        other.content,
    )


def nearest_first(generation: str, names: Iterable[str]) -> list[str]:
    """The other generations, those nearest by sequence number first; of two as near the newer."""
    place = Generation.parse(generation)
    others = [other for other in map(Generation.parse, names) if other is not None and str(other) != generation]
    if place is None:
        return [str(other) for other in reversed(others)]
    ordered = sorted(others, key=lambda other: (abs(other.sequence - place.sequence), -other.sequence))
    return [str(other) for other in ordered]


def refusal(generation: str, problems: Sequence[Problem], remedied: dict[bytes, Remedy]) -> IntegrityError:
    """The sentence that refuses rotten bytes: which paths, and where they are whole."""
    count = len(problems)
    lines = [
        f"{count} of the chosen entries {'is' if count == 1 else 'are'} damaged in {generation}; nothing was restored:"
    ]
    for problem in problems[:_SHOWN]:
        remedy = remedied.get(problem.path)
        lines.append(f"  {problem}; {remedy or 'no other generation has it whole'}")
    if count > _SHOWN:
        lines.append(f"  … and {count - _SHOWN} more")
    hint = "--accept-damaged restores what there is, and says what is damaged."
    first = next((remedied[problem.path] for problem in problems if problem.path in remedied), None)
    if first:
        hint = f"Take them from there: restore_data.py restore --generation {first.generation} …, or: {hint}"
    return IntegrityError("\n".join(lines), hint)
