"""What reminders and closing mails say beside the report itself, in English and Japanese."""

from __future__ import annotations

import time

from sedai.core.counted import counted
from sedai.mail import html
from sedai.mail.fold import Incident

LANGUAGES = ("en", "ja")

_HISTORY = {"en": "History", "ja": "経過"}
_REMINDER_SUBJECT = {"en": "Reminder: {subject}", "ja": "【継続中】{subject}"}
_REMINDER = {
    "en": "It is not over. It began {first} and was reported {times}, {folded} of them since the last mail. Above is the latest "
    "report, of {last}.\n",
    "ja": "この問題は続いています。{first} に始まり、これまでに {total} 回報告されました(前回のメール以降 {folded} 回)。"
    "上は最新の報告 ({last}) です。\n",
}
_OVER = {
    "en": "It began {first}, was reported {times}, the last time {last}, and is over now.\n",
    "ja": "{first} に始まり、{total} 回報告され(最後は {last})、解決しました。\n",
}


def reminder(incident: Incident, language: str) -> tuple[str, str]:
    """Subject and body of the daily reminder of ``incident``: what to do first, as in the report."""
    subject = _REMINDER_SUBJECT[language].format(subject=incident.subject)
    return subject, _with(incident.body, _REMINDER[language], incident, language)


def over(incident: Incident, body: str, language: str) -> str:
    """``body`` of the mail that ``incident`` is over, with its history."""
    return _with(body, _OVER[language], incident, language)


def _with(body: str, history: str, incident: Incident, language: str) -> str:
    heading = f"{_HISTORY[language]}:\n" if html.has_parts(body) else ""  # what a person wrote stays without
    return f"{body.rstrip()}\n\n{heading}{_figures(history, incident)}".lstrip()


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
