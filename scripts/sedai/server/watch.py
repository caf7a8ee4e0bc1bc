"""The watch: looks at the store from the server's side, and speaks when a backup is late, small or odd.

No client takes part in it, so none can silence it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from logging import Logger

from sedai.core import lock
from sedai.core.errors import SedaiError
from sedai.server import alerts, scrub, words
from sedai.server.alerts import Alert
from sedai.server.config import ServerConfig
from sedai.server.facts import Facts, gather
from sedai.server.judge import CLIENT_KINDS, SERVER_KINDS, Finding, incident_key, is_known, judge
from sedai.server.notebook import Notes, Open, directory, read_notes, write_notes

NAMESPACE = "watch"

Send = Callable[[Alert], None]


@dataclass(frozen=True)
class Outcome:
    """What a watch saw and found, and the alerts that could not be handed over (they are tried again by the next one)."""

    facts: Facts
    findings: tuple[Finding, ...]
    not_told: tuple[str, ...] = ()


class Teller:
    """Hands the server's own alerts to the alert command; a failure is kept for the end, so that it stops no other."""

    def __init__(self, config: ServerConfig, log: Logger) -> None:
        self._config = config
        self._log = log
        self.failures: list[str] = []

    def tell(self, finding: Finding) -> bool:
        """Report ``finding``; whether the alert was taken."""
        config = self._config
        return self._send(words.alert(finding, str(config.store), str(config.log_file), config.language))

    def end(self, kind: str, client: str) -> bool:
        """Tell that an incident is over; whether the alert was taken."""
        return self._send(words.over(kind, client, incident_key(kind, client), self._config.language))

    def _send(self, alert: Alert) -> bool:
        try:
            alerts.send(self._config.alert_command, alert, NAMESPACE, self._log)
        except SedaiError as error:
            self.failures.append(f"{alert.subject}: {error.message}")
            return False
        return True


def watch(config: ServerConfig, log: Logger) -> Outcome:
    """Look, judge, report what is wrong and what is over, and note that it was done.

    Raises:
        ConfigError: the configuration names no directory for the notes.
        LockedError: another watch runs.
    """
    state = directory(config.watch.state_directory)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.exclusive(state / "watch.lock", "Another watch"):
        notes = read_notes(state)
        scrubbed = scrub.read_notes(state)
        facts = gather(config, notes.known_since, frozenset(notes.open), scrubbed.unread_since)
        findings = judge(facts, config.watch)
        for finding in findings:
            log.warning("watch: %s %s", finding.key, finding.figures)
        teller = Teller(config, log)
        told = _report(teller, facts, findings, notes)
        try:
            write_notes(state, told)
        except OSError as error:
            log.error("the watch can't note what it saw: %s", error)
            teller.failures.append(f"The notes in {state} can't be written: {error}")
    return Outcome(facts, tuple(findings), tuple(teller.failures))


def _report(teller: Teller, facts: Facts, findings: list[Finding], notes: Notes) -> Notes:
    still_open = dict(notes.open)
    for finding in findings:
        if teller.tell(finding):
            still_open.setdefault(finding.key, Open(finding.kind, finding.client, facts.now))
    wrong = {finding.key for finding in findings}
    for key, (kind, client) in _known(facts, notes).items():
        if key not in wrong and is_known(facts, kind, client) and teller.end(kind, client):
            still_open.pop(key, None)
    known_since = {client.name: client.known_since for client in facts.clients}
    return replace(notes, ran=time.time(), known_since=known_since, open=still_open)


def _known(facts: Facts, notes: Notes) -> dict[str, tuple[str, str]]:
    """What may be open at the other end: what is noted; everything, where the notes are gone."""
    known = {key: (one.kind, one.client) for key, one in notes.open.items()}
    if notes.is_new:
        known |= {incident_key(kind, one.name): (kind, one.name) for one in facts.clients for kind in CLIENT_KINDS}
        known |= {incident_key(kind): (kind, "") for kind in SERVER_KINDS}
    return known
