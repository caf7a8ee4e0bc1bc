"""rdiff-backup: a mirror, and the differences back to earlier times."""

from __future__ import annotations

from pathlib import Path

from benchmarks.lab import HOST
from benchmarks.measure import Command
from benchmarks.tools.tool import Operation, Tool
from benchmarks.tools.versions import first_version


class RdiffBackup(Tool):
    """rdiff-backup with its usual settings."""

    name = "rdiff-backup"
    packages = ("rdiff-backup",)

    @classmethod
    def version(cls) -> str:
        """Of rdiff-backup."""
        return first_version("rdiff-backup", "--version")

    @property
    def store(self) -> Path:
        """The mirror with its increments."""
        return self.lab.server / "rdiff-backup"

    @property
    def _location(self) -> str:
        return f"{HOST}::{self.store}"

    def fresh(self) -> None:
        """Empty it."""
        self.lab.on_server("rdiff-backup")

    def commands(self, operation: Operation, target: Path) -> list[Command]:
        """One command each, but one a generation for a check of ten."""
        match operation:
            case Operation.VERIFY_ONE:
                return [self._rdiff_backup("verify", self._location)]
            case Operation.VERIFY_TEN:
                return [self._rdiff_backup("verify", "--at", f"{age}B", self._location) for age in range(self._count())]
            case Operation.RESTORE:
                return [self._rdiff_backup("restore", self._location, str(target))]
            case Operation.PRUNE:
                age = f"{self._count() - 2}B"
                return [self._rdiff_backup("remove", "increments", "--older-than", age, self._location)]
        return [self._rdiff_backup("backup", str(self.source), self._location)]

    def restored(self, target: Path) -> Path:
        """The content itself."""
        return target

    def _count(self) -> int:
        return len(list((self.store / "rdiff-backup-data").glob("session_statistics.*")))

    def _rdiff_backup(self, *words: str) -> Command:
        schema = f"{' '.join(self.lab.ssh)} {{h}} rdiff-backup server"
        return Command(("rdiff-backup", "--remote-schema", schema, *words))
