"""How the backups on this server are, for a terminal, for programs and as a page for a browser."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from logging import Logger
from pathlib import Path
from typing import Any

from sedai.core import lock, metrics, page
from sedai.core.errors import ExitCode, SedaiError
from sedai.server import metrics as figures
from sedai.server import words
from sedai.server.config import ServerConfig
from sedai.server.facts import ClientFacts, Facts
from sedai.server.notebook import directory, write_json
from sedai.server.report import Material, look, problems, sections, with_mails, wrong

_WAIT_SECONDS = 10

_WORDS: dict[str, dict[str, Any]] = {
    "en": {
        "title": "Backups on this server",
        "well": "All is well.",
        "wrong": "Needs a look",
        "calendar": "Backups by day (UTC)",
        "clean": "a generation of each client",
        "findings": "not of each client",
        "failed": "failed, or damaged",
        "none": "none",
        "generations": "Generations of {client}",
        "columns": ("Generation", "Sealed", "Age", "Files", "Size", "New", "State"),
        "whole": "kept",
        "size": "Size of the generations of {client}",
        "new": "New content of {client}",
    },
    "ja": {
        "title": "このサーバーのバックアップ",
        "well": "異常なし。",
        "wrong": "確認が必要です",
        "calendar": "バックアップのカレンダー (UTC)",
        "clean": "全クライアントの世代あり",
        "findings": "一部のクライアントのみ",
        "failed": "失敗または破損",
        "none": "なし",
        "generations": "{client} の世代",
        "columns": ("世代", "作成", "経過", "ファイル数", "サイズ", "新規", "状態"),
        "whole": "保持中",
        "size": "{client} の世代のサイズ",
        "new": "{client} の新しいデータ量",
    },
}


def carry_out(config: ServerConfig, log: Logger, *, as_json: bool = False, html: Path | None = None) -> ExitCode:
    """Look, and print what there is or write it to ``html``; findings where something is wrong or not over."""
    material = look(config, log)
    if as_json:
        print(json.dumps(table(material), ensure_ascii=False))
    elif html is not None:
        page.write(build(material, config), html)
    else:
        from sedai.server import status_table  # a gate that writes the page needs no rich

        status_table.show(material, config, generations(material.facts, config.language))
    return ExitCode.FINDINGS if wrong(material) else ExitCode.CLEAN


def refresh(facts: Facts, config: ServerConfig, log: Logger) -> None:
    """Write the page and its figures anew, as JSON and for Prometheus; a failure is only logged.

    ``facts``: what was just looked at.
    """
    state = directory(config.watch.state_directory)
    place = state / "page"
    try:
        material = with_mails(facts, config, log)
        # The watch writes it, and each client's last seal.
        with lock.exclusive(state / "page.lock", "The writing of the status", wait_seconds=_WAIT_SECONDS):
            if config.metrics_file is not None:
                metrics.write(figures.samples(material), config.metrics_file)
            write_json(place / "status.json", table(material))
            page.write(build(material, config), place / "index.html")
    except (SedaiError, OSError, ImportError) as error:
        log.warning("the status could not be written: %s", error)


def table(material: Material) -> dict[str, Any]:
    """Everything for programs, as one JSON object; times in seconds since the epoch, sizes in bytes."""
    facts = asdict(material.facts)
    facts["open"] = sorted(material.facts.open)
    return {
        "schema": 1,
        **facts,
        "findings": [asdict(finding) for finding in material.findings],
        "incidents": [asdict(incident) for incident in material.incidents],
        "rotten": material.rotten,
        "read_since": material.whole_since,
        "error": material.error,
        "wrong": wrong(material),
    }


def build(material: Material, config: ServerConfig) -> page.Page:
    """The page."""
    text, language, facts = _WORDS[config.language], config.language, material.facts
    told = sections(material, config)
    count = wrong(material)
    items = []
    for sentence, commands in problems(material, config):
        where = f" ({commands[0].removesuffix(':')})" if commands else ""
        items.append(page.Item(sentence + where, "; ".join(commands[1:])))
    items += [page.Item(line) for line in told[1][1] if material.incidents or material.error]
    today = datetime.fromtimestamp(facts.now, UTC).date()
    return page.Page(
        language=language,
        title=text["title"],
        moment=words.moment(facts.now),
        verdict=text["wrong"] if count else text["well"],
        well=not count,
        words={name: text[name] for name in ("calendar", "clean", "findings", "failed", "none")},
        items=items,
        days=page.calendar(today, _days(facts.clients, today, text)),
        charts=[chart for client in facts.clients if client.whole for chart in _charts(client, text, language)],
        tables=generations(facts, language),
        notes=[(title, lines) for title, lines in told[2:]],
    )


def _days(clients: Sequence[ClientFacts], today: date, text: Mapping[str, Any]) -> dict[date, page.Day]:
    """The days on which something came, or should have."""
    found = {}
    for day in map(date.fromisoformat, sorted({name for client in clients for name in client.days})):
        name = day.isoformat()
        came = [client.name for client in clients if client.days.get(name)]
        bad = [client.name for client in clients if _is_bad(client, day, today)]
        # One that never came is missed on every day.
        awaited = [client.name for client in clients if min(client.days, default="") <= name]
        state = "failed" if bad else "none" if not came else "clean" if came == awaited else "findings"
        told = bad or came
        found[day] = page.Day(day, state, f"{text[state]} ({', '.join(told)})" if told else text[state])
    return found


def _is_bad(client: ClientFacts, day: date, today: date) -> bool:
    """Whether a run of ``client`` came to nothing on ``day`` (today one may still be at it), or what came then is damaged."""
    if day != today and client.days.get(day.isoformat()) == 0:
        return True
    return any(one.error and datetime.fromtimestamp(one.time, UTC).date() == day for one in client.generations)


def _charts(client: ClientFacts, text: Mapping[str, Any], language: str) -> list[page.Chart]:
    moments = [words.moment(one.time) for one in client.whole]
    return [
        page.chart(text[name].format(client=client.name), values, list(map(words.size, values)), moments, language)
        for name, values in (
            ("size", [one.bytes for one in client.whole]),
            ("new", [one.new_bytes for one in client.whole]),
        )
    ]


def generations(facts: Facts, language: str) -> list[page.Table]:
    """What is kept, a table for each client, newest first."""
    return [_generations(client, facts.now, language) for client in facts.clients if client.generations]


def _generations(client: ClientFacts, now: float, language: str) -> page.Table:
    text = _WORDS[language]
    rows: list[list[str]] = []
    bad: set[int] = set()
    for one in reversed(client.generations):
        figures = [f"{one.files:,}", words.size(one.bytes), words.size(one.new_bytes)]
        if one.error:
            bad.add(len(rows))
            figures = ["", "", ""]
        age = words.duration(now - one.time, language)
        rows.append([one.name, words.moment(one.time), age, *figures, one.error or text["whole"]])
    title = text["generations"].format(client=client.name)
    return page.Table(title, text["columns"], rows, frozenset({2, 3, 4, 5}), frozenset(bad))
