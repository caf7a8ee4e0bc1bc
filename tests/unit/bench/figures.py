"""Figures for the tests, of which only some matter."""

from __future__ import annotations

from typing import Any

from benchmarks.measure import Figures

_NOTHING: dict[str, Any] = {
    **dict.fromkeys(("wall", "background", "client_cpu", "server_cpu", "foreign"), 0.0),
    **dict.fromkeys(("largest_bytes", "sum_bytes", "sent", "received"), 0),
    "largest_name": "",
}


def figures(**known: Any) -> Figures:
    """Zero but for what is given."""
    return Figures(**(_NOTHING | known))
