"""The roles name each library file that they bring to a host, and bring what those files import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import role_tables

SCRIPTS = role_tables.PROJECT / "scripts"

# Role -> entry files and packages. core/ goes everywhere, whole or as far as it is imported.
PARTS = {
    "backup_client": (
        (
            *("backup_data.py", "backup_status.py", "check_backup_integrity.py", "restore_data.py", "restore_drill.py"),
            *("backup_data.sh", "check_backup_integrity.sh"),
        ),
        ("core", "client"),
    ),
    "backup_server": (("sedai_gate.py", "sedai_server.py"), ("core", "server")),
    "alert_mail": (("send_alert_email.py",), ("core", "mail")),
}


def listed(role: str) -> list[str]:
    """The library files that a role brings to its host."""
    files: list[str] = role_tables.load(role_tables.PROJECT / f"roles/{role}/vars/main.yml")[f"__{role}_library_files"]
    return files


def modules_of(source: str) -> Iterator[str]:
    """Names of the modules of ours that a source imports, `sedai.core.log`; of `from` also what may be a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_of(module: str) -> Iterator[str]:
    """The files that importing a module runs, the packages around it and itself, and the templates of its name."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        stem = "/".join(parts[:end])
        yield from (name for name in (f"{stem}.py", f"{stem}/__init__.py") if (SCRIPTS / name).is_file())
        yield from (str(path.relative_to(SCRIPTS)) for path in SCRIPTS.glob(f"{stem}.*.j2"))


def needed(entries: tuple[str, ...]) -> set[str]:
    """The entries and everything of ours that they import, however far."""
    found: set[str] = set()
    waiting = list(entries)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if not name.endswith(".py"):
            continue
        for module in modules_of((SCRIPTS / name).read_text(encoding="utf-8")):
            if module.split(".")[0] == "sedai":
                waiting += files_of(module)
    return found


def test_every_file_of_the_tree_has_a_host() -> None:
    tree = {str(path.relative_to(SCRIPTS)) for pattern in ("*.py", "*.sh", "*.j2") for path in SCRIPTS.rglob(pattern)}
    assert len(tree) > 20
    assert set().union(*(listed(role) for role in PARTS)) == tree


@pytest.mark.parametrize("role", PARTS)
def test_the_list_is_what_the_entries_import(role: str) -> None:
    entries, _ = PARTS[role]
    assert set(listed(role)) == needed(entries)


@pytest.mark.parametrize("role", PARTS)
def test_the_list_is_sorted_and_holds_nothing_twice(role: str) -> None:
    files = listed(role)
    assert files == sorted(set(files), key=lambda name: ("/" in name, name))


@pytest.mark.parametrize("role", PARTS)
def test_the_list_stays_within_its_packages(role: str) -> None:
    _, packages = PARTS[role]
    foreign = [
        name
        for name in listed(role)
        if name.startswith("sedai/") and name != "sedai/__init__.py" and name.split("/")[1] not in packages
    ]
    assert foreign == []


def test_needed_follows_imports() -> None:
    assert "sedai/core/errors.py" in needed(("send_alert_email.py",))
    assert set(modules_of("import a.b\nfrom c import d")) == {"a.b", "c", "c.d"}


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.name)
def test_programs_can_be_run(path: Path) -> None:
    assert path.stat().st_mode & 0o111
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/python3")
