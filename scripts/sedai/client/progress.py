"""What a person sees while a program runs: bars on a terminal, one line a phase elsewhere, nothing when quiet."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


class Reporter:
    """Tells a run's phases on stderr, so that stdout stays free for results."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = not quiet and sys.stderr.isatty()

    def say(self, text: str) -> None:
        """One line about a phase that was done."""
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def transfer(self, phase: str, files: int, size: int) -> Iterator[Callable[[int], None]]:
        """A phase that moves ``files`` files of ``size`` bytes; call the yielded function with each file's size."""
        if not self._live:
            yield lambda count: None
            return
        # Imported here: a run from cron neither needs rich nor pays for its import.
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[files]}/{task.fields[total_files]}"),
                   DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())  # fmt: skip
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(phase, total=size or 1, files=0, total_files=files)
            done = 0

            def advance(count: int) -> None:
                nonlocal done
                done += 1
                bar.update(task, advance=count, files=done)

            yield advance

    @contextlib.contextmanager
    def steps(self, phase: str, total: int) -> Iterator[Callable[[int], None]]:
        """A phase of ``total`` steps; call the yielded function with the number done so far."""
        if not self._live:
            yield lambda done: None
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(phase, total=total)
            yield lambda done: bar.update(task, completed=done)


def size(count: int) -> str:
    """A number of bytes for people, binary units."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
