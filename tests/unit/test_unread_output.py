"""Nobody reads what a program prints to its end, as with `| head`: that is no error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sedai.core import output
from sedai.core.errors import ExitCode

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
PROGRAMS = ("backup_data", "backup_status", "check_backup_integrity", "restore_data", "restore_drill", "sedai_server")


def unread(*command: str, with_stderr: bool = False) -> tuple[int, str]:
    """How ``command`` ends, and what it complains of, where nobody reads what it prints."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        stderr = writing if with_stderr else subprocess.PIPE
        # Buffered, as from a person's shell.
        done = subprocess.run([sys.executable, *command], stdout=writing, stderr=stderr, text=True, check=False,
                              env=os.environ | {"PYTHONUNBUFFERED": ""})  # fmt: skip
    finally:
        os.close(writing)
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_ends_silently(name: str) -> None:
    assert unread(str(SCRIPTS / f"{name}.py"), "--help") == (output.UNREAD, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_full_disk_is_told_and_is_no_finding(name: str, unbuffered: str) -> None:
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([sys.executable, str(SCRIPTS / f"{name}.py"), "--help"], stdout=full, stderr=subprocess.PIPE,
                              text=True, check=False, env=os.environ | {"PYTHONUNBUFFERED": unbuffered})  # fmt: skip
    assert done.returncode == ExitCode.NOT_DONE
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_mails_too() -> None:
    assert unread(str(SCRIPTS / "send_alert_email.py"), "config", "--help") == (output.UNREAD, "")


@pytest.mark.parametrize("with_stderr", [False, True])
def test_what_is_printed_with_colours_too(tmp_path: Path, with_stderr: bool) -> None:
    config = tmp_path / "client.toml"
    config.write_text(
        f'client = "laptop"\nstate_directory = "{tmp_path}/state"\nlog_file = "{tmp_path}/log"\n'
        f'[server]\nhost = "127.0.0.1"\nport = 1\nidentity_file = "{tmp_path}/key"\n'
        f'known_hosts_file = "{tmp_path}/known"\n[[sources]]\npath = "/etc"\n',
        encoding="utf-8",
    )
    program = str(SCRIPTS / "backup_status.py")
    assert unread(program, "--config", str(config), with_stderr=with_stderr) == (output.UNREAD, "")


@pytest.mark.parametrize("module", ["sedai.client.program", "sedai_server"])
def test_another_pipe_that_broke_is_told(module: str) -> None:
    """In a program of its own: it takes stdout away."""
    break_it = "def main(): raise BrokenPipeError(32, 'Broken pipe')"
    end = {"sedai.client.program": "program.exit_with(main)",
           "sedai_server": "program.main = main; sys.exit(output.exit_code(program.ended))"}[module]  # fmt: skip
    source = f"import importlib, sys; sys.path.insert(0, {str(SCRIPTS)!r}); from sedai.core import output\n"
    source += f"program = importlib.import_module({module!r})\n{break_it}\n{end}\n"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (ExitCode.NOT_DONE, "")
    assert "Broken pipe" in done.stderr and "Traceback" not in done.stderr
    assert unread("-c", source.replace("raise", "print('x', flush=True); raise")) == (output.UNREAD, "")
