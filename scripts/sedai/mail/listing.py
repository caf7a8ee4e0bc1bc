"""What ``--list`` shows of the spool."""

from __future__ import annotations

import email
import email.policy
import json
import time
from pathlib import Path

from sedai.core.counted import counted
from sedai.mail import schedule
from sedai.mail.incidents import Incidents
from sedai.mail.spool import DamagedMailError, Spool, read


def listing(spool: Spool) -> str:
    """A few lines for each mail, and one that says where they are."""
    waiting = [line for path in spool.waiting() for line in _describe(path)]
    given_up = [line for path in spool.given_up() for line in _describe(path)]
    if not waiting and not given_up:
        return "No mail waits."
    lines = []
    if waiting:
        lines += [f"Waiting in {spool.queue}:", *waiting]
    if given_up:
        lines += [f"Given up, kept in {spool.failed} (move a file back into queue/ to try again):", *given_up]
    return "\n".join(lines)


def incidents(found: Incidents) -> str:
    """A line of JSON for each incident that is not over: its key, since when, how often reported, the last subject."""
    return "".join(
        json.dumps({"key": one.key, "first": one.first, "total": one.total, "subject": one.subject}) + "\n"
        for one in found.open()
    )


def _describe(path: Path) -> list[str]:
    try:
        letter = read(path)
    except FileNotFoundError:
        return []  # delivered while we looked
    except DamagedMailError as error:
        return [f"  {error.message}"]
    except OSError as error:
        return [f"  {path.name} can't be read: {error.strerror}"]
    envelope = letter.envelope
    subject = email.message_from_bytes(letter.message, policy=email.policy.default)["Subject"]
    lines = [
        f"  {path.name}",
        f"    to {envelope.recipient}, written {_moment(envelope.created)}: {subject}",
    ]
    if envelope.attempts:
        lines.append(
            f"    tried {counted(envelope.attempts, 'time')}, next {_moment(envelope.next_attempt)}; "
            f"{schedule.meaning(envelope.last_status)}: {envelope.last_reply or 'no message'}"
        )
    return lines


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))
