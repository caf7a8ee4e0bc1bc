"""restic over sftp."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from benchmarks.lab import HOST, remove
from benchmarks.measure import Command, run
from benchmarks.packages import unpacked
from benchmarks.tools.tool import Operation, Tool
from benchmarks.tools.versions import first_version

_SUITE = "trixie"


class Restic(Tool):
    """restic with its usual settings; it always encrypts. A later Debian's, whatever this machine's is: it got much faster."""

    name = "restic"
    _program: ClassVar[str] = "restic"

    @classmethod
    def provide(cls) -> None:
        """Fetch it, without installing it."""
        cls._program = str(unpacked("restic", _SUITE) / "usr/bin/restic")

    @classmethod
    def version(cls) -> str:
        """Of restic."""
        return first_version(cls._program, "version")

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
                *(self._program, "--quiet", "--repo", f"sftp:{HOST}:{self.store}"),
                *("--option", f"sftp.command={' '.join(self.lab.ssh)} {HOST} -s sftp", *words),
            ),
            {"RESTIC_PASSWORD": "not a secret", "RESTIC_CACHE_DIR": str(self._cache)},
        )
