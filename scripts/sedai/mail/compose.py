"""From a subject and a body to the bytes of one mail; pure."""

from __future__ import annotations

import datetime
import re
from email.charset import QP, Charset
from email.header import Header
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import format_datetime, formataddr

from sedai.mail import html

# RFC 5322 2.1.1: 998 is the most that a line may have; a mail of plain short lines stays readable as it is.
_LONGEST_PLAIN_LINE = 900
_LONGEST_PLAIN_WORD = 60
_BREAKS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+\s*")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def text(data: bytes) -> str:
    """``data`` as text; bytes that aren't UTF-8 are shown as ``\\xNN`` instead of being lost."""
    return data.decode("utf-8", errors="backslashreplace")


def one_line(subject: str) -> str:
    """``subject`` as one line: breaks become blanks, so that no text can add a header."""
    return _escape_controls(_BREAKS.sub(" ", subject).replace("\t", " ")).strip()


def compose(
    *,
    subject: str,
    body: str,
    from_address: str,
    from_name: str,
    recipient: str,
    date: datetime.datetime,
    message_id: str,
    language: str = "en",
) -> bytes:
    """The mail as bytes with LF line ends (msmtp makes them CRLF): text, and the same as HTML where the text has parts.

    The headers are built with the ``Header`` class and not with ``EmailMessage``: the latter decodes an encoded word
    that stands in the subject, and with it a newline that someone hid in it.
    """
    message: MIMEBase = _text_part(body)
    if html.has_parts(body):
        text_part = message
        message = MIMEMultipart("alternative")
        message.attach(text_part)
        message.attach(MIMEText(html.page(_clean(body), language), "html", "utf-8"))
    message["From"] = formataddr((one_line(from_name), from_address))
    message["To"] = recipient
    message["Subject"] = _encoded(one_line(subject))
    message["Date"] = format_datetime(date)
    message["Message-ID"] = message_id
    # RFC 3834: nobody's holiday notice is to answer an alert.
    message["Auto-Submitted"] = "auto-generated"
    return message.as_bytes()


def _encoded(value: str) -> str:
    plain = value.isascii() and "=?" not in value and all(len(word) <= _LONGEST_PLAIN_WORD for word in value.split())
    return Header(value, "us-ascii" if plain else "utf-8", header_name="Subject").encode()


def _text_part(body: str) -> MIMEText:
    clean = _clean(body)
    if clean and not clean.endswith("\n"):
        clean += "\n"
    if not clean.isascii():
        return MIMEText(clean, "plain", "utf-8")
    if all(len(line) <= _LONGEST_PLAIN_LINE for line in clean.split("\n")):
        return MIMEText(clean, "plain", "us-ascii")
    quoted = Charset("utf-8")
    quoted.body_encoding = QP
    return MIMEText(clean, "plain", quoted)  # type: ignore[arg-type]


def _clean(body: str) -> str:
    return _escape_controls(body.replace("\r\n", "\n").replace("\r", "\n"))


def _escape_controls(value: str) -> str:
    return _CONTROLS.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), value)
