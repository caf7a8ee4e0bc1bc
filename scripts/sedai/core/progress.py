"""What a person sees while a program runs: bars on a terminal, one line a phase elsewhere, nothing when quiet."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

T = TypeVar("T")
# Takes what tells how many bytes were moved so far; it is asked from another thread, and may fail while there is nothing.
Watch = Callable[[Callable[[], int]], None]


class Advance(Protocol):
    """Tells that so many bytes more were moved: of one file, or of several."""

    def __call__(self, count: int, files: int = 1, /) -> None: ...


def _of_bytes(*more: ProgressColumn) -> list[ProgressColumn]:
    """The columns of a bar that counts bytes, with ``more`` behind the bar."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    begin, end = [TextColumn("{task.description}"), BarColumn()], [DownloadColumn(), TransferSpeedColumn()]
    return [*begin, *more, *end, TimeRemainingColumn()]


class Reporter:
    """Tells a run's phases on stderr, so that stdout stays free for results. ``live``: somebody is looking."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self.live = not quiet and sys.stderr.isatty()

    def say(self, text: str) -> None:
        """One line about a phase that was done."""
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def transfer(self, phase: str, files: int, size: int) -> Iterator[Advance]:
        """A phase that moves ``files`` files of ``size`` bytes; call the yielded function with each file's size."""
        if not self.live:
            yield lambda count, files=1, /: None
            return
        # Imported here: a run from cron neither needs rich nor pays for its import.
        from rich.console import Console
        from rich.progress import Progress, TextColumn

        columns = _of_bytes(TextColumn("{task.fields[files]}/{task.fields[total_files]}"))
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(phase, total=size or 1, files=0, total_files=files)
            done = 0

            def advance(count: int, moved: int = 1, /) -> None:
                nonlocal done
                done += moved
                bar.update(task, advance=count, files=done)

            yield advance

    @contextlib.contextmanager
    def watched(self, phase: str, size: int) -> Iterator[Watch]:
        """A phase in which others move about ``size`` bytes, 0 where nobody knows; the yielded function wants to be called once."""
        if not self.live:
            yield unwatched
            return
        from rich.console import Console, RenderableType
        from rich.progress import Progress

        watched: list[Callable[[], int]] = []

        class Asking(Progress):
            """Asks how far it is whenever it is drawn."""

            def get_renderables(self) -> Iterator[RenderableType]:
                with contextlib.suppress(OSError, ValueError):  # not there yet, or closed already
                    for moved in watched[-1:]:
                        done = moved()
                        for task in self.tasks:
                            self.update(task.id, completed=done, total=max(done, size) or None)
                yield from super().get_renderables()

        with Asking(*_of_bytes(), console=Console(stderr=True), transient=True) as bar:
            bar.add_task(phase, total=size or None)
            yield watched.append

    @contextlib.contextmanager
    def steps(self, phase: str, total: int) -> Iterator[Callable[[int], None]]:
        """A phase of about ``total`` steps, 0 where nobody knows; call the yielded function with the number done so far."""
        if not self.live:
            yield lambda done: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
        from rich.text import Text

        class Rate(TextColumn):
            """Steps a second."""

            def render(self, task: Task) -> Text:
                return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="progress.data.speed")

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(""), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(phase, total=total or None)
            yield lambda done: bar.update(task, completed=done)

    def counted(self, phase: str, items: Iterator[T], total: int) -> Iterator[T]:
        """``items``, of which there will be about ``total``, counted on their way; nothing is between where nobody looks."""
        return self._count(phase, items, total) if self.live else items

    def _count(self, phase: str, items: Iterator[T], total: int) -> Iterator[T]:
        with self.steps(phase, total) as advance:
            for number, item in enumerate(items):
                if not number & 0x3FF:
                    advance(number)
                yield item


def unwatched(moved: Callable[[], int], /) -> None:
    """A :data:`Watch` where nobody looks."""


def size(count: int) -> str:
    """A number of bytes for people, binary units."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
