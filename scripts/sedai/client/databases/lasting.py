"""Dumps that the last generation has and this machine has not: they stay, until a person says that they may go.

The staging directory may be new (another disk, another machine) when a database fails, or nobody thought of it; without this
its last good dump would be gone with the oldest generation.
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Collection, Iterable
from pathlib import Path

from sedai.client.config import ClientConfig
from sedai.client.databases import notes as noted
from sedai.client.databases.staging import DIRECTORY

_DUMPS = (".dump", ".sql", ".sqlite")


class Lasting:
    """Decides about what is in the last generation and not on this machine any more."""

    def __init__(self, config: ClientConfig, gone: Collection[Path]) -> None:
        """``gone``: what need not stay: directories, or a dump and its notes, without their endings."""
        self._root = config.staging_directory / DIRECTORY if config.staging_directory else None
        self._prefix = config.staged + b"/"
        self._kinds = {entry.name: entry.kind for entry in config.databases}
        self._gone = set(gone)
        self._kept: dict[Path, None] = {}
        self._forgotten: dict[str, None] = {}

    def keeps(self, path: bytes) -> bool:
        """Whether ``path`` (below the root of the tree), which is not here, stays as the last generation has it."""
        if not path.startswith(self._prefix):  # most are not, and there may be many
            return False
        found = Path(os.fsdecode(b"/" + path))
        if found.parent.parent != self._root:
            return False
        directory, stem = found.parent, found.with_suffix("")
        if found.suffix not in (noted.SUFFIX, *_DUMPS) or directory in self._gone or stem in self._gone:
            return False
        if directory.name not in self._kinds:
            self._forgotten[directory.name] = None
            return False
        if not directory.is_dir() or _is_whole(stem):
            return False
        self._kept[stem] = None
        return True

    def lines(self) -> list[str]:
        """What a person has to know of it, when all paths have been asked about."""
        kept = [
            f"{name} is not here any more, or could not be dumped; the generation keeps the dump of it that the last one has. "
            f"Bring it back (restore_data.py restore-db {name}), or, if it may go, let it go "
            f"(backup_data.py --forget {name})."
            for name in map(self._name, self._kept)
        ]
        return [*kept, *(f"{entry} is not configured any more; its last dumps are in older generations."
                         for entry in self._forgotten)]  # fmt: skip

    def _name(self, stem: Path) -> str:
        entry = stem.parent.name
        return noted.full_name(entry, self._kinds[entry], urllib.parse.unquote(stem.name))


def places(staging: Path, names: Iterable[str]) -> set[Path]:
    """Where the dumps are that people name as ``entry/database``, or all of an entry by its name alone."""
    parted = (name.partition("/") for name in names)
    return {staging / DIRECTORY / entry / (noted.stem(database) if database else "") for entry, _, database in parted}


def _is_whole(stem: Path) -> bool:
    """Whether a dump and its notes are here, under whatever ending."""
    return stem.with_name(stem.name + noted.SUFFIX).exists() and any(
        stem.with_name(stem.name + ending).exists() for ending in _DUMPS
    )
