"""What reminders and closing mails say beside the report itself, in English and Japanese."""

from __future__ import annotations

import time

from sedai.core.counted import counted
from sedai.mail.fold import Incident

LANGUAGES = ("en", "ja")

_REMINDER_SUBJECT = {"en": "Reminder: {subject}", "ja": "【継続中】{subject}"}
_REMINDER = {
    "en": "This is not over. It began {first} and was reported {times}, {folded} of them since the last mail.\n"
    "The latest report, of {last}:\n\n",
    "ja": "この問題は続いています。{first} に始まり、これまでに {total} 回報告されました(前回のメール以降 {folded} 回)。\n"
    "最新の報告 ({last}):\n\n",
}
_OVER = {
    "en": "It began {first}, was reported {times}, the last time {last}, and is over now.\n",
    "ja": "{first} に始まり、{total} 回報告され(最後は {last})、解決しました。\n",
}


def reminder(incident: Incident, language: str) -> tuple[str, str]:
    """Subject and body of the daily reminder of ``incident``."""
    subject = _REMINDER_SUBJECT[language].format(subject=incident.subject)
    return subject, _figures(_REMINDER[language], incident) + incident.body


def over(incident: Incident, body: str, language: str) -> str:
    """``body`` of the mail that ``incident`` is over, with its history."""
    return f"{body.rstrip()}\n\n{_figures(_OVER[language], incident)}".lstrip()


def _figures(text: str, incident: Incident) -> str:
    return text.format(
        first=_moment(incident.first),
        last=_moment(incident.last),
        total=incident.total,
        times=counted(incident.total, "time"),
        folded=incident.folded,
    )


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M %z", time.localtime(seconds))
