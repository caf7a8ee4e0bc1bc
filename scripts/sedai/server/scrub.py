"""The scrub: every stored byte is read anew within some days and compared with all manifests that name it.

The inodes fall into as many shares as there are days. A night reads the share that was read longest ago, and with it
every share that would be overdue before the next night, so that nights that were missed are made up for.
"""

from __future__ import annotations

import contextlib
import os
import stat as st
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from logging import Logger
from pathlib import Path
from typing import Any

from sedai.core import lock, wire
from sedai.core.errors import IntegrityError
from sedai.core.progress import Reporter
from sedai.server import entries, verify
from sedai.server.config import ServerConfig
from sedai.server.judge import Finding
from sedai.server.notebook import directory, read_json, write_json
from sedai.server.store import ClientStore

_DAY = 86400.0
# A night may start later than the one before by so much without anything counting as overdue.
_SLACK = 0.25 * _DAY
_SHOWN = 50
_QUIET = Reporter(quiet=True)


@dataclass(frozen=True)
class Notes:
    """When each share was last read (``started`` counts for those that never were), and what is known to be rotten.

    ``rotten``: per client a line for each rotten inode, and the inodes.
    """

    started: float = 0.0
    read: tuple[float, ...] = ()
    rotten: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def whole_since(self) -> float:
        """Everything that is stored was read at this time or later; 0 while some was never read."""
        return min(self.read, default=0.0)

    @property
    def unread_since(self) -> float:
        """For so long some stored file was not read, as far as is known; 0 where there was no scrub."""
        return self.whole_since or self.started


@dataclass
class Outcome:
    """What a night's scrub did. ``findings`` are to be reported, ``over`` are clients where nothing is rotten any more."""

    read_files: int = 0
    read_bytes: int = 0
    shares: tuple[int, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    over: list[str] = field(default_factory=list)


def share(inode: int, shares: int) -> int:
    """The share that ``inode`` falls into; file systems number inodes in steps, hence the hash."""
    return zlib.crc32(inode.to_bytes(8, "little")) % shares


def due(notes: Notes, now: float, days: int) -> tuple[int, ...]:
    """The shares to be read at ``now`` so that each is read within ``days`` days, if this runs nightly."""
    if days == 1:
        return (0,)
    oldest = min(range(days), key=lambda number: notes.read[number])
    ages = [now - (moment or notes.started) for moment in notes.read]
    # A time that has not come yet is from a wrong clock.
    late = {number for number, age in enumerate(ages) if not 0 <= age <= (days - 1) * _DAY + _SLACK}
    return tuple(sorted(late | {oldest}))


def with_shares(notes: Notes, now: float, days: int) -> Notes:
    """``notes`` for so many shares; what was read in other shares counts as read when the oldest of them was."""
    if len(notes.read) == days:
        return notes
    return Notes(notes.started or now, (notes.whole_since,) * days, notes.rotten)


def read_notes(state_directory: Path) -> Notes:
    """The notes of the scrub; new ones where they are missing or damaged."""
    table = read_json(state_directory / "scrub.json")
    try:
        return Notes(
            float(table["started"]),
            tuple(float(moment) for moment in table["read"]),
            {
                str(client): {str(line): int(inode) for line, inode in lines.items()}
                for client, lines in table["rotten"].items()
            },
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return Notes()


def scrub(config: ServerConfig, log: Logger, reporter: Reporter = _QUIET) -> Outcome:
    """Read what is due of all clients, and note it.

    Raises:
        ConfigError: the configuration names no directory for the notes.
        LockedError: another scrub runs.
        OSError: the store can't be looked through.
    """
    state = directory(config.watch.state_directory)
    days = config.watch.scrub_days
    with lock.exclusive(state / "scrub.lock", "Another scrub"):
        now = time.time()
        notes = with_shares(read_notes(state), now, days)
        outcome = Outcome(shares=due(notes, now, days))
        rotten: dict[str, dict[str, int]] = {}
        expected = _stored(config) * len(outcome.shares) // days if reporter.live else 0
        with reporter.watched("scrub", expected) as watch:
            watch(lambda: outcome.read_bytes)
            for client in sorted(config.clients):
                known = notes.rotten.get(client, {})
                found = _client(ClientStore(config.store / client), client, outcome, days, set(known.values()), log)
                rotten[client] = found.lines
                if found.lines and (found.newest_is_hit or set(found.lines) - set(known)):
                    outcome.findings.append(found.finding(client))
                elif not found.lines:
                    outcome.over.append(client)
        read = tuple(now if number in outcome.shares else moment for number, moment in enumerate(notes.read))
        write_json(state / "scrub.json", {"started": notes.started, "read": read, "rotten": rotten})
    log.info("scrub: read %d files, %d bytes, shares %s of %d", outcome.read_files, outcome.read_bytes,
             ", ".join(map(str, outcome.shares)), days)  # fmt: skip
    return outcome


def _stored(config: ServerConfig) -> int:
    """About how many bytes are stored: what the oldest generation holds, and what each later one added."""
    total = 0
    for client in config.clients:
        store = ClientStore(config.store / client)
        for number, generation in enumerate(store.generations()):
            with contextlib.suppress(IntegrityError):  # told when it is looked at
                record = store.record(generation)
                total += record.new_bytes if number else record.bytes
    return total


@dataclass(frozen=True)
class _Found:
    """Of one client a line for each thing that is rotten, with its inode (0 where it is no file's content)."""

    lines: dict[str, int]
    newest_is_hit: bool
    last_good: str

    def finding(self, client: str) -> Finding:
        shown = list(self.lines)[:_SHOWN]
        if len(self.lines) > len(shown):
            shown.append(f"… {len(self.lines) - len(shown)}")
        figures: dict[str, object] = {"count": len(self.lines), "lines": "\n".join(shown)}
        return Finding("rot", client, self.last_good, figures)


def _client(store: ClientStore, client: str, outcome: Outcome, days: int, suspects: set[int], log: Logger) -> _Found:
    def reads(inode: int) -> bool:
        return inode in suspects or share(inode, days) in outcome.shares

    files_before, bytes_before = outcome.read_files, outcome.read_bytes

    def note(tally: entries.Tally) -> None:
        outcome.read_files = files_before + tally.read_files
        outcome.read_bytes = bytes_before + tally.read_bytes

    verifier = verify.Verifier(store, "full", note, reads=reads, from_disk=True)
    found: list[tuple[int, entries.Problem]] = []
    names = []
    # The newest first: what is rotten there is marked to be sent again, and that is most urgent.
    for generation in reversed(store.generations()):
        try:
            for problem in verifier.generations([generation]):
                log.warning("%s: scrub: %s %s in %s: expected %s, found %s", client, problem.code,
                            wire.text(problem.path), problem.generation, problem.expected, problem.found)  # fmt: skip
                inode = _inode(os.fsencode(store.tree(generation)) + b"/" + problem.path)
                found.append((inode, problem))
        except FileNotFoundError:
            if store.directory(generation).exists():
                raise
            continue  # pruned meanwhile
        names.append(str(generation))
    hit = {problem.generation for _, problem in found}
    whole = [name for name in names if name not in hit]
    return _Found(describe(found), bool(names) and names[0] in hit, whole[0] if whole else "")


def describe(found: Sequence[tuple[int, entries.Problem]]) -> dict[str, int]:
    """A line for each rotten inode with all its names and generations -> the inode."""
    together: dict[tuple[int | bytes, str, str, str], list[entries.Problem]] = {}
    for inode, problem in found:
        # What is not about an inode's content stands for itself.
        whose = inode if problem.code in {"content", "size", "unreadable"} and inode else problem.path
        together.setdefault((whose, problem.code, problem.expected, problem.found), []).append(problem)
    lines = {}
    for (whose, code, expected, actual), problems in together.items():
        paths = ", ".join(f"/{wire.text(path)}" for path in _unique(problem.path for problem in problems) if path)
        generations = ", ".join(sorted(set(_unique(problem.generation for problem in problems))))
        line = f"{code}: {paths or '-'}: expected {expected}, found {actual}; in {generations}"
        lines[line] = whose if isinstance(whose, int) else 0
    return lines


def _unique(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _inode(path: bytes) -> int:
    """The inode of the regular file at ``path``; 0 where there is none."""
    try:
        stat = os.lstat(path)
    except OSError:
        return 0
    return stat.st_ino if st.S_ISREG(stat.st_mode) else 0
