"""What all programs have in common."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sedai import __version__

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(path.name for path in (ROOT / "scripts").iterdir() if path.is_file())


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs for the Python of the tests: the one that they name has no modules on a control node."""
    directory = tmp_path_factory.mktemp("scripts")
    (directory / "sedai").symlink_to(ROOT / "scripts/sedai")
    for name in PROGRAMS:
        text = (ROOT / "scripts" / name).read_text(encoding="utf-8")
        (directory / name).write_text(text.replace("#!/usr/bin/python3\n", f"#!{sys.executable}\n"), encoding="utf-8")
        (directory / name).chmod(0o755)
    return directory


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_prints_its_version_and_nothing_else(scripts: Path, name: str) -> None:
    # The wrapper that the role installs names the configuration first.
    configuration = ["/not/there"] if name == "send_alert_email.py" else []
    done = subprocess.run(
        [scripts / name, *configuration, "--version"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"sedai {__version__}\n", "")
