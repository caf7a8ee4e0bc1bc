"""What every workload offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar


class Workload(ABC):
    """A source that is made anew for each run, the same each time.

    ``scale``: the share of the full size, above 0 and up to 1.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    # Which tools take part; all where it is empty.
    tools: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, scale: float) -> None:
        self.scale = scale

    @abstractmethod
    def create(self, root: Path) -> None:
        """Make the source in the empty directory ``root``."""

    @abstractmethod
    def change(self, root: Path, step: int) -> None:
        """Change 1 % of it; each ``step`` changes something else."""
