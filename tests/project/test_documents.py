"""The two READMEs say the same, and what they tell a person to type exists."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import command_line

ROOT = Path(__file__).parents[2]
# Each page and its twin.
PAIRS = [
    ("README.md", "README.ja.md"),
    ("docs/daily.md", "docs/daily.ja.md"),
    ("docs/faq.md", "docs/faq.ja.md"),
    ("docs/restore.md", "docs/restore.ja.md"),
    ("docs/security.md", "docs/security.ja.md"),
    ("docs/reliability.md", "docs/reliability.ja.md"),
    ("docs/performance/README.md", "docs/performance/README.ja.md"),
]
PAGES = [page for pair in PAIRS for page in pair]
# Those that tell what to type on the machines; those on speed and on faults are about a checkout alone.
HANDBOOK = [pair for pair in PAIRS if not re.search("performance|reliability", pair[0])]
# A page that tells fewer than the others.
FEWEST_COMMANDS = {"docs/faq.md": 2}
README = (ROOT / "README.md").read_text(encoding="utf-8")


def read(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(text: str) -> list[str]:
    """The code blocks of a page; pictures with words of a person's language count by their lines."""
    found = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found
    return [str(len(block.splitlines())) if "┌" in block else block for block in found]


def headings(text: str) -> list[str]:
    """The level of each heading, in order."""
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^(#+) ", outside, re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The names under which the headings of a page can be linked to, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("english, japanese", PAIRS)
def test_both_languages_have_the_same_shape(english: str, japanese: str) -> None:
    one, other = read(english), read(japanese)
    assert len(headings(one)) > 5
    assert headings(one) == headings(other)
    assert blocks(one) == blocks(other)
    links = [
        [re.sub(r"#.*", "#", link.replace(".ja.md", ".md")) for link in re.findall(r"\]\(([^)]*)\)", text)[1:]]
        for text in (one, other)
    ]
    assert links[0] == links[1]


def test_every_page_has_a_twin_or_is_for_developers() -> None:
    pages = {str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]}
    assert pages == {*PAGES, "CHANGELOG.md", "docs/development.md", "docs/performance/results.md"}


@pytest.mark.parametrize("name", [*PAGES, "docs/development.md"])
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    links = [link for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")) if "://" not in link]
    assert links
    for link in links:
        file, _, anchor = link.partition("#")
        there = page.parent / file if file else page
        assert there.exists(), f"{name} links to {link}"
        assert not anchor or anchor in anchors(there), f"{name} links to {link}"


@pytest.mark.parametrize(
    "page, needed",
    [
        ("README.md", {"demo", "test"}),
        ("docs/reliability.md", {"setup", "faults"}),
        ("docs/performance/README.md", {"setup", "bench", "bench-quick"}),
    ],
)
def test_make_targets_exist(page: str, needed: set[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    made = set(re.findall(r"^make ([a-z-]+)", read(page), re.MULTILINE))
    assert needed <= made <= targets


@pytest.mark.parametrize("page", [page for pair in PAIRS if "reliability" in pair[0] for page in pair])
def test_the_suites_are_told_and_can_be_run_as_told(page: str) -> None:
    text = read(page)
    suites = {path.name for path in (ROOT / "tests/faults").glob("test_*.py")}
    assert suites
    assert suites <= set(re.findall(r"`SEDAI_FAULTS=full pytest tests/faults/(test_\w+\.py)`", text))
    run = re.findall(r"^(?:\w+=\w+ )*pytest (\S+)$", text, re.MULTILINE)
    assert len(run) > 3
    assert all((ROOT / path).exists() for path in run)


def test_the_benchmark_can_be_called_as_told() -> None:
    calls = re.findall(r"^benchmarks/run.py (.*)$", read("docs/performance/README.md"), re.MULTILINE)
    assert len(calls) > 3
    for words in calls:
        if words != "--help":
            command_line.parse(words.split())


@pytest.mark.parametrize("page", [page for pair in HANDBOOK for page in pair])
def test_playbooks_exist(page: str) -> None:
    playbooks = set(re.findall(r"(?:playbooks/\w+|site)\.yml", read(page)))
    assert playbooks
    for playbook in playbooks:
        assert (ROOT / playbook).is_file()


@functools.cache
def told(program: str, *verb: str) -> str:
    """What a program says of itself or of one of its verbs."""
    shown = subprocess.run(
        [sys.executable, ROOT / "scripts" / program, *verb, "--help"], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, f"{program} {verb}: {shown.stderr}"
    return shown.stdout


@pytest.mark.parametrize("page", [english for english, _ in HANDBOOK])
def test_programs_know_the_verbs_and_options_that_are_told(page: str) -> None:
    commands = re.findall(r"^/root/project/scripts/(\w+\.py)(.*)$", read(page), re.MULTILINE)
    assert len(commands) >= FEWEST_COMMANDS.get(page, 4)
    for program, words in commands:
        verb = re.findall(r"^ ([a-z][a-z-]+)(?= |$)", words) if program == "restore_data.py" else []
        shown = told(program, *verb)
        for option in re.findall(r" (--[a-z-]+)", words):
            assert option in shown, f"{program} {verb} has no {option}"


def test_the_readme_shows_what_the_demo_prints() -> None:
    source = (ROOT / "demo/run.py").read_text(encoding="utf-8")
    assert "Done; everything was as promised" in source
    assert "The lab is still up. Look around:" in source
