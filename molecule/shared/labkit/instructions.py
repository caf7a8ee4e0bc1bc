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


def fenced(page: str) -> dict[str, list[list[str]]]:
    """The commands of a Markdown page's code blocks: by heading its blocks, each a list of lines."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    block: list[str] | None = None
    for line in page.splitlines():
        if line.startswith("```"):
            if block is not None:
                found.setdefault(heading, []).append(block)
            block = [] if block is None else None
        elif block is not None:
            block.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")
    return found
