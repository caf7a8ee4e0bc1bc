"""What every kind of database can do for a backup: name its databases, dump, prove, load, count."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sedai.client.databases.notes import Notes
from sedai.core.progress import Watch, unwatched


@dataclass(frozen=True)
class Dumped:
    """What a dump holds: rows by table, what a new database must be made with; and in words what it can't hold."""

    tables: dict[str, int]
    settings: dict[str, str] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()


class Engine(Protocol):
    """One server (or one SQLite file). All methods raise SedaiError with the server's own words."""

    suffix: str
    """Ending of a dump's file name, dot included."""

    expansion: int
    """How many times as large as :meth:`size` says a dump can be."""

    def version(self) -> str:
        """The server's version."""

    def data_directory(self) -> str:
        """Where the server keeps its live files, or nothing where it runs on another machine."""

    def databases(self) -> list[str]:
        """The databases there are, without the server's own; with :data:`~notes.GLOBALS` where accounts are dumped."""

    def others(self) -> list[str]:
        """The databases of a server on this machine that are in no dump: not asked for, or closed."""

    def size(self, database: str) -> int:
        """How many bytes the server stores for ``database``, without its indexes."""

    def dump(self, database: str, target: Path) -> Dumped:
        """Write ``database`` as of one moment to the new file ``target``, and count the rows of that same moment."""

    def prove(self, database: str, dump: Path, tables: dict[str, int]) -> None:
        """Read the dump whole: it must be complete and name each of ``tables``."""

    def same(self, one: Path, other: Path) -> bool:
        """Whether two dumps hold the same, whenever they were made."""

    def exists(self, database: str) -> bool:
        """Whether there is a database of that name."""

    def load(
        self, dump: Path, notes: Notes, database: str, *, owners: bool = True, watch: Watch = unwatched
    ) -> list[str]:
        """Make ``database``, which does not exist, from ``dump``; where that fails nothing of it stays.

        Without ``owners`` everything belongs to the account that loads. ``watch`` is given what tells how far it is.
        Returns what did not come back as it was.
        """

    def row_counts(self, database: str) -> dict[str, int]:
        """Rows by table, counted now; the same names as in :class:`Dumped`."""

    def set_aside(self, database: str, aside: str) -> list[str]:
        """Rename ``database`` to ``aside``, so that it can be loaded anew and nothing is lost.

        Returns what of it was broken already, so that ``aside`` is without it or no better.
        """
