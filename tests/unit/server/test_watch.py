"""The watch on a real store, with a sender that writes down what it is given."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sedai.core import lock
from sedai.core.errors import ConfigError, ExitCode, LockedError, SedaiError
from sedai.core.generation import Record
from sedai.server import housekeeping
from sedai.server.config import ClientRules, ServerConfig, Watch
from sedai.server.gate import Gate
from sedai.server.store import ClientStore
from sedai.server.watch import watch

LOG = logging.getLogger("test")
ENTRY = Path(__file__).parents[3] / "scripts" / "sedai_server.py"


@dataclass
class Server:
    """A server with one client, and the command that its alerts go to."""

    root: Path
    config: ServerConfig

    @property
    def store(self) -> ClientStore:
        return ClientStore(self.config.store / "laptop")

    def seal(self, age_hours: float, number: int, files: int = 100) -> str:
        """A generation that was sealed so many hours ago."""
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - age_hours * 3600))
        name = f"{moment}-{number:06d}"
        directory = self.store.generations_directory / name
        (directory / "tree").mkdir(parents=True)
        Record(name, "laptop", "", "", files + 1, files, files * 1000, files, 0, files * 1000, "0", "", "", "1",
               ()).write(directory / "generation.json")  # fmt: skip
        return name

    def alerts(self) -> list[list[str]]:
        """The words of each call of the sender since the last look, but for its being asked how things are."""
        log = self.root / "calls"
        calls = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        words = (call.split("\t")[:-1] for call in calls)
        return [call for call in words if call not in (["--incidents"], ["--list"])]

    def told(self) -> list[tuple[str, str]]:
        """Of each call what is reported or over."""
        return [(call[0].removeprefix("--"), call[1].removeprefix("watch:")) for call in self.alerts()]

    def sender(self, status: int = 0) -> None:
        """The sender ends with ``status``."""
        script = self.root / "send_alert_email.sh"
        script.write_text(
            f"#!/bin/sh\n[ {status} = 0 ] || exit {status}\n"
            f'{{ printf "%s\\t" "$@"; echo; }} >>{self.root}/calls\ncat >{self.root}/body\n'
        )
        script.chmod(0o700)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    config = ServerConfig(
        tmp_path / "store",
        tmp_path / "server.log",
        alert_command=(str(tmp_path / "send_alert_email.sh"),),
        clients={"laptop": ClientRules()},
        watch=Watch(tmp_path / "watch", disk_percent=100, disk_days=0),
    )
    made = Server(tmp_path, config)
    made.sender()
    made.store.prepare()
    watch(config, LOG)
    made.alerts()
    return made


def test_all_is_well(server: Server) -> None:
    server.seal(2, 1)
    assert watch(server.config, LOG).findings == ()
    assert server.alerts() == []


def test_a_client_that_fell_silent_is_told_until_it_speaks_again(server: Server) -> None:
    name = server.seal(30, 1)
    assert [finding.kind for finding in watch(server.config, LOG).findings] == ["stale"]
    [call] = server.alerts()
    assert call == ["--incident", "watch:client.laptop.stale", "[sedai] laptop: URGENT: no new backup"]
    assert name in (server.root / "body").read_text()
    watch(server.config, LOG)
    assert server.told() == [("incident", "client.laptop.stale")]  # folding is the sender's
    server.seal(1, 2)
    watch(server.config, LOG)
    assert server.told() == [("resolved", "client.laptop.stale")]
    watch(server.config, LOG)
    assert server.told() == []


def test_one_client_may_be_slower(server: Server) -> None:
    server.seal(30, 1)
    slow = replace(server.config, clients={"laptop": ClientRules(max_age_hours=31)})
    assert watch(slow, LOG).findings == ()


def test_a_client_that_backs_up_and_checks_no_more_is_told(server: Server) -> None:
    server.seal(2, 1)
    checked = server.store.checked
    assert watch(server.config, LOG).findings == (), "nothing is known of one that never began"
    ask(server.config, "begin")
    long_ago = time.time() - 51 * 3600
    os.utime(checked, (long_ago, long_ago))
    ask(server.config, "begin")
    assert [finding.kind for finding in watch(server.config, LOG).findings] == ["unchecked"]
    ask(server.config, "verify")
    assert watch(server.config, LOG).findings == ()
    assert server.told() == [("incident", "client.laptop.unchecked"), ("resolved", "client.laptop.unchecked")]


def test_a_client_whose_alerts_do_not_get_through_is_told(server: Server) -> None:
    server.seal(2, 1)
    ask(server.config, "begin", alerts_stuck_seconds=27 * 3600.0)
    assert [finding.kind for finding in watch(server.config, LOG).findings] == ["unheard"]
    assert "waiting for 27 hours" in (server.root / "body").read_text()
    ask(server.config, "begin", alerts_stuck_seconds=0.0)
    assert watch(server.config, LOG).findings == ()
    ask(server.config, "begin", alerts_stuck_seconds=1e300)
    assert [finding.kind for finding in watch(server.config, LOG).findings] == ["unheard"]
    ask(server.config, "begin")  # by an earlier version
    assert watch(server.config, LOG).findings == ()
    assert [what for what, key in server.told() if key == "client.laptop.unheard"] == ["incident", "resolved"] * 2


def test_a_client_that_never_came_is_told_since_it_was_configured(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert watch(server.config, LOG).findings == ()
    later = time.time() + 29 * 3600
    monkeypatch.setattr("sedai.server.facts.time.time", lambda: later)
    both = replace(server.config, clients={"laptop": ClientRules(), "new": ClientRules()})
    ClientStore(server.config.store / "new").prepare()
    assert [(finding.kind, finding.client) for finding in watch(both, LOG).findings] == [("never", "laptop")]


def test_what_lies_in_the_store_is_seen(server: Server) -> None:
    server.seal(26, 1)
    damaged = server.seal(1, 2)
    (server.store.generations_directory / damaged / "generation.json").write_text("{")
    (server.store.incoming / "clock_skew").write_text("-7200.0\n")
    assert [finding.kind for finding in watch(server.config, LOG).findings] == ["record", "clock"]
    (server.store.incoming / "clock_skew").write_text("nan\n")
    assert [finding.kind for finding in watch(server.config, LOG).findings] == ["record", "clock"]


def test_a_small_one_is_seen(server: Server) -> None:
    server.seal(26, 1)
    server.seal(1, 2, files=40)
    assert [finding.kind for finding in watch(server.config, LOG).findings] == ["small"]


def test_a_store_that_went_away_is_told_and_ends_nothing(server: Server) -> None:
    server.seal(30, 1)
    watch(server.config, LOG)
    server.alerts()
    server.store.root.rename(server.root / "unmounted")
    watch(server.config, LOG)
    assert server.told() == [("incident", "client.laptop.unwritable")]
    (server.root / "unmounted").rename(server.store.root)
    watch(server.config, LOG)
    assert server.told() == [("incident", "client.laptop.stale"), ("resolved", "client.laptop.unwritable")]


def test_a_store_that_can_not_be_written_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.seal(1, 1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("sedai.server.facts.os.fsync", full)
        found = watch(server.config, LOG).findings
    assert [(finding.kind, "No space left" in str(finding.figures["error"])) for finding in found] == [
        ("unwritable", True)
    ]
    assert not list(server.store.root.glob(".watch-*"))


def test_what_could_not_be_told_is_told_later(server: Server) -> None:
    server.seal(30, 1)
    server.sender(73)
    assert watch(server.config, LOG).not_told
    server.sender()
    watch(server.config, LOG)
    server.seal(1, 2)
    server.sender(73)
    assert watch(server.config, LOG).not_told
    server.sender()
    watch(server.config, LOG)
    assert server.told() == [("incident", "client.laptop.stale"), ("resolved", "client.laptop.stale")]


@pytest.mark.parametrize("damage", [None, "{", '{"ran": 1, "known_since": {}, "open": {"x": {}}}', "[]"])
def test_lost_notes_leave_nothing_open_for_ever(server: Server, damage: str | None) -> None:
    server.seal(30, 1)
    watch(server.config, LOG)
    server.seal(1, 2)
    server.alerts()
    notes = server.root / "watch" / "watch.json"
    notes.unlink()
    if damage is not None:
        notes.write_text(damage)
    watch(server.config, LOG)
    assert ("resolved", "client.laptop.stale") in server.told()
    watch(server.config, LOG)
    assert server.told() == []


def test_a_scrub_that_stopped_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.seal(1, 1)
    assert watch(server.config, LOG).findings == ()
    later = time.time() + 10 * 86400
    monkeypatch.setattr("sedai.server.facts.time.time", lambda: later)
    assert [finding.kind for finding in watch(server.config, LOG).findings] == ["stale", "unread"]
    notes = {"started": 1.0, "read": [later - 86400] * 7, "rotten": {}}
    (server.root / "watch" / "scrub.json").write_text(json.dumps(notes))
    assert [finding.kind for finding in watch(server.config, LOG).findings] == ["stale"]


def test_two_at_once_do_not_meet(server: Server) -> None:
    with lock.exclusive(server.root / "watch" / "watch.lock", "a watch"), pytest.raises(LockedError):
        watch(server.config, LOG)


def test_a_watch_that_fails_says_so_and_that_it_works_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert housekeeping.carry_out("watch", server.config) is ExitCode.CLEAN
    assert server.told() == [("resolved", "server.watch")]  # whether an earlier one failed is not known here
    with monkeypatch.context() as patched:
        patched.setattr("sedai.server.watch.judge", lambda *_: 1 / 0)
        with pytest.raises(SedaiError, match="ZeroDivisionError"):
            housekeeping.carry_out("watch", server.config)
    assert server.told() == [("incident", "server.watch")]
    for _ in range(2):
        assert housekeeping.carry_out("watch", server.config) is ExitCode.CLEAN
    assert server.told() == [("resolved", "server.watch")]


def test_without_a_place_for_its_notes_there_is_no_watch(server: Server) -> None:
    with pytest.raises(ConfigError, match="state_directory"):
        watch(replace(server.config, watch=Watch()), LOG)


def ask(config: ServerConfig, verb: str, **fields: object) -> dict[str, object]:
    """The gate's answer to a client whose clock is right."""
    answers = io.BytesIO()
    request = json.dumps({"protocol": 1, "time": time.time()} | fields).encode() + b"\n"
    Gate(config, "laptop", io.BytesIO(request), answers, LOG).serve(verb)
    result: dict[str, object] = json.loads(answers.getvalue().splitlines()[-1])["result"]
    return result


def status(config: ServerConfig) -> dict[str, object]:
    return ask(config, "status")


def test_the_gate_tells_when_the_watch_ran(server: Server) -> None:
    ran = status(server.config)["watch_ran"]
    assert isinstance(ran, float)
    assert abs(time.time() - ran) < 60
    assert status(replace(server.config, watch=Watch()))["watch_ran"] is None
    assert status(replace(server.config, watch=Watch(server.root / "never")))["watch_ran"] == 0.0


def test_a_watch_that_dies_on_the_way_has_not_run(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    before = status(server.config)["watch_ran"]
    monkeypatch.setattr("sedai.server.watch.judge", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        watch(server.config, LOG)
    assert status(server.config)["watch_ran"] == before


@pytest.mark.parametrize(("age", "code", "said"), [(1, 0, ""), (30, 1, "laptop: no new backup\n")])
def test_the_program(server: Server, age: float, code: int, said: str) -> None:
    server.seal(age, 1)
    config = server.root / "server.toml"
    config.write_text(
        f"""
        store = "{server.config.store}"
        log_file = "{server.config.log_file}"
        alert_command = ["{server.config.alert_command[0]}"]
        [watch]
        state_directory = "{server.root}/watch"
        disk_percent = 100
        disk_days = 0
        [clients.laptop]
        """
    )
    done = subprocess.run(
        [sys.executable, ENTRY, "--config", config, "watch"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, said, "")
