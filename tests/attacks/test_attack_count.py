"""The suite says how much it tried, and can't shrink unnoticed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FEWEST = 150


def test_there_are_enough_attempts() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "--quiet", Path(__file__).parent],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"},
    )
    attempts = {line for line in listed.stdout.splitlines() if "::" in line and Path(__file__).name not in line}
    print(f"{len(attempts)} attempts")
    assert len(attempts) >= FEWEST, listed.stdout + listed.stderr
