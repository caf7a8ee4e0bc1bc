"""One difference that a check found, in the form in which it is printed, recorded and mailed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """``code`` for programs, ``expected`` and ``found`` for people; ``path`` and ``generation`` may be empty."""

    code: str
    generation: str
    path: str
    expected: str
    found: str

    def __str__(self) -> str:
        where = f"/{self.path} in {self.generation}" if self.path else self.generation or "the server"
        return f"{self.code}: {where}: expected {self.expected}, found {self.found}"
