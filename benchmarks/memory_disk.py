"""An ext4 in memory: what other programs do to the machine's disk does not show, nor does what the disk costs."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.packages import UnavailableError


@contextlib.contextmanager
def in_memory(place: Path, gib: int) -> Iterator[None]:
    """Mount one of ``gib`` GiB at the empty directory ``place``. Not a tmpfs: before Linux 6.6 that has no user attributes.

    Raises:
        UnavailableError: it can't be mounted.
    """
    memory = place.with_name(f"{place.name}.memory")
    image = memory / "image"
    with contextlib.ExitStack() as stack:
        memory.mkdir()
        stack.callback(memory.rmdir)
        _run("mount", "-t", "tmpfs", "-o", f"size={gib}g,mode=700", "sedai-bench", memory)
        stack.callback(_run, "umount", "--lazy", memory)
        _run("truncate", "--size", f"{gib}G", image)
        _run("mkfs.ext4", "-q", "-i", "4096", image)
        _run("mount", "-o", "loop", image, place)
        stack.callback(_run, "umount", "--lazy", place)
        yield


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UnavailableError(f"No disk in memory (--memory): {done.stderr.strip()}")
