"""How the server hands an alert to its command, and which alerts it takes from a client."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from sedai.core.errors import ProcessError, ProtocolError, UsageError
from sedai.server.alerts import Alert, send
from sedai.server.config import ClientRules, ServerConfig
from sedai.server.gate import Gate, refuse

LOG = logging.getLogger("test")


def command(directory: Path, name: str, status: int = 0) -> tuple[str, ...]:
    """A program that writes down its arguments and its standard input."""
    script = directory / name
    script.write_text(
        f'#!/bin/sh\nfor word; do printf "%s\\0" "$word"; done >{directory}/words\ncat >{directory}/body\nexit {status}\n'
    )
    script.chmod(0o700)
    return (str(script),)


def words(directory: Path) -> list[str]:
    """What the program was given."""
    return (directory / "words").read_text().split("\0")[:-1]


@pytest.mark.parametrize(
    ("alert", "ours", "other"),
    [
        (Alert("s", "b"), ["s"], ["s"]),
        (Alert("s", "b", incident="backup"), ["--incident", "client:laptop:backup", "s"], ["s"]),
        (Alert("s", "b", resolved="backup"), ["--resolved", "client:laptop:backup", "s"], None),
    ],
)
def test_only_our_sender_gets_options(tmp_path: Path, alert: Alert, ours: list[str], other: list[str] | None) -> None:
    assert send(command(tmp_path, "send_alert_email.sh"), alert, "client:laptop", LOG) == "delivered"
    assert (words(tmp_path), (tmp_path / "body").read_text()) == (ours, "b")
    (tmp_path / "words").unlink()
    state = send(command(tmp_path, "mailer"), alert, "client:laptop", LOG)
    assert state == ("logged" if other is None else "delivered")
    assert (words(tmp_path) if (tmp_path / "words").exists() else None) == other


@pytest.mark.parametrize(("status", "state"), [(0, "delivered"), (75, "spooled")])
def test_what_is_stored_is_taken(tmp_path: Path, status: int, state: str) -> None:
    assert send(command(tmp_path, "send_alert_email.sh", status), Alert("s", "b"), "watch", LOG) == state


@pytest.mark.parametrize("status", [64, 73, 78, 1])
def test_what_is_not_taken_is_an_error(tmp_path: Path, status: int) -> None:
    with pytest.raises(ProcessError):
        send(command(tmp_path, "send_alert_email.sh", status), Alert("s", "b"), "watch", LOG)


def ask(config: ServerConfig, request: dict[str, Any]) -> dict[str, Any]:
    """What the gate answers the client laptop on ``alert``."""
    answers = io.BytesIO()
    line = io.BytesIO(json.dumps({"protocol": 1} | request).encode() + b"\n")
    Gate(config, "laptop", line, answers, LOG).serve("alert")
    result: dict[str, Any] = json.loads(answers.getvalue())["result"]
    return result


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    return ServerConfig(tmp_path, tmp_path / "log", clients={"laptop": ClientRules()},
                        alert_command=command(tmp_path, "send_alert_email.sh"))  # fmt: skip


@pytest.mark.parametrize("protocol", [0, 2, None, "x"])
def test_an_alert_of_any_version_is_taken(tmp_path: Path, config: ServerConfig, protocol: object) -> None:
    """In the middle of an upgrade everything else is refused, and that must reach a person."""
    request = {"protocol": protocol, "subject": "s", "body": "b"}
    assert ask(config, request) == {"alert": "delivered"}
    answers = io.BytesIO()
    with pytest.raises(ProtocolError, match="speaks protocol") as refused:
        Gate(config, "laptop", io.BytesIO(json.dumps(request).encode() + b"\n"), answers, LOG).serve("status")
    refuse("status", refused.value, answers)
    assert json.loads(answers.getvalue())["kind"] == "protocol"


def test_a_client_names_only_incidents_of_its_own(tmp_path: Path, config: ServerConfig) -> None:
    assert ask(config, {"subject": "s", "body": "b", "incident": "backup"}) == {"alert": "delivered"}
    assert words(tmp_path) == ["--incident", "client:laptop:backup", "s"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"subject": ""},
        {"subject": "x" * 401},
        {"subject": "--flush"},
        {"subject": "a\nb"},
        {"body": "a\0b"},
        {"body": "x" * (1 << 20 | 1)},
        {"incident": "watch:laptop:stale"},
        {"incident": "../x"},
        {"incident": "-x"},
        {"incident": "a\n"},
        {"incident": "x" * 101},
        {"resolved": "x y"},
        {"incident": "a", "resolved": "b"},
    ],
)
def test_what_no_client_of_ours_says_is_refused(tmp_path: Path, config: ServerConfig, wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        ask(config, {"subject": "s", "body": "b"} | wrong)
    assert not (tmp_path / "words").exists()
