"""What the fuzzers share."""

from __future__ import annotations

from collections.abc import Callable

from sedai.core.errors import SedaiError


def refusal(work: Callable[[], object]) -> SedaiError | None:
    """The error with which ``work`` refuses, or None where it does not; any other exception fails the test."""
    try:
        work()
    except SedaiError as error:
        return error
    return None
