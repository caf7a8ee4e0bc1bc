"""What rsync prints, understood; and rsync ended with the run, whatever hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sedai.client import send
from sedai.client.send import parse_line
from sedai.core import lock
from sedai.core.errors import StoppedError

DIGEST = b"eefac9d87100cd1336b2e733a5484425"
NONE = b" " * 32


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"<f+++++++++|" + DIGEST + b"|12|etc/hosts\n", (b"etc/hosts", DIGEST, 12)),
        (b"<f+++++++++|" + DIGEST + b"|1|n\\#012l\\#351\n", (b"n\nl\xe9", DIGEST, 1)),
        (b"<f+++++++++|" + DIGEST + b"|1|a|b\n", (b"a|b", DIGEST, 1)),
        (b"<f+++++++++|" + DIGEST + b"|1|\\#134#012\n", (b"\\#012", DIGEST, 1)),
        (b"cd+++++++++|" + NONE + b"|4096|etc/\n", (b"etc", b"", 4096)),
        (b"hf+++++++++|" + NONE + b"|12|a\n", (b"a", b"", 12)),
        (b"created directory /tmp/t\n", None),
        (b"\n", None),
    ],
)
def test_a_line_of_rsync(line: bytes, expected: tuple[bytes, bytes, int] | None) -> None:
    assert parse_line(line) == expected


def test_rsync_holds_the_locks_that_it_is_given(tmp_path: Path) -> None:
    """Whatever becomes of this program."""
    place = tmp_path / "restore.lock"
    with lock.exclusive(place, "This") as held:
        sent = send.Sent()
        test = f"test /proc/self/fd/{held} -ef {place}"
        send.push(["sh", "-c", test], [], sent, lambda size: None, (held,))
        assert sent.status == 0
        send.push(["sh", "-c", test], [], sent, lambda size: None)
        assert sent.status == 1


@pytest.fixture
def stopped_soon() -> Iterator[None]:
    """A signal that ends the run like SIGTERM, in a moment."""

    def stopped(number: int, frame: object) -> None:
        raise StoppedError("told to stop")

    before = signal.signal(signal.SIGALRM, stopped)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


# As with a server that hangs: another program, which nobody ends, holds rsync's stderr (the SSH master does).
HANGING = "sleep 30 <&- >&- & echo $$ $! >&3; exec sleep 30"
# One that hears no TERM.
DEAF = "trap '' TERM; : & echo $$ $! >&3; while :; do sleep 0.1; done"


@pytest.mark.parametrize("script", [HANGING, DEAF], ids=["hanging", "deaf"])
def test_a_run_that_is_stopped_ends_rsync_and_waits_for_nobody(
    script: str, stopped_soon: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "_END_SECONDS", 0.5)
    pids = tmp_path / "pids"
    started = time.monotonic()
    with pytest.raises(StoppedError):
        send.push(["sh", "-c", f"exec 3>{pids}; {script}"], iter([b"a"]), send.Sent(), lambda count: None)
    assert time.monotonic() - started < 5
    rsync, other = map(int, pids.read_text().split())
    with pytest.raises(ProcessLookupError):
        os.kill(rsync, 0)
    if script is HANGING:
        os.kill(other, signal.SIGKILL)
        for reader in set(threading.enumerate()) - {threading.current_thread()}:
            reader.join(5)


class Beside:
    """A push of a script in a thread of its own, begun when the script runs; it says its own number and another."""

    def __init__(self, script: str, running: send.Running, place: Path) -> None:
        argv = ["sh", "-c", f"exec 3>{place}.new; mv {place}.new {place}; {script}"]
        self.sent = send.Sent()
        self.thread = threading.Thread(
            target=send.push, args=(argv, iter([b"a"]), self.sent, lambda size: None), kwargs={"running": running}
        )
        self.thread.start()
        deadline = time.monotonic() + 10
        while not place.exists() or not place.read_text().endswith("\n"):
            assert time.monotonic() < deadline, "it did not begin"
            time.sleep(0.01)
        self.rsync, self.other = map(int, place.read_text().split())


PATIENT = "echo $$ $$ >&3; exec sleep 60"


@pytest.mark.parametrize("script", [PATIENT, HANGING, DEAF], ids=["patient", "hanging", "deaf"])
def test_runs_of_other_threads_are_ended(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, and nobody waits for a server that hangs."""
    monkeypatch.setattr(send, "_END_SECONDS", 0.5)
    running = send.Running()
    pushes = [Beside(script, running, tmp_path / name) for name in ("first", "second")]
    running.end()
    for each in pushes:
        each.thread.join(5)
        assert not each.thread.is_alive()
        assert each.sent.status == (-signal.SIGKILL if script is DEAF else -signal.SIGTERM)
        with pytest.raises(ProcessLookupError):
            os.kill(each.rsync, 0)
        if script is HANGING:
            os.kill(each.other, signal.SIGKILL)
    for reader in set(threading.enumerate()) - {threading.current_thread()}:
        reader.join(5)


def test_who_begins_after_the_end_comes_back_at_once() -> None:
    running, sent = send.Running(), send.Sent()
    running.end()
    started = time.monotonic()
    send.push(["sleep", "60"], iter(()), sent, lambda size: None, running=running)
    assert time.monotonic() - started < 5
    assert sent.status < 0


def test_a_run_that_came_to_its_end_is_not_ended_again() -> None:
    """Its number may be another's by then."""
    running, sent = send.Running(), send.Sent()
    send.push(["true"], iter(()), sent, lambda size: None, running=running)
    assert sent.status == 0
    assert running._processes == set()
    running.end()


def test_the_pipes_are_closed_at_the_end(tmp_path: Path) -> None:
    sent = send.Sent()
    line = "<f+++++++++|eefac9d87100cd1336b2e733a5484425|12|etc/hosts"
    no_loss = "Control socket connect(/tmp/s): Connection refused"
    argv = ["sh", "-c", f"cat >{tmp_path}/fed; echo '{line}'; echo complaint >&2; echo '{no_loss}' >&2; exit 23"]
    before = len(os.listdir("/proc/self/fd"))
    send.push(argv, iter([b"etc/hosts"]), sent, lambda count: None)
    assert len(os.listdir("/proc/self/fd")) <= before  # what earlier tests left may be closed meanwhile
    assert (tmp_path / "fed").read_bytes() == b"etc/hosts\0"
    assert (sent.status, sent.complaints) == (23, ["complaint"])
    assert list(sent.digests) == [b"etc/hosts"]


@pytest.mark.parametrize("kept", ["put into partial-dir", "discarded", "retained"])
def test_what_rsync_tries_again_by_itself_is_no_complaint(kept: str) -> None:
    """As of a part that a full disk has left: where the second try fails too, that is an error of its own."""
    said = f"home/a file failed verification -- update {kept}"
    script = f"echo 'WARNING: {said} (will try again).' >&2; echo 'ERROR: {said}.' >&2; exit 23"
    sent = send.Sent()
    send.push(["sh", "-c", script], iter(()), sent, lambda count: None)
    assert sent.complaints == [f"ERROR: {said}."]


def test_rsync_ends_with_a_run_that_is_killed(tmp_path: Path) -> None:
    """Its parent can't end it then: the kernel does."""
    pid = tmp_path / "pid"
    script = f"echo $$ >{pid}.new; mv {pid}.new {pid}; exec sleep 60"
    code = f"from sedai.client import send\nsend.push(['sh', '-c', {script!r}], iter(()), send.Sent(), print)"
    scripts = Path(send.__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code], env={"PYTHONPATH": str(scripts)}) as run:
        while not pid.exists():
            assert run.poll() is None
            time.sleep(0.01)
        run.kill()
    rsync = Path("/proc", pid.read_text().strip(), "cmdline")
    deadline = time.monotonic() + 10
    while rsync.exists() and rsync.read_bytes():  # what has ended and is not waited for has no words
        assert time.monotonic() < deadline, "it lives on"
        time.sleep(0.01)


@pytest.mark.timeout(60)
def test_a_transfer_in_which_nothing_moves_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its other side may be gone without rsync, or ssh, being able to see it."""
    monkeypatch.setattr(send, "_STALLED_SECONDS", 0.6)
    monkeypatch.setattr(send, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(send, "_END_SECONDS", 1.0)
    for begin in ("", "signal.signal(signal.SIGTERM, signal.SIG_IGN); "):
        sent = send.Sent()
        work = f"import signal, time; {begin}time.sleep(1000)"
        send.push([sys.executable, "-c", work], iter(()), sent, lambda count: None)
        assert sent.status == (-signal.SIGKILL if begin else -signal.SIGTERM)
        assert sent.complaints == ["Nothing moved for 0 minutes: rsync was ended."]


def test_a_transfer_in_which_a_child_moves_something_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(send, "_STALLED_SECONDS", 0.6)
    monkeypatch.setattr(send, "_LOOK_SECONDS", 0.1)
    work = "import os, time\nfor _ in range(25):\n os.write(3, b'x'); time.sleep(0.1)"
    script = f'exec 3>{tmp_path}/out; {sys.executable} -c "$1" & wait; exit 23'
    sent = send.Sent()
    send.push(["sh", "-c", script, "sh", work], iter(()), sent, lambda count: None)
    assert (sent.status, sent.complaints) == (23, [])
