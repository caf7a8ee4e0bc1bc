"""Where reports of incidents come in: what is mailed is stored first, then noted, then delivered.

In this order a crash can lead to one mail more, never to one less.
"""

from __future__ import annotations

import contextlib
import time

from sedai.core.errors import LockedError, SedaiError
from sedai.mail import fold, words
from sedai.mail.deliver import NotSpooledError, Outcome, PostOffice
from sedai.mail.fold import Incident, Say
from sedai.mail.incidents import Incidents


class Desk:
    """Folds what is reported of one incident, and mails the rest by the post office."""

    def __init__(self, office: PostOffice) -> None:
        self._office = office
        self._log = office.log
        self._language = office.settings.language
        self.incidents = Incidents(office.settings.spool_directory / "incidents", office.log)

    def report(self, key: str, subject: str, body: str) -> Outcome:
        """Something is wrong, perhaps as before.

        Raises:
            NotSpooledError: see :meth:`PostOffice.submit`; it then counts as not reported.
        """
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self.incidents.locked())
            except (OSError, LockedError) as error:
                # A full disk, say. Better one mail too many than none.
                self._log.error("%s is not folded: %s", key, error)
                return self._office.submit(subject, body, incident=key)
            now = time.time()
            incident, say = fold.report(
                self.incidents.read(key), key=key, subject=subject, body=body, now=now, waiting=self._is_waiting(key)
            )
            if say is Say.NOTHING:
                self._note(incident, now)
                self._log.info("folded, report %d of %s: %s", incident.total, key, subject)
                return Outcome(folded=True)
            if say is Say.REMINDER:
                subject, body = words.reminder(incident, self._language)
                incident = fold.reminded(incident, now)

            def stored() -> None:
                self._note(incident, now)
                held.close()

            return self._office.submit(subject, body, incident=key, stored=stored)

    def resolve(self, key: str, subject: str, body: str) -> Outcome:
        """The incident ``key`` is over; one that is not open needs no mail.

        Raises:
            NotSpooledError: it could not be mailed, or not be looked up; the incident stays open.
        """
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self.incidents.locked())
            except (OSError, SedaiError) as error:
                raise NotSpooledError(f"The incident {key} can't be looked up: {error}") from error
            incident = self.incidents.read(key)
            if incident is None:
                return Outcome(folded=True)

            def stored() -> None:
                self.incidents.close(key)
                held.close()

            text = words.over(incident, body, self._language)
            return self._office.submit(subject, text, incident=key, stored=stored)

    def remind(self) -> Outcome:
        """Mail the reminders whose day has come; cron calls it with each flush."""
        outcome = Outcome()
        if self.incidents.is_empty():
            return outcome
        for incident in self.incidents.open():
            if fold.is_reminder_due(incident, time.time()):
                outcome += self._remind(incident.key)
        return outcome

    def _remind(self, key: str) -> Outcome:
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self.incidents.locked())
                now = time.time()
                incident = self.incidents.read(key)
                if incident is None or not fold.is_reminder_due(incident, now) or self._is_waiting(key):
                    return Outcome()
                subject, body = words.reminder(incident, self._language)
                told = fold.reminded(incident, now)

                def stored() -> None:
                    self._note(told, now)
                    held.close()

                return self._office.submit(subject, body, incident=key, stored=stored)
            except (OSError, SedaiError) as error:
                self._log.error("the reminder of %s is put off: %s", key, error)
                return Outcome()

    def _is_waiting(self, key: str) -> bool:
        return any(envelope.incident == key for envelope in self._office.spool.envelopes())

    def _note(self, incident: Incident, now: float) -> None:
        try:
            self.incidents.write(incident, now)
        except OSError as error:
            self._log.error("the incident %s can't be noted: %s", incident.key, error)
