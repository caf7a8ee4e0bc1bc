"""What a run gave, as a JSON file that everything else is made from."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import pace
from benchmarks.measure import Figures
from benchmarks.schedule import Results

SYSTEM_CALL = "additions in Python for a system call"


@dataclass
class Run:
    """One run; ``left_out``: tools that could not take part, and why; ``machine``: where it ran."""

    command: str
    scale: float
    rounds: int
    started: str = ""
    machine: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    workloads: dict[str, Results] = field(default_factory=dict)

    @property
    def system_call(self) -> float:
        """See :func:`pace.system_call`."""
        return float(self.machine[SYSTEM_CALL])

    def write(self, path: Path) -> None:
        """Write the file, one sample a line."""
        text = json.dumps(dataclasses.asdict(self), indent=1)
        lines = re.sub(r"\n {6,}", " ", text)
        path.write_text(lines + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Run:
        """Read a file that :meth:`write` wrote."""
        table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for key, found in table["workloads"].items():
            found["samples"] = {
                tool: {operation: [Figures(**one) for one in taken] for operation, taken in operations.items()}
                for tool, operations in found["samples"].items()
            }
            table["workloads"][key] = Results(**found)
        return cls(**table)


def machine(base: Path) -> dict[str, str]:
    """What the figures depend on."""
    filesystem = subprocess.run(
        ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", base], capture_output=True, text=True, check=False
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 1e9:.0f} GB",
        "filesystem": filesystem.stdout.strip(),
        "kernel": platform.release().split("-")[0],
        SYSTEM_CALL: f"{pace.system_call():g}",
        "load when it began": f"{os.getloadavg()[0]:.1f}",
    }


def now() -> str:
    """The time, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M %Z")
