"""Peak memory, by looking: the largest process, and the sum of all that run at one time."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

_EVERY_SECONDS = 0.05
# The sum needs a walk through each process's page tables.
_SUM_EVERY = 4
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_NAME = re.compile(r"^Name:\t(.*)$", re.MULTILINE)
_PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)


class MemorySampler:
    """Looks while the context is open.

    The kernel keeps each process's own peak (VmHWM), so only processes shorter than 50 ms can escape. The sum is of
    proportional set sizes: a page that several processes share counts once.
    """

    def __init__(self, processes: Callable[[], Iterable[int]]) -> None:
        self._processes = processes
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.largest_bytes = 0
        self.largest_name = ""
        self.sum_bytes = 0

    def __enter__(self) -> MemorySampler:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        turn = 0
        while True:
            processes = list(self._processes())
            for process in processes:
                self._largest(_read(process, "status"))
            if turn % _SUM_EVERY == 0:
                found = (_PSS.search(_read(process, "smaps_rollup")) for process in processes)
                self.sum_bytes = max(self.sum_bytes, sum(int(match[1]) << 10 for match in found if match))
            turn += 1
            if self._ended.wait(_EVERY_SECONDS):
                return

    def _largest(self, status: str) -> None:
        peak, name = _PEAK.search(status), _NAME.search(status)
        if peak and name and int(peak[1]) << 10 > self.largest_bytes:
            self.largest_bytes, self.largest_name = int(peak[1]) << 10, name[1]


def _read(process: int, name: str) -> str:
    try:
        return Path(f"/proc/{process}/{name}").read_text(errors="replace")
    except OSError:
        return ""  # it has ended
