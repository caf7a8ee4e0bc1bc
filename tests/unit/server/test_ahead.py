"""What is done for the next run behind an answer: it is as if the seal had done it, wherever it was broken off."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sealing import picture, put, sealed

from sedai.core import lock, manifest
from sedai.core.errors import IntegrityError
from sedai.core.generation import Generation, Retention
from sedai.core.wire import Change
from sedai.server import ahead, farm, prune, verify
from sedai.server.farm import Farm
from sedai.server.store import ClientStore

LOG = logging.getLogger("test")
FILES = {"s/a": b"a", "s/d/b": b"b", "s/d/e/c": b"c", "s/f/g": b"g", "s/z": b"z"}
ENTRIES = len(FILES) + len({"s", "s/d", "s/d/e", "s/f"})


class BrokenOffError(Exception):
    """Stands for a kill."""


@pytest.fixture(autouse=True)
def _not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work is done in this process, which goes on after it."""
    monkeypatch.setattr(ahead, "_be_idle", lambda: None)


@pytest.fixture
def store(tmp_path: Path) -> ClientStore:
    """A store with one generation."""
    made = ClientStore(tmp_path / "laptop")
    made.prepare()
    sealed(made, put(made, FILES), ENTRIES)
    return made


def look_ahead(store: ClientStore, used_up: str = "") -> None:
    """What the process does."""
    ahead.carry_out(store, LOG, lambda: used_up)


def newest(store: ClientStore) -> Generation:
    """The newest generation, which is the base of the next one."""
    found = store.newest()
    assert found is not None
    return found


def is_laid(store: ClientStore) -> bool:
    """Whether a farm of the newest generation waits."""
    return Farm(store, newest(store)).is_laid


def problems(store: ClientStore) -> list[tuple[str, bytes]]:
    """What a full check of all generations finds."""
    verifier = verify.Verifier(store, "full", lambda tally: None)
    return [(found.code, found.path) for found in verifier.generations(store.generations())]


def linked(store: ClientStore, one: Generation, other: Generation) -> set[str]:
    """The files that two generations share."""
    trees = store.tree(one), store.tree(other)
    inodes = [
        {path.stat().st_ino: str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
        for tree in trees
    ]
    return {inodes[1][inode] for inode in inodes[0].keys() & inodes[1].keys()}


@pytest.fixture
def nothing_is_laid(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on nobody lays a farm: what needs one must find it."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a farm is laid")

    monkeypatch.setattr(farm, "lay", refuse)


def test_the_next_seal_takes_what_was_laid(store: ClientStore, request: pytest.FixtureRequest) -> None:
    first = newest(store)
    before = picture(store.directory(first))
    look_ahead(store)
    assert is_laid(store)
    request.getfixturevalue("nothing_is_laid")
    look_ahead(store)  # there is nothing left to do
    sealed(store, [*put(store, {"s/d/b": b"new"}), Change(b"s/z", None)], ENTRIES - 1)
    assert linked(store, first, newest(store)) == {"s/a", "s/d/e/c", "s/f/g"}
    assert not store.farms.exists() or not list(store.farms.iterdir())
    assert problems(store) == []
    assert picture(store.directory(first)) == before


@pytest.mark.parametrize("links", range(len(FILES) + 1))
@pytest.mark.parametrize("goes_on", ["ahead", "seal"])
def test_whoever_comes_goes_on_where_it_was_broken_off(
    store: ClientStore, monkeypatch: pytest.MonkeyPatch, links: int, goes_on: str
) -> None:
    first = newest(store)
    left, real = links, os.link

    def link(*arguments: Any, **options: Any) -> None:
        nonlocal left
        if not left:
            raise BrokenOffError
        left -= 1
        real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(farm.os, "link", link)
        if links < len(FILES):
            with pytest.raises(BrokenOffError):
                look_ahead(store)
            assert not is_laid(store)
    if goes_on == "ahead":
        look_ahead(store)
        assert is_laid(store)
    sealed(store, put(store, {"s/a": b"new"}), ENTRIES)
    assert linked(store, first, newest(store)) == {"s/d/b", "s/d/e/c", "s/f/g", "s/z"}
    assert problems(store) == []


def test_a_link_that_is_another_file_is_made_anew(store: ClientStore) -> None:
    tree = store.farms / str(newest(store)) / "tree/s"
    tree.mkdir(parents=True)
    (tree / "a").write_bytes(b"a")
    look_ahead(store)
    sealed(store, [], ENTRIES)
    assert linked(store, *store.generations()) == set(FILES)


def test_what_the_base_has_lost_is_asked_for_before_it_is_missed(store: ClientStore) -> None:
    (store.tree(newest(store)) / "s/d/b").unlink()
    look_ahead(store)
    assert store.wanted() == {b"s/d/b"}
    with pytest.raises(IntegrityError, match="has lost 1 of 9 entries"):
        sealed(store, put(store, {"s/a": b"new"}), ENTRIES)
    sealed(store, put(store, {"s/d/b": b"b"}), ENTRIES)
    assert [code for code, _ in problems(store)] == ["mtime", "missing", "count"]  # of the first one alone


def test_what_is_lost_later_is_still_in_the_farm(store: ClientStore) -> None:
    look_ahead(store)
    first = newest(store)
    (store.tree(first) / "s/d/b").unlink()
    sealed(store, put(store, {"s/a": b"new"}), ENTRIES)
    assert (store.tree(newest(store)) / "s/d/b").read_bytes() == b"b"


HARM: dict[str, Callable[[Path], object]] = {
    "a file is gone": lambda tree: (tree / "s/d/b").unlink(),
    "a directory is gone": lambda tree: shutil.rmtree(tree / "s/d"),
    "a file came from nowhere": lambda tree: (tree / "s/stray").write_bytes(b"x"),
    "all of it is gone": shutil.rmtree,
}


@pytest.mark.parametrize("harm", HARM)
def test_a_farm_that_was_harmed_while_it_waited_is_laid_anew(store: ClientStore, harm: str) -> None:
    look_ahead(store)
    HARM[harm](store.farms / str(newest(store)) / "tree")
    sealed(store, put(store, {"s/a": b"new"}), ENTRIES)
    assert linked(store, *store.generations()) == set(FILES) - {"s/a"}
    assert problems(store) == []


def test_a_farm_of_another_base_goes(store: ClientStore) -> None:
    sealed(store, put(store, {"s/a": b"new"}), ENTRIES)
    look_ahead(store)
    store.build_on_no_more(newest(store))
    look_ahead(store)
    first = store.generations()[0]
    assert [directory.name for directory in store.farms.iterdir()] == [str(first)]
    assert Farm(store, first).is_laid
    sealed(store, put(store, {"s/a": b"newer"}), ENTRIES)
    assert problems(store) == []


@pytest.mark.parametrize("full", ["before", "while"])
def test_where_there_is_no_room_there_is_no_farm(
    store: ClientStore, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    def link(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(farm.os, "link", link)
        look_ahead(store, "full" if full == "before" else "")
    assert not store.farms.exists() or not list(store.farms.iterdir())
    sealed(store, put(store, {"s/a": b"new"}), ENTRIES)
    assert problems(store) == []


def test_what_was_dropped_is_removed(store: ClientStore) -> None:
    for content in (b"1", b"2"):
        sealed(store, put(store, {"s/a": content}), ENTRIES)
    store.prepare()
    done = prune.prune(store, Retention(keep_last=1, guard_days=0))
    trash = store.trash
    assert len(done.dropped) == 2
    assert len(list(trash.iterdir())) == 2 + 3  # the generations, and what each seal had received
    look_ahead(store)
    assert list(trash.iterdir()) == []
    assert problems(store) == []


def test_the_room_is_given_back(store: ClientStore) -> None:
    look_ahead(store)
    store.prepare()
    assert list(store.trash.iterdir())
    ahead.give_back(store)
    assert list(store.farms.iterdir()) == []
    assert list((store.trash).iterdir()) == []


def test_a_seal_that_finds_another_farm_than_the_base_lays_its_own(store: ClientStore) -> None:
    look_ahead(store)
    note = store.farms / str(newest(store)) / "laid"
    note.write_text(note.read_text().replace('"of": "', '"of": "0'))
    assert not is_laid(store)
    sealed(store, put(store, {"s/a": b"new"}), ENTRIES)
    assert problems(store) == []


def test_of_a_damaged_manifest_nothing_stays_laid(store: ClientStore) -> None:
    path = store.manifest(newest(store))
    whole = path.read_bytes()
    lines = [line.replace(b"s/z", b"s/f/x") for line in manifest.read(path)]
    (store.tree(newest(store)) / "s/f/x").write_bytes(b"nobody's")
    with manifest.Writer(path) as writer:
        for line in lines:
            writer.add(line)
    look_ahead(store)
    assert not list(store.farms.iterdir())
    (store.tree(newest(store)) / "s/f/x").unlink()
    path.write_bytes(whole)
    look_ahead(store)
    sealed(store, [], ENTRIES)
    assert set(problems(store)) <= {("mtime", b"s/f")}  # of the directory that was tampered with


def test_of_a_manifest_with_a_time_that_is_none_nothing_stays_laid(store: ClientStore) -> None:
    path = store.manifest(newest(store))
    lines = [line.split(b"\t") for line in manifest.read(path)]
    with manifest.Writer(path) as writer:
        for fields in lines:
            if fields[0] == b"s/f":
                fields[manifest.MTIME] = b"x"
            writer.add(b"\t".join(fields))
    look_ahead(store)
    assert not list(store.farms.iterdir())


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), IntegrityError("damaged"), ValueError("x")])
def test_what_was_dropped_is_removed_whatever_became_of_the_farm(
    store: ClientStore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    store.prepare()
    assert list(store.trash.iterdir())
    monkeypatch.setattr(ahead, "_lay", fail)
    look_ahead(store)
    assert list(store.trash.iterdir()) == []


def test_who_gives_the_room_back_is_no_holder_that_a_run_ends(
    store: ClientStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_ahead(store)
    held: list[bool] = []
    monkeypatch.setattr(ClientStore, "drop_farms", lambda store: held.append(lock.in_use(store.ahead_lock)))
    ahead.give_back(store)
    assert held == [False]


def test_what_a_farm_is_laid_of_is_not_pruned(store: ClientStore, monkeypatch: pytest.MonkeyPatch) -> None:
    base = newest(store)
    real = farm.lay

    def lay(*arguments: Any) -> farm.Laid:
        assert lock.in_use(store.record_path(base))
        return real(*arguments)

    monkeypatch.setattr(farm, "lay", lay)
    look_ahead(store)
    assert is_laid(store)
    assert not lock.in_use(store.record_path(base))


def test_a_trash_that_somebody_empties_is_left_to_them(store: ClientStore) -> None:
    store.prepare()
    with lock.exclusive(store.trash_lock, "Another process"):
        look_ahead(store)
        assert list(store.trash.iterdir())
    ahead.empty_trash(store)
    assert not list(store.trash.iterdir())


def test_whoever_empties_the_trash_is_not_ended_by_a_run(store: ClientStore) -> None:
    with lock.exclusive(store.trash_lock, "Another process"):
        lock.stop_holder(store.ahead_lock)  # which would be this process
        look_ahead(store)
    assert is_laid(store)


def test_where_no_process_can_be_started_the_answer_stands(
    store: ClientStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fork)
    ahead.start(store, LOG, str, urgent=True)
    assert "no process" in caplog.text
