"""The check of stored generations: each inode once, whoever looks, and nothing hides behind what was looked at before."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_seal import sealed, send

from sedai.core import lock, manifest, workers
from sedai.server import listing, verify
from sedai.server.entries import Entries, Piece, Problem
from sedai.server.store import ClientStore

NAMES = [f"s/{directory}/{number:02d}" for directory in "ab" for number in range(40)]
ENTRIES = len(NAMES) + 3


@pytest.fixture
def store(tmp_path: Path) -> ClientStore:
    """Three generations: the second has one file anew, the third another."""
    made = ClientStore(tmp_path / "store" / "laptop")
    made.prepare()
    sealed(made, send(made, "s/", "s/a/", *NAMES[:40], "s/b/", *NAMES[40:]), ENTRIES)
    sealed(made, send(made, "s/", "s/a/", "s/a/05", content="another"), ENTRIES)
    sealed(made, send(made, "s/", "s/b/", "s/b/06", content="a third"), ENTRIES)
    return made


@pytest.fixture(params=[1000, 1 << 19], autouse=True, ids=["large", "small"])
def large(request: pytest.FixtureRequest) -> int:
    """From how many bytes of lines on a directory is a large one, as these are or are not."""
    number: int = request.param
    return number


@pytest.fixture(params=[0, 2], autouse=True)
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, large: int) -> int:
    """How many look at entries beside this one, in small pieces."""
    monkeypatch.setattr(workers, "count", lambda: request.param)
    monkeypatch.setattr(verify, "_WORTH_WORKERS", 0)
    monkeypatch.setattr(verify, "_PIECE", 7)
    monkeypatch.setattr(listing, "_PIECE_BYTES", 700)
    monkeypatch.setattr(listing, "_LARGE_BYTES", large)
    number: int = request.param
    return number


def check(store: ClientStore, level: str = "full") -> tuple[list[tuple[int, str, str]], verify.Tally]:
    """The problems by the generation's number, and the tally."""
    verifier = verify.Verifier(store, level, lambda tally: None)
    everything = store.generations()
    names = [str(generation) for generation in everything]

    def short(problem: Problem) -> tuple[int, str, str]:
        return names.index(problem.generation), problem.code, os.fsdecode(problem.path)

    return sorted(map(short, verifier.generations(everything))), verifier.tally


def alone(store: ClientStore, number: int) -> set[tuple[int, str, str]]:
    """The problems of one generation, found the plain way: nothing is remembered, everything is listed by itself."""
    generation = store.generations()[number]
    root = os.fsencode(store.tree(generation))
    entries = {manifest.line_path(line): line for line in manifest.read(store.manifest(generation))}
    there = {b"": True}
    for above, directories, files in os.walk(root):
        for name in [*directories, *files]:
            place = os.path.join(above, name)
            there[place[len(root) + 1 :]] = os.path.isdir(place) and not os.path.islink(place)
    found = {("added", path) for path in there.keys() - entries.keys() - {b""}}
    look = Entries(full=True, reads=lambda inode: True).look
    for path, line in entries.items():
        if path in there:
            piece = Piece(str(generation), root, lines=[line], inodes=[0])
            found |= {(problem.code, problem.path) for problem in look(piece).problems}
        else:
            found.add(("missing", path))
    if len(there) - 1 != store.record(generation).entries:
        found.add(("count", b""))
    return {(number, code, os.fsdecode(path)) for code, path in found}


def tree(store: ClientStore, number: int) -> Path:
    return store.tree(store.generations()[number])


def rot(path: Path) -> None:
    """Flip a bit; size and times stay."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def rot_apart(path: Path) -> None:
    """Put a file of its own in the place of one that is shared, and rot that."""
    stat = path.parent.stat()
    shutil.copy2(path, path.with_name("new"))
    path.with_name("new").rename(path)
    rot(path)
    os.utime(path.parent, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_each_inode_is_read_once(store: ClientStore) -> None:
    problems, tally = check(store)
    assert problems == []
    assert (tally.entries, tally.files, tally.read_files) == (3 * ENTRIES, 3 * len(NAMES), len(NAMES) + 2)
    assert tally.read_bytes == sum(
        {
            path.stat().st_ino: path.stat().st_size for number in range(3) for path in tree(store, number).rglob("??")
        }.values()
    )
    assert len(tally.manifests) == 3


def test_rot_is_told_of_each_generation_that_shares_it(store: ClientStore) -> None:
    rot(tree(store, 0) / "s/a/07")
    rot(tree(store, 0) / "s/a/05")  # of the first alone
    rot(tree(store, 1) / "s/a/05")  # of the others
    problems, _ = check(store)
    assert problems == [
        *((0, "content", "s/a/05"), (0, "content", "s/a/07")),
        *((1, "content", "s/a/05"), (1, "content", "s/a/07")),
        *((2, "content", "s/a/05"), (2, "content", "s/a/07")),
    ]
    assert store.wanted() == {b"s/a/05", b"s/a/07"}


def test_another_inode_in_the_place_of_a_shared_one_is_read(store: ClientStore) -> None:
    """Its line is as before, its size and time too."""
    rot_apart(tree(store, 1) / "s/b/11")
    assert check(store)[0] == [(1, "content", "s/b/11")]


def test_a_file_system_that_names_other_inodes_hides_nothing(
    store: ClientStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some name the same one for everything: then nothing counts as looked at."""
    genuine = listing._names
    monkeypatch.setattr(listing, "_names", lambda directory: dict.fromkeys(genuine(directory), 1 << 32))
    assert check(store)[0] == []
    rot_apart(tree(store, 2) / "s/b/11")
    assert check(store)[0] == [(2, "content", "s/b/11")]


@pytest.mark.parametrize("level", ["quick", "full"])
def test_what_is_missing_or_surplus(store: ClientStore, level: str) -> None:
    second, third = tree(store, 1), tree(store, 2)
    (second / "s/a/01").unlink()
    (second / "s/planted").mkdir()
    (second / "s/planted/x").write_text("x")
    (second / "top").touch()
    shutil.rmtree(third / "s/b")
    (third / "s/b").symlink_to(tree(store, 0) / "s/b")  # where all of it would be found
    problems, _ = check(store, level)
    assert [problem for problem in problems if problem[1] not in ("mtime", "count")] == sorted([
        *((1, "missing", "s/a/01"), (1, "added", "s/planted"), (1, "added", "s/planted/x"), (1, "added", "top")),
        (2, "kind", "s/b"), *((2, "missing", name) for name in NAMES[40:]),
    ])  # fmt: skip
    assert [(number, code) for number, code, path in problems if not path] == [(1, "count"), (2, "count")]


def lose(path: Path, dice: random.Random) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def plant(path: Path, dice: random.Random) -> None:
    above = path if path.is_dir() else path.parent
    (above / f"planted {dice.random()}" / "deeper").mkdir(parents=True)
    next(above.glob("planted*")).joinpath("x").write_text("x")


def move(path: Path, dice: random.Random) -> None:
    path.rename(path.with_name(f"moved {dice.random()}"))


def lead_away(path: Path, dice: random.Random) -> None:
    """To where all of it would be found."""
    path.rename(path.parents[3] / "aside")
    path.symlink_to(path.parents[3] / "aside")


def damage(path: Path, dice: random.Random) -> None:
    rot_apart(path) if path.is_file() else os.utime(path, (1, 1))


def swap(path: Path, dice: random.Random) -> None:
    """Two names: the directory has the same ones, and the same inodes."""
    other = dice.choice([other for other in path.parent.iterdir() if other != path] or [path])
    aside = path.with_name("aside")
    path.rename(aside)
    other.rename(path) if other.exists() else None
    aside.rename(other)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_remembered_the_answers_are_those_of_each_generation_alone(store: ClientStore, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311
    for _ in range(dice.randrange(1, 6)):
        victims = sorted((tree(store, dice.randrange(3)) / "s").rglob("*"))
        if victims:
            dice.choice([lose, plant, move, lead_away, damage, swap])(dice.choice(victims), dice)
    problems, _ = check(store)
    assert problems and set(problems) == alone(store, 0) | alone(store, 1) | alone(store, 2)
    assert len(problems) == len(set(problems))


def test_the_order_is_the_same_however_many_look(store: ClientStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("s/a/03", "s/a/21", "s/b/09"):
        (tree(store, 0) / name).unlink()
        rot(tree(store, 1) / name)
        (tree(store, 2) / name).with_name(f"new {name[-1]}").touch()
    found = []
    for number in (0, 1, 3):
        monkeypatch.setattr(workers, "count", lambda number=number: number)
        found.append(list(verify.Verifier(store, "full", lambda tally: None).generations(store.generations())))
    assert found[0] == found[1] == found[2]
    generations = [problem.generation for problem in found[0]]
    assert generations == sorted(generations) and len(set(generations)) == 3


def test_a_line_that_can_not_be_read_is_told_and_the_other_generations_are_checked(store: ClientStore) -> None:
    """The manifest was written anew, so its bytes are whole."""
    path = store.manifest(store.generations()[0])
    lines = list(manifest.read(path))
    with manifest.Writer(path) as writer:
        for line in lines:
            writer.add(line.replace(b"s/a/38\tf\t", b"s/a/38\tq\t"))
    rot(tree(store, 0) / "s/a/39")  # which nobody came to in the first
    rot_apart(tree(store, 2) / "s/b/11")
    problems, _ = check(store)
    assert {code for number, code, _ in problems if number == 0} == {"manifest"}
    assert [problem for problem in problems if problem[0]] == [
        *((1, "content", "s/a/39"), (2, "content", "s/a/39"), (2, "content", "s/b/11"))
    ]


def test_a_manifest_that_is_not_whole_is_compared_with_nothing(
    store: ClientStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be said of what it says, although it could be read up to its end."""
    monkeypatch.setattr(manifest, "_BLOCK_BYTES", 500)
    path = store.manifest(store.generations()[2])
    path.write_bytes(path.read_bytes()[:-9])
    problems, tally = check(store)
    assert problems == [(2, "manifest", "")]
    assert tally.entries == 2 * ENTRIES
    assert store.base() == store.generations()[1]


def test_the_chosen_entries_alone(store: ClientStore) -> None:
    newest = store.generations()[-1]
    for name in ("s/a/07", "s/b/07"):
        rot(store.tree(newest) / name)
    verifier = verify.Verifier(store, "full", lambda tally: None)
    found = [(problem.code, problem.path) for problem in verifier.paths(newest, [b"s/a", b"s/b/06"])]
    assert found == [("content", b"s/a/07")]
    assert (verifier.tally.entries, verifier.tally.files, verifier.tally.read_files) == (42, 41, 41)


@pytest.mark.parametrize("level", ["quick", "full"])
@pytest.mark.parametrize("code", ["mtime", "attributes", "size"])
def test_what_one_look_tells(store: ClientStore, level: str, code: str) -> None:
    place = tree(store, 2) / "s/b/06"
    stat = place.stat()
    if code == "attributes":
        place.chmod(0o640)
    elif code == "size":
        place.write_text("longer than before")
    os.utime(place, ns=(1, stat.st_mtime_ns + (code == "mtime")))
    assert check(store, level)[0] == [(2, code, "s/b/06")]


@pytest.mark.parametrize("moment", ["before", "while it waits", "after"])
def test_what_is_pruned_meanwhile_is_no_finding(
    store: ClientStore, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Pruned when the check came to it, between two steps of that, or while it held the next."""
    oldest = store.generations()[0]
    genuine = lock.shared

    def prune() -> None:
        if store.directory(oldest).exists():
            store.discard(store.directory(oldest))

    @contextlib.contextmanager
    def shared(path: Path) -> Iterator[None]:
        if moment == "before":
            prune()
        with genuine(path):
            if moment == "while it waits":
                prune()
            yield
        if moment == "after":
            prune()

    monkeypatch.setattr(lock, "shared", shared)
    assert check(store)[0] == []
    assert store.base() == store.generations()[-1]
    assert oldest not in store.generations()


def test_a_generation_without_a_record_is_told(store: ClientStore) -> None:
    store.record_path(store.generations()[1]).unlink()
    assert (1, "manifest", "") in check(store)[0]
