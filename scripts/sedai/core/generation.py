"""Names and records of generations, and the rule which of them are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sedai.core.counted import counted
from sedai.core.errors import IntegrityError
from sedai.core.manifest import Totals

_NAME = re.compile(r"(\d{8}T\d{6}Z)-(\d{6,})\Z")
_TIME = "%Y%m%dT%H%M%SZ"
_LATER = ("anomaly", "not_in_backup", "stored_sha256", "imported", "shared_bytes", "shareable_bytes")
_DAY = "%Y-%m-%d"


@dataclass(frozen=True, order=True)
class Generation:
    """A generation's name, ``YYYYMMDDTHHMMSSZ-NNNNNN``; ordered by the sequence number, which only grows."""

    sequence: int
    time: datetime = field(compare=False)

    def __str__(self) -> str:
        return f"{self.time.astimezone(UTC).strftime(_TIME)}-{self.sequence:06d}"

    @classmethod
    def parse(cls, name: str) -> Generation | None:
        """The generation that ``name`` names, or None where it is not such a name."""
        match = _NAME.match(name)
        if match is None:
            return None
        try:
            moment = datetime.strptime(match[1], _TIME).replace(tzinfo=UTC)
        except ValueError:
            return None
        return cls(int(match[2]), moment)


@dataclass(frozen=True)
class Record:
    """``generation.json``: what is known of a sealed generation without reading its manifest.

    ``anomaly``: why pruning stopped at this generation, in words. ``not_in_backup``: what the client said it lacks, one
    line each. ``stored_sha256``: of the files beside the tree, as they are stored (the manifest compressed), by name.
    ``imported``: where it was, in words, if another program made it; ``started`` and ``sealed`` are then its own time.
    ``shared_bytes``: of big files that changed in part, what they share with the generation ``previous``; no part of
    ``new_bytes``. ``shareable_bytes``: about how much they would, if the store's file system had reflinks.
    Earlier versions wrote none of these.
    """

    generation: str
    client: str
    started: str
    sealed: str
    entries: int
    files: int
    bytes: int
    changed: int
    removed: int
    new_bytes: int
    manifest_sha256: str
    previous: str
    previous_manifest_sha256: str
    sedai_version: str
    sources: tuple[str, ...]
    schema: int = 1
    anomaly: str = ""
    not_in_backup: tuple[str, ...] = ()
    stored_sha256: dict[str, str] = field(default_factory=dict)
    imported: str = ""
    shared_bytes: int = 0
    shareable_bytes: int = 0

    @property
    def totals(self) -> Totals:
        """What it says of the manifest."""
        return Totals(self.entries, self.files, self.bytes, self.manifest_sha256)

    def text(self) -> str:
        """The record as JSON, one key a line: what ``generation.json`` holds, and what a client signs."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    def write(self, path: Path) -> None:
        """Write :meth:`text`."""
        path.write_bytes(self.text().encode())

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a record.

        Raises:
            IntegrityError: it is missing or damaged.
        """
        try:
            return parse_record(path.read_bytes())
        except (OSError, IntegrityError) as error:
            raise IntegrityError(f"{path} can't be read: {error}") from error

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> Record:
        """The record in a decoded JSON object.

        Raises:
            IntegrityError: a key is missing or has the wrong type.
        """
        try:
            values = {
                item.name: table[item.name] for item in fields(cls) if item.name in table or item.name not in _LATER
            }
            for name in ("sources", "not_in_backup"):
                values[name] = tuple(str(line) for line in values.get(name, ()))
            stored = dict(values.get("stored_sha256", {}))
            values["stored_sha256"] = {str(name): str(digest) for name, digest in stored.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"A generation record is damaged: {error!r}") from error
        for item in fields(cls):
            expected = {"int": int, "str": str}.get(str(item.type))
            if item.name in values and expected is not None and type(values[item.name]) is not expected:
                raise IntegrityError(f"A generation record is damaged: {item.name} is {values[item.name]!r}")
        return cls(**values)


def parse_record(text: bytes) -> Record:
    """The record whose :meth:`Record.text` this is, or that of another version.

    Raises:
        IntegrityError: it is not one.
    """
    try:
        table = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"A generation record is damaged: {error}") from error
    return Record.from_table(table)


@dataclass(frozen=True)
class Retention:
    """How many generations are kept: ``keep_last``, and one a day, week and month beside them.

    Of the ``keep_last``, the first generation of each of the last ``guard_days`` days on which there was one stays in any
    case; the newest take the places that are left, and one of them always. So with one backup a day they are the newest
    ones, and many in a short time, as whoever has a stolen key could make, push none of the guarded ones out: what was the
    first of its day stays that for ever, whatever comes after it.
    """

    keep_last: int = 10
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    guard_days: int = 9

    def __post_init__(self) -> None:
        if self.keep_last < 1:
            raise ValueError("keep_last must be at least 1: the last good generation is never pruned.")
        if min(self.keep_daily, self.keep_weekly, self.keep_monthly, self.guard_days) < 0:
            raise ValueError("keep_daily, keep_weekly, keep_monthly and guard_days can't be negative.")

    @property
    def guarded(self) -> int:
        """How many days are guarded; the newest generation needs one of the places."""
        return min(self.guard_days, self.keep_last - 1)

    def __str__(self) -> str:
        """The rule in words."""
        words = f"{counted(self.keep_last, 'generation')} {'is' if self.keep_last == 1 else 'are'} kept"
        if self.guarded:
            words += (
                f": the first of each of the last {self.guarded} days with a backup, so that many in a short time push "
                "none of them out, and the newest in the places that are left"
            )
        beside = [
            f"{count} {word}"
            for count, word in (
                (self.keep_daily, "daily"),
                (self.keep_weekly, "weekly"),
                (self.keep_monthly, "monthly"),
            )
            if count
        ]
        return f"{words}{'; beside them ' + ', '.join(beside) if beside else ''}. Days are those of UTC."


@dataclass(frozen=True)
class Verdict:
    """Why a generation is kept or goes; ``reasons`` is empty where it goes."""

    generation: Generation
    reasons: tuple[str, ...]

    @property
    def keep(self) -> bool:
        """Whether the generation stays."""
        return bool(self.reasons)


def decide(generations: Sequence[Generation], rule: Retention) -> list[Verdict]:
    """Which of ``generations`` the rule keeps, oldest first; the newest always stays."""
    newest_first = sorted(generations, reverse=True)
    reasons: dict[Generation, list[str]] = {generation: [] for generation in newest_first}
    guarded = _firsts_of_days(newest_first, rule.guarded)
    free = rule.keep_last - len(guarded)
    number = 0
    for generation in newest_first:
        if generation not in guarded:
            free -= 1
        if generation in guarded or free >= 0:
            number += 1
            reasons[generation].append(f"{number} of {rule.keep_last}")
        if generation in guarded:
            reasons[generation].append(f"first of {guarded[generation]}")
    periods = (("daily", _DAY, rule.keep_daily), ("weekly", "%G-W%V", rule.keep_weekly),
               ("monthly", "%Y-%m", rule.keep_monthly))  # fmt: skip
    for word, pattern, count in periods:
        seen: set[str] = set()
        for generation in newest_first:
            period = _period(generation, pattern)
            if period not in seen and len(seen) < count:
                seen.add(period)
                reasons[generation].append(f"{word} {period}")
    return [Verdict(generation, tuple(reasons[generation])) for generation in sorted(generations)]


def _period(generation: Generation, pattern: str) -> str:
    return generation.time.astimezone(UTC).strftime(pattern)


def _firsts_of_days(newest_first: Sequence[Generation], days: int) -> dict[Generation, str]:
    """The first generation of each of the last ``days`` days that have one, with its day.

    If the newest is not among them there is a place left for it: callers ask for one day less than they have places.
    """
    first: dict[str, Generation] = {}
    for generation in newest_first:
        day = _period(generation, _DAY)
        if day in first or len(first) < days:
            first[day] = generation  # an older one of the same day takes the place of a newer one
    return {generation: day for day, generation in first.items()}
