"""Where a status is printed."""

from __future__ import annotations

from rich.console import Console


class Terminal(Console):
    """A console whose reader may leave."""

    def on_broken_pipe(self) -> None:
        """That nobody reads on is the program's affair; this rich would end it as if there were findings."""
        raise BrokenPipeError
