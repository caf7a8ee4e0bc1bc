"""The two READMEs say the same, and what they tell a person to type exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH, JAPANESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.ja.md"))


def blocks(text: str) -> list[str]:
    """The code blocks of a page; pictures with words of a person's language count by their lines."""
    found = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found
    return [str(len(block.splitlines())) if "┌" in block else block for block in found]


def headings(text: str) -> list[str]:
    """The level of each heading, in order."""
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^(#+) ", outside, re.MULTILINE)


def test_both_languages_have_the_same_shape() -> None:
    assert len(headings(ENGLISH)) > 5
    assert headings(ENGLISH) == headings(JAPANESE)
    assert blocks(ENGLISH) == blocks(JAPANESE)
    assert re.findall(r"\]\(([^)]*)\)", ENGLISH)[1:] == re.findall(r"\]\(([^)]*)\)", JAPANESE)[1:]


@pytest.mark.parametrize("name", ["README.md", "README.ja.md", "docs/development.md"])
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")) if "://" not in link]
    assert links
    for link in links:
        assert (page.parent / link).exists(), f"{name} links to {link}"


def test_commands_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    made = re.findall(r"^make ([a-z-]+)", ENGLISH, re.MULTILINE)
    assert {"demo", "test"} <= set(made)
    assert set(made) <= targets
    programs = set(re.findall(r"/root/project/scripts/(\w+\.py)", ENGLISH))
    assert programs
    for program in programs:
        assert (ROOT / "scripts" / program).is_file()
    playbooks = set(re.findall(r"(?:playbooks/\w+|site)\.yml", ENGLISH))
    assert len(playbooks) > 1
    for playbook in playbooks:
        assert (ROOT / playbook).is_file()


def test_the_readme_shows_what_the_demo_prints() -> None:
    source = (ROOT / "demo/run.py").read_text(encoding="utf-8")
    assert "Done; everything was as promised" in source
    assert "The lab is still up. Look around:" in source
