"""The linters, each without warn lists, and none of them may pass by finding nothing to look at."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked(*patterns: str) -> list[str]:
    """The project's files that fit one of ``patterns``; those not committed yet too."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted({name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()})


def shell_files() -> list[str]:
    """Files that a shell runs, by their first line; tests/templates checks the rendered ones."""
    names = [name for name in tracked() if not name.endswith(".j2")]
    return [name for name in names if (ROOT / name).read_bytes().startswith((b"#!/bin/sh", b"#!/usr/bin/env bash"))]


PYTHON = tracked("*.py")
COMMANDS = {
    "ruff check": (["ruff", "check", "--no-cache", "."], PYTHON),
    "ruff format": (["ruff", "format", "--no-cache", "--check", "."], PYTHON),
    "mypy: programs": (["mypy", "--strict", "scripts"], tracked("scripts/*.py")),
    "mypy: lab and demo": (["mypy", "--strict", "molecule/shared", "demo"], tracked("molecule/shared/*.py")),
    "mypy: benchmarks": (["mypy", "--strict", "benchmarks"], tracked("benchmarks/*.py")),
    "mypy: modules": (["mypy", "--strict", *tracked("roles/*.py")], tracked("roles/*.py")),
    "mypy: plugins": (["mypy", "--strict", *tracked("plugins/*.py")], tracked("plugins/*.py")),
    "yamllint": (["yamllint", "--strict", *tracked("*.yml", "*.yaml")], tracked("*.yml", "*.yaml")),
    "ansible-lint": (["ansible-lint", "--offline", "--profile", "production", "--strict"], tracked("roles/*.yml")),
    "shellcheck": (["shellcheck", *shell_files()], shell_files()),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_linter_finds_nothing(name: str) -> None:
    command, files = COMMANDS[name]
    assert files, f"{name} has nothing to look at"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command[:4])}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
