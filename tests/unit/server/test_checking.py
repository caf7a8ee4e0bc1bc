"""What arrived is found to be the same, whichever process looks at it: many entries, linked ones, and what somebody planted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

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
        check = Checking(Arrived(delta, delta), answers.append, lambda number: None)
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


def of_size(size: int, path: bytes = b"s/f", kind: bytes = b"f") -> Change:
    """The change of a file, as the client says."""
    return Change(path, b"%s\t%s\t%d\t1\t644\t0\t0\t1\t7\t7\t-\t-\t\n" % (path, kind, size))


def test_the_bytes_of_a_change_are_those_of_a_file() -> None:
    assert checking._bytes(of_size(12)) == 12
    assert checking._bytes(of_size(12, kind=b"d")) == checking._bytes(Change(b"s/f", None)) == 0
    for damaged in (b"s/f\n", b"s/f\tf\n", b"s/f\tf\tx\t1\n", b"s/f\tf\t-1\t1\n", b"s/f\tf\t\t1\n", b"\n"):
        assert checking._bytes(Change(b"s/f", damaged)) == 0


def test_no_worker_gets_very_much_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "_PIECE", 3)
    monkeypatch.setattr(checking, "_PIECE_BYTES", 100)

    def pieces(*sizes: int) -> list[list[int]]:
        changes = [of_size(size) for size in sizes]
        return [[checking._bytes(change) for change in piece] for piece in checking._pieces(iter(changes))]

    assert pieces() == []
    assert pieces(1, 1, 1, 1) == [[1, 1, 1], [1]]
    assert pieces(101, 500, 101) == [[101], [500], [101]]
    assert pieces(60, 60, 60, 60) == [[60, 60], [60, 60]]
    assert pieces(50, 50, 1, 1) == [[50, 50, 1], [1]]


@pytest.mark.parametrize(("files", "size", "shared"), [(2, 600, True), (2, 400, False), (9, 1, False), (10, 1, True)])
def test_many_changes_are_shared_and_so_are_many_bytes(
    store: ClientStore, monkeypatch: pytest.MonkeyPatch, files: int, size: int, shared: bool
) -> None:
    monkeypatch.setattr(checking, "_WORTH_WORKERS", 11)
    monkeypatch.setattr(checking, "_WORTH_WORKERS_BYTES", 1000)
    monkeypatch.setattr(checking, "_PIECE_BYTES", 500)
    monkeypatch.setattr(workers, "count", lambda: 2)
    real, crews = workers.spread, list[int]()

    def spread(work: Callable[[Any], Any], pieces: Iterable[Any], crew: int) -> Iterator[Any]:
        crews.append(crew)
        return real(work, pieces, crew)

    monkeypatch.setattr(workers, "spread", spread)
    changes = put(store, {f"s/{number}": b"x" * size for number in range(files)})
    found, answers, read = checked(store, changes)
    assert crews == ([2] if shared else [])
    assert (len(found), len(answers), read) == (files + 1, files, files * size)
