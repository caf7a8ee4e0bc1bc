"""Bit rot: whatever changes by itself on the server's disk is found, named with all generations that it hits, and healed.

A real store, made by the real client, rsync and gate in one directory; the checks are the client's own. Which of them finds
what stands in ``DAMAGES``: ``quick`` looks at names, sizes, times, attributes, and at all that lies beside the trees,
``full`` reads every byte too. In half of the rounds the farm of the next run waits, laid before the damage or after it; and in
half of those in which damage is to be found it is looked for in several processes, as where there are many files.
SEDAI_ROUNDS sets the number of rounds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_lab import FULL, SEED, TALLY
from gate_pair import Pair

from sedai.core import lock, workers
from sedai.core.errors import SedaiError
from sedai.server import ahead, listing, verify

ROUNDS = int(os.environ.get("SEDAI_ROUNDS") or (1000 if FULL else 100))
CLEAN_ROUNDS = max(20, ROUNDS // 10)
# A backup costs far more than a check.
HEALED = max(10, ROUNDS // 10)
SPREAD = max(3, ROUNDS // 50)
FARMED = max(30, ROUNDS // 10)
KEPT = 4
THEME = "bit rot"
LOG = logging.getLogger(THEME)
# A thousand rounds are one test.
pytestmark = pytest.mark.timeout(7200)

Undo = Callable[[], None]
# What is said of a file, however many problems that are: where, and in which generation.
Named = set[tuple[str, str]]


@dataclass(frozen=True)
class Damage:
    """What was done: ``level`` finds it, and names exactly ``named`` (paths as the server's below a tree, and generations)."""

    what: str
    named: Named
    undo: Undo


class Disk:
    """The server's disk, on which something goes wrong."""

    def __init__(self, pair: Pair, dice: random.Random) -> None:
        self.pair = pair
        self.dice = dice

    @property
    def names(self) -> list[str]:
        return [str(generation) for generation in self.pair.store.generations()]

    def tree(self, generation: str) -> Path:
        return self.pair.store.generations_directory / generation / "tree"

    def beside(self, generation: str, name: str) -> Path:
        return self.pair.store.generations_directory / generation / name

    def entries(self, generation: str, fits: Callable[[os.stat_result], bool]) -> list[Path]:
        """What of a generation is in the source, and fits."""
        top = self.tree(generation) / str(self.pair.source)[1:]
        return sorted(path for path in top.rglob("*") if fits(path.lstat()))

    def pick(self, fits: Callable[[os.stat_result], bool], newest: bool = False) -> tuple[str, Path]:
        """Some entry of some generation."""
        generation = self.names[-1] if newest else self.dice.choice(self.names)
        return generation, self.dice.choice(self.entries(generation, fits))

    def another(self, generation: str) -> str:
        """Another generation; of the newest the one before it, which the next backup does not have pruned."""
        *older, newest = self.names
        return (
            older[-1] if generation == newest else self.dice.choice([name for name in self.names if name != generation])
        )

    def look_ahead(self) -> None:
        """What the server does behind an answer: the farm of the next run is laid, or stays as it is."""
        ahead.carry_out(self.pair.store, LOG, str)

    def farm(self, *, waits: bool) -> None:
        """From here on a farm waits, laid just now, or none does."""
        store = self.pair.store
        with lock.exclusive(store.farm_lock, "The test"):
            store.drop_farms()
        if waits:
            self.look_ahead()

    @contextlib.contextmanager
    def checked_by(self, processes: int) -> Iterator[None]:
        """Meanwhile so many processes look at what is stored, beside this one."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workers, "count", lambda: processes)
            patch.setattr(verify, "_WORTH_WORKERS", 0)
            patch.setattr(listing, "_PIECE_BYTES", 700)
            yield

    def in_tree(self, generation: str, path: Path) -> str:
        return str(path.relative_to(self.tree(generation)))

    def hit(self, path: Path) -> Named:
        """All names of the file at ``path``, with their generations."""
        inode = path.lstat().st_ino
        return {
            (self.in_tree(name, found), name)
            for name in self.names
            for found in self.entries(name, lambda one: one.st_ino == inode)
        }


def is_file(one: os.stat_result) -> bool:
    return stat.S_ISREG(one.st_mode)


def has_bytes(one: os.stat_result) -> bool:
    return is_file(one) and one.st_size > 0


def is_link(one: os.stat_result) -> bool:
    return stat.S_ISLNK(one.st_mode)


def is_directory(one: os.stat_result) -> bool:
    return stat.S_ISDIR(one.st_mode)


def keep_times(path: Path) -> Undo:
    """Puts the times of ``path`` back."""
    times = path.lstat()
    return lambda: os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns), follow_symlinks=False)


def flipped(data: bytes, dice: random.Random) -> bytes:
    """Some bits of ``data`` are others."""
    changed = bytearray(data)
    for position in {dice.randrange(len(data) * 8) for _ in range(dice.choice([1, 1, 1, 2, 8]))}:
        changed[position // 8] ^= 1 << position % 8
    return bytes(changed)


def overwrite(path: Path, content: bytes) -> Undo:
    """Other bytes in the same inode, which keeps its times."""
    before, times = path.read_bytes(), keep_times(path)

    def write(data: bytes) -> None:
        with path.open("r+b") as stream:
            stream.write(data)
            stream.truncate()
        times()

    write(content)
    return lambda: write(before)


def move_away(disk: Disk, path: Path) -> Undo:
    """Nothing is there any more, and the directory keeps its time."""
    times, aside = keep_times(path.parent), disk.pair.root / "aside"
    path.rename(aside)
    times()

    def back() -> None:
        remove(path)
        aside.rename(path)
        times()

    return back


def remove(path: Path) -> None:
    """Whatever is there, if anything, is there no more."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def everywhere(disk: Disk, generation: str, path: Path) -> Named:
    """``path`` and all below it, in this generation."""
    below = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    return {(disk.in_tree(generation, one), generation) for one in below}


# Bytes of a file.


def flip(disk: Disk, newest: bool) -> Damage:
    _, path = disk.pick(has_bytes, newest)
    return Damage("flip", disk.hit(path), overwrite(path, flipped(path.read_bytes(), disk.dice)))


def wipe(disk: Disk, newest: bool) -> Damage:
    """A block reads as zeros."""
    _, path = disk.pick(lambda one: has_bytes(one) and one.st_size > 600, newest)
    data = path.read_bytes()
    start = disk.dice.randrange(0, len(data), 512)
    return Damage(
        "wipe",
        disk.hit(path),
        overwrite(path, data[:start] + bytes(len(data[start : start + 512])) + data[start + 512 :]),
    )


def swap_blocks(disk: Disk, newest: bool) -> Damage:
    """Two pieces of a file have changed places."""
    _, path = disk.pick(lambda one: has_bytes(one) and one.st_size > 2000, newest)
    data = path.read_bytes()
    half = len(data) // 2
    return Damage(
        "swap blocks", disk.hit(path), overwrite(path, data[half : 2 * half] + data[:half] + data[2 * half :])
    )


def truncate(disk: Disk, newest: bool) -> Damage:
    _, path = disk.pick(has_bytes, newest)
    data = path.read_bytes()
    return Damage("truncate", disk.hit(path), overwrite(path, data[: disk.dice.randrange(len(data))]))


def grow(disk: Disk, newest: bool) -> Damage:
    _, path = disk.pick(is_file, newest)
    return Damage("grow", disk.hit(path), overwrite(path, path.read_bytes() + bytes(disk.dice.randrange(1, 5000))))


def fill(disk: Disk, newest: bool) -> Damage:
    """The empty file that stands for a FIFO is empty no more."""
    path = fifo(disk, newest)
    return Damage("fill", disk.hit(path), overwrite(path, disk.dice.randbytes(disk.dice.randrange(1, 5000))))


def fifo(disk: Disk, newest: bool) -> Path:
    generation = disk.names[-1] if newest else disk.dice.choice(disk.names)
    [path] = [path for path in disk.entries(generation, is_file) if path.name == "fifo"]
    return path


# What is known of an entry.


def touch(disk: Disk, newest: bool) -> Damage:
    generation, path = disk.pick(lambda one: True, newest)
    back, time = keep_times(path), path.lstat().st_mtime_ns + disk.dice.choice([-1, 1]) * 2 ** disk.dice.randrange(50)
    hit = (
        everywhere(disk, generation, path) & {(disk.in_tree(generation, path), generation)}
        if path.is_dir()
        else disk.hit(path)
    )
    os.utime(path, ns=(time, time), follow_symlinks=False)
    return Damage("touch", hit, back)


def other_mode(disk: Disk, newest: bool) -> Damage:
    generation, path = disk.pick(lambda one: not is_link(one) and not (is_file(one) and one.st_size == 0), newest)
    mode = stat.S_IMODE(path.lstat().st_mode)
    hit = {(disk.in_tree(generation, path), generation)} if path.is_dir() else disk.hit(path)
    path.chmod(mode ^ disk.dice.choice([0o001, 0o040, 0o010, 0o020]))
    return Damage("other mode", hit, lambda: path.chmod(mode))


def other_attribute(disk: Disk, newest: bool) -> Damage:
    """A bit of what stands for owner, mode and kind of what the server's account can't make."""
    name, path = "user.rsync.%stat", fifo(disk, newest)
    hit, value = disk.hit(path), os.getxattr(path, name)
    os.setxattr(path, name, flipped(value, disk.dice))
    return Damage("other attribute", hit, lambda: os.setxattr(path, name, value))


# Names.


def delete(disk: Disk, newest: bool) -> Damage:
    generation, path = disk.pick(lambda one: True, newest)
    return Damage("delete", everywhere(disk, generation, path), move_away(disk, path))


def add(disk: Disk, newest: bool) -> Damage:
    generation, directory = disk.pick(is_directory, newest)
    times, path = keep_times(directory), directory / f"stray{disk.dice.randrange(100)}"
    disk.dice.choice([lambda: path.write_bytes(b"stray"), path.mkdir, lambda: path.symlink_to("x")])()
    times()

    def back() -> None:
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        times()

    return Damage("add", {(disk.in_tree(generation, path), generation)}, back)


def other_kind(disk: Disk, newest: bool) -> Damage:
    generation, path = disk.pick(lambda one: not is_directory(one), newest)
    back = move_away(disk, path)
    times = keep_times(path.parent)
    path.mkdir()
    times()
    return Damage("other kind", {(disk.in_tree(generation, path), generation)}, back)


def other_target(disk: Disk, newest: bool) -> Damage:
    generation, path = disk.pick(is_link, newest)
    target, own, above = os.readlink(path), keep_times(path), keep_times(path.parent)

    def point(to: str) -> None:
        path.unlink()
        path.symlink_to(to)
        own()
        above()

    point(flipped_text(target, disk.dice))
    return Damage("other target", {(disk.in_tree(generation, path), generation)}, lambda: point(target))


def flipped_text(text: str, dice: random.Random) -> str:
    """Another text of the same length."""
    position = dice.randrange(len(text))
    return text[:position] + ("y" if text[position] == "x" else "x") + text[position + 1 :]


def swap(disk: Disk, newest: bool) -> Damage:
    """Two files of one generation have changed names; their directories keep their times."""
    generation, one = disk.pick(has_bytes, newest)
    others = [
        path for path in disk.entries(generation, has_bytes)
        if path.read_bytes() != one.read_bytes()
    ]  # fmt: skip
    return _swap(disk, "swap", generation, one, disk.dice.choice(others))


def swap_alike(disk: Disk, newest: bool) -> Damage:
    """Two that have the same size, mode and time: only their bytes tell."""
    generation = disk.names[-1] if newest else disk.dice.choice(disk.names)
    one, other = (path for path in disk.entries(generation, has_bytes) if path.name.startswith("alike"))
    return _swap(disk, "swap alike", generation, one, other)


def _swap(disk: Disk, what: str, generation: str, one: Path, other: Path) -> Damage:
    times = [keep_times(one.parent), keep_times(other.parent)]

    def exchange() -> None:
        aside = disk.pair.root / "aside"
        one.rename(aside)
        other.rename(one)
        aside.rename(other)
        for put_back in times:
            put_back()

    exchange()
    return Damage(what, {(disk.in_tree(generation, path), generation) for path in (one, other)}, exchange)


# What lies beside the trees.


def beside(name: str, how: str) -> Callable[[Disk, bool], Damage]:
    """A damage to the file ``name`` of a generation."""

    def damage(disk: Disk, newest: bool) -> Damage:
        generation = disk.names[-1] if newest else disk.dice.choice(disk.names)
        path = disk.beside(generation, name)
        data, named = path.read_bytes(), {("", generation)}
        if how == "delete":
            return Damage(f"{how} {name}", named, move_away(disk, path))
        if how == "swap":
            other = disk.beside(disk.another(generation), name)
            return _exchange_beside(disk, f"{how} {name}", path, other, named | {("", other.parent.name)})
        content = {
            "flip": lambda: flipped(data, disk.dice),
            "truncate": lambda: data[: disk.dice.randrange(len(data))],
            "grow": lambda: data + disk.dice.choice([b"\0", b"\n", b" ", bytes(512), b"x"]),
        }[how]()
        return Damage(f"{how} {name}", named, overwrite(path, content))

    return damage


def _exchange_beside(disk: Disk, what: str, one: Path, other: Path, named: Named) -> Damage:
    def exchange() -> None:
        aside = disk.pair.root / "aside"
        one.rename(aside)
        other.rename(one)
        aside.rename(other)

    exchange()
    return Damage(what, named, exchange)


def lose_generation(disk: Disk, newest: bool) -> Damage:
    generation = disk.names[-1] if newest else disk.dice.choice(disk.names)
    return Damage("lose generation", {("", generation)}, move_away(disk, disk.beside(generation, ".")))


def swap_generations(disk: Disk, newest: bool) -> Damage:
    one = disk.names[-1] if newest else disk.dice.choice(disk.names)
    other = disk.another(one)
    places = [disk.beside(name, ".") for name in (one, other)]
    return _exchange_beside(disk, "swap generations", places[0], places[1], {("", one), ("", other)})


# The farm of the next run.


class FarmDisk(Disk):
    """What is hit is the farm that waits, and no generation."""

    @property
    def names(self) -> list[str]:
        return [path.name for path in self.pair.store.farms.iterdir()]

    def tree(self, generation: str) -> Path:
        return self.pair.store.farms / generation / "tree"

    @property
    def note(self) -> Path:
        return self.tree(min(self.names)).with_name("laid")  # "stray…" comes later


def other_file(disk: Disk, newest: bool) -> Damage:
    """A file of other bytes, with the same name, size, mode and time."""
    generation, path = disk.pick(has_bytes)
    return _in_an_inode_of_its_own(disk, "other file", generation, path, flipped(path.read_bytes(), disk.dice))


def own_inode(disk: Disk, newest: bool) -> Damage:
    """The same bytes, no link to the base any more."""
    generation, path = disk.pick(is_file)
    return _in_an_inode_of_its_own(disk, "own inode", generation, path, path.read_bytes())


def _in_an_inode_of_its_own(disk: Disk, what: str, generation: str, path: Path, content: bytes) -> Damage:
    own, above, mode = keep_times(path), keep_times(path.parent), path.stat().st_mode
    attributes = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    back = move_away(disk, path)
    path.write_bytes(content)
    path.chmod(stat.S_IMODE(mode))
    for name, value in attributes.items():
        os.setxattr(path, name, value)
    own()
    above()
    return Damage(what, everywhere(disk, generation, path), back)


def other_directory(disk: Disk, newest: bool) -> Damage:
    """A directory's mode, time or attributes."""
    generation, path = disk.pick(is_directory)
    mode, times = stat.S_IMODE(path.stat().st_mode), keep_times(path)

    def back() -> None:
        path.chmod(mode)
        times()

    disk.dice.choice(
        [
            lambda: path.chmod(mode ^ disk.dice.choice([0o001, 0o010, 0o002])),
            lambda: os.utime(path, ns=(0, disk.dice.randrange(1 << 60))),
            lambda: os.setxattr(path, "user.rsync.%stat", b"40755 0,0 7:7"),
        ]
    )()
    return Damage("other directory", {(disk.in_tree(generation, path), generation)}, back)


def one_for_another(disk: Disk, newest: bool) -> Damage:
    """One file has gone and one has come: the count stays."""
    generation, path = disk.pick(is_file)
    times, name = keep_times(path.parent), path.with_name("stray")
    path.rename(name)
    times()
    return Damage("one for another", everywhere(disk, generation, name), lambda: None)


def all_gone(disk: Disk, newest: bool) -> Damage:
    tree = disk.tree(disk.names[0])
    shutil.rmtree(tree)
    disk.dice.choice([lambda: None, tree.touch, tree.mkdir, lambda: tree.symlink_to("/")])()
    return Damage("all gone", set(), lambda: None)


def note(disk: Disk, newest: bool) -> Damage:
    """What says that the farm is whole."""
    assert isinstance(disk, FarmDisk)
    data = disk.note.read_bytes()
    disk.note.write_bytes(disk.dice.choice([flipped(data, disk.dice), data[: disk.dice.randrange(len(data))]]))
    return Damage("note", set(), lambda: None)


def stray_beside(disk: Disk, newest: bool) -> Damage:
    """Something lies beside the farm's tree, or beside the farm, or in the trash."""
    assert isinstance(disk, FarmDisk)
    store = disk.pair.store
    place = disk.dice.choice([disk.note.parent, store.farms, store.trash]) / f"stray{disk.dice.randrange(100)}"
    disk.dice.choice([place.touch, place.mkdir, lambda: place.symlink_to("/")])()
    return Damage("stray beside it", set(), lambda: None)


# What can happen to the farm alone: the inodes of its files are the base's too.
IN_THE_FARM = [
    *(delete, add, other_kind, other_target, swap, swap_alike),
    *(other_file, own_inode, other_directory, one_for_another, all_gone, note, stray_beside),
]


# The damage, and the lowest level that finds it.
DAMAGES: dict[Callable[[Disk, bool], Damage], str] = {
    flip: "full",
    wipe: "full",
    swap_blocks: "full",
    swap_alike: "full",
    truncate: "quick",
    grow: "quick",
    fill: "quick",
    touch: "quick",
    other_mode: "quick",
    other_attribute: "quick",
    delete: "quick",
    add: "quick",
    other_kind: "quick",
    other_target: "quick",
    swap: "quick",
    swap_generations: "quick",
    lose_generation: "quick",
    **{
        beside(name, how): "quick"
        for name in ("manifest", "generation.json", "generation.json.sig", "RESTORE.txt")
        for how in ("flip", "truncate", "grow", "delete", "swap")
    },
}
# Flips are what the name of it all means, and their places are many.
WEIGHTS = [12 if damage is flip else 4 if damage in (touch, delete, truncate) else 1 for damage in DAMAGES]


def write_random(path: Path, size: int, dice: random.Random) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dice.randbytes(size))
    return path


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    """Four generations that share most of their files."""
    dice = random.Random(SEED)  # noqa: S311  a seed repeats the whole session
    pair = Pair(tmp_path_factory.mktemp("pair"), keep_last=KEPT, direct=True)
    for number in range(24):
        size = dice.choice([0, 1, 9, 700, 4096, 5000, 70_000])
        write_random(pair.source / f"{dice.choice('abc')}/{dice.choice('de')}/file{number}", size, dice)
    for number in range(2):
        write_random(pair.source / f"a/alike{number}", 3000, dice)
        os.utime(pair.source / f"a/alike{number}", ns=(10**18, 10**18))
    write_random(pair.source / "b/two names", 3000, dice)
    os.link(pair.source / "b/two names", pair.source / "a/the other\nname")
    (pair.source / "b/link").symlink_to("two names")
    (pair.source / "a/nowhere").symlink_to("x" * 200)
    os.mkfifo(pair.source / "fifo")
    (pair.source / "empty directory").mkdir()
    made = Disk(pair, dice)
    for number in range(KEPT):
        change_some(made, number)
        pair.backup()
    assert len(made.names) == KEPT
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ahead, "_be_idle", lambda: None)  # this process has more to do
        yield made


def change_some(disk: Disk, number: int) -> set[str]:
    """What happens between two backups: something new, something changed. Returns both as the server's paths."""
    source = disk.pair.source
    changed = disk.dice.choice(sorted(path for path in source.glob("?/?/file*")))
    both = (source / f"new{number % 3}/file", changed)
    return {str(write_random(path, disk.dice.randrange(1, 9000), disk.dice))[1:] for path in both}


def found(disk: Disk, level: str) -> list[tuple[str, str, str]]:
    """What a check of all generations finds: code, path and generation."""
    findings = disk.pair.check(level, "all").record["findings"]
    return [(one["code"], one["path"], one["generation"]) for one in findings]


def forget(disk: Disk) -> None:
    """As if no check had ever found anything."""
    for name in ("wanted", "unfit"):
        (disk.pair.store.root / name).unlink(missing_ok=True)


def rounds(count: int) -> Iterator[str]:
    """What a failing round is called; a session is repeated as a whole."""
    for number in range(count):
        yield f"round {number}, SEDAI_SEED={SEED}"


def escaped(names: Named) -> Named:
    return {(path.encode("unicode_escape").decode(), generation) for path, generation in names}


def assert_named(damage: Damage, problems: list[tuple[str, str, str]], called: str) -> None:
    """All that was hit is named, and nothing else is."""
    named = {(path, generation) for _, path, generation in problems if path}
    generations = {generation for _, _, generation in problems}
    wanted = {(path, generation) for path, generation in escaped(damage.named) if path}
    assert wanted <= named, f"{called}: {damage.what}: {problems}"
    # A damaged manifest or record says nothing true of its tree any more.
    if wanted:
        assert named == wanted, f"{called}: {damage.what}: {problems}"
    assert {generation for _, generation in damage.named} <= generations, f"{called}: {damage.what}: {problems}"
    if wanted:
        assert generations == {generation for _, generation in wanted}, f"{called}: {damage.what}: {problems}"


def test_every_damage_is_found_by_its_level_and_nothing_else_is(disk: Disk) -> None:
    damages = list(DAMAGES)
    # Each kind at least once, the others as the weights say.
    chosen = damages[:ROUNDS] + disk.dice.choices(damages, WEIGHTS, k=max(0, ROUNDS - len(damages)))
    disk.dice.shuffle(chosen)
    clean = 0
    for number, (called, hurt) in enumerate(zip(rounds(ROUNDS), chosen, strict=True)):
        disk.farm(waits=number % 2 == 0)
        processes = 2 * (number % 4 < 2)
        damage = hurt(disk, False)
        try:
            with disk.checked_by(processes):
                quick = found(disk, "quick")
                if DAMAGES[hurt] == "quick":
                    assert_named(damage, quick, called)
                else:
                    assert quick == [], f"{called}: {damage.what}: found by a quick check already: {quick}"
                    assert_named(damage, found(disk, "full"), called)
        finally:
            damage.undo()
        forget(disk)
        TALLY.count(f"{THEME}: found by the {DAMAGES[hurt]} check", damage.what)
        if number * CLEAN_ROUNDS // ROUNDS >= clean:
            clean += 1
            with disk.checked_by(processes):
                assert found(disk, "full") == [], f"{called}: a false alarm after {damage.what}"
            TALLY.count(f"{THEME}: no false alarm", "clean")
    assert clean == CLEAN_ROUNDS


def test_the_next_run_heals_what_a_check_has_found(disk: Disk) -> None:
    """By itself, whatever it was, as long as the source has the bytes."""
    damages = list(DAMAGES)
    for called, number in zip(rounds(HEALED), range(HEALED), strict=True):
        change_some(disk, number)
        hurt = disk.dice.choices(damages, WEIGHTS)[0]
        # As behind the last seal, as behind the answer to `begin`, or not at all.
        laid = ["before", "after", "by the seal"][number % 3]
        disk.farm(waits=laid == "before")
        damage = hurt(disk, True)
        try:
            assert found(disk, "full"), f"{called}: {damage.what} was not found"
            if laid == "after":
                disk.look_ahead()
            outcome = disk.pair.run()
            # That all of the newest is gone is told by the run, too.
            assert [one.code for one in outcome.problems] == ["gone"] * (hurt is lose_generation), (
                f"{called}: {damage.what}"
            )
            newest = str(outcome.record["generation"])
            problems = [one for one in found(disk, "full") if one[2] == newest]
            assert problems == [], f"{called}: after {damage.what} the new generation has it too: {problems}"
        finally:
            damage.undo()
        forget(disk)
        assert [one for one in found(disk, "full") if one[0] != "chain"] == [], f"{called}: after {damage.what}"
        TALLY.count(f"{THEME}: healed by the next run", damage.what)
        TALLY.count(f"{THEME}: healed, with the farm laid", laid)


def test_what_nobody_has_found_yet_does_not_spread(disk: Disk) -> None:
    """What is sent is whole though its base is rotten; what is linked keeps its digest, so that the check still finds it."""
    for called, number in zip(rounds(SPREAD), range(SPREAD), strict=True):
        assert found(disk, "full") == [], called
        disk.farm(waits=number % 2 == 0)
        damages = []
        while len(damages) < 5:
            damage = disk.dice.choice([flip, wipe, swap_blocks])(disk, True)
            if any(damage.named & other.named for other in damages):
                damage.undo()
            else:
                damages.append(damage)
        hit = {path for damage in damages for path, _ in damage.named}
        mended = set(disk.dice.sample(sorted(hit), len(hit) // 2))
        for path in sorted(mended):
            if disk.dice.random() < 0.5:
                os.utime(f"/{path}", ns=(10**18, 10**18 + number))
            else:
                with open(f"/{path}", "r+b") as stream:  # a delta to the rotten base
                    stream.write(disk.dice.randbytes(1))
        change_some(disk, number)
        newest = disk.pair.backup()
        inherited = {path for _, path, generation in found(disk, "full") if generation == newest}
        linked = {path for path in hit if same_inode(disk, path)}
        assert inherited == {path.encode("unicode_escape").decode() for path in linked}, called
        healed = disk.pair.backup()
        assert [one for one in found(disk, "full") if one[2] == healed] == [], called
        for damage in damages:
            damage.undo()
        forget(disk)
        TALLY.count(f"{THEME}: did not spread", "five files")


def test_what_is_hit_in_a_farm_that_waits_reaches_no_generation(disk: Disk) -> None:
    """Whole or broken off: it is laid anew, or the seal fails in words and the next run succeeds."""
    chosen = [*IN_THE_FARM, *disk.dice.choices(IN_THE_FARM, k=FARMED - len(IN_THE_FARM))]
    farm = FarmDisk(disk.pair, disk.dice)
    for number, (called, hurt) in enumerate(zip(rounds(FARMED), chosen, strict=True)):
        changed = change_some(disk, number)
        disk.farm(waits=True)
        damage = hurt(farm, True)
        remove(disk.pair.root / "aside")
        what = f"{called}: {damage.what}"
        if broken_off := number % 4 == 3:
            farm.note.unlink(missing_ok=True)
        before = disk.names[-1]
        try:
            outcome = disk.pair.run()
        except SedaiError:
            TALLY.count(f"{THEME}: hit in a waiting farm, told and mended by the run after", damage.what)
            outcome = disk.pair.run()
        assert outcome.problems == [], what
        assert found(disk, "full") == [], what
        assert unshared(disk, before) == changed, what
        disk.look_ahead()
        assert list(disk.pair.store.trash.iterdir()) == [], what
        assert farm.names == [disk.names[-1]], what
        TALLY.count(f"{THEME}: hit in a waiting farm", f"{damage.what}{', broken off' if broken_off else ''}")


def unshared(disk: Disk, before: str) -> set[str]:
    """The files of the newest generation that are no links to those of ``before``."""
    newest = disk.names[-1]
    links = {path.lstat().st_ino for path in disk.entries(before, lambda one: not is_directory(one))}
    return {
        disk.in_tree(newest, path)
        for path in disk.entries(newest, lambda one: not is_directory(one) and one.st_ino not in links)
    }


def same_inode(disk: Disk, path: str) -> bool:
    """Whether the two newest generations have one file in common at ``path``."""
    older, newer = (disk.tree(name) / path for name in disk.names[-2:])
    return older.exists() and newer.exists() and older.samefile(newer)


def test_a_damaged_generation_is_never_a_reason_to_have_no_backup(disk: Disk) -> None:
    """Everything beside the tree of the newest one at once, and nobody has looked before the next run."""
    newest = disk.names[-1]
    for name in ("manifest", "generation.json", "generation.json.sig", "RESTORE.txt"):
        path = disk.beside(newest, name)
        path.write_bytes(flipped(path.read_bytes(), disk.dice))
    for _ in range(2):
        try:
            made = str(disk.pair.run().record["generation"])
            break
        except SedaiError:
            continue
    assert [one for one in found(disk, "full") if one[2] == made] == []
