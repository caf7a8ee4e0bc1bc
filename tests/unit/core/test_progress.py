"""Progress: bars on a terminal, one line a phase elsewhere, nothing when quiet."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sedai.core.progress import size

SCRIPTS = Path(__file__).parents[3] / "scripts"
PROGRAM = textwrap.dedent("""
    import sys, time
    from sedai.core.progress import Reporter
    reporter = Reporter(quiet="--quiet" in sys.argv)
    reporter.say("scan: done")
    for _ in reporter.counted("scan", iter(range(5000)), 6000):
        time.sleep(0.0001)
    with reporter.transfer("send", 2, 3 << 20) as advance:
        for _ in range(2):
            advance(3 << 19)
            time.sleep(0.15)
    asked = []
    with reporter.watched("dump", 4 << 20) as watch:
        watch(lambda: asked.append(0) or len(asked) << 17)
        while reporter.live and len(asked) < 12:
            time.sleep(0.05)
""")


def on_a_terminal(*arguments: str) -> str:
    """What the program writes to a terminal of its own."""
    terminal, theirs = pty.openpty()
    environment = {"PYTHONPATH": str(SCRIPTS), "TERM": "xterm", "LANG": "C.UTF-8", "COLUMNS": "120"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the other side has gone
        while chunk := os.read(terminal, 4096):
            shown += chunk
    os.close(terminal)
    assert process.wait() == 0, shown.decode()
    return shown.decode()


def test_a_terminal_gets_files_bytes_rate_and_time_left() -> None:
    shown = on_a_terminal()
    assert "scan: done" in shown
    shown, watched = shown.split("dump", 1)
    assert re.search(r"1\.\d/4\.2 MB [\d.]+ [kM]B/s 0:00:\d", re.sub(r"\x1b\[[\d;]*m", "", watched))
    counted, shown = shown.split("send", 1)
    assert re.search(r"[1-9]\d+/6000 [\d,]+/s 0:00:0\d", re.sub(r"\x1b\[[\d;]*m", "", counted))
    assert "2/2" in shown
    assert "3.1/3.1 MB" in shown
    assert "MB/s" in shown
    assert ":" in shown.split("MB/s")[-1]


def test_quiet_says_nothing() -> None:
    assert on_a_terminal("--quiet") == ""


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 19, "1.5 MiB"), (1 << 50, "1024.0 TiB")]
)
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert size(count) == text
