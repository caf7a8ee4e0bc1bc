"""Spool first, then deliver: nothing is lost, nothing is sent twice, one bad address stops nobody."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from sedai.core import lock
from sedai.mail.deliver import NotSpooledError, PostOffice, Reply
from sedai.mail.listing import listing
from sedai.mail.settings import MailSettings
from sedai.mail.spool import Envelope, Letter, Spool, read

DOWN = Reply(75, "cannot connect to mail.example.com, port 587")
REFUSED = Reply(65, "recipient address b@example.com not accepted by the server")
TAKEN = Reply(0, "")


class Provider:
    """Stands in for msmtp: answers by recipient and keeps what it took."""

    def __init__(self) -> None:
        self.answers: dict[str, Reply] = {}
        self.asked: list[str] = []
        self.taken: list[bytes] = []
        self.before: Callable[[], None] = lambda: None

    def __call__(self, _: MailSettings, recipient: str, message: bytes) -> Reply:
        self.before()
        self.asked.append(recipient)
        reply = self.answers.get(recipient, self.answers.get("*", TAKEN))
        if reply.status == 0:
            self.taken.append(message)
        return reply


@pytest.fixture
def settings(tmp_path: Path) -> MailSettings:
    return MailSettings(
        recipients=("a@example.com", "b@example.com", "c@example.com"),
        from_address="user@example.com",
        from_name="sedai (vps)",
        spool_directory=tmp_path / "mail",
        log_file=tmp_path / "alert_mail.log",
        msmtp_config=tmp_path / ".msmtprc",
    )


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def office(settings: MailSettings, provider: Provider) -> PostOffice:
    return PostOffice(settings, logging.getLogger("test"), provider)


def waiting(office: PostOffice) -> list[str]:
    return [read(path).envelope.recipient for path in office.spool.waiting()]


def make_due(office: PostOffice) -> None:
    for path in office.spool.waiting():
        with office.spool.hold(path) as held:
            assert held is not None
            office.spool.postpone(held, dataclasses.replace(held.letter.envelope, next_attempt=0.0))


def test_each_recipient_gets_a_mail_of_its_own(office: PostOffice, provider: Provider) -> None:
    outcome = office.submit("s", "b")
    assert outcome.delivered == office.settings.recipients
    assert [message.split(b"\nTo: ")[1].split(b"\n")[0] for message in provider.taken] == [
        b"a@example.com",
        b"b@example.com",
        b"c@example.com",
    ]
    assert waiting(office) == []


def test_a_mail_is_on_disk_before_the_provider_is_asked(office: PostOffice, provider: Provider) -> None:
    seen: list[int] = []
    provider.before = lambda: seen.append(len(office.spool.waiting()))
    office.submit("s", "b")
    assert seen == [3, 2, 1]


def test_a_refused_recipient_stops_nobody_else(office: PostOffice, provider: Provider) -> None:
    provider.answers["b@example.com"] = REFUSED
    outcome = office.submit("s", "b")
    assert outcome.delivered == ("a@example.com", "c@example.com")
    assert outcome.waiting == ("b@example.com",)
    assert outcome.refusal == REFUSED
    assert waiting(office) == ["b@example.com"]


def test_a_provider_that_is_down_is_asked_once(office: PostOffice, provider: Provider) -> None:
    provider.answers["*"] = DOWN
    outcome = office.submit("s", "b")
    assert provider.asked == ["a@example.com"]
    assert outcome.waiting == office.settings.recipients
    assert waiting(office) == list(office.settings.recipients)


def test_flush_waits_for_its_time_and_then_delivers(office: PostOffice, provider: Provider) -> None:
    office.settings = dataclasses.replace(office.settings, recipients=("a@example.com",))
    provider.answers["*"] = DOWN
    office.submit("s", "b")
    provider.answers.clear()
    provider.asked.clear()
    assert office.flush().delivered == ()
    assert provider.asked == []
    make_due(office)
    assert office.flush().delivered == ("a@example.com",)
    assert waiting(office) == []


def test_one_success_opens_the_way_for_all_that_wait(office: PostOffice, provider: Provider) -> None:
    provider.answers["*"] = DOWN
    office.submit("s", "b")  # a was tried and waits a minute; b and c were not tried and are due
    provider.answers.clear()
    provider.asked.clear()
    assert office.flush().delivered == ("b@example.com", "c@example.com", "a@example.com")


def test_a_flush_ends_at_the_first_sign_that_nothing_goes_out(office: PostOffice, provider: Provider) -> None:
    provider.answers["*"] = DOWN
    office.submit("s", "b")
    make_due(office)
    provider.asked.clear()
    assert office.flush().blocked
    assert provider.asked == ["a@example.com"]
    assert len(waiting(office)) == 3


def test_attempts_and_the_providers_words_are_kept(office: PostOffice, provider: Provider) -> None:
    provider.answers["*"] = DOWN
    office.submit("s", "b")
    make_due(office)
    office.flush()
    envelope = read(office.spool.waiting()[0]).envelope
    assert (envelope.attempts, envelope.last_status, envelope.last_reply) == (2, 75, DOWN.words)


def test_an_undeliverable_mail_is_parked_not_deleted(office: PostOffice, provider: Provider) -> None:
    provider.answers["*"] = REFUSED
    with office.spool.add(Letter(Envelope("a@example.com", created=1.0, attempts=50), b"old")):
        pass
    assert office.flush().parked == ("a@example.com",)
    assert waiting(office) == []
    assert [read(path).message for path in office.spool.given_up()] == [b"old"]


def test_a_damaged_file_stops_nobody(office: PostOffice, provider: Provider) -> None:
    provider.answers["*"] = DOWN
    office.submit("s", "b")
    (office.spool.queue / "0.mail").write_bytes(b"rubbish")
    make_due_except_damaged(office)
    provider.answers.clear()
    assert len(office.flush().delivered) == 3
    assert [path.name for path in office.spool.given_up()] == ["0.mail"]


def make_due_except_damaged(office: PostOffice) -> None:
    rubbish = office.spool.queue / "0.mail"
    data = rubbish.read_bytes()
    rubbish.unlink()
    make_due(office)
    rubbish.write_bytes(data)


def test_a_flush_leaves_a_mail_that_is_being_sent(office: PostOffice, provider: Provider) -> None:
    provider.before = lambda: office.flush() and None
    office.submit("s", "b")
    assert provider.asked == ["a@example.com", "b@example.com", "c@example.com"]


def test_two_flushes_do_not_meet(office: PostOffice, provider: Provider) -> None:
    with office.spool.add(Letter(Envelope("a@example.com", created=1.0), b"x")):
        pass
    with lock.exclusive(office.spool.directory / "flush.lock", "another flush"):
        assert office.flush().delivered == ()
    assert provider.asked == []
    assert office.flush().delivered == ("a@example.com",)


def without_room(office: PostOffice) -> None:
    office.spool = Spool(office.settings.log_file / "not-a-directory")
    office.settings.log_file.write_text("")


def test_a_full_disk_does_not_keep_its_own_alert_in(office: PostOffice, provider: Provider) -> None:
    without_room(office)
    assert office.submit("disk full", "b").delivered == office.settings.recipients


def test_neither_sent_nor_stored_is_said(office: PostOffice, provider: Provider) -> None:
    without_room(office)
    provider.answers["*"] = DOWN
    with pytest.raises(NotSpooledError, match=r"is lost unless you send it again.*cannot connect"):
        office.submit("disk full", "b")


def test_without_the_spool_each_recipient_is_tried(office: PostOffice, provider: Provider) -> None:
    without_room(office)
    provider.answers["a@example.com"] = provider.answers["b@example.com"] = REFUSED
    with pytest.raises(NotSpooledError) as caught:
        office.submit("disk full", "b")
    assert provider.asked == ["a@example.com", "b@example.com", "c@example.com"]
    assert [line.split()[3] for line in caught.value.message.splitlines()] == ["a@example.com", "b@example.com"]
    assert len(provider.taken) == 1


@pytest.mark.parametrize("due", [True, False])
def test_a_file_that_can_not_be_read_stops_nobody(
    office: PostOffice, provider: Provider, caplog: pytest.LogCaptureFixture, due: bool
) -> None:
    provider.answers["*"] = DOWN
    office.submit("s", "b")
    if due:
        make_due(office)
    unreadable = office.spool.queue / "0.mail"
    unreadable.mkdir()  # as unreadable as root's own file, and for root too
    provider.answers.clear()
    assert len(office.flush().delivered) == 3
    assert office.spool.waiting() == [unreadable]
    assert f"{unreadable} is passed over" in caplog.text
    assert "0.mail can't be read" in listing(office.spool)


def test_an_idle_flush_makes_nothing(office: PostOffice) -> None:
    assert office.flush().delivered == ()
    assert not office.settings.spool_directory.exists()
