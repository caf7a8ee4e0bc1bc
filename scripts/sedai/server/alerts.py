"""The server's way to a person: the configured command, which folds repeats where it is our send_alert_email.sh."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from logging import Logger

from sedai.core.errors import ProcessError, UsageError
from sedai.core.process import run

_LONGEST_SUBJECT = 400
_LONGEST_BODY = 1 << 20
_TIMEOUT_SECONDS = 180
_DELIVERED, _SPOOLED = 0, 75
_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}\Z")


@dataclass(frozen=True)
class Alert:
    """A mail. ``incident``: the key of what it reports, ``resolved``: of what is over; at most one of them."""

    subject: str
    body: str
    incident: str = ""
    resolved: str = ""

    def checked(self) -> Alert:
        """This alert, where it can be handed to the command.

        Raises:
            UsageError: it can't.
        """
        if not self.subject or len(self.subject) > _LONGEST_SUBJECT or len(self.body) > _LONGEST_BODY:
            raise UsageError("An alert needs a subject of 1 to 400 characters and at most 1 MiB of text.")
        if self.subject.startswith("-") or not self.subject.isprintable() or "\0" in self.body:
            raise UsageError("An alert's subject can't begin with a dash or hold control characters.")
        keys = [key for key in (self.incident, self.resolved) if key]
        if len(keys) > 1 or not all(map(_KEY.match, keys)):
            raise UsageError("An alert's incident is named by up to 100 of a-z, 0-9, dots, dashes and underscores.")
        return self


def folds(command: Sequence[str]) -> bool:
    """Whether ``command`` knows incidents: ours does; another might take an option for the subject."""
    return bool(command) and command[-1].endswith("/send_alert_email.sh")


def send(command: Sequence[str], alert: Alert, namespace: str, log: Logger) -> str:
    """Hand ``alert`` to ``command``; its incident is called ``namespace:key`` there. Returns what became of it.

    A command that folds nothing gets every report, and nothing of what is over.

    Raises:
        ProcessError: the command did not take it.
    """
    alert = alert.checked()
    who = f"{namespace}: alert {alert.subject!r}"
    if not command:
        log.warning("%s (no alert_command is set): %s", who, alert.body)
        return "logged"
    options: list[str] = []
    if folds(command):
        for option, key in (("--incident", alert.incident), ("--resolved", alert.resolved)):
            options += [option, f"{namespace}:{key}"] if key else []
    elif alert.resolved:
        log.info("%s: %s", who, alert.body)
        return "logged"
    try:
        done = run([*command, *options, alert.subject], stdin=alert.body.encode(), success=(_DELIVERED, _SPOOLED),
                   timeout=_TIMEOUT_SECONDS)  # fmt: skip
    except ProcessError as error:
        log.error("%s was not taken: %s", who, error)
        raise
    state = "delivered" if done.status == _DELIVERED else "spooled"
    log.info("%s %s", who, state)
    return state
