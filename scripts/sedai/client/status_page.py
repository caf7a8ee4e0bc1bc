"""The status as a page for a browser."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sedai.client import catalog
from sedai.client.runs import PROGRAMS, program
from sedai.client.status import Status, attention
from sedai.client.status_words import LABELS, age, command, last_alert, moment, room, title
from sedai.core import page, wire
from sedai.core.errors import ExitCode
from sedai.core.progress import size

_STATES = ("clean", "findings", "failed", "failed")
# So many runs are drawn.
_RUNS = 60


def build(status: Status, runs: Sequence[Mapping[str, Any]], scripts: Path) -> page.Page:
    """The page of ``status`` and the run records ``runs``, oldest first; our programs are in ``scripts``."""
    language = status.language
    words: Mapping[str, Any] = LABELS[language]
    items = attention(status)
    backups = [run for run in runs if run.get("program") == "backup" and run.get("generation")][-_RUNS:]
    today = datetime.fromtimestamp(status.now).astimezone().date()
    return page.Page(
        language=language,
        title=words["page"].format(client=status.client),
        moment=moment(status.now),
        verdict=words["attention"] if items else words["well"],
        well=not items,
        words={name: words[name] for name in ("calendar", "clean", "findings", "failed", "none")},
        items=[page.Item(title(item, language), command(item, status.client, scripts, language)) for item in items],
        days=page.calendar(today, _days(runs, words)),
        charts=_charts(status, backups, words) if backups else (),
        tables=_tables(status, words),
        notes=_notes(status, words),
    )


def _days(runs: Iterable[Mapping[str, Any]], words: Mapping[str, Any]) -> dict[date, page.Day]:
    """The days on which something ran, with the worst end of each program."""
    ends: dict[date, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        day = datetime.fromtimestamp(float(run["started"])).astimezone().date()
        ends[day][program(run)].append(_STATES[run["exit"]] if 0 <= run["exit"] < len(_STATES) else "failed")
    found = {}
    for day, by_program in ends.items():
        worst = {name: page.worst(states) for name, states in by_program.items()}
        text = words["and"].join(f"{words[name]} {words[worst[name]]}" for name in PROGRAMS if name in worst)
        found[day] = page.Day(day, page.worst(worst.values()), text)
    return found


def _charts(status: Status, backups: Sequence[Mapping[str, Any]], words: Mapping[str, Any]) -> list[page.Chart]:
    moments = [moment(float(run["started"])) for run in backups]
    spans = [float(run["ended"]) - float(run["started"]) for run in backups]
    sizes = {key: [int(run.get(key, 0)) for run in backups] for key in ("bytes", "new_bytes")}
    return [
        page.chart(words[name], values, told, moments, status.language)
        for name, values, told in (
            ("chart_size", sizes["bytes"], list(map(size, sizes["bytes"]))),
            ("chart_new", sizes["new_bytes"], list(map(size, sizes["new_bytes"]))),
            ("chart_time", spans, [words["seconds"].format(seconds=f"{span:,.0f}") for span in spans]),
        )
    ]


def _tables(status: Status, words: Mapping[str, Any]) -> list[page.Table]:
    rows: list[list[str]] = []
    bad: set[int] = set()
    for record in reversed(status.generations):
        figures = ["", "", ""]
        if "error" not in record:
            figures = [f"{record['files']:,}", size(int(record["bytes"])), size(int(record["new_bytes"]))]
        condition = status.condition(record)
        if condition.damaged:
            bad.add(len(rows))
        sealed = catalog.sealed_at(record)
        old = age(status.now - sealed.timestamp(), status.language)
        rows.append([str(record["generation"]), catalog.local(sealed), old, *figures, condition.words(status.language)])
    columns = [words[name] for name in ("generation", "sealed", "age", "files", "size", "new", "state")]
    found = []
    if rows:
        name = words["generations"].format(client=status.client)
        found.append(page.Table(name, columns, rows, frozenset({2, 3, 4, 5}), frozenset(bad)))
    rows, bad = [], set()
    for name in PROGRAMS:
        run, planned = status.runs.get(name), status.next_runs.get(name)
        result = words["exit"][run.exit] if run and 0 <= run.exit < len(words["exit"]) else ""
        if run and run.exit != ExitCode.CLEAN:
            bad.add(len(rows))
        last = moment(run.started) if run else words["never"]
        rows.append([words[name], last, result, moment(planned) if planned else words["never"]])
    columns = [words[name] for name in ("program", "last", "result", "next")]
    return [*found, page.Table(words["runs"], columns, rows, bad=frozenset(bad))]


def _notes(status: Status, words: Mapping[str, Any]) -> list[tuple[str, Sequence[str]]]:
    notes: list[tuple[str, Sequence[str]]] = []
    if "total_bytes" in status.server:
        notes.append((words["disk_title"], [room(status)]))
    notes.append((words["alert_title"], [last_alert(status)]))
    missing, copied_open = wire.apart(status.not_in_backup)
    notes.append((words["lacks"], missing or [words["nothing"]]))
    return [*notes, (words["copied_open"], copied_open)] if copied_open else notes
