"""What the programs are called with in their own examples, and with nothing more than needed, is taken."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gate_pair import Pair

import sedai_gate

PROGRAMS = ("backup_data", "backup_status", "check_backup_integrity", "restore_data", "restore_drill", "sedai_server")
LEAST = {
    "restore_data": ("list", "find x", "diff a b", "restore /x", "databases", "restore-db main/shop"),
    "sedai_server": (
        "status",
        "prune",
        "freeze --client x",
        "release --client x",
        "watch",
        "scrub",
        "report",
        "import --client x --from /x",
    ),
}


def examples(program: Any) -> list[str]:
    """The calls in the examples of a program, without the program's name."""
    return [
        re.split(r"\s{2,}", call)[0].replace("…", "x")
        for call in re.findall(rf"^  {program.__name__}\.py(.*)$", program.EXAMPLES, re.MULTILINE)
    ]


@pytest.mark.parametrize("name", PROGRAMS)
def test_they_are_taken(name: str) -> None:
    program = importlib.import_module(name)
    calls = [*examples(program), *LEAST.get(name, ("",))]
    assert len(calls) > 2
    for call in calls:
        program.command_line().parse_args(shlex.split(call))


@pytest.mark.parametrize("name", LEAST)
def test_no_verb_is_left_out(name: str) -> None:
    usage = importlib.import_module(name).command_line().format_help()
    known = re.search(r"\{([a-z,-]+)\}", usage)
    verbs = known[1].split(",") if known else re.findall(r"^    ([a-z-]+) ", usage, re.MULTILINE)
    assert set(verbs) == {call.split()[0] for call in LEAST[name]}


@pytest.mark.parametrize("name", ["backup_data", "check_backup_integrity"])
def test_the_shell_script_of_the_same_name(name: str, tmp_path: Path) -> None:
    scripts, program = Path(__file__).parents[2] / "scripts", tmp_path / name
    (tmp_path / "sedai").symlink_to(scripts / "sedai")
    shutil.copy(scripts / f"{name}.sh", tmp_path)
    # By this interpreter: Debian's own need not have what the programs import.
    text = (scripts / f"{name}.py").read_text(encoding="utf-8").replace("#!/usr/bin/python3", f"#!{sys.executable}")
    (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    (tmp_path / f"{name}.py").chmod(0o755)
    shell, python = (
        subprocess.run([f"{program}.{ending}", *arguments], capture_output=True, text=True, check=False)
        for ending, arguments in (("sh", ["--no such", "option"]), ("py", ["--no such", "option"]))
    )
    assert (shell.returncode, shell.stdout, shell.stderr) == (python.returncode, python.stdout, python.stderr)
    assert shell.returncode == 2 and "--no such option" in shell.stderr


def test_the_gate_answers_a_person_as_its_examples_say(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    pair.write("file")
    generation = pair.backup()
    calls = re.findall(r"^  (SSH_ORIGINAL_COMMAND=.*</dev/null)", sedai_gate.EXAMPLES, re.MULTILINE)
    assert len(calls) == 2
    gate = f"{sys.executable} {sedai_gate.__file__} --config {tmp_path}/server.toml"
    for call in calls:
        done = subprocess.run(
            ["sh", "-c", call.replace("sedai_gate.py", gate)], capture_output=True, text=True, check=True
        )
        assert generation in json.dumps(json.loads(done.stdout)["result"])


@pytest.mark.parametrize(("option", "words"), [("--help", "exit codes:\n  0  served"), ("--version", "sedai ")])
def test_the_gate_says_what_it_is(option: str, words: str) -> None:
    done = subprocess.run([sys.executable, sedai_gate.__file__, option], capture_output=True, text=True, check=True)
    assert words in done.stdout
