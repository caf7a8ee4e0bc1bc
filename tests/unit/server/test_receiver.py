"""The end of a transfer: nothing that it started is alive, and nothing that it left behind is waited for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"
RUN = "import sys; from sedai.server import receiver; sys.exit(receiver.run(sys.argv[1:]))"


@pytest.mark.timeout(60)
def test_what_is_left_when_the_first_process_died_is_ended() -> None:
    """Of rsync's two processes one may be killed: the other then waits for it, and the client for both."""
    left = "trap '' TERM; sleep 1000 & sh -c 'sleep 1000 & echo $!; wait' & echo $! $!; kill -9 $$"
    done = subprocess.run(
        [sys.executable, "-c", RUN, "sh", "-c", left],
        env={"PYTHONPATH": str(SCRIPTS), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
    )
    assert done.returncode not in (0, None)
    pids = done.stdout.split()
    assert pids
    assert not [pid for pid in pids if Path("/proc", pid.decode()).exists()]
