"""What an exit status of msmtp means for a mail that waits; pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass

# sysexits.h, as msmtp uses them.
DELIVERED = 0
RECIPIENT_REFUSED = 65
TEMPORARY_FAILURE = 75

_FIRST_DELAY_SECONDS = 60.0
_LONGEST_DELAY_SECONDS = 1800.0
_FEWEST_ATTEMPTS = 20

_MEANINGS = {
    64: "msmtp did not understand how it was called",
    65: "the provider refused a recipient or the sender",
    68: "the provider's host name was not found",
    69: "the provider refused the mail, or its certificate is not trusted",
    74: "the connection broke or spoke no TLS (465 is implicit TLS, 587 is STARTTLS)",
    75: "the provider could not be reached",
    76: "the provider did not speak SMTP as expected (465 is implicit TLS, 587 is STARTTLS)",
    77: "the login was refused, or msmtp may not read its settings",
    78: "msmtp's settings are wrong",
    127: "msmtp is not installed",
}


class Fate(enum.Enum):
    """What becomes of one mail after an attempt."""

    DELIVERED = "delivered"
    WAITS = "waits"
    PARKED = "parked"


@dataclass(frozen=True)
class Decision:
    """The fate of a mail, when to try again (seconds since the epoch) and whether the round goes on."""

    fate: Fate
    next_attempt: float
    round_goes_on: bool


def decide(status: int, *, attempts: int, created: float, now: float, keep_trying_seconds: float) -> Decision:
    """Decide after attempt number ``attempts`` ended with msmtp's ``status``.

    msmtp's statuses don't tell for-ever from for-now (a greylisting and a bad certificate are both 69), so every
    failure is tried again. Only a refused recipient says nothing about the next mail; everything else ends the round.
    A mail is parked only when it is old *and* was tried often: a clock that jumps ahead parks nothing.
    """
    if status == DELIVERED:
        return Decision(Fate.DELIVERED, 0.0, round_goes_on=True)
    goes_on = status == RECIPIENT_REFUSED
    if attempts >= _FEWEST_ATTEMPTS and now - created > keep_trying_seconds:
        return Decision(Fate.PARKED, 0.0, round_goes_on=goes_on)
    return Decision(Fate.WAITS, now + delay(attempts), round_goes_on=goes_on)


def delay(attempts: int) -> float:
    """Seconds from attempt number ``attempts`` to the next: 1, 2, 4 … minutes, at most 30."""
    return min(_FIRST_DELAY_SECONDS * 2.0 ** min(attempts - 1, 10), _LONGEST_DELAY_SECONDS)


def is_due(next_attempt: float, now: float) -> bool:
    """Whether it is time; a time too far ahead comes from a clock that was wrong, and counts as now."""
    return next_attempt <= now or next_attempt > now + _LONGEST_DELAY_SECONDS


def meaning(status: int) -> str:
    """What msmtp's ``status`` means, for a person."""
    return _MEANINGS.get(status, f"msmtp ended with status {status}")
