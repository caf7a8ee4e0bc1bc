"""The variable table of each role's README, made from its argument_specs.

`python tests/project/role_tables.py` rewrites the tables; test_argument_specs.py compares them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[2]
ROLES = sorted(path.parents[1] for path in (PROJECT / "roles").glob("*/meta/argument_specs.yml"))
BEGIN = "<!-- variables: generated from meta/argument_specs.yml -->"
END = "<!-- end of variables -->"


def load(path: Path) -> Any:
    """The content of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def specification(role: Path) -> dict[str, dict[str, Any]]:
    """Variable -> its specification, of a role's main entry point."""
    options: dict[str, dict[str, Any]] = load(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    return options


def text_of(description: str | list[str]) -> str:
    """A description as one line of a table."""
    lines = [description] if isinstance(description, str) else description
    return " ".join(" ".join(lines).split()).replace("|", "\\|")


def cell(value: Any) -> str:
    """A default as YAML would be written on one line."""
    if value is None:
        return ""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return "`" + text.removesuffix("...\n").strip().replace("|", "\\|") + "`"


def rows(options: dict[str, dict[str, Any]], defaults: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """One row a variable, with the keys of its items below it."""
    for name, option in options.items():
        kind = option["type"] + (f" of {option['elements']}" if "elements" in option else "")
        shown = "**required**" if option.get("required") else cell(defaults.get(name, option.get("default")))
        yield f"| `{prefix}{name}` | {kind} | {shown} | {text_of(option['description'])} |"
        if "options" in option:
            inside = f"{prefix}{name}[]." if option["type"] == "list" else f"{prefix}{name}."
            yield from rows(option["options"], {}, inside)


def table(role: Path) -> str:
    """The table of a role, with its markers."""
    lines = ["| variable | type | default | what it is |", "| --- | --- | --- | --- |"]
    lines += rows(specification(role), load(role / "defaults/main.yml") or {})
    return "\n".join([BEGIN, "", *lines, "", END])


def replaced(text: str, new: str) -> str:
    """A README's text with its table renewed; a README without one gets it at its end."""
    if BEGIN not in text or END not in text:
        return f"{text.rstrip()}\n\n## Variables\n\n{new}\n"
    return text[: text.index(BEGIN)] + new + text[text.index(END) + len(END) :]


def main() -> None:
    """Renew the table in each role's README."""
    for role in ROLES:
        readme = role / "README.md"
        if not readme.exists():
            sys.exit(f"{readme.relative_to(PROJECT)} is missing: write what the role does, then run this again.")
        readme.write_text(replaced(readme.read_text(encoding="utf-8"), table(role)), encoding="utf-8")


if __name__ == "__main__":
    main()
