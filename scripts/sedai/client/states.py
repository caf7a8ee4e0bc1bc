"""What this client knows of each generation: the list, with the state that the checks have found."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sedai.client import catalog
from sedai.client.connection import Connection
from sedai.client.program import Context
from sedai.client.progress import size
from sedai.core.errors import ExitCode

# Findings of a check that say nothing about the bytes of a generation.
_NO_DAMAGE = frozenset({"stale", "clock", "time"})
UNKNOWN = "not checked yet"


@dataclass(frozen=True)
class _Check:
    """What the last check of one level found in one generation; ``day`` in local time."""

    day: str
    problems: int


def states(runs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The state of each generation that a check in ``runs`` (oldest first) has looked at.

    A quick check reads no bytes, so what a full one found stays until another full one finds it no more.
    """
    last: dict[str, dict[str, _Check]] = {"quick": {}, "full": {}}
    for run in runs:
        level = str(run.get("level"))
        if run.get("program") != "check" or level not in last:
            continue
        damaged = [str(finding["generation"]) for finding in run["findings"] if finding["code"] not in _NO_DAMAGE]
        day = f"{datetime.fromtimestamp(float(run['ended']), UTC).astimezone():%Y-%m-%d}"
        for name in {*map(str, run["checked"]), *damaged}:
            last[level][name] = _Check(day, damaged.count(name))
            if level == "full":
                last["quick"].pop(name, None)  # a full check does all that a quick one does
    names = {*last["quick"], *last["full"]}
    return {name: _words(last["quick"].get(name), last["full"].get(name)) for name in names}


def _words(quick: _Check | None, full: _Check | None) -> str:
    worst = max((check for check in (quick, full) if check), key=lambda check: check.problems)
    if worst.problems:
        return f"DAMAGED: {worst.problems} problem{'s' if worst.problems > 1 else ''} (checked {worst.day})"
    told = [f"every byte checked {full.day}"] if full else []
    told += [f"names checked {quick.day}"] if quick else []
    return ", ".join(told)


def rows(records: Sequence[catalog.Record], known: Mapping[str, str]) -> list[str]:
    """The list for people: one line a generation, oldest first."""
    lines = []
    for record in records:
        name = str(record["generation"])
        start = f"{name}  {catalog.local(catalog.sealed_at(record))}"
        if "error" not in record:
            total, new = size(int(record["bytes"])), size(int(record["new_bytes"]))
            start += f"  {record['files']:>8} files  {total:>10}  new {new:>10}"
        lines.append(f"{start}  {state(record, known)}")
    return lines


def state(record: catalog.Record, known: Mapping[str, str]) -> str:
    """The state of one generation; a record that can't be read is damage as well."""
    if "error" in record:
        return f"DAMAGED: {record['error']}"
    return known.get(str(record["generation"]), UNKNOWN)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``list``."""
    parser.add_argument("--json", action="store_true", help="print the records as JSON")


def carry_out(options: argparse.Namespace, context: Context, connection: Connection) -> ExitCode:
    """Print the generations, oldest first."""
    records, known = catalog.generations(connection), states(context.state.runs())
    if options.json:
        print(json.dumps([record | {"state": state(record, known)} for record in records], ensure_ascii=False))
    elif records:
        print("\n".join(rows(records, known)))
    else:
        print("There is no generation yet.")
    return ExitCode.CLEAN
