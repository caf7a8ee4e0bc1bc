"""A stored manifest that is damaged costs one run, by itself: the next one is built on the generation before."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from gate_pair import Pair

from sedai.core.errors import SedaiError
from sedai.server import verify


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A client and its server with two generations; ``forgot`` below: the client has no copy of the manifest."""
    made = Pair(tmp_path)
    for number in range(100):
        made.write(f"file {number}")
    made.backup()
    made.write("file 7", "another text")
    made.backup()
    return made


def truncate(directory: Path) -> None:
    path = directory / "manifest"
    path.write_bytes(path.read_bytes()[:-20])


def flip(directory: Path) -> None:
    path = directory / "manifest"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def empty(directory: Path) -> None:
    (directory / "manifest").write_bytes(b"")


def remove(directory: Path) -> None:
    (directory / "manifest").unlink()


def rewrite(directory: Path) -> None:
    """Whole to gzip, and not the one that was sealed."""
    path = directory / "manifest"
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(lines[:-1]), mtime=0))


def name_another(directory: Path) -> None:
    """It is the record that is damaged, in the digest."""
    path = directory / "generation.json"
    record = json.loads(path.read_text())
    record["manifest_sha256"] = "0" * 64
    path.write_text(json.dumps(record))


DAMAGES = [truncate, flip, empty, remove, rewrite, name_another]


def damage(pair: Pair, how: Callable[[Path], None]) -> None:
    newest = pair.store.newest()
    assert newest is not None
    how(pair.store.directory(newest))


@pytest.mark.parametrize("how, forgot", [*((how, False) for how in DAMAGES), (flip, True), (name_another, True)])
def test_it_costs_one_run(pair: Pair, how: Callable[[Path], None], forgot: bool) -> None:
    damage(pair, how)
    if forgot:
        pair.state.base.unlink()
    pair.write("file 8", "news")
    with pytest.raises(SedaiError, match=r"damaged|can't be read|not the one"):
        pair.backup()
    assert len(pair.store.generations()) == 2
    pair.backup()
    pair.write("file 9", "more news")
    newest = pair.backup()
    assert len(pair.store.generations()) == 4
    found = list(verify.Verifier(pair.store, "full", lambda tally: None).generations([pair.store.find(newest)]))
    assert found == []
    assert pair.stored(newest, pair.source / "file 9").read_text() == "more news"


@pytest.mark.parametrize("how", [truncate, remove, rewrite])
def test_a_check_that_finds_it_spares_the_run(pair: Pair, how: Callable[[Path], None]) -> None:
    damage(pair, how)
    verifier = verify.Verifier(pair.store, "quick", lambda tally: None)
    assert {problem.code for problem in verifier.generations(pair.store.generations())} >= {"manifest"}
    pair.write("file 8", "news")
    pair.backup()
    assert len(pair.store.generations()) == 3


def test_where_all_are_damaged_everything_is_sent_again(pair: Pair) -> None:
    for generation in pair.store.generations():
        flip(pair.store.directory(generation))
    for _ in pair.store.generations():
        with pytest.raises(SedaiError):
            pair.backup()
    newest = pair.backup()
    assert pair.stored(newest, pair.source / "file 7").read_text() == "another text"


def test_what_was_noted_is_forgotten_with_the_generation(pair: Pair) -> None:
    store = pair.store
    first, second = store.generations()
    store.build_on_no_more(first)
    store.directory(first).rename(store.root / "pruned")
    store.build_on_no_more(second)
    assert (store.root / "unfit").read_text() == f"{second}\n"


def test_a_count_of_the_record_that_rotted_costs_one_run(tmp_path: Path) -> None:
    """One flipped bit makes another digit of one: the record can be read, and no run's count would ever agree with it."""
    pair = Pair(tmp_path, direct=True)
    pair.write("file")
    pair.backup()
    newest = pair.store.newest()
    assert newest is not None
    path = pair.store.record_path(newest)
    table = json.loads(path.read_text())
    path.write_text(json.dumps(table | {"entries": table["entries"] ^ 1}))
    pair.write("file", "news")
    with pytest.raises(SedaiError, match="or its record is damaged"):
        pair.backup()
    made = pair.store.record(pair.store.find(pair.backup()))
    assert (made.entries, made.previous) == (table["entries"], "")
