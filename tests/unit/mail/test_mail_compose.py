"""A mail says exactly what it was given, and nothing that it was given becomes a header."""

from __future__ import annotations

import datetime
import email
import email.policy
import re
from email.message import EmailMessage
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedai.mail.compose import compose, one_line, text

HEADERS = [
    "Content-Type",
    "MIME-Version",
    "Content-Transfer-Encoding",
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
]
MOMENT = datetime.datetime(2026, 11, 23, 3, 15, tzinfo=datetime.timezone(datetime.timedelta(hours=9)))


def composed(subject: str = "subject", body: str = "body", from_name: str = "sedai (vps)") -> bytes:
    return compose(
        subject=subject,
        body=body,
        from_address="user@example.com",
        from_name=from_name,
        recipient="person@example.com",
        date=MOMENT,
        message_id="<1@example.com>",
    )


def parsed(data: bytes) -> EmailMessage:
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


@pytest.mark.parametrize(
    ("given_subject", "expected"),
    [
        ("[TEST] Backup Alert Test", "[TEST] Backup Alert Test"),
        ("バックアップ失敗: 世代が作れませんでした", "バックアップ失敗: 世代が作れませんでした"),
        ("x\nBcc: evil@example.net", "x Bcc: evil@example.net"),
        ("x\r\nBcc: evil@example.net", "x Bcc: evil@example.net"),
        ("x\r\n\r\nbody", "x body"),
        ("x\u2028y\x85z\x0bq", "x y z q"),
        # RFC 2047 text in the subject stays text: decoded, this one would hide a newline.
        ("=?utf-8?q?x=0ABcc:_evil@example.net?=", "=?utf-8?q?x=0ABcc:_evil@example.net?="),
        ("tab\there", "tab here"),
        ("bell\x07", "bell\\x07"),
        ("  blanks  ", "blanks"),
        ("絵文字 🗄️", "絵文字 🗄️"),
        ("long " * 60, ("long " * 60).strip()),
        ("w" * 400, "w" * 400),
        ("漢字" * 200, "漢字" * 200),
    ],
)
def test_subject_arrives_and_adds_no_header(given_subject: str, expected: str) -> None:
    message = parsed(composed(subject=given_subject))
    assert message["Subject"] == expected
    assert message.keys() == HEADERS


@pytest.mark.parametrize(
    "body",
    [
        "This is a test email from VPS backup alert system.\n",
        "本文です。\n二行目、絵文字 🗄️\n",
        "",
        "From the start\n.\n..\nBcc: evil@example.net\n\nend\n",
        "x" * 5000 + "\n",
        "tabs\tand trailing blanks   \n",
        "あ" * 5000 + "\n",
    ],
)
def test_body_arrives_as_it_was_given(body: str) -> None:
    message = parsed(composed(body=body))
    assert message.get_content() == body
    assert message.keys() == HEADERS


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("no end of line", "no end of line\n"),
        ("dos\r\nlines\r\n", "dos\nlines\n"),
        ("mac\rlines", "mac\nlines\n"),
        ("nul \x00 escape \x1b[31m", "nul \\x00 escape \\x1b[31m\n"),
    ],
)
def test_body_is_made_safe_for_a_terminal_and_for_smtp(body: str, expected: str) -> None:
    assert parsed(composed(body=body)).get_content() == expected


def test_a_plain_mail_is_readable_as_it_is_stored() -> None:
    data = composed("[TEST] Backup Alert Test", "This is a test email from VPS backup alert system.")
    assert b"\nSubject: [TEST] Backup Alert Test\n" in data
    assert data.endswith(b"\n\nThis is a test email from VPS backup alert system.\n")


def test_sender_name_with_specials_and_japanese() -> None:
    for name in ("sedai (vps)", 'a "quoted" \\ name', "世代, 本番", "x\nBcc: evil@example.net"):
        message = parsed(composed(from_name=name))
        (address,) = message["From"].addresses
        assert (address.display_name, address.addr_spec) == (one_line(name), "user@example.com")


def test_bytes_that_are_not_utf8_are_shown() -> None:
    assert text("日本".encode() + b"\xff\n") == "日本\\xff\n"


REPORT = """Run this next:
On laptop, as root:
~/project/scripts/backup_data.py

What happened:
/srv/a <b> & "c": 読めません
and more
"""


def test_a_report_has_the_same_words_as_html() -> None:
    message = parsed(composed(body=REPORT))
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    plain, html = (message.get_body((kind,)) for kind in ("plain", "html"))
    assert plain is not None and html is not None
    assert plain.get_content() == REPORT
    page = html.get_content()
    assert re.findall("<h2[^>]*>(.*?)</h2>", page) == ["Run this next", "What happened"]
    assert re.findall("<pre[^>]*>(.*?)</pre>", page) == ["~/project/scripts/backup_data.py"]
    read = unescape(re.sub("<[^>]*>", "\n", page))
    headings = ("Run this next:", "What happened:")
    expected = [line.removesuffix(":") if line in headings else line for line in REPORT.splitlines()]
    assert [line for line in read.splitlines() if line] == [line for line in expected if line]


def test_what_a_person_wrote_stays_plain_text_alone() -> None:
    for body in ("Just a line.", "Note: all is well\nsecond line", "one\n\ntwo", "headed:", "headed:\n\nnothing below"):
        assert not parsed(composed(body=body)).is_multipart()


ANY_TEXT = st.text(st.characters(codec=None))  # surrogates and controls included


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_no_text_breaks_out_of_its_place(subject: str, body: str, name: str) -> None:
    data = composed(subject, body, name)
    head, _, _ = data.partition(b"\n\n")
    assert head.isascii()
    assert max(len(line) for line in data.splitlines()) <= 998
    keys = parsed(data).keys()
    assert keys == HEADERS or sorted(keys) == sorted(set(HEADERS) - {"Content-Transfer-Encoding"})


@given(st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"))))
def test_every_printable_subject_and_body_survives(value: str) -> None:
    message = parsed(composed(value or "x", value))
    assert message["Subject"] == (value.strip() or message["Subject"])
    assert message.get_content() == (f"{value}\n" if value else "")
