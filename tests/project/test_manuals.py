"""Manual pages and completions say what the programs say, and each role brings those of its programs."""

from __future__ import annotations

import os
import shlex
import subprocess

import manuals
import pytest
import role_tables

MADE = dict(manuals.files())
ROLES = {"client": "backup_client", "server": "backup_server", "alert_mail": "alert_mail"}


@pytest.mark.parametrize("name", MADE)
def test_it_is_what_the_program_says_now(name: str) -> None:
    # Versions of Python break the lines differently.
    written = (manuals.SHARE / name).read_text(encoding="utf-8")
    assert written.split() == MADE[name].split(), "run python tests/project/manuals.py"


def test_nothing_is_left_of_a_program_that_is_gone() -> None:
    assert {str(path.relative_to(manuals.SHARE)) for path in manuals.SHARE.rglob("*") if path.is_file()} == set(MADE)


@pytest.mark.parametrize("part", ROLES)
def test_the_role_brings_them(part: str) -> None:
    role = ROLES[part]
    listed = role_tables.load(role_tables.PROJECT / f"roles/{role}/vars/main.yml")[f"__{role}_manuals"]
    own = {f"{module}.{'sh' if part == 'alert_mail' else 'py'}" for module in manuals.PROGRAMS[part]}
    assert listed == sorted(f"share/{name}" for name in MADE if any(program in name for program in own))
    assert len(listed) >= len(own)


@pytest.mark.parametrize("module", [module for modules in manuals.PROGRAMS.values() for module in modules])
def test_every_page_has_what_a_person_looks_for(module: str) -> None:
    page = manuals.manual(module)
    assert page.startswith(".TH ")
    for part in (".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH EXAMPLES", ".SH EXIT CODES"):
        assert part in page


@pytest.mark.parametrize("name", [name for name in MADE if "/man1/" in name])
def test_man_finds_and_reads_it(name: str) -> None:
    program = name.rpartition("/")[2].removesuffix(".1")
    environment = os.environ | {"MANPATH": str(manuals.SHARE / "man"), "LC_ALL": "C.UTF-8", "MANWIDTH": "80"}

    def man(*words: str) -> str:
        done = subprocess.run(["man", *words], env=environment, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout

    assert man("-w", program).strip() == str(manuals.SHARE / name)
    assert "EXIT CODES" in man("--warnings", program)


@pytest.mark.parametrize("name", [name for name in MADE if name.startswith("zsh")])
def test_zsh_understands_it(name: str) -> None:
    """It is syntax, and offered for its program alone."""
    path = manuals.SHARE / name
    program = path.name.removeprefix("_")
    subprocess.run(["zsh", "-n", path], check=True, capture_output=True)
    words = f"fpath=({shlex.quote(str(path.parent))} $fpath); autoload -U compinit; compinit -D -u; print $_comps[{program}]"
    done = subprocess.run(["zsh", "-f", "-c", words], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{path.name}\n", "")


@pytest.mark.parametrize("name", [name for name in MADE if name.startswith("bash")])
def test_the_shell_understands_it(name: str) -> None:
    words = f"source {manuals.SHARE / name}; complete -p {name.rpartition('/')[2]}"
    done = subprocess.run(["bash", "--norc", "-c", words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
