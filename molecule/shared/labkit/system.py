"""Starting programs, and the paths and names that everything else agrees on."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

SHARED = Path(__file__).resolve().parent.parent
CHECKOUT = SHARED.parent.parent
STATE = CHECKOUT / ".lab"
PODMAN = str(SHARED / "bin" / "podman")
# Outside the checkout, because images are shared by all checkouts of the machine.
LOCKS = Path("/tmp")


class LabError(Exception):
    """Something that the lab can't do; the text says why and what to do about it."""


def run(
    command: Sequence[str], *, stdin: bytes | None = None, check: bool = True
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end with its output captured.

    Raises LabError, with the program's own words, when `check` is set and it fails.
    """
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"{command[0]} is not installed; `make setup` installs it") from error
    if check and done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise LabError(f"{' '.join(command[:4])} … failed ({done.returncode}): {words}")
    return done


def podman(*arguments: str, stdin: bytes | None = None, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Run podman as bin/podman has it: root's, with the lab's containers.conf."""
    return run([PODMAN, *arguments], stdin=stdin, check=check)


def as_root(command: Sequence[str]) -> list[str]:
    """The command, through sudo when we are not root."""
    return list(command) if os.geteuid() == 0 else ["sudo", *command]


def scenario_lab(scenario: str) -> str:
    """Name of a test lab: two checkouts on one machine never share it."""
    digest = hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]
    return f"t{digest}-{scenario}"


@contextmanager
def exclusively(name: str) -> Iterator[None]:
    """Hold the machine-wide lock of that name, across all checkouts."""
    path = LOCKS / f"sedai-lab-{os.geteuid()}-{name}.lock"
    with path.open("w") as lock:
        flock(lock, LOCK_EX)
        yield
