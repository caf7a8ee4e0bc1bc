"""A reporter that notes what it was told instead of drawing it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sedai.core.progress import Reporter, Watch


@dataclass
class Watched:
    """One phase: about how many bytes it was said to move, and what tells how many it moved so far."""

    phase: str
    size: int
    moved: list[Callable[[], int]] = field(default_factory=list)


class Watcher(Reporter):
    """As if somebody were looking."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.live = True
        self.phases: list[Watched] = []

    @contextlib.contextmanager
    def watched(self, phase: str, size: int) -> Iterator[Watch]:
        """Note the phase."""
        self.phases.append(Watched(phase, size))
        yield self.phases[-1].moved.append
