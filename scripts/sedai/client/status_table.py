"""The status on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sedai.client import catalog
from sedai.client.runs import PROGRAMS
from sedai.client.status import Status, attention
from sedai.client.status_words import LABELS, age, command, last_alert, moment, room, title
from sedai.core import wire
from sedai.core.progress import size


def show(status: Status, console: Console, scripts: Path) -> None:
    """Print ``status``: what needs a look first, then the generations, the runs, the room, and what is not in it.

    ``scripts``: where our programs are.
    """
    language = status.language
    words: Mapping[str, Any] = LABELS[language]
    items = attention(status)
    console.print(Text(words["attention"] if items else words["well"], style="bold red" if items else "bold green"))
    for item in items:
        console.print(Text(f"- {title(item, language)}"))
        console.print(Text(f"    {words['run']}: {command(item, status.client, scripts, language)}", style="cyan"))
    if status.generations:
        console.print(_generations(status, words))
    console.print(_runs(status, words))
    if "total_bytes" in status.server:
        console.print(Text(f"{words['disk_title']}: {room(status)}"))
    console.print(Text(f"{words['alert_title']}: {last_alert(status)}"))
    for name, lines in zip(("lacks", "copied_open"), wire.apart(status.not_in_backup), strict=True):
        if lines:
            console.print(Text("\n- ".join([f"{words[name]}:", *lines])))


def _generations(status: Status, words: Mapping[str, Any]) -> Table:
    table = Table(title=words["generations"].format(client=status.client), title_justify="left")
    for name in ("generation", "sealed"):
        table.add_column(words[name], no_wrap=True)
    for name in ("age", "files", "size", "new"):
        table.add_column(words[name], justify="right", no_wrap=True)
    table.add_column(words["state"], overflow="fold")
    for record in status.generations:
        figures = ["", "", ""]
        if "error" not in record:
            figures = [f"{record['files']:,}", size(int(record["bytes"])), size(int(record["new_bytes"]))]
        condition = status.condition(record)
        sealed = catalog.sealed_at(record)
        old = age(status.now - sealed.timestamp(), status.language)
        cells = [str(record["generation"]), catalog.local(sealed), old, *figures]
        table.add_row(
            *map(Text, cells), Text(condition.words(status.language), style="red" if condition.damaged else "")
        )
    return table


def _runs(status: Status, words: Mapping[str, Any]) -> Table:
    table = Table()
    for name in ("program", "last", "result", "next"):
        table.add_column(words[name], overflow="fold")
    for name in PROGRAMS:
        run, planned = status.runs.get(name), status.next_runs.get(name)
        last = moment(run.started) if run else words["never"]
        result = words["exit"][run.exit] if run and 0 <= run.exit < len(words["exit"]) else ""
        next_run = moment(planned) if planned else words["never"]
        table.add_row(words[name], last, Text(result, style="red" if run and run.exit else ""), next_run)
    return table
