"""What ``alert_mail.toml`` says, checked before anything is composed or sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sedai.mail.words import LANGUAGES

# Stricter than RFC 5321, and enough: nothing here can become an option of msmtp or a second header.
_ADDRESS = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~][A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]*@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?"
)


@dataclass(frozen=True)
class MailSettings:
    """One host's way of sending alerts.

    ``spool_directory`` holds ``queue/`` and ``failed/``; ``msmtp_config`` is the file that msmtp logs in with.

    Raises:
        ValueError: an address, the language or the number of days is not usable.
    """

    recipients: tuple[str, ...]
    from_address: str
    from_name: str
    spool_directory: Path
    log_file: Path
    msmtp_config: Path
    keep_trying_days: int = 7
    language: str = "en"

    def __post_init__(self) -> None:
        if not self.recipients:
            raise ValueError("recipients is empty: nobody would get an alert.")
        for address in (*self.recipients, self.from_address):
            if not _ADDRESS.fullmatch(address):
                raise ValueError(f"{address!r} is not a mail address of the form name@example.com.")
        if self.language not in LANGUAGES:
            raise ValueError(f"language {self.language!r} must be one of {', '.join(LANGUAGES)}.")
        if self.keep_trying_days < 1:
            raise ValueError("keep_trying_days must be at least 1.")
