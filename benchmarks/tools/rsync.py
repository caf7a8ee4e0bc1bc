"""rsync with --link-dest: a tree a generation, unchanged files linked to the one before."""

from __future__ import annotations

from pathlib import Path

from benchmarks.lab import HOST
from benchmarks.measure import Command, run
from benchmarks.tools.tool import Operation, Tool
from benchmarks.tools.versions import first_version


class Rsync(Tool):
    """rsync as root of the client, into the account of the server. Its check is an SFV of each generation, by rhash."""

    name = "rsync"
    packages = ("rsync", "rhash")
    _directory = "rsync"

    @classmethod
    def version(cls) -> str:
        """Of rsync."""
        return first_version("rsync", "--version")

    @property
    def store(self) -> Path:
        """A directory for each generation."""
        return self.lab.server / self._directory

    def fresh(self) -> None:
        """Remove all generations."""
        self.lab.on_server(self._directory)

    @property
    def _generations(self) -> list[str]:
        return sorted(path.name for path in self.store.iterdir() if path.is_dir())

    def prepare(self, operation: Operation) -> None:
        """Before a check: make the SFVs that are missing."""
        if operation not in (Operation.VERIFY_ONE, Operation.VERIFY_TEN):
            return
        for generation in self._generations:
            if not (self.store / f"{generation}.sfv").exists():
                run(self.lab, self._on_server(self._making(generation)))

    def commands(self, operation: Operation, target: Path) -> list[Command]:
        """One rsync; or what the server's shell does with the trees."""
        match operation:
            case Operation.VERIFY_ONE | Operation.VERIFY_TEN:
                return [self._on_server(" && ".join(map(self._checking, self._generations)))]
            case Operation.RESTORE:
                return [self._rsync(f"{HOST}:{self.store}/{self._generations[-1]}/", f"{target}/")]
            case Operation.PRUNE:
                return [self._on_server(f"rm -rf {self.store}/{self._generations[0]}")]
        return [self._backup()]

    def restored(self, target: Path) -> Path:
        """The content itself."""
        return target

    def _backup(self) -> Command:
        newest = (self._generations or [""])[-1]
        base = [f"--link-dest=../{newest}"] if newest else []
        return self._rsync(*base, f"{self.source}/", f"{HOST}:{self.store}/{int(newest or 0) + 1:04d}/")

    def _rsync(self, *words: str) -> Command:
        return Command(("rsync", "-aHAX", "--numeric-ids", "-e", " ".join(self.lab.ssh), *words))

    def _on_server(self, command: str) -> Command:
        return Command((*self.lab.ssh, HOST, command))

    def _making(self, generation: str) -> str:
        return f"cd {self.store}/{generation} && rhash --sfv --recursive . >../{generation}.sfv"

    def _checking(self, generation: str) -> str:
        return f"cd {self.store}/{generation} && rhash --skip-ok --check ../{generation}.sfv"


class RsyncAndSfv(Rsync):
    """The same job as our first backup: rsync, then an SFV of the copy is made, and the copy checked against it."""

    name = "rsync + SFV"
    operations = frozenset({Operation.FIRST})
    _directory = "rsync-sfv"

    def commands(self, operation: Operation, target: Path) -> list[Command]:
        """The three steps."""
        return [self._backup(), self._on_server(self._making("0001")), self._on_server(self._checking("0001"))]
