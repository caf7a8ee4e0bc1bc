"""Every public variable of every role is documented where people look: defaults, argument_specs and README."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import role_tables

# `name:` or, for a required variable, `# name:` with the comment above it.
_DEFAULT = re.compile(r"^(?:# )?([a-z][a-z0-9_]*):", re.MULTILINE)


def documented(text: str, role: str) -> dict[str, bool]:
    """Variable of a defaults file -> whether a comment stands above it."""
    found = {}
    lines = text.splitlines()
    for number, line in enumerate(lines):
        match = _DEFAULT.match(line)
        if match and match[1].startswith(f"{role}_"):
            above = lines[number - 1]
            found[match[1]] = above.startswith("# ") and not _DEFAULT.match(above)
    return found


def normal(value: Any) -> Any:
    """A default as YAML reads it, with text folded as in a README."""
    return " ".join(value.split()) if isinstance(value, str) else value


def test_the_roles_are_found() -> None:
    roles = {path.name for path in (role_tables.PROJECT / "roles").iterdir() if path.is_dir()}
    assert {role.name for role in role_tables.ROLES} == roles
    assert {"msmtp", "alert_mail", "backup_server", "backup_client"} <= roles


@pytest.mark.parametrize("text, expected", [
    ("---\n# What it is.\nrole_a: 1\n", {"role_a": True}),
    ("---\n# What it is. Required.\n# role_a: 1\n", {"role_a": True}),
    ("---\nrole_a: 1\n", {"role_a": False}),
    ("---\n# role_a: 1\nrole_b: 2\n", {"role_a": False, "role_b": False}),
    ("---\n__role_a: 1\nother: 2\n", {}),
])  # fmt: skip
def test_documented(text: str, expected: dict[str, bool]) -> None:
    assert documented(text, "role") == expected


@pytest.mark.parametrize("role", role_tables.ROLES, ids=lambda role: role.name)
class TestRole:
    """One role at a time."""

    def test_defaults_and_specification_name_the_same_variables(self, role: Path) -> None:
        text = (role / "defaults/main.yml").read_text(encoding="utf-8")
        specification = role_tables.specification(role)
        assert specification
        assert set(documented(text, role.name)) == set(specification)

    def test_each_default_has_a_comment(self, role: Path) -> None:
        text = (role / "defaults/main.yml").read_text(encoding="utf-8")
        assert [name for name, commented in documented(text, role.name).items() if not commented] == []

    def test_required_variables_have_no_default(self, role: Path) -> None:
        defaults = role_tables.load(role / "defaults/main.yml") or {}
        required = {name for name, option in role_tables.specification(role).items() if option.get("required")}
        assert set(defaults) & required == set()

    def test_defaults_are_the_same_in_both(self, role: Path) -> None:
        defaults = role_tables.load(role / "defaults/main.yml") or {}
        for name, option in role_tables.specification(role).items():
            if "default" in option:
                assert normal(option["default"]) == normal(defaults[name]), name

    def test_variables_carry_the_role_s_name(self, role: Path) -> None:
        internal = role_tables.load(role / "vars/main.yml") if (role / "vars/main.yml").exists() else {}
        assert [name for name in role_tables.specification(role) if not name.startswith(f"{role.name}_")] == []
        assert [name for name in internal if not name.startswith(f"__{role.name}_")] == []

    def test_secrets_are_plain_text_without_choices(self, role: Path) -> None:
        """A refused value is printed, and choices, elements and other types refuse values."""
        for name, option in role_tables.specification(role).items():
            if "password" in name:
                assert option["type"] == "str" and "choices" not in option, name

    def test_readme_has_the_table(self, role: Path) -> None:
        readme = (role / "README.md").read_text(encoding="utf-8")
        assert role_tables.table(role) in readme, "run: python tests/project/role_tables.py"


def settings_of(text: str) -> set[str]:
    """The variables that a file of an inventory sets or shows."""
    return set(re.findall(r"^(?:# )?([a-z]+(?:_[a-z]+)+):", text, re.MULTILINE))


def test_the_inventories_set_nothing_that_is_unknown() -> None:
    """The preflight would refuse it."""
    known = set().union(*map(role_tables.specification, role_tables.ROLES))
    files = [
        *role_tables.PROJECT.glob("inventory/*/group_vars/**/*.yml"),
        *role_tables.PROJECT.glob("roles/configure/templates/*.yml.j2"),
    ]
    found = set().union(*(settings_of(path.read_text(encoding="utf-8")) for path in files))
    prefixes = tuple(f"{role.name}_" for role in role_tables.ROLES)
    settings = {name for name in found if name.startswith(prefixes)}
    assert {"backup_client_sources", "backup_client_ssh_options", "msmtp_password"} <= settings
    assert settings <= known
