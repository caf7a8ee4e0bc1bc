"""Around a program's work: exit codes, the run record, and an alert for everything that is not clean."""

from __future__ import annotations

import errno
import json
import logging
import re
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sedai.client.alerts import Outbox
from sedai.client.config import ClientConfig, Server, Source
from sedai.client.connection import Connection, _unreachable
from sedai.client.messages import Alert
from sedai.client.program import Context, Result, carry_out, exit_with
from sedai.client.state import State
from sedai.core.errors import (
    ExitCode,
    LockedError,
    NoAnswerError,
    PausedError,
    ProtocolError,
    SedaiError,
    ServerError,
    UnreachableError,
    UsageError,
)

LOG = logging.getLogger("test")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A client whose server refuses connections (port 1 of this machine)."""
    server = Server("127.0.0.1", tmp_path / "key", tmp_path / "known", port=1)
    config = ClientConfig("laptop", tmp_path / "state", tmp_path / "log", server, (Source(Path("/etc")),))
    state = State(config.state_directory)
    state.prepare()
    return Context(config, state, Outbox(tmp_path / "alerts", LOG), LOG)


def raising(error: Exception) -> Callable[[], Result]:
    """Work that fails."""

    def work() -> Result:
        raise error

    return work


@pytest.mark.parametrize(
    ("work", "code", "words"),
    [
        (Result, ExitCode.CLEAN, None),
        (lambda: Result(["/etc/x could not be read"]), ExitCode.FINDINGS, "1 finding"),
        (lambda: Result(["`thaw` failed"], incident="after_failed"), ExitCode.NOT_DONE, "a command after it FAILED"),
        (raising(SedaiError("no server")), ExitCode.NOT_DONE, "backup FAILED"),
        (raising(LockedError("pid 7 is at it")), ExitCode.NOT_DONE, "backup FAILED"),
        (raising(UsageError("no such thing")), ExitCode.USAGE, "backup FAILED"),
        (raising(PausedError("on a new machine")), ExitCode.USAGE, "NO backup, backups are paused"),
        (raising(ZeroDivisionError("a bug")), ExitCode.NOT_DONE, "backup FAILED"),
    ],
)
def test_every_end_has_its_code_its_record_and_its_alert(
    context: Context, work: Callable[[], Result], code: ExitCode, words: str | None
) -> None:
    assert carry_out("backup", context, work, "run-this")[0] is code
    [run] = context.state.runs()
    assert (run["program"], run["exit"]) == ("backup", int(code))
    waiting = [json.loads(path.read_text()) for path in context.outbox.waiting()]
    assert len(waiting) == 1
    if words is None:
        assert (waiting[0]["incident"], waiting[0]["resolved"]) == ("", "backup")
    else:
        assert words in waiting[0]["subject"]
        assert "run-this" in waiting[0]["body"]
        assert (waiting[0]["incident"], waiting[0]["resolved"]) == ("backup", "")


def test_what_a_finding_needs_is_told_before_the_command(context: Context) -> None:
    result = Result(["x"], advice={"en": "Write this:\n  - x", "ja": "次のように書きます:"})
    carry_out("backup", context, lambda: result, "run-this")
    [alert] = [json.loads(path.read_text()) for path in context.outbox.waiting()]
    assert "Write this:\n  - x\nThen on this machine:\nrun-this\n" in alert["body"]


@pytest.mark.parametrize(
    ("language", "question"), [("en", "Is the server switched on"), ("ja", "サーバーの電源は入っていて")]
)
def test_where_nothing_answers_a_mail_asks_whether_it_is_on(context: Context, language: str, question: str) -> None:
    context = replace(context, config=replace(context.config, language=language))

    def work() -> Result:
        with Connection(context.config.server) as connection:
            connection.ask("list", {})
        return Result()

    assert carry_out("backup", context, work, "run-this")[0] is ExitCode.NOT_DONE
    carry_out("backup", context, raising(UnreachableError("Permission denied", "Try: ssh")), "run-this")
    off, refused = (json.loads(path.read_text())["body"] for path in context.outbox.waiting())
    assert question in off.split("\n\n")[0] and question not in refused


@pytest.mark.parametrize(
    ("complaint", "asked"),
    [
        ("ssh: connect to host x port 22: Connection refused", True),
        ("ssh: connect to host x port 22: Connection timed out", True),
        ("ssh: connect to host x port 22: No route to host", True),
        ("Connection to 127.0.0.1 port 22 timed out", True),
        ("Permission denied (publickey).", False),
        ("Host key verification failed.", False),
        ("", False),
    ],
)
def test_only_where_nothing_answers_it_is_asked_whether_the_server_is_on(
    context: Context, complaint: str, asked: bool
) -> None:
    error = _unreachable(context.config.server, complaint)
    assert isinstance(error, NoAnswerError) is asked
    assert error.hint.startswith("Is the server switched on, and on the network?\nTry: ssh " if asked else "Try: ssh ")


def incidents(context: Context) -> list[tuple[str, str]]:
    """What waits for the server: of each alert its incident, and the one that is over."""
    alerts = [json.loads(path.read_text()) for path in context.outbox.waiting()]
    return [(alert["incident"], alert["resolved"]) for alert in alerts]


def test_that_it_is_over_is_told_once(context: Context) -> None:
    failing = raising(SedaiError("no server"))
    for work in (failing, failing, Result, Result, Result, failing, Result):
        carry_out("backup", context, work, "c")
    once = [("backup", ""), ("", "backup")]
    assert incidents(context) == [("backup", ""), *once, *once]


def test_another_program_s_clean_run_ends_nothing(context: Context) -> None:
    carry_out("check", context, raising(SedaiError("rot")), "c", key="check-full-all")
    carry_out("check", context, Result, "c", key="check-quick-latest")
    assert incidents(context) == [("check-full-all", ""), ("", "check-quick-latest")]


@pytest.mark.parametrize("key", ["../../x", "check-quick-2026 \n世代", "-x", "x" * 300])
def test_any_key_is_made_one_that_the_server_takes(context: Context, key: str) -> None:
    carry_out("check", context, raising(SedaiError("x")), "c", key=key)
    carry_out("check", context, Result, "c", key=key)
    (made, _), (_, over) = incidents(context)
    assert made == over
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", made)
    assert [path.parent.name for path in context.outbox.waiting()[0].parent.glob("clean/*")] == ["clean"]


def test_a_full_disk_does_not_hide_that_it_is_over(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure went out from memory; the next clean run still tells that it is over."""
    carry_out("backup", context, Result, "c")
    for path in context.outbox.waiting():
        path.unlink()

    def full(path: Path, text: str) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("sedai.client.alerts.write_atomically", full)
        carry_out("backup", context, raising(SedaiError("disk full")), "c")
        carry_out("backup", context, Result, "c")
    assert incidents(context) == []
    carry_out("backup", context, Result, "c")
    assert incidents(context) == [("", "backup")]


def test_a_full_disk_is_called_one(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    carry_out("backup", context, raising(OSError(errno.ENOSPC, "No space left on device")), "c")
    [waiting] = context.outbox.waiting()
    for said in (capsys.readouterr().err, json.loads(waiting.read_text())["body"]):
        assert "A disk of this machine is full.\nFree some space on it, then run it again.\n" in said


def test_a_run_that_can_t_be_recorded_is_still_told(context: Context) -> None:
    (context.state.root / "runs.jsonl").mkdir()
    assert carry_out("backup", context, raising(SedaiError("disk full")), "c")[0] is ExitCode.NOT_DONE
    assert len(context.outbox.waiting()) == 1


class Gate:
    """Takes alerts like the server's gate; ``refuse`` holds what it says of a subject instead."""

    def __init__(self, refuse: dict[str, SedaiError]) -> None:
        self.refuse = refuse
        self.taken: list[str] = []

    def ask(self, verb: str, request: dict[str, Any]) -> dict[str, Any]:
        assert verb == "alert"
        if request["subject"] in self.refuse:
            raise self.refuse[request["subject"]]
        self.taken.append(request["subject"])
        return {"alert": "delivered"}


def fill(context: Context) -> Outbox:
    """Three alerts that wait."""
    for subject in ("one", "two", "three"):
        context.outbox.send(Alert(subject, "body"), context.config)
    assert len(context.outbox.waiting()) == 3
    return context.outbox


def test_the_last_that_was_taken_is_remembered(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = fill(context)
    assert outbox.last() is None
    outbox.flush(Gate({"three": UnreachableError("gone")}))  # type: ignore[arg-type]
    last = outbox.last()
    assert last is not None and last.subject == "two" and abs(last.taken - time.time()) < 60

    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("sedai.client.alerts.write_atomically", full)
        outbox.flush(Gate({}))  # type: ignore[arg-type]
    assert outbox.waiting() == []
    assert outbox.last() == last


def test_alerts_are_delivered_in_order_once(context: Context) -> None:
    outbox, gate = fill(context), Gate({})
    outbox.flush(gate)  # type: ignore[arg-type]
    outbox.flush(gate)  # type: ignore[arg-type]
    assert gate.taken == ["one", "two", "three"]
    assert outbox.waiting() == []


def test_the_incident_goes_along(context: Context) -> None:
    requests: list[dict[str, Any]] = []

    class Listening(Gate):
        def ask(self, verb: str, request: dict[str, Any]) -> dict[str, Any]:
            requests.append(request)
            return super().ask(verb, request)

    context.outbox.send(Alert("plain", "b"), context.config)
    context.outbox.send(Alert("wrong", "b", incident="backup"), context.config)
    context.outbox.resolve(Alert("over", "b", resolved="backup"), context.config)
    old = context.outbox.waiting()[0].with_name("1.json")
    old.write_text('{"subject": "kept by an earlier version", "body": "b"}')
    context.outbox.flush(Listening({}))  # type: ignore[arg-type]
    assert [request | {"body": ""} for request in requests] == [
        {"subject": "kept by an earlier version", "body": ""},
        {"subject": "plain", "body": ""},
        {"subject": "wrong", "body": "", "incident": "backup"},
        {"subject": "over", "body": "", "resolved": "backup"},
    ]


def test_an_alert_that_is_never_taken_holds_nothing_up(context: Context) -> None:
    outbox, gate = fill(context), Gate({"one": UsageError("too long")})
    outbox.waiting()[1].write_text("{damaged")
    outbox.flush(gate)  # type: ignore[arg-type]
    assert gate.taken == ["three"]
    assert outbox.waiting() == []
    assert [path.suffix for path in outbox.set_aside()] == [".refused", ".refused"]


def test_how_long_nothing_gets_through(context: Context) -> None:
    now = time.time()
    assert context.outbox.stuck_seconds(now) == 0.0
    outbox, gate = fill(context), Gate({"one": UsageError("too long")})
    oldest = outbox.waiting()[0]
    oldest.rename(oldest.with_stem(str(int((now - 5000) * 1e9))))
    oldest.with_name("own.json").touch()  # not of ours
    assert outbox.stuck_seconds(now) == pytest.approx(5000, abs=1)
    assert outbox.stuck_seconds(now - 6000) == 0.0, "the clock was set back"
    outbox.flush(gate)  # type: ignore[arg-type]
    assert gate.taken == ["two", "three"]
    assert outbox.stuck_seconds(now) == pytest.approx(5000, abs=1), "one that was set aside is not delivered"
    for path in outbox.set_aside():
        path.unlink()
    assert outbox.stuck_seconds(now) == 0.0


@pytest.mark.parametrize("refusal", [ServerError("no space"), ProtocolError("half upgraded")])
def test_what_the_server_can_t_take_now_waits_with_all_behind_it(context: Context, refusal: SedaiError) -> None:
    outbox, gate = fill(context), Gate({"two": refusal})
    outbox.flush(gate)  # type: ignore[arg-type]
    assert gate.taken == ["one"]
    assert len(outbox.waiting()) == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError("x"), 2), (SedaiError("x"), 3), (OSError("x"), 3), (KeyboardInterrupt(), 3)],
)
def test_no_error_ends_a_program_with_a_wrong_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> ExitCode:
        raise error

    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            exit_with(work)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == code
    assert capsys.readouterr().err


@pytest.mark.parametrize(("hours", "due"), [(23.9, False), (24.1, True), (-1, True)])
def test_a_run_is_due_a_day_after_the_last_began(
    context: Context, hours: float, due: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert context.state.is_due("backup")
    context.state.record_run({"program": "backup", "exit": 0, "started": 1_000_000.0, "ended": 1_000_000.0 + 7200})
    context.state.record_run({"program": "backup", "exit": 3, "started": 1_080_000.0, "ended": 1_080_000.0})
    monkeypatch.setattr("sedai.client.state.time.time", lambda: 1_000_000.0 + hours * 3600)
    assert context.state.is_due("backup") is due
    assert context.state.is_due("check")
