"""What is done for the next run behind an answer: it is as if the seal had done it, wherever it was broken off."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sealing import picture, put, sealed

from sedai.core import lock, manifest
from sedai.core.errors import IntegrityError, LockedError
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
    assert [code for code, _ in problems(store)] == ["missing", "mtime", "count"]  # of the first one alone


def test_what_is_lost_later_is_still_in_the_farm(store: ClientStore) -> None:
    look_ahead(store)
    first = newest(store)
    (store.tree(first) / "s/d/b").unlink()
    sealed(store, put(store, {"s/a": b"new"}), ENTRIES)
    assert (store.tree(newest(store)) / "s/d/b").read_bytes() == b"b"


def other_file(path: Path) -> None:
    """Another file with the same name, size, mode and time."""
    stat = path.lstat()
    path.rename(path.with_name("aside"))
    path.write_bytes(b"X" * stat.st_size)
    path.chmod(stat.st_mode & 0o7777)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    path.with_name("aside").unlink()


def same_bytes(path: Path) -> None:
    """The same in an inode of its own."""
    shutil.copy2(path, path.with_name("aside"))
    path.with_name("aside").rename(path)


def other_place(path: Path, other: Path) -> None:
    """Two have changed their names."""
    aside = path.with_name("aside")
    path.rename(aside)
    other.rename(path)
    aside.rename(other)


def becomes(path: Path, make: Callable[[Path], object]) -> None:
    """Something else has its name."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    make(path)


def keeping_times(harm: Callable[[Path], object]) -> Callable[[Path], None]:
    """The same, and the directories have the times that they had."""

    def harmed(tree: Path) -> None:
        times = {place: place.stat().st_mtime_ns for place in [tree, *tree.rglob("*")] if place.is_dir()}
        harm(tree)
        for place, mtime in times.items():
            if place.is_dir() and not place.is_symlink():
                os.utime(place, ns=(mtime, mtime))

    return harmed


# To the tree of a farm; nothing but looking at it tells.
HARM: dict[str, Callable[[Path], object]] = {
    "a file is gone": lambda tree: (tree / "s/d/b").unlink(),
    "a directory is gone": lambda tree: shutil.rmtree(tree / "s/d"),
    "a file came from nowhere": lambda tree: (tree / "s/stray").write_bytes(b"x"),
    "a directory came from nowhere": lambda tree: (tree / "s/d/stray").mkdir(),
    "one came and one went": lambda tree: (tree / "s/d/b").rename(tree / "s/d/stray"),
    "a file is another": lambda tree: other_file(tree / "s/d/b"),
    "a file has an inode of its own": lambda tree: same_bytes(tree / "s/d/b"),
    "two have changed places": lambda tree: other_place(tree / "s/d/b", tree / "s/d/e/c"),
    "two directories have changed places": lambda tree: other_place(tree / "s/d/e", tree / "s/f"),
    "a file became a directory": lambda tree: becomes(tree / "s/d/b", Path.mkdir),
    "a file became a symlink": lambda tree: becomes(tree / "s/d/b", lambda path: path.symlink_to("e/c")),
    "a directory became a file": lambda tree: becomes(tree / "s/d", Path.touch),
    "a directory became a symlink": lambda tree: becomes(tree / "s/d", lambda path: path.symlink_to("f")),
    "another mode": lambda tree: (tree / "s/d").chmod(0o777),
    "another attribute": lambda tree: os.setxattr(tree / "s/d", "user.rsync.%stat", b"40755 0,0 1:1"),
    "another root": lambda tree: os.setxattr(tree, "user.rsync.%stat", b"40777 0,0 1:1"),
    "all of it is gone": shutil.rmtree,
    "all of it became a file": lambda tree: becomes(tree, Path.touch),
    "all of it became a symlink": lambda tree: becomes(tree, lambda path: path.symlink_to("/")),
    "something lies beside it": lambda tree: (tree.parent / "stray").write_bytes(b"x"),
    "the directory around it became a file": lambda tree: becomes(tree.parent, Path.touch),
}


def begin_run(store: ClientStore) -> None:
    """What a ``begin`` leaves: a note of its own, and the process behind its answer, which is done."""
    note_beginning(store)
    ahead.carry_out(store, LOG, str, urgent=True)


def note_beginning(store: ClientStore) -> None:
    """A later one than any before."""
    note = store.incoming / "clock_skew"
    before = note.stat().st_mtime_ns if note.exists() else 0
    while not note.exists() or note.stat().st_mtime_ns == before:
        note.write_text("0.000\n", encoding="ascii")


@pytest.mark.parametrize("when", ["whole", "broken off", "before a run begins", "in a run that ended", "unseen"])
@pytest.mark.parametrize("harm", HARM)
def test_what_is_harmed_while_it_waits_is_in_no_generation(store: ClientStore, harm: str, when: str) -> None:
    look_ahead(store)
    first = newest(store)
    place = store.farms / str(first)
    if when == "broken off":
        (place / "laid").unlink()
    if when in ("in a run that ended", "unseen"):
        begin_run(store)
    before = picture(store.directory(first))
    keeping_times(HARM[harm])(place / "tree")
    if when == "unseen":  # the process was killed, in this run
        note_beginning(store)
    elif when not in ("whole", "broken off"):
        begin_run(store)
    sealed(store, put(store, {"s/a": b"new"}), ENTRIES)
    assert linked(store, *store.generations()) == set(FILES) - {"s/a"}
    assert problems(store) == []
    assert picture(store.directory(first)) == before
    assert root_attributes(store, newest(store)) == root_attributes(store, first)
    assert not list(store.farms.iterdir())
    ahead.empty_trash(store)
    assert not list(store.trash.iterdir())


def test_who_was_looked_at_when_the_run_began_is_not_looked_at_again(
    store: ClientStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Path] = []
    look = farm._Picture.of

    def noted(tree: Path) -> object:
        looks.append(tree)
        return look(tree)

    look_ahead(store)
    monkeypatch.setattr(farm._Picture, "of", noted)
    begin_run(store)
    assert len(looks) == 1
    sealed(store, put(store, {"s/a": b"new"}), ENTRIES)
    assert len(looks) == 1
    monkeypatch.setattr(farm._Picture, "of", look)
    look_ahead(store)
    monkeypatch.setattr(farm._Picture, "of", noted)
    sealed(store, put(store, {"s/a": b"newer"}), ENTRIES)
    assert len(looks) == 2, "of a farm that was laid since, that look says nothing"
    assert problems(store) == []


def root_attributes(store: ClientStore, generation: Generation) -> bytes:
    """What a restore by rsync alone gives the target."""
    return os.getxattr(store.tree(generation), "user.rsync.%stat")


def flipped(position: int) -> Callable[[bytes], bytes]:
    """A bit of a byte is another, counted from the end where negative."""
    return lambda data: (
        data[:position] + bytes([data[position] ^ 1]) + (data[position + 1 :] if position != -1 else b"")
    )


NOTES: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda data: b"",
    "half of it": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "another object": lambda data: b"{}",
    "no object": lambda data: b"[1]",
    "no text": lambda data: b"\xff" + data,
    "another count": lambda data: data.replace(b'"picture": [9,', b'"picture": [8,'),
    "another digest": flipped(-5),
    "of another base": lambda data: data.replace(b'"of": "', b'"of": "0'),
    "something missing": lambda data: data.replace(b'"missing": []', b'"missing": [1]'),
}


@pytest.mark.parametrize("harm", NOTES)
def test_a_note_that_is_another_says_nothing(store: ClientStore, harm: str) -> None:
    look_ahead(store)
    note = store.farms / str(newest(store)) / "laid"
    whole = note.read_bytes()
    note.write_bytes(NOTES[harm](whole))
    assert note.read_bytes() != whole
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
    of_the_dropped = sum(store.record(generation).entries for generation in store.generations()[:-1])
    done = prune.prune(store, Retention(keep_last=1, guard_days=0))
    assert done.entries == of_the_dropped > 0
    trash = store.trash
    assert len(done.dropped) == 2
    assert (
        len(list(trash.iterdir())) == 2 + 3 + 2
    )  # the generations, what each seal had received, and what lay beside two farms
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
    """By what it is called: it has the locks of those that may be ended, and is a gate."""
    look_ahead(store)
    store.prepare()
    ended: list[bool] = []
    for name in ("drop_farms", "empty_trash"):
        monkeypatch.setattr(
            ClientStore,
            name,
            lambda store, *gone: ended.extend(
                lock.stop_holder(held, (ahead._AT_LEISURE, ahead._HURRIED))
                for held in (store.farm_lock, store.trash_lock)
                if held.exists() and lock.in_use(held)
            ),
        )
    ahead.give_back(store)
    assert ended == [False, False]


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


def test_what_another_run_drops_while_a_process_removes_is_removed_by_that_one(
    store: ClientStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """That run finds the lock taken and leaves: nobody else would come before the next run."""
    real, dropped = ClientStore.empty_trash, iter(range(2))

    def empty_trash(store: ClientStore) -> None:
        real(store)
        for number in dropped:  # once: behind what was listed
            late = tmp_path / f"late{number}"
            late.mkdir()
            store.discard(late)
            with pytest.raises(LockedError), lock.exclusive(store.trash_lock, "The other run"):
                pass

    monkeypatch.setattr(ClientStore, "empty_trash", empty_trash)
    store.prepare()
    look_ahead(store)
    assert list(dropped) == []
    assert list(store.trash.iterdir()) == []


def test_a_trash_that_somebody_empties_is_left_to_them(store: ClientStore) -> None:
    store.prepare()
    with lock.exclusive(store.trash_lock, "Another process"):
        look_ahead(store)
        assert list(store.trash.iterdir())
    ahead.empty_trash(store)
    assert not list(store.trash.iterdir())


def test_where_no_process_can_be_started_the_answer_stands(
    store: ClientStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fork)
    ahead.start(store, LOG, str, urgent=True)
    assert "no process" in caplog.text


def children() -> set[int]:
    """The processes that this one began, those included that ended and nobody waited for."""
    return {
        int(number) for each in Path("/proc/self/task").iterdir() for number in (each / "children").read_text().split()
    }


@pytest.fixture
def laying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a file for each process that lays, named by its number; they go on when there is one called ``go``."""
    directory = tmp_path / "laying"
    directory.mkdir()

    def lay(*_: Any) -> None:
        (directory / str(os.getpid())).touch()
        while not (directory / "go").exists():
            time.sleep(0.01)

    others = children()  # a fault suite's podman lives as long as the whole run of the tests
    monkeypatch.setattr(ahead, "_lay", lay)
    yield directory
    (directory / "go").touch()
    for number in children() - others:
        os.waitpid(number, 0)


def begin(store: ClientStore, laying: Path, *, urgent: bool) -> int:
    """Start one that comes to lay; its number."""
    before = set(os.listdir(laying))
    ahead.start(store, LOG, str, urgent=urgent)
    while not (new := {name for name in set(os.listdir(laying)) - before if name.isdigit()}):
        time.sleep(0.01)
    return int(new.pop())


def test_one_process_lays_however_many_runs_begin(store: ClientStore, laying: Path) -> None:
    first = begin(store, laying, urgent=True)
    before = children()
    for urgent in (True, True, False, True):
        ahead.start(store, LOG, str, urgent=urgent)
    more = children() - before
    assert len(more) == 4
    assert {os.waitpid(number, 0)[1] for number in more} == {0}  # they end by themselves, the first one does not
    assert os.listdir(laying) == [str(first)]
    (laying / "go").touch()
    assert os.waitpid(first, 0) == (first, 0)


def test_who_lays_at_leisure_makes_way_for_a_run(store: ClientStore, laying: Path) -> None:
    at_leisure = begin(store, laying, urgent=False)
    urgent = begin(store, laying, urgent=True)
    assert os.waitpid(at_leisure, 0) == (at_leisure, signal.SIGTERM)
    ahead.give_back(store)  # whose room is needed
    assert os.waitpid(urgent, 0) == (urgent, signal.SIGTERM)


def test_a_seal_goes_on_with_what_is_laid_at_leisure(store: ClientStore, laying: Path) -> None:
    at_leisure = begin(store, laying, urgent=False)
    sealed(store, put(store, {"s/a": b"new"}), ENTRIES)
    assert os.waitpid(at_leisure, 0) == (at_leisure, signal.SIGTERM)
    assert problems(store) == []


def test_whoever_needs_the_room_ends_who_removes_at_leisure(
    store: ClientStore, laying: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (laying / "go").touch()
    removing = laying / "removing"

    def empty_trash(_: ClientStore) -> None:
        removing.touch()
        time.sleep(60)

    store.trash.mkdir(exist_ok=True)
    (store.trash / "dropped").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(ClientStore, "empty_trash", empty_trash)
        at_leisure = begin(store, laying, urgent=False)
        while not removing.exists():
            time.sleep(0.01)
    ahead.empty_trash(store)
    assert os.waitpid(at_leisure, 0) == (at_leisure, signal.SIGTERM)
