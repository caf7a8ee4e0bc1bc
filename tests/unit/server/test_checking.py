"""What arrived is found to be the same, whichever process looks at it: many entries, linked ones, and what somebody planted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sealing import line, put

from sedai.core import manifest, workers
from sedai.core.beneath import Beneath
from sedai.core.errors import IntegrityError
from sedai.core.wire import Change
from sedai.server import checking
from sedai.server.arrived import Arrived
from sedai.server.checking import CheckedChange, Checking
from sedai.server.store import ClientStore


@pytest.fixture(params=[0, 2])
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """So many look, at two entries at a time."""
    monkeypatch.setattr(checking, "_WORTH_WORKERS", 1)
    monkeypatch.setattr(checking, "_PIECE", 2)
    monkeypatch.setattr(workers, "count", lambda: request.param)
    return int(request.param)


@pytest.fixture
def store(tmp_path: Path) -> ClientStore:
    made = ClientStore(tmp_path / "laptop")
    made.prepare()
    return made


def checked(store: ClientStore, changes: list[Change]) -> tuple[list[CheckedChange], list[bytes], int]:
    """What a check finds, says to the client, and has read."""
    answers: list[bytes] = []
    ordered = sorted(changes, key=lambda change: manifest.order(change.path))
    with Beneath(store.delta) as delta:
        check = Checking(Arrived(delta), answers.append, lambda number: None)
        return list(check.check(iter(ordered))), answers, check.read_bytes


def lines(store: ClientStore) -> list[Change]:
    """Changes of every kind."""
    put(store, {f"s/{number % 3}/{number}": b"%d" % number for number in range(20)})
    for name in ("s/0/again", "s/2/again"):
        os.link(store.delta / "s/1/1", store.delta / name)
    paths = sorted(str(path.relative_to(store.delta)) for path in store.delta.rglob("*"))
    changes = [line(store, path) for path in paths if path != "s/0/0"]
    unstable = line(store, "s/0/0")
    return [*changes, Change(unstable.path, unstable.line, unstable=True), Change(b"s/0/00", None)]


def test_it_is_the_same_whoever_looks(store: ClientStore, processes: int) -> None:
    changes = lines(store)
    found, answers, read = checked(store, changes)
    assert [each.path for each in found] == sorted((c.path for c in changes), key=manifest.order)
    by_path = {each.path: each for each in found}
    assert by_path[b"s/0/00"] == CheckedChange(b"s/0/00", None, None)
    for change in changes:
        if change.line is not None and change.line.split(b"\t")[1] == b"f":
            stored = by_path[change.path]
            entry = manifest.decode(stored.line or b"")
            assert len(entry.crc32) == 8
            assert entry.xxh128 == manifest.decode(change.line).xxh128
            assert stored.identity and stored.identity.inode == (store.delta / os.fsdecode(change.path)).stat().st_ino
    files = [each for each in found if each.line and manifest.decode(each.line).kind == "f"]
    assert len(answers) == len(files) == 22
    assert answers[[each.path for each in files].index(b"s/0/0")].count(b" ") == 5, "one that was unstable"
    assert read == 10 + 2 * 10, "an inode with several names is read once"


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("number", [0, 7, 19])
def test_what_did_not_arrive_as_it_should_is_found(store: ClientStore, number: int) -> None:
    changes = lines(store)
    place = store.delta / f"s/{number % 3}/{number}"
    when = place.stat().st_mtime_ns
    place.write_bytes(b"x" * place.stat().st_size)
    os.utime(place, ns=(when, when))
    if number == 0:  # which may have changed at the client
        place.unlink()
    with pytest.raises(IntegrityError, match=f"s/{number % 3}/{number} "):
        checked(store, changes)


@pytest.mark.usefixtures("processes")
def test_a_name_outside_is_found_in_the_end(store: ClientStore, tmp_path: Path) -> None:
    changes = lines(store)
    os.link(store.delta / "s/2/17", tmp_path / "outside")
    with pytest.raises(IntegrityError, match="has a name outside"):
        checked(store, changes)
