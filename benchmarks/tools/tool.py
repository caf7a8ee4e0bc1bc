"""What every tool offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from benchmarks.lab import Lab
from benchmarks.measure import Command
from benchmarks.packages import install


class Operation(StrEnum):
    """What is measured, in the order in which it is carried out."""

    FIRST = "first"
    VERIFY_ONE = "verify_one"
    CHANGED = "changed"
    NOTHING = "nothing"
    SPACE = "space"
    VERIFY_TEN = "verify_ten"
    RESTORE = "restore"
    PRUNE = "prune"


BACKUPS = frozenset({Operation.FIRST, Operation.CHANGED, Operation.NOTHING})
ALL = frozenset(Operation)


class Tool(ABC):
    """A tool with a store of its own on the lab's server.

    The commands are what a user types; ``prepare`` and ``fresh`` are neither measured nor compared.
    """

    name: ClassVar[str]
    # Debian packages that have to be installed.
    packages: ClassVar[tuple[str, ...]] = ()
    operations: ClassVar[frozenset[Operation]] = ALL
    # What no tool can be faster than.
    floor: ClassVar[bool] = False

    def __init__(self, lab: Lab, source: Path) -> None:
        self.lab = lab
        self.source = source

    @classmethod
    def provide(cls) -> None:
        """Install what is missing.

        Raises:
            UnavailableError: it can't be had.
        """
        install(cls.packages)

    @classmethod
    def version(cls) -> str:
        """The version, in a few words."""
        return ""

    @abstractmethod
    def fresh(self) -> None:
        """Make an empty store, also where there is a full one."""

    def prepare(self, operation: Operation) -> None:  # noqa: B027  most need nothing
        """What has to be there before ``operation``."""

    @abstractmethod
    def commands(self, operation: Operation, target: Path) -> list[Command]:
        """How ``operation`` is done, SPACE excepted. ``target``: what is restored lies below it; it does not exist yet."""

    @property
    @abstractmethod
    def store(self) -> Path:
        """Where the generations are."""

    def restored(self, target: Path) -> Path:
        """Where a restore puts the source's content."""
        return target / self.source.relative_to("/")
