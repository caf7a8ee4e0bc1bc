"""The data: the same each time, and 1 % of it changes."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import pytest

from benchmarks.data.big_files import BigFiles
from benchmarks.data.catalog import WORKLOADS
from benchmarks.data.small_files import MoreSmallFiles, SmallFiles


def digests(root: Path) -> dict[str, str]:
    """The content of each file."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("workload", [SmallFiles(0.001), MoreSmallFiles(0.0003), BigFiles(0.004)])
def test_it_is_the_same_each_time(workload: SmallFiles, tmp_path: Path) -> None:
    seen = []
    for name in ("one", "other"):
        root = tmp_path / name
        root.mkdir()
        workload.create(root)
        workload.change(root, 1)
        seen.append(digests(root))
    assert len(seen[0]) >= 3
    assert seen[0] == seen[1]
    assert len(set(seen[0].values())) == len(seen[0])


def test_one_in_a_hundred_small_files_changes(tmp_path: Path) -> None:
    workload = SmallFiles(0.002)
    workload.create(tmp_path)
    states = [digests(tmp_path)]
    assert len(states[0]) == workload.count == 600
    assert all(100 <= path.stat().st_size <= 2000 for path in tmp_path.rglob("*.dat"))
    for step in (1, 2):
        workload.change(tmp_path, step)
        states.append(digests(tmp_path))
    changed = [{name for name in before if before[name] != after[name]} for before, after in itertools.pairwise(states)]
    assert [len(names) for names in changed] == [6, 6]
    assert changed[0] != changed[1]


def test_one_in_a_hundred_bytes_of_each_big_file_changes_in_place(tmp_path: Path) -> None:
    workload = BigFiles(0.0125)
    workload.create(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert {len(data) for data in before.values()} == {13 << 20}
    inodes = {path: path.stat().st_ino for path in before}
    workload.change(tmp_path, 1)
    piece = 64 << 10
    for path, data in before.items():
        now = path.read_bytes()
        assert len(now) == len(data)
        assert path.stat().st_ino == inodes[path]
        pieces = range(0, len(data), piece)
        assert sum(now[at : at + piece] != data[at : at + piece] for at in pieces) == round(len(pieces) / 100)


def test_the_workloads_are_those_of_the_targets() -> None:
    assert list(WORKLOADS) == ["W1", "W2", "W3", "W4"]
    assert SmallFiles(1).count == 300_000
    assert MoreSmallFiles(1).count == 1_000_000
    assert BigFiles(1).mebibytes == 1024
