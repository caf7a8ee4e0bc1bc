"""Many small files whose content does not compress."""

from __future__ import annotations

import random
from pathlib import Path
from typing import ClassVar

from benchmarks.data.workload import Workload

_A_DIRECTORY = 100
_SMALLEST, _LARGEST = 100, 2000
_POOL_BYTES = 1 << 22


class SmallFiles(Workload):
    """300,000 files of 100 to 2,000 bytes, a hundred in each directory."""

    key = "W3"
    title = "300,000 files of 100-2,000 bytes"
    full: ClassVar[int] = 300_000

    @property
    def count(self) -> int:
        """How many files there are."""
        return max(_A_DIRECTORY, round(self.full * self.scale))

    def create(self, root: Path) -> None:
        """Make the files."""
        write = _Writer(0)
        for number in range(self.count):
            path = _path(root, number)
            if number % _A_DIRECTORY == 0:
                path.parent.mkdir(parents=True)
            write(path)

    def change(self, root: Path, step: int) -> None:
        """Give 1 % of the files other content, and most of them another size."""
        write = _Writer(step)
        for number in random.Random(step).sample(range(self.count), max(1, self.count // 100)):  # noqa: S311
            write(_path(root, number))


class MoreSmallFiles(SmallFiles):
    """A million of them, for the tools that stay usable there."""

    key = "W4"
    title = "one million files of 100-2,000 bytes"
    full = 1_000_000
    tools = frozenset({"sedai", "rsync", "rsync + SFV", "restic"})


def _path(root: Path, number: int) -> Path:
    directory, index = divmod(number, _A_DIRECTORY)
    return root / f"{directory // _A_DIRECTORY:02d}" / f"{directory:05d}" / f"file-{index:02d}.dat"


class _Writer:
    """Writes slices of one pool of noise: nearly as fast as the disk, and no two files alike."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"small files {seed}")  # noqa: S311
        self._pool = self._random.randbytes(_POOL_BYTES)

    def __call__(self, path: Path) -> None:
        size = self._random.randint(_SMALLEST, _LARGEST)
        start = self._random.randrange(_POOL_BYTES - size)
        path.write_bytes(self._pool[start : start + size])
