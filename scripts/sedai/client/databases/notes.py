"""What is noted beside each dump: which database it is, when it was made, how many rows each table had, and its age."""

from __future__ import annotations

import hashlib
import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sedai.core import wire
from sedai.core.counted import counted
from sedai.core.errors import IntegrityError

# A database's own name is percent-encoded in file names, so that none can look like this.
GLOBALS = "@globals"
SUFFIX = ".json"
# With the endings that a dump has, and what SQLite puts behind them meanwhile, it stays below 255.
_LONGEST = 220
_SHOWN_TABLES = 5


@dataclass(frozen=True)
class Notes:
    """The notes of one dump.

    ``entry``: name of the server in the configuration. ``file``: the dump's file name, in the directory of the notes.
    ``dumped``: when it was made, ISO 8601 in UTC. ``tables``: rows by table. ``settings``: what a new database must be
    made with (encoding, collation, owner; by kind). ``data_directory``: where the server keeps its live files.
    ``stale_since``, ``stale_error``: since when and why no newer dump could be made; empty while it is the newest.
    """

    entry: str
    kind: str
    database: str
    file: str
    dumped: str
    bytes: int
    tables: dict[str, int]
    server_version: str = ""
    data_directory: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    stale_since: str = ""
    stale_error: str = ""
    schema: int = 1

    @property
    def name(self) -> str:
        """How people call it: ``entry/database``, or only the entry where that is one file."""
        return full_name(self.entry, self.kind, self.database)

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(self.tables.values())

    def stale(self, since: str, error: str) -> Notes:
        """The same notes, marked stale; the first failure's time stays."""
        return replace(self, stale_since=self.stale_since or since, stale_error=error)

    def check(self) -> None:
        """Insist that they can be believed, whatever happened to the file they were read from.

        Raises:
            ValueError: they can't.
        """
        texts = [self.entry, self.kind, self.database, self.file, self.dumped, self.server_version, self.data_directory,
                 self.stale_since, self.stale_error, *self.settings, *self.settings.values()]  # fmt: skip
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("something in them is no text.")
        if self.file in ("", ".", "..") or "/" in self.file or "\0" in self.file:
            raise ValueError(f"{self.file!r} is no file beside them.")
        if datetime.fromisoformat(self.dumped).tzinfo is None:
            raise ValueError(f"the time {self.dumped!r} has no zone.")

    def text(self) -> str:
        """The notes as JSON, one key a line."""
        table = {"name": self.name} | asdict(self)
        return json.dumps(table, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> Notes:
        """Read the notes at ``path``.

        Raises:
            IntegrityError: they are missing or damaged.
        """
        try:
            table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            table.pop("name", None)
            notes = cls(**table)
            notes = replace(notes, bytes=int(notes.bytes),
                            tables={str(name): int(rows) for name, rows in notes.tables.items()})  # fmt: skip
            notes.check()
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise IntegrityError(f"The notes {path} can't be read: {error}") from error
        if notes.schema != 1:
            raise IntegrityError(f"The notes {path} are of schema {notes.schema}, which this version does not know.")
        return notes


def differing(noted: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    """Each table that does not have as many rows as were noted when the dump was made, in words."""
    words = []
    for table in sorted({*noted, *found}):
        if table not in found:
            words.append(
                f"the table {wire.text(table.encode())} did not come back; it had {counted(noted[table], 'row')}."
            )
        elif table not in noted:
            words.append(f"the table {wire.text(table.encode())} is in the dump, but was not noted with it.")
        elif found[table] != noted[table]:
            words.append(f"the table {wire.text(table.encode())} came back with {counted(found[table], 'row')}; "
                         f"noted when it was dumped: {noted[table]:,}.")  # fmt: skip
    if len(words) > _SHOWN_TABLES:
        words[_SHOWN_TABLES:] = [f"{len(words) - _SHOWN_TABLES} more tables differ."]
    return words


def age(moment: str) -> str:
    """How long ago ``moment`` (ISO 8601) was: in hours, or in days where it is longer."""
    hours = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds() / 3600
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"


def full_name(entry: str, kind: str, database: str) -> str:
    """The name of a database for people and for ``restore-db``."""
    return entry if kind == "sqlite" else f"{entry}/{database}"


def stem(database: str) -> str:
    """The name of ``database`` in file names: percent-encoded, so that every name is one plain file.

    A long one (64 characters can be 576 bytes then) ends with its digest, behind a character that no other has.
    """
    if database == GLOBALS:
        return GLOBALS
    name = urllib.parse.quote(database, safe=" ")
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 33]}@{hashlib.sha256(database.encode()).hexdigest()[:32]}"
