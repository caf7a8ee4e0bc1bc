"""One operation of one tool, measured: time, CPU on both sides, memory, bytes over the wire."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.lab import Lab
from benchmarks.memory import MemorySampler

_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
# A server that still works an hour after the client has gone hangs.
_IDLE_SECONDS = 3600.0
_LAST_WORDS = 2000
# Pages and inodes; see drop_caches in the kernel's admin-guide/sysctl/vm.rst.
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")


class OperationFailedError(Exception):
    """A command ended badly; the text is its own last words."""


@dataclass(frozen=True)
class Command:
    """A program that the client starts; ``success``: exit statuses that mean that it is done."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    success: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Figures:
    """What one operation took. Seconds and bytes.

    ``wall``: until the client's last command has ended. ``background``: from then on until the server is idle again; CPU
    and memory count until then. ``foreign``: the share of the machine's CPU time that others used meanwhile, 0 to 1. ``sent``
    and ``received``: IP packets as the client sees them.
    """

    wall: float
    background: float
    client_cpu: float
    server_cpu: float
    foreign: float
    largest_bytes: int
    largest_name: str
    sum_bytes: int
    sent: int
    received: int

    @property
    def cpu(self) -> float:
        """CPU seconds of both sides."""
        return self.client_cpu + self.server_cpu

    @property
    def wire(self) -> int:
        """Bytes in both directions."""
        return self.sent + self.received


def measure(lab: Lab, commands: Sequence[Command], *, cold: bool = False) -> Figures:
    """Carry out ``commands`` one after the other; ``cold``: with nothing of any file in memory when they begin.

    Raises:
        OperationFailedError: one of them failed.
    """
    # What was written before is not to be paid for by whoever comes next.
    subprocess.run(["sync", "--file-system", lab.base], check=True)
    if cold:
        _DROP_CACHES.write_text("3", encoding="ascii")
    groups = (lab.client_group, lab.server_group)
    cpu, busy, wire = [group.cpu_seconds() for group in groups], busy_seconds(), lab.wire.count()
    with MemorySampler(lab.processes) as memory:
        began = time.monotonic()
        for command in commands:
            run(lab, command)
        ended = time.monotonic()
        await_idle(lab)
        idle = time.monotonic()
    client_cpu, server_cpu = (group.cpu_seconds() - before for group, before in zip(groups, cpu, strict=True))
    others = max(0.0, busy_seconds() - busy - client_cpu - server_cpu)
    after = lab.wire.count()
    return Figures(
        wall=ended - began,
        background=idle - ended,
        client_cpu=client_cpu,
        server_cpu=server_cpu,
        foreign=others / (idle - began) / (os.cpu_count() or 1),
        largest_bytes=memory.largest_bytes,
        largest_name=memory.largest_name,
        sum_bytes=memory.sum_bytes,
        sent=after.sent - wire.sent,
        received=after.received - wire.received,
    )


def busy_seconds() -> float:
    """CPU time that the whole machine has used, or was kept from using by its host. See proc_stat(5)."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def run(lab: Lab, command: Command) -> str:
    """Carry out one command on the client's side; what it printed.

    Raises:
        OperationFailedError: it ended with another status than those of success.
    """
    with (lab.base / "output").open("w+b") as output:
        status = subprocess.run(
            [*lab.client_group.joining, *command.argv],
            cwd=command.directory or lab.client,
            env={
                "PATH": _PATH,
                "LANG": "C.UTF-8",
                "HOME": str(lab.client),
                "TMPDIR": str(lab.client / "tmp"),
                **command.environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
        output.seek(0)
        words = output.read().decode(errors="replace")
    if status not in command.success:
        raise OperationFailedError(f"{' '.join(command.argv)} ended with {status}: {words[-_LAST_WORDS:].strip()}")
    return words


def await_idle(lab: Lab) -> None:
    """Wait until nothing runs any more on either side.

    Raises:
        OperationFailedError: something does not end.
    """
    deadline = time.monotonic() + _IDLE_SECONDS
    while lab.processes():
        if time.monotonic() > deadline:
            raise OperationFailedError(f"Something still runs after {_IDLE_SECONDS:.0f} s.")
        time.sleep(0.005)
