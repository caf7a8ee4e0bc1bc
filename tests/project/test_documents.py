"""The two READMEs say the same, and what they tell a person to type exists."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ansible import context
from ansible.cli.playbook import PlaybookCLI

import sedai_server
import send_alert_email
from benchmarks import command_line

ROOT = Path(__file__).parents[2]
# Each page and its twin.
PAIRS = [
    ("README.md", "README.ja.md"),
    ("docs/how.md", "docs/how.ja.md"),
    ("docs/daily.md", "docs/daily.ja.md"),
    ("docs/moving.md", "docs/moving.ja.md"),
    ("docs/smtp.md", "docs/smtp.ja.md"),
    ("docs/start.md", "docs/start.ja.md"),
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
FEWEST_COMMANDS = {"docs/faq.md": 2, "docs/smtp.md": 0}
SERVER_COMMANDS = {"docs/daily.md": 3, "docs/faq.md": 1, "docs/moving.md": 3, "docs/security.md": 2}
README = (ROOT / "README.md").read_text(encoding="utf-8")


def read(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def fenced(text: str) -> list[str]:
    """What stands between the fences of a page."""
    return re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def blocks(text: str) -> list[str]:
    """The code blocks of a page; pictures with words of a person's language count by their lines."""
    found = fenced(text)
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
        [re.sub(r"#.*", "#", link.replace(".ja.", ".")) for link in re.findall(r"\]\(([^)]*)\)", text)[1:]]
        for text in (one, other)
    ]
    assert links[0] == links[1]


def test_the_picture_is_the_same_in_both_languages_and_changes_with_the_reader_s_colours() -> None:
    english, japanese = (re.sub(r' lang="\w+"', "", read(f"docs/how{language}.svg")) for language in ("", ".ja"))
    words = r">[^<>]+</(text|title|desc)>"
    assert len(re.findall(words, english)) > 50
    assert re.sub(words, "", english) == re.sub(words, "", japanese)
    ElementTree.fromstring(english)  # noqa: S314  our own picture
    light, dark = re.split(r"@media \(prefers-color-scheme: dark\)", english.partition("</style>")[0])
    coloured = r"\.?([a-z]+)(?=[,\w. ]* \{[^}]*#[0-9a-f]{6})"
    assert set(re.findall(coloured, light)) == set(re.findall(coloured, dark)) > {"text", "ground"}


def test_every_page_has_a_twin_or_is_for_developers() -> None:
    pages = {str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]}
    results = {"docs/performance/results.md", "docs/performance/cold/results.md"}
    assert pages == {*PAGES, "CHANGELOG.md", "docs/development.md"} | results


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
        ("README.md", {"demo", "test", "configure"}),
        ("docs/start.md", {"ansible", "configure"}),
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


@pytest.mark.parametrize("page", [english for english, _ in HANDBOOK])
def test_programs_take_what_is_told(page: str) -> None:
    commands = re.findall(r"^/root/project/scripts/(\w+)\.py(.*)$", read(page), re.MULTILINE)
    assert len(commands) >= FEWEST_COMMANDS.get(page, 4)
    for program, words in commands:
        importlib.import_module(program).command_line().parse_args(shlex.split(words))


def test_the_mail_program_takes_what_is_told() -> None:
    told_words = {
        page: re.findall(r"^~/scripts/send_alert_email\.sh (.*)$", read(page), re.MULTILINE) for page in PAGES
    }
    assert told_words["README.md"] and told_words["docs/smtp.md"]
    for words in itertools.chain(*told_words.values()):
        first = shlex.split(words)[0]
        assert not first.startswith("--") or f" {first} " in send_alert_email.HELP


@pytest.mark.parametrize("page", [english for english, _ in HANDBOOK])
def test_the_server_s_program_takes_what_is_told(page: str) -> None:
    commands = re.findall(r"^[\w =/]*/sedai_server\.py (.*)$", read(page), re.MULTILINE)
    assert len(commands) >= SERVER_COMMANDS.get(page, 0)
    for words in commands:
        sedai_server.command_line().parse_args(shlex.split(words))


@pytest.mark.parametrize("page", [english for english, _ in HANDBOOK])
def test_playbooks_know_the_variables_that_are_told(page: str) -> None:
    for playbook, words in re.findall(
        r"^ansible-playbook .*?((?:playbooks/\w+|site)\.yml)(.*)$", read(page), re.MULTILINE
    ):
        for name in re.findall(r" -e (\w+)=", words):
            assert re.search(rf"\b{name}\b", (ROOT / playbook).read_text(encoding="utf-8")), (
                f"{playbook} knows no {name}"
            )


# Commands that are none of the project's, and who runs them: a test, or a person alone (a login, the way out of it).
ALONE = "a person alone"
HERE = "tests/project/test_documents.py"
END_TO_END, RESTORED = "molecule/default/tests/test_end_to_end.py", "molecule/default/tests/test_restore.py"
CONFIGURED, RECOVERED = "molecule/configure/tests/test_configure.py", "molecule/recovery/tests/test_page.py"
BY_HAND = f"{HERE}::test_an_inventory_is_begun_by_hand_as_told"
HOW, IMPORTED = "tests/unit/client/test_how.py", "tests/unit/client/test_import.py"
OTHERS = {
    r"\. \.venv/bin/activate": f"{HERE}::test_the_environment_is_entered_as_told",
    r"ssh-keygen -t ed25519": ALONE,
    r"ssh-copy-id \S+": ALONE,
    r"ssh (root@vps\.example\.com|USER@VPS)": ALONE,
    r"git pull": ALONE,
    r"diff /etc/hostname /root/first-restore/etc/hostname": f"{END_TO_END}::test_the_commands_of_the_five_minute_start",
    r"cat inventory/mine/\.vault_password": f"{CONFIGURED}::test_the_secret_comes_out_of_the_vault_by_itself",
    r"cp -r inventory/example inventory/mine": BY_HAND,
    r"ansible-vault create inventory/mine/group_vars/all/vault\.yml": BY_HAND,
    r"ssh -t -L 8080:.* -m http\.server .*": f"{END_TO_END}::test_the_server_s_page_is_shown_through_ssh_alone",
    r"sudo (ls -l|find|cat) /srv/sedai/laptop/.*": f"{HOW}::test_what_is_in_a_generation_and_who_shares_what",
    r"sudo rsync -rlni .*": f"{IMPORTED}::test_the_handbook_s_comparison_shows_what_differs_and_nothing_else",
    r"sudo mv /srv/sedai/laptop /srv/sedai-laptop-before-the-import": ALONE,
    r"ssh root@\S+ cat \S+ >\S+": f"{RESTORED}::test_who_made_it",
    r"ssh-keygen -Y verify .*": f"{RESTORED}::test_who_made_it",
    r"(cp -a|diff|groupadd|useradd|ssh -t USER@VPS) .*": f"{RECOVERED}::test_every_command_of_the_page_is_followed",
}
# Ways to call the project's own programs; the tests above look at their words.
OWN = (
    r"/root/project/scripts/\w+\.py",
    r"~/scripts/send_alert_email\.sh",
    r"(sudo (TZ=\S+ )?|python3 )/usr/local/lib/sedai/sedai_server\.py",
    r"ansible-playbook",
    r"make",
    r"benchmarks/run\.py",
    r"(\w+=\w+ )*(\.venv/bin/)?pytest",
)


def commands(page: str) -> list[str]:
    """Every line that a page tells a person to type."""
    return [
        line
        for block in re.findall(r"^```sh\n(.*?)^```$", read(page), re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]


def test_no_page_tells_a_command_that_nobody_looks_at() -> None:
    known = [rf"(?:{start})( .*)?" for start in OWN] + list(OTHERS)
    used = set()
    for command in itertools.chain(*(commands(english) for english, _ in PAIRS)):
        fits = [pattern for pattern in known if re.fullmatch(pattern, command)]
        assert fits, f"which test runs this? {command}"
        used.update(fits)
    assert used == set(known)


@pytest.mark.parametrize("runner", sorted({*OTHERS.values()} - {ALONE}))
def test_who_is_said_to_run_a_command_is_there(runner: str) -> None:
    path, _, name = runner.partition("::")
    assert re.search(rf"^ *def {re.escape(name)}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


def test_the_environment_is_entered_as_told() -> None:
    enter = ". .venv/bin/activate"
    assert enter in commands("docs/start.md")
    done = subprocess.run(
        ["sh", "-c", f"{enter} && command -v ansible-playbook && ansible-playbook --version"],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found, version, *_ = done.stdout.splitlines()
    assert found.endswith("/.venv/bin/ansible-playbook") and version.startswith("ansible-playbook [core ")


@pytest.mark.parametrize("page", [*PAGES, "docs/development.md", "molecule/shared/README.md", "files/README.md"])
def test_make_knows_what_is_to_be_done_for_each_target(page: str) -> None:
    """Those in the middle of a sentence too."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    told = re.findall(r"^ *make ([a-z-]+)", "".join(fenced(read(page))), re.MULTILINE)
    for target in {*told, *re.findall(r"`make ([a-z-]+)", read(page))}:
        done = subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"make {target}: {done.stderr}"
        # What is in .PHONY and nowhere else is done at once.
        assert re.search(rf"^{target}:", read("Makefile"), re.MULTILINE), target


def test_ansible_takes_the_options_that_are_told() -> None:
    calls = [
        shlex.split(line) for english, _ in PAIRS for line in commands(english) if line.startswith("ansible-playbook")
    ]
    assert len(calls) > 12
    for words in calls:
        made = PlaybookCLI(words)
        made.parse()
        assert all((ROOT / playbook).is_file() for playbook in context.CLIARGS["args"])


def test_an_inventory_is_begun_by_hand_as_told(tmp_path: Path) -> None:
    copy, vault = (line for line in commands("docs/start.md") if re.match("cp -r|ansible-vault", line))
    shutil.copytree(ROOT / "inventory", tmp_path / "inventory", ignore=shutil.ignore_patterns("mine"))
    (tmp_path / "password").write_text("of the vault", encoding="utf-8")
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho \'vault_msmtp_password: "secret"\' >"$1"\n', encoding="utf-8")
    editor.chmod(0o700)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "EDITOR": str(editor),
        "ANSIBLE_VAULT_PASSWORD_FILE": str(tmp_path / "password"),
    }
    person, terminal = os.openpty()  # an editor is opened for nobody else
    for command in (copy, vault):  # nor with a stderr that an ssh, killed in another test, left without blocking
        subprocess.run(
            shlex.split(command), cwd=tmp_path, env=environment, stdin=terminal, stdout=terminal, stderr=terminal,
            timeout=60, check=True,
        )  # fmt: skip
    os.close(person)
    os.close(terminal)
    written = subprocess.run(
        ["ansible-inventory", "-i", "inventory/mine", "--host", "vps"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(written.stdout)["vault_msmtp_password"] == "secret"


def test_the_readme_shows_what_the_demo_prints() -> None:
    source = (ROOT / "demo/run.py").read_text(encoding="utf-8")
    assert "Done; everything was as promised" in source
    assert "The lab is still up. Look around:" in source
