"""What a page tells a person to type, so that a test can type it."""

from __future__ import annotations

import re


def indented(text: str) -> dict[str, str]:
    """The blocks of a plain text that are indented by four, by the first words of the paragraph before each."""
    found: dict[str, str] = {}
    title = ""
    for block in text.split("\n\n"):
        if block.startswith("    "):
            assert title not in found, f"two blocks follow {title!r}"
            found[title] = "\n".join(line[4:] for line in block.splitlines())
        else:
            title = re.split(r"[,.:]| with| \(", block, maxsplit=1)[0].strip()
    return found


def fenced(page: str) -> dict[str, list[str]]:
    """The commands in the shell blocks of a Markdown page, one a line, by the heading that they stand under."""
    found: dict[str, list[str]] = {}
    heading = kind = ""
    for line in page.splitlines():
        if line.startswith("```"):
            kind = "" if kind else line.strip("`") or "text"
        elif kind == "sh":
            found.setdefault(heading, []).append(line)
        elif not kind and line.startswith("#"):
            heading = line.lstrip("# ")
    return found
