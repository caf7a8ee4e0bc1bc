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
from sedai.core.errors import ExitCode
from sedai.core.progress import size

# Findings of a check that say nothing about the bytes of a generation.
_NO_DAMAGE = frozenset({"stale", "clock", "time"})
_WORDS = {
    "en": {
        "problems": "DAMAGED: {count} problem{s} (checked {day})",
        "error": "DAMAGED: {error}",
        "full": "every byte checked {day}",
        "quick": "names checked {day}",
        "unknown": "not checked yet",
        "and": ", ",
    },
    "ja": {
        "problems": "破損: 問題 {count} 件 ({day} にチェック)",
        "error": "破損: {error}",
        "full": "全データをチェック済み {day}",
        "quick": "名前をチェック済み {day}",
        "unknown": "未チェック",
        "and": "、",
    },
}


@dataclass(frozen=True)
class Condition:
    """What is known of one generation: the days (local time) of its last full and quick check, empty where there was none.

    ``problems``: what the worse of them found, on ``day``. ``error``: why its record can't be read.
    """

    full: str = ""
    quick: str = ""
    problems: int = 0
    day: str = ""
    error: str = ""

    @property
    def damaged(self) -> bool:
        """Whether something is wrong with it."""
        return bool(self.problems or self.error)

    def words(self, language: str = "en") -> str:
        """The condition for people, in one line."""
        words = _WORDS[language]
        if self.error:
            return words["error"].format(error=self.error)
        if self.problems:
            return words["problems"].format(count=self.problems, s="s" if self.problems > 1 else "", day=self.day)
        told = [words[level].format(day=day) for level, day in (("full", self.full), ("quick", self.quick)) if day]
        return words["and"].join(told) or words["unknown"]


@dataclass(frozen=True)
class _Check:
    """What the last check of one level found in one generation; ``day`` in local time."""

    day: str
    problems: int


def conditions(runs: Iterable[Mapping[str, Any]]) -> dict[str, Condition]:
    """The condition of each generation that a check in ``runs`` (oldest first) has looked at.

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
    return {name: _condition(last["quick"].get(name), last["full"].get(name)) for name in names}


def _condition(quick: _Check | None, full: _Check | None) -> Condition:
    worst = max((check for check in (quick, full) if check), key=lambda check: check.problems)
    return Condition(full.day if full else "", quick.day if quick else "", worst.problems, worst.day)


def rows(records: Sequence[catalog.Record], known: Mapping[str, Condition]) -> list[str]:
    """The list for people: one line a generation, oldest first."""
    lines = []
    for record in records:
        name = str(record["generation"])
        start = f"{name}  {catalog.local(catalog.sealed_at(record))}"
        if "error" not in record:
            total, new = size(int(record["bytes"])), size(int(record["new_bytes"]))
            start += f"  {record['files']:>8} files  {total:>10}  new {new:>10}"
        imported = "  imported" if record.get("imported") else ""
        lines.append(f"{start}  {condition(record, known).words()}{imported}")
    return lines


def condition(record: catalog.Record, known: Mapping[str, Condition]) -> Condition:
    """The condition of one generation; a record that can't be read is damage as well."""
    if "error" in record:
        return Condition(error=str(record["error"]))
    return known.get(str(record["generation"]), Condition())


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``list``."""
    parser.add_argument("--json", action="store_true", help="print the records as JSON")


def carry_out(options: argparse.Namespace, context: Context, connection: Connection) -> ExitCode:
    """Print the generations, oldest first."""
    records, known = catalog.generations(connection), conditions(context.state.runs())
    if options.json:
        print(
            json.dumps([record | {"state": condition(record, known).words()} for record in records], ensure_ascii=False)
        )
    elif records:
        print("\n".join(rows(records, known)))
    else:
        print("There is no generation yet.")
    return ExitCode.CLEAN
