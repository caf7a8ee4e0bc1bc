"""Incidents in a real spool: one mail at once, one reminder a day, one when it is over; none lost, whatever breaks."""

from __future__ import annotations

import dataclasses
import email
import email.policy
import logging
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sedai.mail import fold
from sedai.mail.deliver import NotSpooledError, PostOffice, Reply
from sedai.mail.desk import Desk
from sedai.mail.settings import MailSettings
from sedai.mail.spool import Envelope, read

DOWN = Reply(75, "cannot connect to mail.example.com, port 587")
DAY = 86400.0
LOG = logging.getLogger("test")


class Provider:
    """Stands in for msmtp: keeps the subjects that it took."""

    def __init__(self) -> None:
        self.reply = Reply(0, "")
        self.subjects: list[str] = []
        self.bodies: list[str] = []

    def __call__(self, _: MailSettings, recipient: str, message: bytes) -> Reply:
        if self.reply.status == 0:
            parsed = email.message_from_bytes(message, policy=email.policy.default)
            self.subjects.append(str(parsed["Subject"]))
            self.bodies.append(parsed.get_content())
        return self.reply


class Clock:
    """The time that everything sees."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("sedai.mail.desk.time.time", made)
    return made


@pytest.fixture
def settings(tmp_path: Path) -> MailSettings:
    return MailSettings(("a@example.com",), "user@example.com", "sedai", tmp_path / "mail", tmp_path / "log",
                        tmp_path / ".msmtprc")  # fmt: skip


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def desk(settings: MailSettings, provider: Provider) -> Desk:
    return Desk(PostOffice(settings, LOG, provider))


def flush(desk: Desk) -> None:
    """What cron does each minute."""
    desk._office.flush()
    desk.remind()


def test_first_then_silence_then_a_reminder_then_the_end(desk: Desk, provider: Provider, clock: Clock) -> None:
    for hour in range(50):
        assert desk.report("backup", "FAILED", f"hour {hour}").folded == (hour not in (0, 24, 48))
        flush(desk)
        clock.now += 3600
    desk.resolve("backup", "clean again", "all is well")
    desk.resolve("backup", "clean again", "all is well")
    assert provider.subjects == ["FAILED", "Reminder: FAILED", "Reminder: FAILED", "clean again"]
    assert provider.bodies[1].startswith("hour 24\n") and "25 times, 24 of them" in provider.bodies[1]
    assert provider.bodies[3].startswith("all is well\n") and "reported 50 times" in provider.bodies[3]
    assert desk.incidents.open() == []


def test_cron_reminds_when_nobody_reports_any_more(desk: Desk, provider: Provider, clock: Clock) -> None:
    desk.report("backup", "FAILED", "1")
    clock.now += DAY - 1
    desk.report("backup", "FAILED", "2")
    flush(desk)
    clock.now += 1
    flush(desk)
    clock.now += 5 * DAY
    flush(desk)
    assert provider.subjects == ["FAILED", "Reminder: FAILED"]


def test_two_incidents_do_not_hide_each_other(desk: Desk, provider: Provider) -> None:
    desk.report("a", "FAILED", "")
    desk.report("b", "FAILED", "")
    desk.resolve("a", "over", "")
    assert provider.subjects == ["FAILED", "FAILED", "over"]
    assert [incident.key for incident in desk.incidents.open()] == ["b"]


def test_what_is_not_open_needs_no_end(desk: Desk, provider: Provider) -> None:
    assert desk.resolve("backup", "clean again", "").folded
    assert provider.subjects == []


def test_a_day_without_the_provider_brings_each_mail_once_and_in_order(
    desk: Desk, provider: Provider, clock: Clock
) -> None:
    provider.reply = DOWN
    for _ in range(30):
        desk.report("backup", "FAILED", "")
        flush(desk)
        clock.now += 3600
    desk.resolve("backup", "clean again", "")
    assert [read(path).envelope.incident for path in desk._office.spool.waiting()] == ["backup"] * 2
    provider.reply = Reply(0, "")
    make_due(desk, newest_only=True)
    flush(desk)
    flush(desk)
    assert provider.subjects == ["FAILED", "clean again"]


def make_due(desk: Desk, *, newest_only: bool) -> None:
    """The newest mail is due, the others wait for their next attempt."""
    spool = desk._office.spool
    for path in spool.waiting():
        with spool.hold(path) as held:
            assert held is not None
            later = 0.0 if newest_only and path == spool.waiting()[-1] else time.time() + 1000
            spool.postpone(held, dataclasses.replace(held.letter.envelope, next_attempt=later))


def test_a_fresh_end_goes_behind_what_waits_of_its_incident(desk: Desk, provider: Provider) -> None:
    provider.reply = DOWN
    desk.report("other", "OTHER", "")
    desk.report("backup", "FAILED", "")
    provider.reply = Reply(0, "")
    desk.resolve("backup", "clean again", "")
    assert provider.subjects == ["FAILED", "clean again"]


def test_what_could_not_be_stored_was_not_reported(desk: Desk, provider: Provider, settings: MailSettings) -> None:
    provider.reply = DOWN
    settings.spool_directory.mkdir()
    desk._office.spool.queue.write_text("in the way")
    for _ in range(2):
        with pytest.raises(NotSpooledError):
            desk.report("backup", "FAILED", "")
    desk._office.spool.queue.unlink()
    assert desk.report("backup", "FAILED", "").waiting == ("a@example.com",)
    assert desk.report("backup", "FAILED", "").folded


@pytest.mark.parametrize("breaks", ["the directory", "the lock", "one file"])
def test_a_state_that_can_not_be_used_makes_more_mails_not_fewer(
    desk: Desk, provider: Provider, settings: MailSettings, breaks: str
) -> None:
    directory = settings.spool_directory / "incidents"
    desk.report("backup", "FAILED", "")
    [file] = directory.glob("*.json")
    if breaks == "the directory":
        directory.rename(directory.with_name("away"))
        directory.write_text("in the way")
    elif breaks == "the lock":
        (directory / "lock").unlink()
        (directory / "lock").mkdir()
    else:
        file.write_text('{"key": "backup"')
    desk.report("backup", "FAILED", "")
    assert provider.subjects == ["FAILED", "FAILED"]
    if breaks != "one file":
        with pytest.raises(NotSpooledError, match="can't be looked up"):
            desk.resolve("backup", "over", "")
    desk.remind()


def test_killed_between_storing_and_noting_it_is_mailed_twice_not_never(
    desk: Desk, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(desk.incidents, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            desk.report("backup", "FAILED", "")
    desk.report("backup", "FAILED", "")
    desk._office.flush()
    assert provider.subjects == ["FAILED", "FAILED"]


def test_there_are_never_too_many(desk: Desk, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr("sedai.mail.incidents.MOST_INCIDENTS", 5)
    for number in range(20):
        clock.now += 1
        desk.report(f"k{number}", "s", "b" * 100_000)
    assert [incident.key for incident in desk.incidents.open()] == [f"k{number}" for number in range(15, 20)]
    assert max(path.stat().st_size for path in desk.incidents._directory.glob("*.json")) < 25_000


def test_what_is_forgotten_is_dropped(desk: Desk, clock: Clock) -> None:
    desk.report("old", "s", "b")
    clock.now += fold.FORGOTTEN_SECONDS + 1
    desk.report("new", "s", "b")
    assert [incident.key for incident in desk.incidents.open()] == ["new"]


def report_once(settings: MailSettings, ready: Callable[[], object]) -> None:
    """One of many processes that report the same at once; the provider is away."""
    desk = Desk(PostOffice(settings, LOG, lambda *_: DOWN))
    ready()
    desk.report("backup", "FAILED", "")


def test_fifty_at_once_are_one_mail(desk: Desk, settings: MailSettings) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(50)
    processes = [context.Process(target=report_once, args=(settings, barrier.wait)) for _ in range(50)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    [incident] = desk.incidents.open()
    assert (incident.total, incident.folded) == (50, 49)
    assert [envelope.incident for envelope in desk._office.spool.envelopes()] == ["backup"]


def test_a_mail_of_an_earlier_version_is_understood(desk: Desk, provider: Provider) -> None:
    queue = desk._office.spool.queue
    queue.mkdir(parents=True)
    envelope = {
        key: value for key, value in dataclasses.asdict(Envelope("a@example.com", 1.0)).items() if key != "incident"
    }
    (queue / "1.mail").write_text(str(envelope).replace("'", '"') + "\nSubject: old\n\nbody\n")
    desk._office.flush()
    assert provider.subjects == ["old"]
