"""Spool first, then deliver: the two ways in are ``submit`` (a fresh alert) and ``flush`` (cron)."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import make_msgid
from pathlib import Path

from sedai.core import lock
from sedai.core.counted import counted
from sedai.core.errors import LockedError, ProcessError, SedaiError
from sedai.core.process import run
from sedai.mail import schedule
from sedai.mail.compose import compose
from sedai.mail.schedule import Fate
from sedai.mail.settings import MailSettings
from sedai.mail.spool import DamagedMailError, Envelope, Held, Letter, Spool, read

# msmtp's own timeout is per step of the dialogue; this one ends a provider that answers for ever.
_MSMTP_TIMEOUT_SECONDS = 120.0
_SECONDS_A_DAY = 86400.0


class NotSpooledError(SedaiError):
    """A mail was neither delivered nor stored."""


@dataclass(frozen=True)
class Reply:
    """msmtp's exit status and what it and the provider said, as one line."""

    status: int
    words: str

    def __str__(self) -> str:
        return f"{schedule.meaning(self.status)} (msmtp status {self.status}): {self.words or 'no message'}"


@dataclass(frozen=True)
class Outcome:
    """Recipients by what became of their mail, the last refusal, and whether it concerns every mail.

    ``lost`` has a sentence for each mail that was neither delivered nor stored. ``folded``: there was nothing to mail,
    because it was told before.
    """

    delivered: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    parked: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    refusal: Reply | None = None
    blocked: bool = False
    folded: bool = False

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.delivered + other.delivered,
            self.waiting + other.waiting,
            self.parked + other.parked,
            self.lost + other.lost,
            other.refusal or self.refusal,
            self.blocked or other.blocked,
            self.folded and other.folded,
        )


Sender = Callable[[MailSettings, str, bytes], Reply]


def msmtp(settings: MailSettings, recipient: str, message: bytes) -> Reply:
    """Hand ``message`` to the provider by msmtp."""
    argv = [
        "/usr/bin/msmtp",
        f"--file={settings.msmtp_config}",
        "--account=default",
        # The mail has its own From header, with this host's name in it.
        "--set-from-header=auto",
        "--",
        recipient,
    ]
    try:
        result = run(argv, success=range(-64, 256), stdin=message, timeout=_MSMTP_TIMEOUT_SECONDS)
    except ProcessError as error:
        return Reply(error.status if error.status > 0 else schedule.TEMPORARY_FAILURE, error.message)
    lines = result.error_text.splitlines()
    return Reply(result.status, " | ".join(line.removeprefix("msmtp: ") for line in lines))


class PostOffice:
    """Everything that touches the spool, the clock and the provider."""

    def __init__(self, settings: MailSettings, log: logging.Logger, send: Sender = msmtp) -> None:
        self.settings = settings
        self.log = log
        self.send = send
        self.spool = Spool(settings.spool_directory)

    def submit(
        self, subject: str, body: str, *, incident: str = "", stored: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Store one mail for each recipient, then try to deliver them at once.

        ``incident``: what they are about; earlier mails about the same go out before them. ``stored`` is called when
        none of them can be lost any more.

        Raises:
            NotSpooledError: some mails could be neither stored nor delivered; all others were tried before.
        """
        outcome = Outcome()
        with contextlib.ExitStack() as stack:
            held = []
            for recipient in self.settings.recipients:
                letter = self._letter(recipient, subject, body, incident)
                try:
                    held.append(stack.enter_context(self.spool.add(letter)))
                except OSError as error:
                    outcome += self._deliver_unspooled(letter, error)
            self.log.info("accepted for %s: %s", ", ".join(self.settings.recipients), subject)
            if not outcome.lost:
                stored()
            if incident:
                outcome = dataclasses.replace(outcome, blocked=self._attempt_earlier(incident, held))
            for one in held:
                blocked = Outcome(waiting=(one.letter.envelope.recipient,))
                outcome += blocked if outcome.blocked else self._attempt(one)
        if outcome.lost:
            raise NotSpooledError(
                "\n".join(outcome.lost), "Make room on that disk, or mend the directory's owner and mode."
            )
        return outcome

    def flush(self) -> Outcome:
        """Try every mail whose time has come; one success shows that the way is open, and then all others go too.

        Another flush that runs already does the same work, so this one leaves it to it.
        """
        if not self.spool.waiting():
            return Outcome()
        try:
            with lock.exclusive(self.spool.directory / "flush.lock", "The delivery of waiting mails"):
                due, later = self._due_and_later()
                outcome = self._attempt_all(due)
                if outcome.delivered and not outcome.blocked:
                    outcome += self._attempt_all(later)
                return outcome
        except LockedError:
            return Outcome()

    def _attempt_earlier(self, incident: str, fresh: list[Held]) -> bool:
        """Deliver what waits about ``incident``: nobody shall read that it is over before that it began.

        Returns whether the way is blocked for every mail.
        """
        ours = {one.path for one in fresh}
        earlier = [path for path in self.spool.waiting() if path not in ours and _incident(path) == incident]
        return self._attempt_all(earlier).blocked

    def _letter(self, recipient: str, subject: str, body: str, incident: str) -> Letter:
        now = datetime.datetime.now().astimezone()
        message = compose(
            subject=subject,
            body=body,
            from_address=self.settings.from_address,
            from_name=self.settings.from_name,
            recipient=recipient,
            date=now,
            message_id=make_msgid(domain=self.settings.from_address.rpartition("@")[2]),
            language=self.settings.language,
        )
        return Letter(Envelope(recipient, now.timestamp(), incident=incident), message)

    def _due_and_later(self) -> tuple[list[Path], list[Path]]:
        """What waits, oldest first, by whether it is time. An older mail of the same incident goes before a due one."""
        now = time.time()
        due: list[Path] = []
        later: list[Path] = []
        incidents: set[str] = set()
        for path in reversed(self.spool.waiting()):
            incident = _incident(path)
            if self._is_due(path, now) or (incident and incident in incidents):
                due.append(path)
                incidents.add(incident)
            else:
                later.append(path)
        return due[::-1], later[::-1]

    def _is_due(self, path: Path, now: float) -> bool:
        try:
            return schedule.is_due(read(path).envelope.next_attempt, now)
        except (DamagedMailError, OSError):
            return True  # the attempt finds out what is wrong with it

    def _attempt_all(self, paths: list[Path]) -> Outcome:
        outcome = Outcome()
        for path in paths:
            if outcome.blocked:
                break
            try:
                outcome += self._attempt_file(path)
            except OSError as error:
                # A file that we may not read, or can't move, keeps no other mail in.
                self.log.error("%s is passed over: %s", path, error)
        return outcome

    def _attempt_file(self, path: Path) -> Outcome:
        try:
            with self.spool.hold(path) as held:
                return Outcome() if held is None else self._attempt(held)
        except DamagedMailError as error:
            self.spool.park(path)
            self.log.error("%s; moved to %s", error.message, self.spool.failed)
            return Outcome()

    def _attempt(self, held: Held) -> Outcome:
        """Try to deliver a held mail and store what came of it."""
        envelope = held.letter.envelope
        who = (envelope.recipient,)
        reply = self.send(self.settings, envelope.recipient, held.letter.message)
        attempts = envelope.attempts + 1
        now = time.time()
        decision = schedule.decide(
            reply.status,
            attempts=attempts,
            created=envelope.created,
            now=now,
            keep_trying_seconds=self.settings.keep_trying_days * _SECONDS_A_DAY,
        )
        if decision.fate is Fate.DELIVERED:
            held.path.unlink()
            self.log.info(
                "delivered to %s after %s: %s", envelope.recipient, counted(attempts, "attempt"), held.path.name
            )
            return Outcome(delivered=who)
        self.log.warning("attempt %d for %s (%s): %s", attempts, envelope.recipient, held.path.name, reply)
        try:
            self.spool.postpone(
                held,
                dataclasses.replace(
                    envelope,
                    attempts=attempts,
                    next_attempt=decision.next_attempt,
                    last_status=reply.status,
                    last_reply=reply.words,
                ),
            )
            if decision.fate is Fate.PARKED:
                self.spool.park(held.path)
        except OSError as error:
            # The mail itself is still there as it was; only the count of attempts is old.
            self.log.error("the spool can't be written: %s", error)
        if decision.fate is Fate.PARKED:
            self.log.error("given up on %s for %s; it is kept in %s", held.path.name, who[0], self.spool.failed)
            return Outcome(parked=who, refusal=reply, blocked=not decision.round_goes_on)
        return Outcome(waiting=who, refusal=reply, blocked=not decision.round_goes_on)

    def _deliver_unspooled(self, letter: Letter, reason: OSError) -> Outcome:
        """Send directly what can't be stored: a full disk must not keep its own alert in."""
        self.log.error("the spool %s can't be written: %s", self.spool.directory, reason)
        reply = self.send(self.settings, letter.envelope.recipient, letter.message)
        if reply.status != schedule.DELIVERED:
            lost = (
                f"The mail for {letter.envelope.recipient} is lost unless you send it again: the spool "
                f"{self.spool.directory} can't be written ({reason.strerror}), and {reply}"
            )
            self.log.error("%s", lost)
            return Outcome(lost=(lost,))
        self.log.info("delivered to %s without the spool", letter.envelope.recipient)
        return Outcome(delivered=(letter.envelope.recipient,))


def _incident(path: Path) -> str:
    try:
        return read(path).envelope.incident
    except (DamagedMailError, OSError):
        return ""  # the attempt finds out what is wrong with it
