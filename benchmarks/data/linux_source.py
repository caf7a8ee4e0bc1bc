"""The Linux source tree: real text in real directories."""

from __future__ import annotations

import hashlib
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.data.workload import Workload
from benchmarks.packages import unpacked

PACKAGE = "linux-source-6.1"


class LinuxSource(Workload):
    """About 80,000 files, 1.3 GB, from the Debian package linux-source-6.1."""

    key = "W1"
    title = "the Linux source tree"

    def create(self, root: Path) -> None:
        """Unpack the tree; a smaller scale takes a share of its directories, the same ones each time.

        Raises:
            UnavailableError: the package can't be had.
        """
        archive = unpacked(PACKAGE) / f"usr/src/{PACKAGE}.tar.xz"
        with tarfile.open(archive) as tar:
            tar.extractall(root, members=self._chosen(tar), filter="tar")

    def _chosen(self, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        for member in tar:
            directory = member.name.rpartition("/")[0]
            share = int.from_bytes(hashlib.sha256(directory.encode()).digest()[:4]) / 2**32
            if member.isdir() or share < self.scale:
                yield member

    def change(self, root: Path, step: int) -> None:
        """Change 1 % of the files: the second half of the text comes first, and a line more."""
        files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        for path in random.Random(step).sample(files, max(1, len(files) // 100)):  # noqa: S311
            text = path.read_bytes()
            middle = len(text) // 2
            path.write_bytes(text[middle:] + text[:middle] + b"/* changed: %d */\n" % step)
