"""The status as a page: what is on it, in both languages, and that nothing of what it shows becomes markup."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import date, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from status_samples import DAY, NOW, SCRIPTS, WELL, record, runs

from sedai.client import status_page, status_words
from sedai.client.states import Condition
from sedai.client.status import attention
from sedai.core import page
from sedai.core.errors import UsageError


class Text(HTMLParser):
    """What a person reads, and the elements that are there."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.attributes = "", [], []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("language", ["en", "ja"])
def test_everything_is_on_it(language: str) -> None:
    damaged = record(2, 1.1)["generation"]
    status = replace(
        WELL, language=language, waiting=2, conditions={damaged: Condition(problems=2, day="2027-01-14")},
        not_in_backup=("/srv/redis: live files of Redis",),
    )  # fmt: skip
    shown = Text(page.render(status_page.build(status, runs(), SCRIPTS)))
    words = status_words.LABELS[language]
    assert ("lang", language) in shown.attributes
    for item in attention(status):
        assert status_words.title(item, language) in shown.text
        assert status_words.command(item, "laptop", SCRIPTS, language) in shown.text
    for each in WELL.generations:
        assert each["generation"] in shown.text
    assert status.conditions[damaged].words(language) in shown.text
    for name in ("calendar", "chart_size", "chart_new", "chart_time", "runs", "disk_title", "lacks"):
        assert words[name] in shown.text
    assert "/srv/redis: live files of Redis" in shown.text
    assert shown.tags.count("svg") == 3
    assert shown.tags.count("rect") == 3 * len(
        [run for run in runs() if run["program"] == "backup" and run["generation"]]
    )


def test_the_verdict_is_the_title() -> None:
    html = page.render(status_page.build(WELL, runs(), SCRIPTS))
    assert "<title>Backups of laptop: All is well.</title>" in html
    assert page.WORDS["en"]["look"] not in html


def test_nothing_becomes_markup_and_nothing_is_fetched() -> None:
    evil = '"><script>alert(1)</script>'
    status = replace(WELL, paused=evil, not_in_backup=(evil,))
    html = page.render(status_page.build(status, runs(), SCRIPTS))
    shown = Text(html)
    assert "script" not in shown.tags
    assert evil in shown.text
    assert not {name for name, _ in shown.attributes} & {"src", "onload", "onclick"}
    assert "://" not in html


def test_a_day_tells_the_worst_end_of_each_program() -> None:
    made = status_page.build(replace(WELL, language="en"), runs(), SCRIPTS)
    days = {day.date: day for day in made.days}
    failed = datetime.fromtimestamp(NOW - 3 * DAY).date()
    assert (days[failed].state, days[failed].text) == ("failed", "backup failed, check clean")
    assert days[datetime.fromtimestamp(NOW - 50 * DAY).date()].state == "none"


def test_the_calendar_is_whole_weeks_that_end_with_this_one() -> None:
    today = date(2026, 11, 26)  # a Thursday
    known = {today: page.Day(today, "clean", "backup clean")}
    days = page.calendar(today, known, weeks=2)
    assert (days[0].date, days[-1].date) == (date(2026, 11, 16), date(2026, 11, 29))
    assert [day.state for day in days] == ["none"] * 10 + ["clean"] + ["ahead"] * 3


@pytest.mark.parametrize(
    ("states", "expected"),
    [([], "none"), (["clean", "findings"], "findings"), (["failed", "clean"], "failed"), (["clean"], "clean")],
)
def test_the_worst_of_a_day(states: list[str], expected: str) -> None:
    assert page.worst(states) == expected


def test_bars_fill_the_drawing_and_the_smallest_is_seen() -> None:
    chart = page.Chart("x", [page.Bar(value, str(value)) for value in (0, 1, 100_000)], "", "", "")
    shapes = chart.shapes
    assert [height for _, _, _, height, _ in shapes] == [0, 2, page.CHART_HEIGHT]
    assert all(x >= 0 and x + width <= page.CHART_WIDTH for x, _, width, _, _ in shapes)
    assert page.Chart("x", [page.Bar(0, "0")], "", "", "").shapes[0][3] == 0


def test_it_is_its_owner_s_alone_and_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    page.write(status_page.build(WELL, (), SCRIPTS), path)
    assert path.read_text().startswith("<!DOCTYPE html>")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="can't be written"):
        page.write(status_page.build(WELL, (), SCRIPTS), tmp_path / "nowhere" / "page.html")


def test_what_is_no_ordinary_file_stays(tmp_path: Path) -> None:
    """As root, "replaced as a whole" would take /dev/null away from everybody."""
    fifo, directory, link = tmp_path / "fifo", tmp_path / "directory", tmp_path / "link"
    os.mkfifo(fifo)
    directory.mkdir()
    link.symlink_to(fifo)
    for path in (fifo, directory, link):
        with pytest.raises(UsageError, match="is there and no ordinary file"):
            page.write(status_page.build(WELL, (), SCRIPTS), path)
    assert sorted(tmp_path.iterdir()) == [directory, fifo, link]
    assert fifo.is_fifo() and link.is_symlink()


def test_the_months_stand_over_their_weeks() -> None:
    made = replace(status_page.build(WELL, (), SCRIPTS), days=page.calendar(date(2026, 11, 26), {}, weeks=6))
    assert made.months == [("2026-10", 2), ("2026-11", 4)]  # the Mondays from 19 October to 23 November
