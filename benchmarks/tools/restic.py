"""restic over sftp."""

from __future__ import annotations

from pathlib import Path

from benchmarks.lab import HOST, remove
from benchmarks.measure import Command, run
from benchmarks.tools.tool import Operation, Tool
from benchmarks.tools.versions import first_version


class Restic(Tool):
    """restic with its usual settings; it always encrypts."""

    name = "restic"
    packages = ("restic",)

    @classmethod
    def version(cls) -> str:
        """Of restic."""
        return first_version("restic", "version")

    @property
    def store(self) -> Path:
        """The repository."""
        return self.lab.server / "restic"

    @property
    def _cache(self) -> Path:
        return self.lab.client / "restic-cache"

    def fresh(self) -> None:
        """Make a new repository."""
        self.lab.on_server("restic")
        remove(self._cache)
        run(self.lab, self._restic("init"))

    def prepare(self, operation: Operation) -> None:
        """Before pruning: count the snapshots."""
        if operation is Operation.PRUNE:
            listed = run(self.lab, self._restic("list", "snapshots"))
            self._keep = len(listed.split()) - 1

    def commands(self, operation: Operation, target: Path) -> list[Command]:
        """One command each. A check reads the whole repository, whether it holds one snapshot or ten."""
        match operation:
            case Operation.VERIFY_ONE | Operation.VERIFY_TEN:
                return [self._restic("check", "--read-data")]
            case Operation.RESTORE:
                return [self._restic("restore", "latest", "--target", str(target))]
            case Operation.PRUNE:
                return [self._restic("forget", "--keep-last", str(self._keep), "--prune")]
        return [self._restic("backup", str(self.source))]

    def _restic(self, *words: str) -> Command:
        return Command(
            (
                *("restic", "--quiet", "--repo", f"sftp:{HOST}:{self.store}"),
                *("--option", f"sftp.command={' '.join(self.lab.ssh)} {HOST} -s sftp", *words),
            ),
            {"RESTIC_PASSWORD": "not a secret", "RESTIC_CACHE_DIR": str(self._cache)},
        )
