"""Render a role's templates with Ansible's own templar, with the role's own defaults and vars."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

ROLES = Path(__file__).parents[2] / "roles"

init_plugin_loader()

Evaluate = Callable[..., Any]


@pytest.fixture
def evaluate() -> Evaluate:
    """``evaluate(role, expression, **variables)``: the value of a Jinja expression as the role would see it.

    ``variables`` are what a person set; a plain string in them is text, never a template (``!unsafe`` in a file).
    """

    def evaluate(role: str, expression: str, **variables: Any) -> Any:
        loader = DataLoader()
        settings: dict[str, Any] = {
            "ansible_facts": {
                "env": {"SUDO_USER": "person"},
                "user_id": "root",
                "getent_passwd": {"person": ["x", "1000", "1000", "", "/home/person", "/bin/sh"]},
            },
            "inventory_hostname": "vps",
            "inventory_dir": "inventory/mine",
        }
        for part in ("defaults", "vars"):
            settings |= loader.load_from_file(str(ROLES / role / part / "main.yml"), trusted_as_template=True)
        templar = Templar(loader=loader, variables=settings | variables)
        return templar.template(trust_as_template("{{ " + expression + " }}"))

    return evaluate


@pytest.fixture
def render(evaluate: Evaluate) -> Evaluate:
    """``render(role, template, **variables)``: the text of a template of the role."""

    def render(role: str, template: str, **variables: Any) -> str:
        path = ROLES / role / "templates" / template
        return str(evaluate(role, f"lookup('ansible.builtin.template', '{path}')", **variables))

    return render
