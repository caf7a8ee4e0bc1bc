"""What no backup can be faster than: the bare work on the same data."""

from __future__ import annotations

from pathlib import Path

from benchmarks.lab import HOST, remove
from benchmarks.measure import Command, run
from benchmarks.tools.tool import Operation, Tool

_WALK = """\
import os, sys
waiting = [sys.argv[1]]
while waiting:
    with os.scandir(waiting.pop()) as entries:
        for entry in entries:
            entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
"""
_READ = """\
import os, sys
buffer = bytearray(1 << 20)
for directory, _, names in os.walk(sys.argv[1]):
    for name in names:
        path = os.path.join(directory, name)
        if not os.path.islink(path):
            descriptor = os.open(path, os.O_RDONLY)
            while os.readv(descriptor, [buffer]):
                pass
            os.close(descriptor)
"""


class Floor(Tool):
    """The same whatever it is the floor of, and it needs no store beyond a place for what it makes."""

    floor = True

    @property
    def store(self) -> Path:
        """The place."""
        return self.lab.client / "floor"

    def fresh(self) -> None:
        """Nothing is kept."""


class Walk(Floor):
    """One lstat a file, in Python."""

    name = "directory walk"
    operations = frozenset({Operation.CHANGED, Operation.NOTHING})

    def commands(self, operation: Operation, target: Path) -> list[Command]:
        """All directories."""
        return [Command(("/usr/bin/python3", "-c", _WALK, str(self.source)))]


class _Linking(Floor):
    """Works on a copy: a link changes the ctime of a file, by which others see that it is not what it was."""

    packages = ("coreutils",)

    def fresh(self) -> None:
        """Make the copy."""
        self.lab.on_client(self.store.name)
        run(self.lab, Command(("cp", "-a", str(self.source), f"{self.store}/copy")))

    def _link(self) -> Command:
        return Command(("cp", "-al", f"{self.store}/copy", f"{self.store}/links"))


class Links(_Linking):
    """A hard link a file, which is the least that a new tree of plain files costs."""

    name = "cp -al"
    operations = frozenset({Operation.CHANGED, Operation.NOTHING})

    @property
    def store(self) -> Path:
        """The copy and its links."""
        return self.lab.client / "floor-links"

    def prepare(self, operation: Operation) -> None:
        """Remove the links of the last time."""
        remove(self.store / "links")

    def commands(self, operation: Operation, target: Path) -> list[Command]:
        """All links."""
        return [self._link()]


class Pipe(Floor):
    """All bytes through ssh, from tar to tar."""

    name = "tar over ssh"
    packages = ("tar",)
    operations = frozenset({Operation.FIRST, Operation.RESTORE})

    @property
    def store(self) -> Path:
        """On the server."""
        return self.lab.server / "tar"

    def fresh(self) -> None:
        """Empty it."""
        self.lab.on_server("tar")

    def prepare(self, operation: Operation) -> None:
        """Empty where the copy goes."""
        if operation is Operation.FIRST:
            self.fresh()

    def commands(self, operation: Operation, target: Path) -> list[Command]:
        """One pipe, there or back."""
        ssh = f"{' '.join(self.lab.ssh)} {HOST}"
        pipe = (
            f"tar -C {self.source} -cf - . | {ssh} tar -C {self.store} -xf -"
            if operation is Operation.FIRST
            else f"mkdir {target} && {ssh} tar -C {self.store} -cf - . | tar -C {target} -xf -"
        )
        return [Command(("/bin/sh", "-c", pipe))]


class Read(Floor):
    """Every byte of the source once, in Python."""

    name = "reading once"
    operations = frozenset({Operation.VERIFY_ONE, Operation.VERIFY_TEN})

    def commands(self, operation: Operation, target: Path) -> list[Command]:
        """All files."""
        return [Command(("/usr/bin/python3", "-c", _READ, str(self.source)))]


class Removal(_Linking):
    """Removing a tree that shares all its files."""

    name = "rm -rf"
    operations = frozenset({Operation.PRUNE})

    @property
    def store(self) -> Path:
        """The copy and its links."""
        return self.lab.client / "floor-removal"

    def prepare(self, operation: Operation) -> None:
        """Make what is removed."""
        run(self.lab, self._link())

    def commands(self, operation: Operation, target: Path) -> list[Command]:
        """All links."""
        return [Command(("rm", "-rf", f"{self.store}/links"))]
