"""Bit rot: whatever changes by itself on the server's disk is found, named with all generations that it hits, and healed.

A real store, made by the real client, rsync and gate in one directory; the checks are the client's own. Which of them finds
what stands in ``DAMAGES``: ``quick`` looks at names, sizes, times, attributes, and at all that lies beside the trees,
``full`` reads every byte too. SEDAI_ROUNDS sets the number of rounds.
"""

from __future__ import annotations

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

from sedai.core.errors import SedaiError

ROUNDS = int(os.environ.get("SEDAI_ROUNDS") or (1000 if FULL else 100))
CLEAN_ROUNDS = max(20, ROUNDS // 10)
# A backup costs far more than a check.
HEALED = max(10, ROUNDS // 10)
SPREAD = max(3, ROUNDS // 50)
KEPT = 4
THEME = "bit rot"
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
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        aside.rename(path)
        times()

    return back


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
    name = "user.rsync.%stat"
    generation = disk.names[-1] if newest else disk.dice.choice(disk.names)
    [path] = [path for path in disk.entries(generation, is_file) if path.name == "fifo"]
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


def swap_generations(disk: Disk, newest: bool) -> Damage:
    one = disk.names[-1] if newest else disk.dice.choice(disk.names)
    other = disk.another(one)
    places = [disk.beside(name, ".") for name in (one, other)]
    return _exchange_beside(disk, "swap generations", places[0], places[1], {("", one), ("", other)})


# The damage, and the lowest level that finds it.
DAMAGES: dict[Callable[[Disk, bool], Damage], str] = {
    flip: "full",
    wipe: "full",
    swap_blocks: "full",
    swap_alike: "full",
    truncate: "quick",
    grow: "quick",
    touch: "quick",
    other_mode: "quick",
    other_attribute: "quick",
    delete: "quick",
    add: "quick",
    other_kind: "quick",
    other_target: "quick",
    swap: "quick",
    swap_generations: "quick",
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
def disk(tmp_path_factory: pytest.TempPathFactory) -> Disk:
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
    return made


def change_some(disk: Disk, number: int) -> None:
    """What happens between two backups: something new, something changed, something gone."""
    source = disk.pair.source
    write_random(source / f"new{number % 3}/file", disk.dice.randrange(1, 9000), disk.dice)
    changed = disk.dice.choice(sorted(path for path in source.glob("?/?/file*")))
    write_random(changed, disk.dice.randrange(1, 9000), disk.dice)


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
        damage = hurt(disk, False)
        try:
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
            assert found(disk, "full") == [], f"{called}: a false alarm after {damage.what}"
            TALLY.count(f"{THEME}: no false alarm", "clean")
    assert clean == CLEAN_ROUNDS


def test_the_next_run_heals_what_a_check_has_found(disk: Disk) -> None:
    """By itself, whatever it was, as long as the source has the bytes."""
    damages = list(DAMAGES)
    for called, number in zip(rounds(HEALED), range(HEALED), strict=True):
        change_some(disk, number)
        hurt = disk.dice.choices(damages, WEIGHTS)[0]
        damage = hurt(disk, True)
        try:
            assert found(disk, "full"), called
            outcome = disk.pair.run()
            assert outcome.problems == [], f"{called}: {damage.what}"
            newest = str(outcome.record["generation"])
            problems = [one for one in found(disk, "full") if one[2] == newest]
            assert problems == [], f"{called}: after {damage.what} the new generation has it too: {problems}"
        finally:
            damage.undo()
        forget(disk)
        assert [one for one in found(disk, "full") if one[0] != "chain"] == [], f"{called}: after {damage.what}"
        TALLY.count(f"{THEME}: healed by the next run", damage.what)


def test_what_nobody_has_found_yet_does_not_spread(disk: Disk) -> None:
    """What is sent is whole though its base is rotten; what is linked keeps its digest, so that the check still finds it."""
    for called, number in zip(rounds(SPREAD), range(SPREAD), strict=True):
        assert found(disk, "full") == [], called
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
