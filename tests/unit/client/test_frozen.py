"""A backup that looks like the work of ransomware, or of an accident: the person hears of it, and again until it is released."""

from __future__ import annotations

from pathlib import Path

from gate_pair import Pair

from sedai.server import freeze


def test_it_is_told_by_each_run_until_somebody_has_released_it(tmp_path: Path) -> None:
    pair = Pair(tmp_path, direct=True)
    files = [pair.write(str(number)) for number in range(30)]
    assert pair.program().findings == []
    for path in files[:20]:
        path.unlink()
    for run in range(2):
        [finding] = pair.program().findings
        assert "20 of 30 files were removed" in finding
        assert "sedai_server.py release --client laptop" in finding
        assert len(pair.store.generations()) == 2 + run  # what is there now is kept too
    assert freeze.release(pair.store)
    assert pair.program().findings == []
