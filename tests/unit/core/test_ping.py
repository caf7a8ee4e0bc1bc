"""Signs of life for a service outside, a real HTTP server here; whatever it does, the run goes on."""

from __future__ import annotations

import http.server
import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sedai.client.alerts import Outbox
from sedai.client.config import ClientConfig, Source
from sedai.client.config import Server as ServerAddress
from sedai.client.program import Context, Result, carry_out
from sedai.client.state import State
from sedai.core import ping
from sedai.core.errors import SedaiError
from sedai.server import housekeeping
from sedai.server.config import ClientRules, ServerConfig, Watch
from sedai.server.store import ClientStore

LOG = logging.getLogger("test")


@dataclass
class Service:
    """What was asked of it, and the status that it answers with."""

    url: str
    asked: list[str] = field(default_factory=list)
    status: int = 200

    def taken(self) -> list[str]:
        """The events since the last look."""
        events, self.asked = self.asked, []
        return events


@pytest.fixture
def service() -> Iterator[Service]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            self.send_response(made.status)
            self.send_header("Location", "/redirected")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Not to stderr."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Service(f"http://127.0.0.1:{server.server_port}/ping/uuid")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("suffix", "event", "path"),
    [
        ("", ping.START, "/ping/uuid/start"),
        ("", ping.SUCCESS, "/ping/uuid"),
        ("/", ping.FAIL, "/ping/uuid/fail"),
        ("?create=1", ping.START, "/ping/uuid/start?create=1"),
    ],
)
def test_events(service: Service, suffix: str, event: str, path: str) -> None:
    ping.ping(service.url + suffix, event, LOG)
    assert service.taken() == [path]


@pytest.mark.parametrize("status", [301, 404, 500])
def test_a_refusal_is_logged_without_the_url(service: Service, status: int, caplog: pytest.LogCaptureFixture) -> None:
    service.status = status
    ping.ping(service.url, ping.SUCCESS, LOG)
    assert f"HTTP {status}" in caplog.text
    assert "uuid" not in caplog.text
    assert service.taken() == ["/ping/uuid"]


def test_nobody_there_and_somebody_who_never_answers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ping, "_TIMEOUT_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/uuid"
        ping.ping(url, ping.START, LOG)
        silent.listen()
        started = time.monotonic()
        ping.ping(url, ping.START, LOG)
        assert time.monotonic() - started < 5
    ping.ping("http://127.0.0.1:99999/uuid", ping.START, LOG)
    assert caplog.text.count("was not taken") == 3


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://hc.example.com/x",
        "http://127.0.0.1:8000/x",
        "http://localhost/x",
        "http://10.1.2.3/x",
        "http://[::1]/x",
    ],
)
def test_urls(url: str) -> None:
    ping.check_url(url)


@pytest.mark.parametrize(
    "url",
    ["http://hc.example.com/x", "http://8.8.8.8/x", "ftp://10.0.0.1/x", "file:///etc/passwd", "hc.example.com/x", "https:///x",
     "https://hc.example.com/a b", "https://hc.example.com/\n", "https://hc.example.com/x#y", "http://localhost.example.com/x"],
)  # fmt: skip
def test_what_can_not_be_pinged_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="ping_url"):
        ping.check_url(url)


def failing() -> Result:
    raise SedaiError("no server")


@pytest.mark.parametrize(
    ("name", "result", "events"),
    [
        ("backup", Result(), ["/start", ""]),
        ("backup", Result(["a finding"]), ["/start", ""]),
        ("backup", Result(["late"], incident="after_failed"), ["/start", "/fail"]),
        ("backup", None, ["/start", "/fail"]),
        ("backup", Result(idle=True), ["/start"]),
        ("check", Result(), []),
        ("check", None, []),
    ],
)
def test_a_backup_pings(service: Service, tmp_path: Path, name: str, result: Result | None, events: list[str]) -> None:
    address = ServerAddress("127.0.0.1", tmp_path / "key", tmp_path / "known", port=1)
    config = ClientConfig("laptop", tmp_path / "state", tmp_path / "log", address, (Source(Path("/etc")),),
                          ping_url=service.url)  # fmt: skip
    state = State(config.state_directory)
    state.prepare()
    context = Context(config, state, Outbox(tmp_path / "alerts", LOG), LOG)
    carry_out(name, context, failing if result is None else lambda: result, "c")
    assert service.taken() == [f"/ping/uuid{event}" for event in events]


def test_the_watch_pings(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ClientStore(tmp_path / "store" / "laptop").prepare()
    watch = Watch(tmp_path / "watch", disk_percent=100, disk_days=0)
    config = ServerConfig(tmp_path / "store", tmp_path / "log", clients={"laptop": ClientRules()}, watch=watch,
                          ping_url=service.url)  # fmt: skip
    housekeeping.carry_out("watch", config)
    assert service.taken() == ["/ping/uuid/start", "/ping/uuid"]
    housekeeping.carry_out("report", config)
    assert service.taken() == []
    monkeypatch.setattr("sedai.server.watch.judge", lambda *_: 1 / 0)
    with pytest.raises(SedaiError):
        housekeeping.carry_out("watch", config)
    assert service.taken() == ["/ping/uuid/start", "/ping/uuid/fail"]
