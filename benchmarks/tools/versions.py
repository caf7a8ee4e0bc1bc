"""What a program says of its version."""

from __future__ import annotations

import re
import subprocess


def first_version(*command: str) -> str:
    """The first thing in its output that looks like a version; empty where there is none."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else ""
