"""What cron's programs print goes to the host's log under one identifier, and says which of them it is of."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import ROLES, Evaluate

# Where a person looks: journalctl -t sedai.
IDENTIFIER = "sedai"
SETTINGS: dict[str, Any] = {"alert_mail_recipients": ["user@example.com"], "alert_mail_from": "user@example.com"}
TEMPLATES = sorted(ROLES.glob("*/templates/*cron*"))
NAMES = {
    "backup_server": ["sedai-server watch", "sedai-server scrub", "sedai-server report"],
    "alert_mail": ["alert-mail flush"],
}


def commands(render: Evaluate, template: Path) -> list[str]:
    """What cron gives to a shell, of each line."""
    text = render(template.parents[1].name, template.name, **SETTINGS)
    lines = [line for line in text.splitlines() if line and not re.match(r"#|\w+=", line)]
    return [line.split(" ", 6)[6] for line in lines]  # five fields, and the account


def test_every_role_s_lines_are_looked_at() -> None:
    assert {path.parents[1].name for path in TEMPLATES} == set(NAMES)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.parents[1].name)
def test_a_line_of_output_is_told_with_its_program_under_one_identifier(
    render: Evaluate, template: Path, tmp_path: Path
) -> None:
    logger = tmp_path / "logger"
    logger.write_text('#!/bin/sh\nprintf "%s\\n" "$*" "$(cat)"\n', encoding="utf-8")
    logger.chmod(0o755)
    told = []
    for command in commands(render, template):
        program, *rest = command.split(" 2>&1 | ")
        assert len(rest) == 1, f"its output goes nowhere: {command}"
        assert "%" not in command, "to cron that is the end of the line"
        shown = subprocess.run(
            ["/bin/sh", "-c", f"(echo one; echo; echo two >&2) 2>&1 | {rest[0]}"],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        options, *lines = shown.stdout.splitlines()
        assert options == f"-e -t {IDENTIFIER}"  # -e: no empty lines
        name = lines[0].removesuffix(": one")
        assert lines == [f"{name}: one", "", f"{name}: two"]
        assert name.split()[-1] in re.sub(r"\W", " ", program).split()
        told.append(name)
    assert told == NAMES[template.parents[1].name]


def test_no_other_identifier_is_written_or_told_anywhere() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROLES.parent, capture_output=True, text=True, check=True)
    found: set[tuple[str, str]] = set()
    for name in filter(None, listed.stdout.split("\0")):
        path = ROLES.parent / name
        if path.suffix in {".py", ".j2", ".md", ".yml", ".sh"} and path != Path(__file__) and path.is_file():
            text = path.read_text(encoding="utf-8")
            calls = r"\b(?:logger|journalctl) [^\n|]*?(?:-t|--tag|--identifier)[ =]([\w.-]+\b)"
            found.update((name, identifier) for identifier in re.findall(calls, text))
    assert {identifier for _, identifier in found} == {IDENTIFIER}, found
    assert len({name for name, _ in found}) > 6
