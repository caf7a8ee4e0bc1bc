"""The one place where subprocesses are started: what comes back, what is masked, and what never stays behind."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from sedai.core.errors import ConfigError, ExitCode, ProcessError
from sedai.core.process import environment, run, start

SCRIPTS = Path(__file__).parents[3] / "scripts"


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether the process ``pid`` ends within ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_output_and_status_come_back() -> None:
    done = run(["sh", "-c", "printf out; printf err >&2; exit 3"], success=(0, 3))
    assert (done.status, done.stdout, done.stderr) == (3, b"out", b"err")


def test_output_goes_where_it_is_told() -> None:
    with tempfile.TemporaryFile() as stream:
        done = run(["sh", "-c", "printf out; printf err >&2"], stdout=stream)
        assert (done.stdout, done.stderr) == (b"", b"err")
        stream.seek(0)
        assert stream.read() == b"out"


@pytest.mark.parametrize("size", [0, 1, 1 << 20])
def test_bytes_and_files_are_fed(size: int, tmp_path: Path) -> None:
    given = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert run(["cat"], stdin=given).stdout == given
    path = tmp_path / "given"
    path.write_bytes(given)
    with path.open("rb") as stream:
        assert run(["cat"], stdin=stream).stdout == given


def test_a_program_that_does_not_read_its_input_is_no_error() -> None:
    assert run(["true"], stdin=b"x" * (1 << 20)).status == 0


def test_without_input_there_is_none() -> None:
    assert run(["cat"], timeout=20).stdout == b""


def test_names_that_are_no_text_reach_the_program() -> None:
    assert run([b"printf", b"%s", b"\xff\n"]).stdout == b"\xff\n"


def test_a_failure_tells_the_command_the_status_and_the_last_words() -> None:
    with pytest.raises(ProcessError) as caught:
        run(["sh", "-c", "for i in $(seq 1 30); do echo word $i >&2; done; exit 7"])
    assert (caught.value.status, caught.value.exit_code) == (7, ExitCode.NOT_DONE)
    assert "status 7" in caught.value.message and "sh -c" in caught.value.message
    assert "word 30" in caught.value.stderr and "word 22\n" not in caught.value.stderr


@pytest.mark.parametrize("secret", ["plain", "first'second", "two words", "a$b`c\\", 'say "x"', "秘密"])
def test_a_secret_is_in_no_text_of_an_error(secret: str) -> None:
    with pytest.raises(ProcessError) as caught:
        run(["sh", "-c", 'echo "no such password: $1" >&2; exit 1', "sh", secret], secrets=["", secret])
    for text in (str(caught.value), caught.value.stderr, repr(caught.value)):
        assert secret not in text
        for piece in secret.split("'"):
            assert piece not in text
    assert "********" in caught.value.message and "********" in caught.value.stderr


def test_a_secret_is_masked_when_the_time_is_over() -> None:
    with pytest.raises(ProcessError) as caught:
        run(["sh", "-c", "exec sleep 60", "it's secret"], secrets=["it's secret"], timeout=0.2)
    assert caught.value.status == -1 and "secret" not in str(caught.value)


def test_what_takes_too_long_is_killed_with_its_own_status(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    begun = time.monotonic()
    with pytest.raises(ProcessError) as caught:
        # The background child keeps the pipes open: nobody may wait for it.
        run(["sh", "-c", f"sleep 30 & echo $$ > {pidfile}; exec sleep 60"], timeout=0.5)
    assert time.monotonic() - begun < 10
    assert caught.value.status == -1 and "did not end within" in caught.value.message
    assert gone(int(pidfile.read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_running(number: signal.Signals, tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    code = f"""
import signal, sys
sys.path.insert(0, {str(Path(__file__).parents[3] / "scripts")!r})
from sedai.client.program import exit_with
from sedai.core.process import run
exit_with(lambda: run(["sh", "-c", "trap '' INT; echo $$ > {pidfile}.new; mv {pidfile}.new {pidfile}; sleep 60"]))
"""
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, start_new_session=True) as process:
        while not pidfile.exists():
            time.sleep(0.02)
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    assert process.returncode == ExitCode.NOT_DONE, said
    assert gone(int(pidfile.read_text()))


def test_a_program_that_is_not_there_is_named() -> None:
    for argv in (["no-such-program", "x"], [b"no-such-program", b"x"]):
        with pytest.raises(ProcessError) as caught:
            run(argv)
        assert (caught.value.status, caught.value.message) == (127, "no-such-program is not installed.")


def test_a_program_that_may_not_be_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "program").write_text("x")
    with pytest.raises(ProcessError) as caught:
        run([str(tmp_path / "program")])
    assert caught.value.status == 126 and "Permission denied" in caught.value.message


def test_the_environment_is_small_and_the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "from outside")
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    seen = dict(
        line.split("=", 1) for line in run(["env"], extra_environment={"EXTRA": "1"}).stdout.decode().splitlines()
    )
    assert seen.items() >= environment().items() and seen["EXTRA"] == "1" and seen["LANG"] == "C.UTF-8"
    assert "PGPASSWORD" not in seen and "LC_ALL" not in seen


def test_a_started_program_runs_on(tmp_path: Path) -> None:
    process = start(["sleep", "60"])
    assert process.poll() is None
    process.kill()
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("function", [run, start])
def test_an_account_that_is_not_there_is_a_matter_of_configuration(function: object) -> None:
    with pytest.raises(ConfigError, match="no account 'no-such-account'"):
        function(["true"], run_as="no-such-account")  # type: ignore[operator]


def test_the_own_account_needs_no_right() -> None:
    own = pwd.getpwuid(os.geteuid()).pw_name
    assert run(["id", "-un"], run_as=own).stdout.decode().strip() == own


def test_another_account_is_taken_whole_or_refused(tmp_path: Path) -> None:
    account = pwd.getpwnam("nobody")
    argv = ["sh", "-c", 'id -u; id -g; id -G; echo "$HOME"; pwd']
    if os.geteuid() != 0:
        with pytest.raises(ProcessError, match="can't be started as nobody"):
            run(argv, run_as="nobody")
        return
    secret = tmp_path / "secret"
    secret.write_text("for root")
    secret.chmod(0o600)
    with secret.open("rb") as stream:  # what root opened, the account may read: dumps reach it like this
        assert run(["cat"], stdin=stream, run_as="nobody").stdout == b"for root"
    with pytest.raises(ProcessError):
        run(["cat", str(secret)], run_as="nobody")
    groups = " ".join(map(str, sorted(os.getgrouplist("nobody", account.pw_gid))))
    answer = run(argv, run_as="nobody").stdout.decode().splitlines()
    answer[2] = " ".join(sorted(answer[2].split(), key=int))
    assert answer == [str(account.pw_uid), str(account.pw_gid), groups, account.pw_dir, "/"]


def test_at_idle_priority_so_is_what_is_started() -> None:
    program = (
        "import os, subprocess; from sedai.core.process import be_idle; be_idle();"
        "print(os.nice(0), subprocess.check_output(['sh', '-c', 'nice; ionice'], text=True).split())"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env=environment({"PYTHONPATH": str(SCRIPTS)}),
    )  # fmt: skip
    assert found.stdout.strip() == "19 ['19', 'idle']"
