"""The benchmark itself: it measures, judges, and leaves nothing behind, however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import bounds
from labkit.system import as_root

ROOT = Path(__file__).parents[2]
SMALL = ("--workloads", "W3", "--scale", "0.001", "--rounds", "1", "--tools", "sedai,rsync,floors")


def left_behind() -> list[str]:
    """What a run may have left on this machine: directories, mounts, the account, control groups, counters."""
    found = [str(path) for path in Path("/var/tmp").glob("sedai-bench-*")]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if "sedai-bench" in line]
    found += [line for line in Path("/etc/passwd").read_text().splitlines() if line.startswith("sedai-bench")]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob("**/sedai-bench-*")]
    tables = subprocess.run(as_root(["nft", "list", "tables"]), capture_output=True, text=True, check=True).stdout
    return found + [line for line in tables.splitlines() if "sedai_bench" in line]


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """After each test the machine is as it was."""
    yield
    assert left_behind() == []


def test_ours_is_within_its_bounds() -> None:
    done = subprocess.run(["make", "bench-quick"], cwd=ROOT, capture_output=True, text=True, check=False)
    sys.stdout.write(done.stdout + done.stderr)  # pytest shows it where the test fails
    assert done.returncode == 0
    judged = re.findall(r"^(ok|WORSE|-) +W\d ", done.stdout, re.MULTILINE)
    assert len(judged) == len(bounds.read(bounds.PATH))
    assert "ok" in judged


def start(*words: str) -> subprocess.Popen[str]:
    """A small run of the benchmark, in a session of its own so that a signal reaches all of it as from a keyboard."""
    return subprocess.Popen(
        as_root([sys.executable, f"{ROOT}/benchmarks/run.py", *SMALL, *words]),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", [(), ("--memory", "1")], ids=["disk", "memory"])
def test_nothing_is_left_when_it_is_stopped(number: signal.Signals, place: tuple[str, ...]) -> None:
    running = start(*place)
    assert running.stdout is not None
    for line in running.stdout:
        if "changed 1: " in line:
            assert left_behind() != []
            subprocess.run(as_root(["kill", f"-{number.value}", "--", f"-{os.getpgid(running.pid)}"]), check=True)
            break
    rest = running.stdout.read()
    assert running.wait() == 3, rest
    assert "everything was taken away" in rest


def test_results_are_written(tmp_path: Path) -> None:
    running = start("--output", str(tmp_path))
    words, _ = running.communicate()
    assert running.returncode == 0, words
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "results.md", "results.png"}
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")
    table = (tmp_path / "results.md").read_text(encoding="utf-8")
    row = re.search(r"^\| sedai \|( [0-9.]+ \|){7}$", table, re.MULTILINE)
    assert row, table
