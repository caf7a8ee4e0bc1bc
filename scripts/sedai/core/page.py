"""One self-contained HTML page: no network, no script, light and dark, narrow and wide. What is on it is the caller's."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from sedai.core.errors import UsageError

# So many weeks fit beside each other on a phone.
WEEKS = 18
CHART_WIDTH, CHART_HEIGHT = 600, 120
_TEMPLATE = "page.html.j2"
# So long is the date at the beginning of a moment.
_DAY = len("2026-01-31")
WORDS: dict[str, dict[str, Any]] = {
    "en": {
        "made": "As of {moment}",
        "look": "What needs a look",
        "run": "run",
        "weekdays": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
        "most": "at most {most}",
    },
    "ja": {
        "made": "{moment} 現在",
        "look": "確認が必要なもの",
        "run": "実行",
        "weekdays": ("月", "火", "水", "木", "金", "土", "日"),
        "most": "最大 {most}",
    },
}


@dataclass(frozen=True)
class Item:
    """Something that needs a look: what it is, and ``command``, what to run."""

    text: str
    command: str = ""


@dataclass(frozen=True)
class Day:
    """A day of the calendar: ``state`` is ``clean``, ``findings``, ``failed``, ``none`` or ``ahead``; ``text`` says it in words."""

    date: date
    state: str = "none"
    text: str = ""


@dataclass(frozen=True)
class Bar:
    """A bar of a chart; ``text`` is read out and shown when it is pointed at."""

    value: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Bars over time, oldest first; ``most`` is the greatest value in words, ``first`` and ``last`` name the ends."""

    title: str
    bars: Sequence[Bar]
    most: str
    first: str
    last: str

    @property
    def shapes(self) -> list[tuple[float, float, float, float, str]]:
        """The bars as ``x, y, width, height, text`` in a drawing of ``CHART_WIDTH`` by ``CHART_HEIGHT``."""
        greatest = max((bar.value for bar in self.bars), default=0.0)
        step = CHART_WIDTH / max(len(self.bars), 1)
        width = min(step * 0.8, 24.0)
        found = []
        for number, bar in enumerate(self.bars):
            # what is there at all is seen
            height = max(bar.value / greatest * CHART_HEIGHT, 2.0) if greatest > 0 and bar.value > 0 else 0.0
            x = number * step + (step - width) / 2
            found.append((round(x, 1), round(CHART_HEIGHT - height, 1), round(width, 1), round(height, 1), bar.text))
        return found


def chart(title: str, values: Sequence[float], told: Sequence[str], moments: Sequence[str], language: str) -> Chart:
    """A chart of at least one value; ``told`` are the values in words, ``moments`` begin with their days."""
    bars = [Bar(value, f"{at}: {text}") for value, text, at in zip(values, told, moments, strict=True)]
    most = told[max(range(len(values)), key=values.__getitem__)]
    return Chart(title, bars, WORDS[language]["most"].format(most=most), moments[0][:_DAY], moments[-1][:_DAY])


@dataclass(frozen=True)
class Table:
    """A table; ``numbers``: the columns (from 0) that are aligned as numbers. ``bad``: the rows (from 0) to be marked."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    bad: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Page:
    """What is on the page, as of ``moment``. ``words``: ``calendar``, its title, and the names of the states of a day."""

    language: str
    title: str
    moment: str
    verdict: str
    well: bool
    words: Mapping[str, str]
    items: Sequence[Item] = ()
    days: Sequence[Day] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[tuple[str, Sequence[str]]] = ()

    @property
    def weeks(self) -> list[list[Day]]:
        """The calendar: one list for each weekday from Monday, a column a week."""
        return [list(self.days[weekday::7]) for weekday in range(7)]

    @property
    def months(self) -> list[tuple[str, int]]:
        """The months of the calendar's Mondays, each with the number of its weeks."""
        mondays = (day.date for day in self.days[::7])
        return [(name, len(list(group))) for name, group in itertools.groupby(f"{day:%Y-%m}" for day in mondays)]


def calendar(today: date, known: Mapping[date, Day], weeks: int = WEEKS) -> list[Day]:
    """Whole weeks from Monday to Sunday, the last one that of ``today``; what is not ``known`` has no run, or is ahead."""
    monday = today - timedelta(days=today.weekday() + 7 * (weeks - 1))
    days = (monday + timedelta(days=number) for number in range(7 * weeks))
    return [known.get(day) or Day(day, "ahead" if day > today else "none") for day in days]


def worst(states: Iterable[str]) -> str:
    """The state of a day on which ``states`` were seen."""
    return max(states, key=("none", "clean", "findings", "failed").index, default="none")


def render(page: Page) -> str:
    """The page as HTML; everything in it is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # slow to import, and wanted rarely

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(
        page=page, own=WORDS[page.language], chart_width=CHART_WIDTH, chart_height=CHART_HEIGHT
    )


def write(page: Page, path: Path) -> None:
    """Replace ``path`` by the page, readable for its owner alone: it names files.

    Raises:
        UsageError: it can't be written there.
    """
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise UsageError(f"The page can't be written: {path} is there and no ordinary file.", "Name another one.")
    new = path.with_name(path.name + ".new")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            stream.write(render(page))
        new.replace(path)
    except OSError as error:
        raise UsageError(
            f"The page can't be written to {path}: {error.strerror}.", "Name a file in a directory that is there."
        ) from error
