"""A transfer that broke off leaves its mark until the next run has looked whether the base was why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gate_pair import Pair

from sedai.client import batches
from sedai.core.errors import ProcessError
from sedai.server.gate import Gate


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The bases in which damage was looked for."""
    found: list[str] = []
    real = Gate._look_for_damage

    def look(self: Gate, base: object) -> None:
        found.append(str(base))
        real(self, base)  # type: ignore[arg-type]

    monkeypatch.setattr(Gate, "_look_for_damage", look)
    return found


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """It has a base, and something to send."""
    (tmp_path / "pair").mkdir()
    made = Pair(tmp_path / "pair", place=tmp_path / "place", direct=True)
    made.write("first")
    made.backup()
    made.write("a/file")
    made.write("b/file")
    return made


def begin(pair: Pair) -> None:
    with pair.connect() as connection:
        connection.ask("begin", {"time": 0.0})


@pytest.mark.parametrize("name", ["broken-off", "broken-off-12345"])
def test_a_mark_is_heeded_once(pair: Pair, looked: list[str], name: str) -> None:
    """That of an earlier version too."""
    begin(pair)
    assert looked == []
    (pair.store.incoming / name).touch()
    begin(pair)
    begin(pair)
    assert looked == [str(pair.store.newest())]
    assert pair.store.broken_off() == []


def test_a_transfer_that_ends_well_leaves_no_mark(pair: Pair, looked: list[str]) -> None:
    pair.backup()
    assert looked == []
    assert pair.store.broken_off() == []


def test_each_transfer_has_a_mark_of_its_own(pair: Pair, looked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One breaks off when both have begun, the other ends well after that and leaves the mark of the first."""
    monkeypatch.setattr(batches, "WORTH_A_LANE", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    place = pair.root
    (place / "cut").write_text(
        f"head -c 1 >{place}/said-$$; tries=0\n"
        f"while set -- {place}/said-*; [ $# -lt 2 ] || [ ! -s $1 ] || [ ! -s $2 ]; do\n"
        f"  tries=$((tries + 1)); [ $tries -lt 100 ] || exit 1; sleep 0.1\n"
        f"done\n"
        f"ls {pair.store.incoming} >{place}/marks-$$\n"
        f"if mkdir {place}/other 2>&-; then cat {place}/said-$$ -; else sleep 1; exit 1; fi\n"
    )
    with pytest.raises(ProcessError):
        pair.run()
    marks = [{line for line in path.read_text().split() if "broken" in line} for path in place.glob("marks-*")]
    assert len(marks) == 2 == max(map(len, marks))
    left = {path.name for path in pair.store.broken_off()}
    assert len(left) == 1
    (place / "cut").unlink()
    pair.backup()
    assert looked
    assert pair.store.broken_off() == []
