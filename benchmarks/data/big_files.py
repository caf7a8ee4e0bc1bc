"""A few big files that change in place, as a database does."""

from __future__ import annotations

import random
from pathlib import Path

from benchmarks.data.workload import Workload

_MIB = 1 << 20
# A page of a database is smaller, but its changes come in runs.
_PIECE = 64 << 10


class BigFiles(Workload):
    """Three files of 1 GiB of noise."""

    key = "W2"
    title = "three files of 1 GiB, 1 % of the bytes changed in place"

    @property
    def mebibytes(self) -> int:
        """The size of each file."""
        return max(4, round(1024 * self.scale))

    def create(self, root: Path) -> None:
        """Make the files."""
        for number in range(3):
            noise = random.Random(f"big file {number}")  # noqa: S311
            with (root / f"big-{number}.bin").open("wb") as stream:
                for _ in range(self.mebibytes):
                    stream.write(noise.randbytes(_MIB))

    def change(self, root: Path, step: int) -> None:
        """Overwrite 1 % of each file, in pieces of 64 KiB strewn over it."""
        for number in range(3):
            chance = random.Random(f"big file {number} step {step}")  # noqa: S311
            pieces = self.mebibytes * _MIB // _PIECE
            with (root / f"big-{number}.bin").open("r+b") as stream:
                for piece in chance.sample(range(pieces), max(1, round(pieces / 100))):
                    stream.seek(piece * _PIECE)
                    stream.write(chance.randbytes(_PIECE))
