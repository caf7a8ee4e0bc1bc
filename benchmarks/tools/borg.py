"""Borg over ssh."""

from __future__ import annotations

import shlex
from pathlib import Path

from benchmarks.lab import HOST, remove
from benchmarks.measure import Command, run
from benchmarks.tools.tool import Operation, Tool
from benchmarks.tools.versions import first_version


class Borg(Tool):
    """borg as its quick start has it: encrypted with a key in the repository, compressed by lz4."""

    name = "borg"
    packages = ("borgbackup",)

    @classmethod
    def version(cls) -> str:
        """Of borg."""
        return first_version("borg", "--version")

    @property
    def store(self) -> Path:
        """The repository."""
        return self.lab.server / "borg"

    @property
    def _own(self) -> Path:
        return self.lab.client / "borg"

    def fresh(self) -> None:
        """Make a new repository, and forget the cache of the old one."""
        self.lab.on_server("borg")
        remove(self._own)
        self._made = 0
        run(self.lab, self._borg("init", "--encryption=repokey", "::"))

    def prepare(self, operation: Operation) -> None:
        """Before restoring or pruning: the names of the archives."""
        if operation in (Operation.RESTORE, Operation.PRUNE):
            self._archives = run(self.lab, self._borg("list", "--short", "::")).split()

    def commands(self, operation: Operation, target: Path) -> list[Command]:
        """One command each, and two for pruning. A check reads the whole repository."""
        match operation:
            case Operation.VERIFY_ONE | Operation.VERIFY_TEN:
                return [self._borg("check", "--verify-data", "::")]
            case Operation.RESTORE:
                target.mkdir()
                return [self._borg("extract", f"::{self._archives[-1]}", directory=target)]
            case Operation.PRUNE:
                return [self._borg("delete", f"::{self._archives[0]}"), self._borg("compact", "::")]
        self._made += 1
        return [self._borg("create", f"::generation-{self._made}", str(self.source))]

    def _borg(self, *words: str, directory: Path | None = None) -> Command:
        environment = {
            "BORG_REPO": f"ssh://{HOST}{self.store}",
            "BORG_RSH": shlex.join(self.lab.ssh),
            "BORG_PASSPHRASE": "not a secret",
            "BORG_BASE_DIR": str(self._own),
        }
        return Command(("borg", *words), environment, directory)
