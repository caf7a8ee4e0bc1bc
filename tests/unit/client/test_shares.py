"""A plan made by shares beside the plan made in one go: the same, whatever became of the tree since the base."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from gate_pair import Pair

from sedai.client import plan, shares
from sedai.client.config import Backup, ClientConfig, Server, Source
from sedai.client.plan import Tally
from sedai.client.scan import Scan, Scanned, Subtree
from sedai.core import manifest, workers

SERVER = Server("vps.example.com", Path("/key"), Path("/known"))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees of a few hundred entries are divided like those of hundreds of thousands."""
    monkeypatch.setattr(shares, "_STRIDE", 2)
    monkeypatch.setattr(shares, "_MOST", 12)
    monkeypatch.setattr(shares, "_PIECE", 5)


def configuration(sources: list[Source], exclude: tuple[str, ...] = (), staging: Path | None = None) -> ClientConfig:
    """Of a client with these sources."""
    backup = Backup(exclude=exclude)
    return ClientConfig(
        "t", Path("/state"), Path("/log"), SERVER, tuple(sources), backup=backup, staging_directory=staging
    )


def grow(directory: Path, numbers: random.Random, depth: int = 0) -> None:
    """A random tree: some directories large, some deep, some empty; with further names and symlinks."""
    for number in range(numbers.choice((0, 1, 3, 9, 20))):
        place = directory / f"{numbers.choice('abé-.~')}{number}"
        kind = numbers.random()
        if kind < 0.35 and depth < 3:
            place.mkdir()
            grow(place, numbers, depth + 1)
        elif kind < 0.4:
            place.symlink_to("elsewhere")
        elif kind < 0.45 and (
            others := [each for each in directory.iterdir() if each.is_file() and not each.is_symlink()]
        ):
            os.link(others[0], place, follow_symlinks=False)
        else:
            place.write_bytes(numbers.randbytes(numbers.randrange(40)))


def change(directory: Path, numbers: random.Random) -> None:
    """Change, remove and replace some of a tree."""
    everything = sorted(directory.rglob("*"))
    for place in numbers.sample(everything, len(everything) // 5):
        if not os.path.lexists(place):
            continue
        what = numbers.random()
        is_directory = place.is_dir() and not place.is_symlink()
        if what < 0.3 and is_directory:
            shutil.rmtree(place)
            if what < 0.1:
                place.write_bytes(b"a file now")
        elif what < 0.6 and not is_directory:
            place.unlink()
            if what < 0.4:
                place.mkdir()
                grow(place, numbers, 2)
        elif is_directory:
            grow_beside(place, numbers)
        elif not place.is_symlink():
            place.write_bytes(numbers.randbytes(50))


def grow_beside(directory: Path, numbers: random.Random) -> None:
    """New names in a directory that has some."""
    for number in range(numbers.randrange(20)):
        (directory / f"new{number}").write_bytes(b"x")


def blocks_of(lines: list[bytes], size: int) -> list[bytes]:
    """``lines`` by blocks, as a manifest is read."""
    return [b"".join(lines[begin : begin + size]) for begin in range(0, len(lines), size)]


class Case:
    """A tree below ``root``, its base, and the two ways to a plan."""

    def __init__(self, root: Path, config: ClientConfig) -> None:
        self.root, self.config = root, config
        self.base: list[bytes] = []

    def scan(self) -> Scan:
        return Scan(self.config, lambda path: True, os.fsencode(self.root) + b"/")

    def seal(self) -> None:
        """Make what is there now the base."""
        self.base = [plan.line_of(item) for item in self.scan().entries() if item.signature]

    def in_one_go(self, keeps: Callable[[bytes], bool]) -> tuple[bytes, Tally, Scan]:
        scan, tally = self.scan(), Tally()
        planned = b"".join(map(plan.encode, plan.compare(scan.entries(), iter(self.base), tally, keeps)))
        return planned, tally, scan

    def by_shares(self, keeps: Callable[[bytes], bool], crew: int, block: int = 7) -> tuple[bytes, Tally, Scan]:
        scan, tally = self.scan(), Tally()
        comparison = shares.Comparison(scan, self.scan, keeps, self.config.staged)
        planned = b"".join(comparison.carry_out(lambda: blocks_of(self.base, block), tally, crew))
        return planned, tally, scan

    def compare(self, crew: int, keeps: Callable[[bytes], bool] = lambda path: False) -> tuple[bytes, Tally, Scan]:
        """Both ways come to the same; that is returned."""
        planned, tally, scan = self.in_one_go(keeps)
        planned_by_shares, tally_by_shares, scan_by_shares = self.by_shares(keeps, crew)
        assert planned_by_shares == planned
        assert tally_by_shares == tally
        for noted in ("devices", "partial"):
            assert getattr(scan_by_shares, noted) == getattr(scan, noted)
        for noted in ("problems", "live", "not_entered"):
            assert sorted(getattr(scan_by_shares, noted)) == sorted(getattr(scan, noted))
        return planned_by_shares, tally_by_shares, scan_by_shares


@pytest.mark.parametrize("seed", range(40))
def test_a_plan_by_shares_is_the_plan(tmp_path: Path, seed: int) -> None:
    numbers = random.Random(seed)  # noqa: S311
    for name in ("one", "two/below", "two/beside"):
        (tmp_path / name).mkdir(parents=True)
        grow(tmp_path / name, numbers)
    sources = [Source(Path("/one")), Source(Path("/two/below"), exclude=("b*", "!b1")), Source(Path("/two/beside"))]
    case = Case(tmp_path, configuration(sources, ("*3", "/c7") if seed % 2 else ()))
    case.seal()
    change(tmp_path, numbers)
    case.compare(crew=seed % 3)


def test_nothing_changed_is_an_empty_plan(tmp_path: Path) -> None:
    grow_all(tmp_path / "s", 30, 10)
    case = Case(tmp_path, configuration([Source(Path("/s"))]))
    case.seal()
    planned, tally, _ = case.compare(crew=2)
    assert planned == b""
    assert tally == Tally(unchanged=1 + 30 + 300)


def grow_all(root: Path, directories: int, files: int) -> None:
    """Directories of files."""
    for directory in range(directories):
        (root / f"{directory:02}").mkdir(parents=True)
        for number in range(files):
            (root / f"{directory:02}" / f"{number:02}").write_bytes(b"x")


def test_directories_are_walked_apart_by_what_the_base_has_of_them(tmp_path: Path) -> None:
    grow_all(tmp_path / "s" / "many", 4, 10)
    grow_all(tmp_path / "s" / "some", 1, 8)
    (tmp_path / "s" / "single").write_bytes(b"x")
    case = Case(tmp_path, configuration([Source(Path("/s"))]))
    case.seal()
    sizes = shares.subtrees(blocks_of(case.base, 1000))
    assert sorted(sizes) == [b"s/many/00", b"s/many/01", b"s/many/02", b"s/many/03", b"s/some"]
    assert sum(sizes.values()) == pytest.approx(len(case.base), abs=12)
    found = case.scan().steps(sizes)
    assert {step.path for step in found if isinstance(step, Subtree)} == sizes.keys()


def test_a_small_source_is_a_share(tmp_path: Path) -> None:
    for place in ("etc", "home/u/documents"):
        grow_all(tmp_path / place, 1, 5)
    grow_all(tmp_path / "srv/data", 10, 5)
    sources = [Source(Path(path)) for path in ("/etc", "/home/u/documents", "/srv/data")]
    case = Case(tmp_path, configuration(sources))
    case.seal()
    sizes = shares.subtrees(blocks_of(case.base, 1000))
    assert {b"etc", b"home"} <= sizes.keys()
    found = [step.path for step in case.scan().steps(sizes) if isinstance(step, Subtree)]
    assert found[:2] == [b"etc", b"home/u/documents"]
    assert set(found[2:]) == {path for path in sizes if path.startswith(b"srv/data/")}
    grow_beside(tmp_path / "home/u/documents", random.Random(1))  # noqa: S311
    case.compare(crew=2)


def pieces_of(case: Case, block: int) -> list[shares.Share]:
    base = blocks_of(case.base, block)
    sizes = shares.subtrees(base)
    return list(shares.shares(case.scan().steps(sizes), sizes, shares.Base(base)))


def check_shares(case: Case, block: int) -> list[shares.Share]:
    """Each line of the base is in one share, in order, and none has more than a few blocks."""
    found = pieces_of(case, block)
    assert b"".join(share.base for share in found) == b"".join(case.base)
    assert max(share.base.count(b"\n") for share in found) <= 2 * block + 12 + 2
    return found


@pytest.mark.parametrize("block", [1, 3, 7, 50])
def test_a_directory_that_was_removed_is_no_large_share(tmp_path: Path, block: int) -> None:
    grow_all(tmp_path / "s" / "a", 3, 5)
    grow_all(tmp_path / "s" / "b", 40, 10)
    grow_all(tmp_path / "s" / "c", 3, 5)
    case = Case(tmp_path, configuration([Source(Path("/s"))]))
    case.seal()
    shutil.rmtree(tmp_path / "s" / "b")
    check_shares(case, block)
    _, tally, _ = case.compare(crew=2)
    assert tally.removed == 1 + 40 + 400


@pytest.mark.parametrize("block", [1, 3, 7, 50])
def test_a_source_that_is_kept_is_no_large_share(tmp_path: Path, block: int) -> None:
    grow_all(tmp_path / "gone", 40, 10)
    grow_all(tmp_path / "s", 3, 5)
    case = Case(tmp_path, configuration([Source(Path("/gone")), Source(Path("/s"))]))
    case.seal()
    shutil.rmtree(tmp_path / "gone")
    found = check_shares(case, block)
    assert sum(Scanned(b"gone", b"", b"") in share.steps for share in found) > 1 or block == 50
    _, tally, scan = case.compare(crew=2)
    assert (tally.kept, tally.removed) == (1 + 40 + 400, 0)
    assert [problem.code for problem in scan.problems] == ["source_missing"]


def test_what_is_noted_of_a_share_is_noted_of_the_scan(tmp_path: Path) -> None:
    grow_all(tmp_path / "s", 6, 10)
    (tmp_path / "s" / "02" / "ibdata1").write_bytes(b"x")
    (tmp_path / "s" / "03" / "cache").mkdir()
    (tmp_path / "s" / "03" / "cache" / "CACHEDIR.TAG").write_bytes(b"Signature: 8a477f597d28d172789f06886806bc55")
    (tmp_path / "s" / "03" / "cache" / "left out").write_bytes(b"x")
    os.link(tmp_path / "s" / "04" / "01", tmp_path / "s" / "05" / "further")
    case = Case(tmp_path, configuration([Source(Path("/s"))]))
    case.seal()
    _, _, scan = case.compare(crew=2)
    assert [found.path for found in scan.live] == [b"s/02"]
    assert {b"s/03/cache", b"s/04", b"s/05"} <= scan.partial


def test_who_keeps_dumps_hears_of_all_of_them(tmp_path: Path) -> None:
    grow_all(tmp_path / "s" / "staging", 6, 10)
    grow_all(tmp_path / "s" / "beside", 6, 10)
    staging = Path("/s/staging")
    case = Case(tmp_path, configuration([Source(Path("/s"))], staging=staging))
    case.seal()
    shutil.rmtree(tmp_path / "s" / "staging" / "03")
    shutil.rmtree(tmp_path / "s" / "beside" / "03")
    asked: list[bytes] = []

    def keeps(path: bytes) -> bool:
        asked.append(path)
        return path.startswith(b"s/staging/") and path.endswith(b"5")

    _, tally, _ = case.in_one_go(keeps)
    expected = [path for path in asked if path.startswith(b"s/staging/")]
    asked.clear()
    _, tally_by_shares, _ = case.by_shares(keeps, crew=2)
    assert asked == expected
    assert len(asked) == 11
    assert tally_by_shares == tally
    assert tally.kept == 1


def test_an_unreadable_directory_keeps_what_the_base_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow_all(tmp_path / "s", 6, 10)
    case = Case(tmp_path, configuration([Source(Path("/s"))]))
    case.seal()
    barred, scandir = os.fsencode(tmp_path / "s" / "03"), os.scandir

    def refuse(path: bytes) -> Iterator[os.DirEntry[bytes]]:
        if path == barred:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    _, tally, scan = case.compare(crew=2)
    assert (tally.kept, tally.removed) == (10 + 1, 0) or (tally.kept, tally.removed) == (10, 0)
    assert [problem.path for problem in scan.problems] == [b"s/03"]


def test_a_base_is_taken_in_order(tmp_path: Path) -> None:
    lines = [b"%03d\tf\t0\t0\t0\t0\t0\t1\t0\t0\t-\t-\t\n" % number for number in range(100)]
    base = shares.Base(blocks_of(lines, 30))
    assert b"".join(base.until(manifest.order(b"045"))) == b"".join(lines[:45])
    assert list(base.until(manifest.order(b"045"))) == []
    assert not base.is_behind(b"050")
    assert base.is_behind(b"060")
    assert [block.count(b"\n") for block in base.until(None)] == [15, 30, 10]
    assert list(base.until(None)) == []


def test_a_backup_of_many_entries_is_planned_by_shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "WORTH_WORKERS", 20)
    monkeypatch.setattr(workers, "count", lambda: 2)
    crews: list[int] = []
    carry_out = shares.Comparison.carry_out

    def spy(
        comparison: shares.Comparison, base: Callable[[], Iterable[bytes]], tally: Tally, crew: int
    ) -> Iterator[bytes]:
        crews.append(crew)
        return carry_out(comparison, base, tally, crew)

    monkeypatch.setattr(shares.Comparison, "carry_out", spy)
    pair = Pair(tmp_path)
    grow_all(pair.source, 6, 10)
    pair.backup()
    shutil.rmtree(pair.source / "01")
    pair.write("02/new")
    outcome = pair.run()
    assert crews == [2]
    assert (outcome.tally.removed, outcome.tally.new, outcome.tally.send_files) == (11, 1, 1)
    assert not pair.check("full").findings
    assert not pair.restore(pair.source, to=tmp_path / "back").findings
    restored = tmp_path / "back" / str(pair.source)[1:]
    assert {path.relative_to(restored) for path in restored.rglob("*")} == {
        path.relative_to(pair.source) for path in pair.source.rglob("*")
    }
