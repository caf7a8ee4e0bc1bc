"""What the role backup_server does not see in a run, it takes from what an earlier run wrote."""

from __future__ import annotations

import base64
import tomllib
from typing import Any

import pytest
from conftest import Evaluate

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
