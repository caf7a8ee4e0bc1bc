"""When a report of an incident becomes a mail; pure.

The first report goes out at once. The same again is counted and told once a day. A report with another subject is news
and goes out at once too, so that something small never hides something grave of the same incident.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from dataclasses import dataclass

REMINDER_SECONDS = 86400.0
# A clock that was set back by less than this is no reason to send anything again.
_CLOCK_TOLERANCE_SECONDS = 3600.0
FORGOTTEN_SECONDS = 30 * 86400.0
MOST_INCIDENTS = 500
_MOST_SUBJECTS = 20
_LONGEST_KEPT_BODY = 20_000
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,199}\Z")


@dataclass(frozen=True)
class Incident:
    """An incident that is not over. Times are seconds since the epoch.

    ``total`` reports came, from ``first`` to ``last``; the last mail about it was written at ``mailed``, and ``folded``
    reports came since. ``told`` are the subjects that were mailed since the last reminder. ``subject`` and ``body`` are
    the latest report's.
    """

    key: str
    first: float
    last: float
    mailed: float
    total: int
    folded: int
    told: tuple[str, ...]
    subject: str
    body: str


class Say(enum.Enum):
    """What is mailed after a report."""

    THIS = "the report itself"
    REMINDER = "a reminder"
    NOTHING = "nothing"


def is_key(text: str) -> bool:
    """Whether ``text`` can name an incident: up to 200 letters, digits and ``._:@/-``."""
    return _KEY.match(text) is not None


def report(
    known: Incident | None, *, key: str, subject: str, body: str, now: float, waiting: bool
) -> tuple[Incident, Say]:
    """The incident after one more report, and what is mailed, on the condition that it was mailed.

    ``waiting``: a mail about this incident has not gone out yet, so that a reminder would only be one more of the same.
    """
    kept = body[:_LONGEST_KEPT_BODY]
    if known is None:
        return Incident(key, now, now, now, 1, 0, (subject,), subject, kept), Say.THIS
    seen = dataclasses.replace(known, last=now, total=known.total + 1, subject=subject, body=kept)
    if subject not in known.told and len(known.told) < _MOST_SUBJECTS:
        return dataclasses.replace(seen, mailed=now, folded=0, told=(*known.told, subject)), Say.THIS
    folded = dataclasses.replace(seen, folded=known.folded + 1)
    if is_reminder_due(folded, now) and not waiting:
        return folded, Say.REMINDER
    return folded, Say.NOTHING


def is_reminder_due(incident: Incident, now: float) -> bool:
    """Whether reports came since the last mail, and that was a day ago (or at a time that has not come yet)."""
    quiet = now - incident.mailed
    return incident.folded > 0 and not -_CLOCK_TOLERANCE_SECONDS <= quiet < REMINDER_SECONDS


def reminded(incident: Incident, now: float) -> Incident:
    """The incident after a reminder was mailed."""
    return dataclasses.replace(incident, mailed=now, folded=0, told=(incident.subject,))


def is_forgotten(incident: Incident, now: float) -> bool:
    """Whether nothing was heard of it for so long that the next report counts as the first."""
    return incident.folded == 0 and now - incident.last > FORGOTTEN_SECONDS
