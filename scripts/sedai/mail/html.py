"""The HTML part of a mail: the same words as its text, with headings and commands that stand out; pure."""

from __future__ import annotations

import re
from html import escape
from itertools import groupby

# A paragraph of our own mails: a line that ends with a colon, and what belongs to it below.
_HEADED = re.compile(r"(?:\A|\n\n)[^\n]*[^\s:]:\n(?=[^\n])")
# Paths alone are findings, not commands.
_COMMAND = re.compile(
    r"(?:~?/\S*\.(?:py|sh)\b|sudo |ssh |timedatectl|crontab |systemctl |df |ls |findmnt |dmesg |tail |journalctl |"
    # and what is to be written into the inventory
    r"ansible-playbook |backup_client_\w+:|  - )"
)
_FONT = "font:16px/1.5 system-ui,sans-serif"
_CODE = "font:14px/1.5 ui-monospace,monospace;padding:8px 12px;border-left:3px solid #2f6f8f;white-space:pre-wrap"


def has_parts(text: str) -> bool:
    """Whether ``text`` has headed paragraphs, as our own mails have; what a person wrote stays plain text alone."""
    return _HEADED.search(text) is not None


def page(text: str, language: str) -> str:
    """``text`` as HTML. Colours are left to the reader, so that it is as well in the dark."""
    parts = "\n".join(_paragraph(part) for part in text.strip("\n").split("\n\n"))
    head = '<meta charset="utf-8"><meta name="color-scheme" content="light dark">'
    return (
        f'<!DOCTYPE html>\n<html lang="{language}"><head>{head}</head><body style="{_FONT}">\n{parts}\n</body></html>\n'
    )


def _paragraph(part: str) -> str:
    lines = part.strip("\n").split("\n")
    made = ""
    if len(lines) > 1 and lines[0].endswith(":"):
        made = f'<h2 style="font-size:16px;margin:20px 0 4px">{escape(lines.pop(0)[:-1])}</h2>'
    for is_command, group in groupby(lines, lambda line: _COMMAND.match(line) is not None):
        if is_command:
            made += f'<pre style="margin:4px 0;{_CODE}">{escape(chr(10).join(group))}</pre>'
        else:
            made += f'<p style="margin:4px 0;white-space:pre-wrap">{escape(chr(10).join(group))}</p>'
    return made
