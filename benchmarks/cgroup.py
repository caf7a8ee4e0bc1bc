"""CPU time and processes of one side, exact to the last descendant: a control group (v2) for each side."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.packages import UnavailableError

_END_SECONDS = 10.0


class Group:
    """A control group; whatever starts in it stays in it, with all that it starts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def joining(self) -> tuple[str, ...]:
        """The beginning of a command line: the rest of it runs in here."""
        return ("/bin/sh", "-c", f'echo 0 >{self.path}/cgroup.procs && exec "$@"', "sh")

    def cpu_seconds(self) -> float:
        """CPU time used in here so far, that of processes that have ended too."""
        words = (self.path / "cpu.stat").read_text().split()
        return int(words[words.index("usage_usec") + 1]) / 1e6

    def processes(self) -> list[int]:
        """What runs in here now."""
        return [int(word) for word in (self.path / "cgroup.procs").read_text().split()]

    def remove(self) -> None:
        """End what is left in here, and remove the group."""
        if not self.path.is_dir():
            return
        (self.path / "cgroup.kill").write_text("1")
        deadline = time.monotonic() + _END_SECONDS
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.02)
        self.path.rmdir()


def make(name: str) -> Group:
    """A group below that of this process, empty.

    Raises:
        UnavailableError: this machine has no cgroup v2 that can be written to.
    """
    group = Group(_own() / name)
    try:
        group.remove()  # of a run that was killed
        group.path.mkdir()
    except OSError as error:
        raise UnavailableError(f"No control group can be made as {group.path}: {error.strerror}") from error
    return group


def _own() -> Path:
    """The group of this process, as a path. See cgroups(7) and proc_pid_mountinfo(5)."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, filesystem = line.partition(" - ")
        if filesystem.startswith("cgroup2 "):
            [name] = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::"]
            return Path(mount.split()[4] + name)
    raise UnavailableError("This machine has no cgroup v2: CPU time of both sides can't be told apart.")
