"""The status page in headless Chromium: nothing is fetched, nothing complained of, everything has a name and can be read.

On a phone and on a desk, light and dark, in both languages. Names and contrast are judged by axe.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import server_samples
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright
from status_samples import SCRIPTS, WELL, record, runs

from sedai.client import status_page
from sedai.client.runs import Run
from sedai.client.states import Condition
from sedai.client.status import Status
from sedai.core import page as pages
from sedai.server import status as server_status
from sedai.server.config import ServerConfig
from sedai.server.judge import Finding
from sedai.server.report import Material

CHROMIUM = "/usr/bin/chromium"
PHONE, DESK = (360, 740), (1280, 900)
ILL = replace(
    WELL,
    conditions={record(2, 1.1)["generation"]: Condition(problems=2, day="2027-01-14")},
    runs={
        **WELL.runs,
        "backup": Run(0, 0, 3, ("ssh: connect to host backup.example.com port 22: Connection refused",)),
    },
    waiting=2,
    not_in_backup=(
        "/home/taro/a rather long name of a directory/which_has_no_space_to_break_a_line_at_" + "x" * 80,
        "秘密",
    ),
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # root has no sandbox; the only page that is opened is our own
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def client_page(status: Status, language: str) -> pages.Page:
    return status_page.build(replace(status, language=language), runs(), SCRIPTS)


def server_page(material: Material, language: str) -> pages.Page:
    return server_status.build(material, ServerConfig(Path("/srv/sedai"), Path("/log"), language=language))


PAGES: dict[str, Callable[[str], pages.Page]] = {
    "well": partial(client_page, WELL),
    "ill": partial(client_page, ILL),
    "server": partial(server_page, server_samples.WELL),
    "ill server": partial(
        server_page, replace(server_samples.WELL, findings=[Finding("stale", "laptop"), Finding("disk")])
    ),
}


@pytest.fixture(params=PAGES)
def made(request: pytest.FixtureRequest) -> Callable[[str], pages.Page]:
    return PAGES[request.param]


@pytest.fixture(params=["en", "ja"])
def path(request: pytest.FixtureRequest, made: Callable[[str], pages.Page], tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    pages.write(made(request.param), path)
    return path


@pytest.fixture(params=["light", "dark"])
def opened(request: pytest.FixtureRequest, browser: Browser, path: Path) -> Iterator[Page]:
    context = browser.new_context(color_scheme=request.param, viewport={"width": DESK[0], "height": DESK[1]})
    page = context.new_page()
    said: list[str] = []
    fetched: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(path.as_uri())
    yield page
    assert said == []
    assert [url for url in fetched if not url.startswith("data:")] == [path.as_uri()]
    context.close()


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_it_fits_and_can_be_read(opened: Page, size: tuple[int, int]) -> None:
    opened.set_viewport_size({"width": size[0], "height": size[1]})
    assert opened.evaluate("document.documentElement.scrollWidth") <= size[0], "it must not scroll sideways"
    found = Axe().run(opened)
    assert "color-contrast" in {rule["id"] for rule in found.response["passes"]}, "axe must have judged that too"
    assert found.response["violations"] == [], json.dumps(found.response["violations"], indent=1)[:3000]


def test_each_day_of_the_calendar_is_read_out(opened: Page) -> None:
    cells = opened.locator(".calendar td:not(.ahead)")
    texts = cells.evaluate_all("cells => cells.map(cell => cell.innerText.trim())")
    assert len(texts) > 7 * (pages.WEEKS - 1)
    assert all(len(text.splitlines()[-1]) > len("2027-01-15: ") for text in texts)


def test_the_charts_are_drawn(opened: Page) -> None:
    boxes = opened.locator("svg rect").evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")
    assert len(boxes) >= 10
    assert min(boxes) > 0
