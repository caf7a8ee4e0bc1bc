"""What must never be in the repository, and what has to be in it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import role_tables

PROJECT = role_tables.PROJECT
_LISTED = subprocess.run(
    ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    cwd=PROJECT,
    capture_output=True,
    check=True,
).stdout
FILES = sorted(path for name in _LISTED.split(b"\0") if name and (path := PROJECT / name.decode()).is_file())

# In pieces, so that this file does not find itself.
FORBIDDEN = {
    "a path of somebody's machine": re.compile("/" + r"work/|/\." + "pyenv/|/opt/" + "pypi"),
    "a package index of somebody's network": re.compile(
        "--(extra-)?index" + "-url|--find" + "-links|--trusted" + "-host"
    ),
    "a private key": re.compile("BEGIN [A-Z ]*PRIVATE" + " KEY"),
    "a networking range in use by the machines that test": re.compile(r"192\.0" + r"\.2\.|203\.0" + r"\.113\."),
    "a merge conflict": re.compile("^(<" + "<<<<<<|>" + ">>>>>>) ", re.MULTILINE),
}
MAIL = re.compile(r"[A-Za-z0-9._+-]+@((?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,})")
RESERVED = re.compile(r"(^|\.)(example\.(com|org|net)|test|invalid|localhost|service|socket)$")

# Whose addresses they are: options, names of OpenSSH's algorithms.
NOT_MAIL = re.compile(r"^(openssh\.com|libssh\.org)$")


def text_of(path: Path) -> str | None:
    """The text of a file, or None for one that is not text."""
    data = path.read_bytes()
    return None if b"\0" in data else data.decode("utf-8", "surrogateescape")


def problems(text: str) -> list[str]:
    """What of a text must not be in the repository."""
    found = [what for what, pattern in FORBIDDEN.items() if pattern.search(text)]
    domains = {domain for domain in MAIL.findall(text) if not RESERVED.search(domain) and not NOT_MAIL.match(domain)}
    return found + [f"an address at {domain}" for domain in sorted(domains)]


def named(path: Path) -> str:
    """The name of a file in the test's output."""
    return str(path.relative_to(PROJECT))


@pytest.mark.parametrize("text, expected", [
    ("user@example.com root@vps.test -c aes128-gcm@openssh.com", []),
    ("someone@" + "gmail.com", ["an address at gmail.com"]),
    ("cd /" + "work/x", ["a path of somebody's machine"]),
    ("--index" + "-url https://x", ["a package index of somebody's network"]),
    ("-----BEGIN OPENSSH PRIVATE" + " KEY-----", ["a private key"]),
    ("subnet: 192.0" + ".2.0/24", ["a networking range in use by the machines that test"]),
])  # fmt: skip
def test_problems(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


def test_the_files_are_found() -> None:
    assert {"site.yml", "ansible.cfg", "scripts/backup_data.py"} <= set(map(named, FILES))


@pytest.mark.parametrize("path", FILES, ids=named)
def test_file(path: Path) -> None:
    text = text_of(path)
    if text is None:
        assert path.stat().st_size < 500_000
        return
    assert problems(text) == []
    assert text == "" or text.endswith("\n")
    assert "\r\n" not in text


@pytest.mark.parametrize("path", [path for path in FILES if "vault" in path.name], ids=named)
def test_secrets_are_encrypted(path: Path) -> None:
    """Except those of the demo's own lab, which are of no use anywhere else."""
    if "inventory/demo" not in named(path):
        assert path.read_text(encoding="utf-8").startswith("$ANSIBLE_VAULT;")


@pytest.mark.parametrize("name", ["hosts.yml", "group_vars/all/vault.yml", ".vault_password", ".vault.yml"])
def test_people_s_own_inventories_stay_out_of_the_repository(name: str) -> None:
    def ignored(path: str) -> bool:
        return subprocess.run(["git", "check-ignore", "--quiet", path], cwd=PROJECT, check=False).returncode == 0

    assert ignored(f"inventory/mine/{name}")
    assert not ignored("inventory/example/hosts.yml")
    assert not ignored("inventory/demo/group_vars/all/vault.yml")


def test_each_role_can_be_run_alone_and_the_checks_come_first_in_any_case() -> None:
    plays = [play for name in ("server", "client") for play in role_tables.load(PROJECT / f"playbooks/{name}.yml")]
    roles = [role for play in plays for role in play["roles"]]
    assert len(roles) > 3
    assert all(role["tags"] == role["role"] for role in roles)
    steps = role_tables.load(PROJECT / "site.yml")
    tags = {step["ansible.builtin.import_playbook"]: step.get("tags") for step in steps}
    assert (tags["playbooks/preflight.yml"], tags["playbooks/prove.yml"]) == ("always", "prove")


def test_every_role_has_a_scenario_with_tests() -> None:
    """Molecule ends well where it finds nothing to test."""
    tested = {path.parent.name for path in (PROJECT / "molecule").glob("*/molecule.yml")}
    # sedai_library is internal: the scenarios of the roles that include it prove it.
    assert {role.name for role in role_tables.ROLES} - {"sedai_library"} <= tested
    assert "default" in tested
    for scenario in tested:
        tests = list((PROJECT / "molecule" / scenario).glob("tests/test_*.py"))
        assert tests and any("def test_" in test.read_text(encoding="utf-8") for test in tests), scenario


@pytest.mark.parametrize("locale, instead", [("xx_XX.UTF-8", True), ("C.UTF-8", False)])
def test_a_locale_that_is_not_there_stops_nothing(locale: str, instead: bool) -> None:
    """ssh brings one along from another machine, and Ansible refuses it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LC_")} | {"LANG": locale}
    done = subprocess.run(
        ["make", "--print-data-base", "--dry-run", "help"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("LC_ALL := C.UTF-8" in done.stdout.splitlines()) is instead
