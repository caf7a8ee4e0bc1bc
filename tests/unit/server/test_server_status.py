"""The server's status: in words, for programs and as a page, and where a browser is shown it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path

import pytest
from server_samples import DAY, DESK, LAPTOP, NOW, WELL

from sedai.core import page
from sedai.core.errors import ExitCode
from sedai.server import ahead, status, status_table
from sedai.server.config import ClientRules, ServerConfig, Watch
from sedai.server.facts import GenerationFacts
from sedai.server.gate import Gate
from sedai.server.judge import Finding
from sedai.server.report import OpenIncident, facts_now, look
from sedai.server.store import ClientStore

LOG = logging.getLogger("test")
CONFIG = ServerConfig(Path("/srv/sedai"), Path("/var/log/sedai/server.log"))


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    """A store whose only client has made no backup yet."""
    ClientStore(tmp_path / "store" / "laptop").prepare()
    (tmp_path / "watch").mkdir()
    return ServerConfig(
        tmp_path / "store", tmp_path / "log", clients={"laptop": ClientRules()},
        watch=Watch(tmp_path / "watch", disk_percent=100, disk_days=0),
    )  # fmt: skip


def test_it_is_told_in_words(config: ServerConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.carry_out(config, LOG) is ExitCode.CLEAN
    told = capsys.readouterr().out
    assert "Wrong now:\nnothing" in told and "laptop: no generation" in told


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_terminal_shows_the_commands_and_what_is_kept(language: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(CONFIG, language=language)
    damaged = GenerationFacts("g9", NOW - DAY, error="the record is damaged")
    laptop = replace(LAPTOP, generations=(*LAPTOP.generations, damaged))
    material = replace(
        WELL, facts=replace(WELL.facts, clients=(laptop,)), findings=[Finding("stale", "laptop")], rotten={"laptop": 3}
    )
    status_table.show(material, config, status.generations(material.facts, language))
    told = capsys.readouterr().out
    for line in ("~/project/scripts/backup_data.py", "~/project/scripts/check_backup_integrity.py --level full --all"):
        assert f"\n{line}\n" in told
    for generation in laptop.generations:
        assert any(generation.name in line and "│" in line for line in told.splitlines())
    assert ("24 hours" if language == "en" else "24 時間") in told


def test_programs_get_all_of_it(config: ServerConfig, capsys: pytest.CaptureFixture[str]) -> None:
    status.carry_out(config, LOG, as_json=True)
    table = json.loads(capsys.readouterr().out)
    assert (table["schema"], table["wrong"]) == (1, 0)
    assert [client["name"] for client in table["clients"]] == ["laptop"]
    assert table["disk"]["total"] > table["disk"]["free"] > 0
    json.dumps(status.table(replace(WELL, findings=[Finding("stale", "laptop", figures={"seconds": 1.0})])))


def test_what_is_wrong_is_an_exit_code(config: ServerConfig, tmp_path: Path) -> None:
    (ClientStore(config.store / "laptop").root / "generations" / "20260101T000000Z-000001").mkdir(parents=True)
    html = tmp_path / "page.html"
    assert status.carry_out(config, LOG, html=html) is ExitCode.FINDINGS
    assert "a generation can&#39;t be read" in html.read_text()


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_page_has_everything(language: str) -> None:
    damaged = GenerationFacts("g9", NOW - DAY, error="the record is damaged")
    laptop = replace(LAPTOP, generations=(*LAPTOP.generations, damaged))
    material = replace(
        WELL,
        facts=replace(WELL.facts, clients=(DESK, laptop)),
        findings=[Finding("record", "laptop", figures={"names": "g9", "error": "x"}), Finding("disk")],
        rotten={"laptop": 3},
        incidents=[OpenIncident("backup FAILED", NOW - DAY, 7)],
    )
    made = status.build(material, replace(CONFIG, language=language))
    assert (made.language, made.well) == (language, False)
    assert len(made.items) == 4
    assert made.items[0].command == "~/project/scripts/check_backup_integrity.py --all"
    assert made.items[1].command.startswith("df -h /srv/sedai")
    assert "3" in made.items[2].text and "backup FAILED" in made.items[3].text
    (table,) = made.tables
    assert (table.rows[0][0], table.rows[0][-1], table.bad) == ("g9", "the record is damaged", frozenset({0}))
    html = page.render(made)
    for generation in laptop.generations:
        assert generation.name in html


@pytest.mark.parametrize("language, words", [("en", "mails do not leave"), ("ja", "メールが送れていません")])
def test_mails_that_wait_need_a_look(language: str, words: str) -> None:
    page = status.build(
        replace(WELL, mails="Waiting: 1 mail"), ServerConfig(Path("/srv/sedai"), Path("/log"), language=language)
    )
    assert not page.well
    [item] = page.items
    assert item.text.startswith(words)


def test_a_well_server_has_nothing_to_look_at() -> None:
    made = status.build(WELL, CONFIG)
    assert (made.items, made.verdict) == ([], "All is well.")
    assert len(made.charts) == 2


def test_a_day_is_clean_when_each_client_has_a_generation() -> None:
    day = datetime.fromtimestamp(LAPTOP.generations[0].time, UTC).date()

    def state(material: object, on: date) -> str:
        return {each.date: each.state for each in status.build(material, CONFIG).days}[on]  # type: ignore[arg-type]

    assert state(WELL, day) == "findings"  # the other client has none
    alone = replace(WELL, facts=replace(WELL.facts, clients=(LAPTOP,)))
    assert state(alone, day) == "clean"
    assert state(alone, date(2026, 3, 1)) == "none"
    assert state(alone, date(2026, 3, 3)) == "clean", "what was pruned was there"
    assert state(alone, date(2026, 3, 5)) == "failed"
    running = replace(LAPTOP, days=LAPTOP.days | {"2026-03-10": 0})
    assert state(replace(WELL, facts=replace(WELL.facts, clients=(running,))), date(2026, 3, 10)) == "none"
    young = replace(DESK, days={"2026-03-10": 1})
    both = replace(WELL, facts=replace(WELL.facts, clients=(young, LAPTOP)))
    assert state(both, date(2026, 3, 9)) == "clean", "before it came for the first time nobody waited for it"
    assert state(both, date(2026, 3, 10)) == "clean"
    damaged = GenerationFacts("g9", NOW - 3 * DAY, error="the record is damaged")
    ill = replace(LAPTOP, generations=(*LAPTOP.generations, damaged))
    assert state(replace(WELL, facts=replace(WELL.facts, clients=(ill,))), date(2026, 3, 7)) == "failed"


def test_a_browser_is_shown_the_newest_and_a_failure_stops_nothing(config: ServerConfig) -> None:
    status.refresh(facts_now(config), config, LOG)
    assert config.watch.state_directory is not None
    place = config.watch.state_directory / "page"
    assert (place / "index.html").read_text().startswith("<!DOCTYPE html>")
    assert json.loads((place / "status.json").read_text())["schema"] == 1
    assert place.stat().st_mode & 0o777 == 0o700
    (place / "index.html.new").mkdir()
    status.refresh(facts_now(config), config, LOG)


def test_two_that_write_it_at_once_wait_for_each_other(config: ServerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clients' seals, or a seal and the watch."""
    facts = look(config, LOG).facts
    order: list[str] = []
    genuine = status.write_json

    def write_json(path: Path, value: object) -> None:
        order.append("begun")
        if len(order) == 1:
            other.start()
            other.join(0.5)  # it does not come to its end, unless it does not wait
        genuine(path, value)
        order.append("done")

    other = threading.Thread(target=status.refresh, args=(facts, config, LOG))
    monkeypatch.setattr(status, "write_json", write_json)
    status.refresh(facts, config, LOG)
    other.join(30)
    assert order == ["begun", "done"] * 2


def test_behind_a_seal_it_is_written_where_there_is_a_place_for_it(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Callable[[], None] | None] = []
    monkeypatch.setattr(ahead, "start", lambda *arguments, urgent, at_last: shown.append(at_last))
    for settings in (config, replace(config, watch=Watch())):
        Gate(settings, "laptop", BytesIO(), BytesIO(), LOG).look_ahead("seal")
    show, none = shown
    assert show is not None and none is None
    show()
    assert config.watch.state_directory is not None
    assert (config.watch.state_directory / "page/index.html").exists()
