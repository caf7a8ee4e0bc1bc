"""How the backups on this server are, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from sedai.core import page
from sedai.core.terminal import Terminal
from sedai.server.config import ServerConfig
from sedai.server.report import Material, sections

# Of what is no terminal, where nobody can say how wide it is.
_COLUMNS = 120


def show(material: Material, config: ServerConfig, generations: Sequence[page.Table]) -> None:
    """Print ``material`` in words, what is wrong first, and then what is kept."""
    console = Terminal(width=None if sys.stdout.isatty() else _COLUMNS)
    for title, lines in sections(material, config):
        console.print(Text("\n".join([f"{title}:", *lines, ""])), soft_wrap=True)  # a command must stay one line
    for each in generations:
        console.print(_table(each))


def _table(content: page.Table) -> Table:
    made = Table(title=content.title, title_justify="left")
    for number, name in enumerate(content.columns):
        made.add_column(name, justify="right" if number in content.numbers else "left", overflow="fold")
    for number, row in enumerate(content.rows):
        made.add_row(*map(Text, row), style="red" if number in content.bad else "")
    return made
