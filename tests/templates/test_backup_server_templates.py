"""What the role backup_server does not see in a run, it takes from what an earlier run wrote."""

from __future__ import annotations

import base64
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conftest import Evaluate

from sedai.core.ping import check_url
from sedai.server import config

COMMAND = ["sudo", "-n", "-u", "person", "--", "/home/o'brien \\ x/send_alert_email.sh"]


def settings(render: Evaluate, command: list[str] | None, earlier: str | None) -> dict[str, Any]:
    """server.toml as it is written when an earlier run wrote ``earlier``."""
    written = []
    if earlier is not None:
        written = [{"source": "/etc/sedai/server.toml", "content": base64.b64encode(earlier.encode()).decode()}]
    text = render(
        "backup_server",
        "server.toml.j2",
        backup_server_clients=[{"name": "laptop"}],
        backup_server_alert_command=command,
        __backup_server_written={"results": written},
    )
    return tomllib.loads(text)


@pytest.mark.parametrize(
    ("seen", "earlier", "expected"),
    [
        (COMMAND, None, COMMAND),
        (COMMAND, ["old"], COMMAND),
        ([], ["old"], []),
        (None, COMMAND, COMMAND),
        (None, [], []),
        (None, None, []),
    ],
)
def test_alert_command(
    render: Evaluate, seen: list[str] | None, earlier: list[str] | None, expected: list[str]
) -> None:
    text = None
    if earlier is not None:
        text = render("backup_server", "server.toml.j2", backup_server_clients=[], backup_server_alert_command=earlier)
    assert settings(render, seen, text)["alert_command"] == expected


def test_the_watch_s_settings_arrive_in_the_program(render: Evaluate, tmp_path: Path) -> None:
    clients = [{"name": "laptop", "max_age_hours": 200}, {"name": "desk", "max_age_hours": None}]
    text = render(
        "backup_server", "server.toml.j2", backup_server_clients=clients, backup_server_language="ja",
        backup_server_watch_max_age_hours=30, backup_server_watch_max_check_hours=0, backup_server_watch_disk_percent=80,
    )  # fmt: skip
    path = tmp_path / "server.toml"
    path.write_text(text)
    loaded = config.load(path)
    assert [loaded.max_age_hours_for(name) for name in ("laptop", "desk")] == [200, 30]
    assert (loaded.watch.state_directory, loaded.watch.disk_percent) == (Path("/var/lib/sedai/watch"), 80)
    assert loaded.watch.max_check_hours == 0
    assert loaded.language == "ja"


def test_cron_lines_are_whole(render: Evaluate) -> None:
    text = render("backup_server", "cron.j2")
    assert text.endswith("\n"), "cron ignores a last line without its end"
    lines = [line for line in text.splitlines() if "sedai_server.py" in line]
    assert len(lines) >= 1
    for line in lines:
        assert re.match(r"\S+ \S+ \S+ \S+ \S+ sedai ", line)
        assert "%" not in line


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"backup_server_watch_schedule": "@hourly"}, "@hourly must be five fields"),
        ({"backup_server_watch_schedule": "1 * * * * root rm"}, "must be five fields"),
        ({"backup_server_watch_max_age_hours": 0}, "max_age_hours must be at least 1"),
        ({"backup_server_clients": [{"name": "laptop", "public_key": "", "max_age_hours": 0}]}, "laptop in"),
        ({"backup_server_watch_max_check_hours": -1}, "max_check_hours must be at least 0"),
        ({"backup_server_watch_disk_percent": 101}, "1 to 100"),
        ({"backup_server_watch_disk_days": -1}, "at least 0"),
        ({"backup_server_ping_url": "http://hc.example.com/x"}, "must begin with https://"),
        ({"backup_server_ping_url": "http://localhost.example.com/x"}, "must begin with https://"),
        ({"backup_server_ping_url": "https://hc.example.com/x y"}, "must begin with https://"),
    ],
)
def test_what_can_not_work_is_refused(evaluate: Evaluate, wrong: dict[str, Any], complaint: str) -> None:
    fine: dict[str, Any] = {"backup_server_clients": [{"name": "laptop", "public_key": ""}]}
    (problem,) = evaluate("backup_server", "__backup_server_problems | flatten", **fine | wrong)
    assert complaint in problem
    assert evaluate("backup_server", "__backup_server_problems | flatten", **fine) == []


@pytest.mark.parametrize("url", ["", "https://hc.example.com/ping/uuid", "http://127.0.0.1:8000/x", "http://[::1]/x"])
@pytest.mark.parametrize("role", ["backup_server", "backup_client"])
def test_a_url_that_can_be_pinged_is_fine(evaluate: Evaluate, role: str, url: str) -> None:
    settings = {f"{role}_ping_url": url, "backup_server_clients": [], "backup_client_name": "laptop",
                "backup_client_server_host": "vps", "backup_client_sources": [{"path": "/etc"}]}  # fmt: skip
    assert evaluate(role, f"__{role}_problems | flatten", **settings) == []
    check_url(url)
