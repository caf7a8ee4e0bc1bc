"""Every mail of our own: as text and, with the same words, as HTML; what to do comes first, and the subject says how bad it is."""

from __future__ import annotations

import datetime
import email
import email.policy
import re
from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage
from html import unescape
from pathlib import Path

import pytest
from server_samples import NOW, WELL

from sedai.client import messages
from sedai.mail import words as of_sender
from sedai.mail.compose import compose
from sedai.mail.fold import Incident as Folded
from sedai.server import report, words
from sedai.server.config import ServerConfig
from sedai.server.judge import CLIENT_KINDS, SERVER_KINDS, Finding

LANGUAGES = ("en", "ja")
# What begins a mail: there is something to run, or nothing to do.
RUN = {"en": ("Run this next:", "Wrong now:"), "ja": ("次に実行するコマンド:", "現在の問題:")}
NOTHING = {"en": ["What to do:", "Nothing."], "ja": ["必要な対応:", "ありません。"]}
GRAVE = {"en": ("URGENT: ", "warning: "), "ja": ("緊急: ", "注意: ")}
COMMAND = re.compile(r"~/project/|sudo |df |ls |timedatectl|run-this")

Mail = tuple[str, str, bool]  # its subject, its text, and whether there is something to do


def of_the_client(language: str) -> Iterator[Mail]:
    for kind in messages._SUBJECTS["en"]:
        incident = messages.Incident(kind, ["/etc/x could not be read"], "", "run-this")
        mail = messages.compose(incident, "laptop", "/log", language)
        yield mail.subject, mail.body, True
    for last_good in ("", "20260101T000000Z-000001"):
        for program in ("backup", "check", "drill"):
            over = messages.compose_over(program, program, "laptop", last_good, language)
            yield over.subject, over.body, False


def of_the_server(language: str) -> Iterator[Mail]:
    figures = dict.fromkeys(
        ("files", "usual_files", "bytes", "usual_bytes", "free", "total", "daily", "left", "count"), 3
    )
    figures |= {"seconds": 90000, "limit": 3600, "percent": 91, "days": 2}
    texts = {"newest": "g2", "previous": "g1", "names": "g1", "error": "some error", "lines": "/etc/x in g1"}
    kinds = [*((kind, "laptop") for kind in (*CLIENT_KINDS, "rot")),
             *((kind, "") for kind in (*SERVER_KINDS, "watch", "scrub", "report"))]  # fmt: skip
    for kind, name in kinds:
        mail = words.alert(Finding(kind, name, "g2", {**figures, **texts}), "/srv/sedai", "/log", language)
        assert mail.subject.partition(": ")[2].startswith(GRAVE[language]), mail.subject
        yield mail.subject, mail.body, True
        over = words.over(kind, name, "key", language)
        yield over.subject, over.body, False
    config = ServerConfig(Path("/srv/sedai"), Path("/log"), language=language)
    well, ill = (
        report.compose(WELL, config),
        report.compose(replace(WELL, findings=[Finding("stale", "laptop")]), config),
    )
    yield well.subject, well.body, False
    yield ill.subject, ill.body, True


def of_the_sender(language: str) -> Iterator[Mail]:
    """Reminders, and what is over, with their history."""
    for subject, body, to_do in [*of_the_client(language), *of_the_server(language)]:
        known = Folded("k", NOW - 90000, NOW, NOW - 86400, 5, 2, (subject,), subject, body)
        if to_do:
            yield *of_sender.reminder(known, language), True
        else:
            yield subject, of_sender.over(known, body, language), False


ALL = {
    language: [*of_the_client(language), *of_the_server(language), *of_the_sender(language)] for language in LANGUAGES
}


def composed(subject: str, body: str, language: str) -> EmailMessage:
    date = datetime.datetime(2026, 11, 23, 3, 15, tzinfo=datetime.UTC)
    data = compose(subject=subject, body=body, from_address="user@example.com", from_name="sedai", recipient="x@example.com",
                   date=date, message_id="<1@example.com>", language=language)  # fmt: skip
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_has_its_words_as_html_too(language: str) -> None:
    assert len(ALL[language]) > 80
    for subject, body, _ in ALL[language]:
        message = composed(subject, body, language)
        assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"], body
        html = message.get_body(("html",))
        assert html is not None
        read = unescape(re.sub("<[^>]*>", "\n", html.get_content()))
        titles = [part.split("\n")[0] for part in body.split("\n\n") if part.split("\n")[0].endswith(":")]
        expected = [line.removesuffix(":") if line in titles else line for line in body.splitlines() if line.strip()]
        assert [line for line in read.splitlines() if line.strip()] == expected


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_begins_with_what_to_do(language: str) -> None:
    for _, body, to_do in ALL[language]:
        first = body.split("\n\n")[0].splitlines()
        if to_do:
            assert first[0] in RUN[language]
            assert any(COMMAND.match(line) for line in first[1:4]), body
        else:
            assert first == NOTHING[language], body


@pytest.mark.parametrize("language", LANGUAGES)
def test_only_what_can_not_wait_is_urgent(language: str) -> None:
    """Else nobody would look at the word any more."""
    urgent, warning = GRAVE[language]

    def subject(kind: str, client: str = "laptop") -> str:
        return words.alert(Finding(kind, client, "", {"error": "x", "names": "g", "count": 1, "lines": "x"} | {"newest": "g"}),
                           "/srv", "/log", language).subject  # fmt: skip

    assert urgent in subject("rot") and urgent in subject("unwritable") and urgent in subject("watch", "")
    assert warning in subject("scrub", "") and warning in subject("report", "")
