"""Batches: whatever their size and whichever way it goes, all that was planned arrives, with its digest."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest
from gate_pair import Pair
from hypothesis import given
from hypothesis import strategies as st

from sedai.client import batches, plan, send
from sedai.client.backup import Run
from sedai.client.batches import Plan, Share, Weighed
from sedai.client.config import Source
from sedai.client.plan import Planned, Step
from sedai.client.pushing import BarredError
from sedai.client.scan import Scanned
from sedai.core import manifest
from sedai.core.errors import ProcessError
from sedai.core.selection import ancestors


def planned(path: bytes, kind: str = "f", step: Step = Step.NEW, inode: int = 0) -> Planned:
    """An item; one with an inode has further names."""
    nlink = 2 if inode else 1
    found = Scanned(path, b"%s\t%s\t5\t1\t644\t0\t0\t%d\t%d\t7\t" % (path, kind.encode(), nlink, inode), b"")
    return Planned(step, path, b"" if step is Step.REMOVED else plan.line_of(found))


def test_what_lies_in_a_new_directory_goes_by_its_name() -> None:
    items = [
        planned(b"d", "d"),
        planned(b"d/a"),
        planned(b"d/p", "d"),
        planned(b"d/p/a"),
        planned(b"d/p/w", "d"),
        planned(b"d/p/w/a"),
        planned(b"d/p/z"),
        planned(b"d/z"),
        planned(b"m", "d", Step.MODIFIED),
        planned(b"m/a"),
        planned(b"m/gone", step=Step.REMOVED),
        planned(b"m/linked", inode=3),
    ]
    names = list(batches.to_name(items, {b"d/p"}))
    assert names == [b"d/", b"", b"", b"d/p/a", b"d/p/w/", b"", b"d/p/z", b"", b"m", b"m/a", b"", b""]


names = st.sampled_from([b"a", b"b", b"a-", b"c"])
trees = st.dictionaries(st.lists(names, min_size=1, max_size=4).map(b"/".join), st.integers(0, 4), max_size=20)


@given(
    trees,
    st.sets(st.integers(0, 9)),
    st.integers(1, 5),
    st.sets(names),
    st.integers(1, 4),
    st.integers(1, 3),
    st.data(),
)
def test_each_item_comes_once_with_its_digest(
    tree: dict[bytes, int], skipped: set[int], size: int, tops: set[bytes], worth: int, lanes: int, data: st.DataObject
) -> None:
    directories = {above for path in tree for above in ancestors(path)}
    paths = sorted(tree.keys() | directories, key=manifest.order)
    items = [planned(path, "d") if path in directories else planned(path, inode=tree[path]) for path in paths]
    partial = {path for number, path in enumerate(paths) if number in skipped}
    partial |= {item.path.rpartition(b"/")[0] for item in items if item.linked}
    with_holes = data.draw(st.sets(st.sampled_from(paths))) - directories if paths else set()
    partial |= {path.rpartition(b"/")[0] for path in with_holes}  # as the scan has it
    asked: list[list[bytes]] = []

    def lies_in(directory: bytes) -> list[bytes]:
        return [path for path in paths if path.rpartition(b"/")[0] == directory]

    def holes(path: bytes, size: int) -> bool:
        return path in with_holes

    def push(top: bytes, given_names: Iterable[bytes], sparse: bool) -> dict[bytes, bytes]:
        """As rsync does it: for a name with a slash all that lies in it; of each shared inode the digest of one name."""
        assert not top or top in tops
        whole_names = [top + b"/" + name if top else name for name in given_names]
        asked.append(whole_names)
        told: dict[int | bytes, bytes] = {}
        for name in whole_names:
            found = lies_in(name[:-1]) if name.endswith(b"/") else [name]
            assert sparse or with_holes.isdisjoint(found)
            told |= {tree[path] or path: path for path in found if path not in directories}
        return {path: b"of %r" % key for key, path in told.items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "SIZE", size)
        patch.setattr(batches, "WORTH_A_RUN", worth)
        patch.setattr(batches, "WORTH_A_LANE", 1)
        linked = sum(item.linked for item in items)
        done = list(batches.send(Plan(lambda: iter(items), len(items), linked, partial, tops, holes), push, lanes))
    assert [item for item, _ in done] == items
    for item, digest in done:
        assert digest == (b"" if item.is_directory else b"of %r" % (tree[item.path] or item.path))
    assert all(asked)
    if linked:
        assert set(asked[0]) == {item.path for item in items if item.linked}


def test_nobody_looks_for_holes_where_there_are_none() -> None:
    """Where there are some, only in the share in which they are."""
    items = [planned(b"%d" % number) for number in range(4)]
    told: dict[tuple[bytes, ...], bool] = {}

    def push(top: bytes, given_names: Iterable[bytes], sparse: bool) -> dict[bytes, bytes]:
        told[tuple(given_names)] = sparse
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "WORTH_A_LANE", 1)
        list(batches.send(Plan(lambda: iter(items), 4, 0, (), holes=lambda path, size: path == b"2"), push, 2))
    assert told == {(b"0", b"1"): False, (b"2", b"3"): True}


weights = st.one_of(st.integers(0, 40), st.integers(0, 4000))
weighed = st.lists(
    st.tuples(st.sampled_from([b"a", b"b/", b"", b""]), weights, st.booleans()).map(lambda it: Weighed(*it))
)


@given(weighed, st.integers(1, 4), st.integers(1, 200))
def test_shares_are_about_the_same_and_nothing_is_lost(items: list[Weighed], most: int, worth: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "WORTH_A_LANE", worth)
        found = batches.shares(iter(items), most)
    assert [name for share in found for name in share.names if name] == [item.name for item in items if item.name]
    assert all(any(share.names) for share in found)
    assert all(share.names[0] for share in found[1:]), "it comes by the name of a directory before it"
    total = sum(item.weight for item in items)
    count = max(1, min(most, total // worth))
    assert len(found) <= count
    if sum(len(share.names) for share in found) < len(
        items
    ):  # with names or without, some were left out that have none
        return
    numbers = iter(items)
    of_shares = [[next(numbers) for _ in share.names] for share in found]
    for share, its_items in zip(found, of_shares, strict=True):
        assert share.sparse == any(item.sparse for item in its_items)
    # One more or less: what belongs to one name is not parted, nor is one item.
    groups: list[int] = []
    for item in items:
        groups[len(groups) :] = [0] if item.name or not groups else []
        groups[-1] += item.weight
    for its_items in of_shares:
        assert sum(item.weight for item in its_items) <= total / count + 2 * max(groups)


def test_so_many_shares_are_made_as_there_is_work_for() -> None:
    items = [Weighed(b"%d" % number, 100, sparse=number == 5) for number in range(6)]

    def found(worth: int, most: int) -> list[Share]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(batches, "WORTH_A_LANE", worth)
            return batches.shares(items, most)

    one = [Share([b"0", b"1", b"2", b"3", b"4", b"5"], sparse=True)]
    two = [Share([b"0", b"1", b"2"], sparse=False), Share([b"3", b"4", b"5"], sparse=True)]
    assert found(301, 4) == found(1, 1) == one
    assert found(300, 4) == found(300, 2) == found(1, 2) == two
    assert [share.names for share in found(1, 3)] == [[b"0", b"1"], [b"2", b"3"], [b"4", b"5"]]
    assert len(found(1, 9)) == 6
    assert batches.shares([], 2) == batches.shares([Weighed(b"", 0, sparse=False)], 2) == []


class Lanes:
    """Two runs, of the names `0` and `1`, each of which begins when the other has begun; what they do then is up to each test."""

    def __init__(self) -> None:
        self.both = threading.Barrier(2, timeout=10)
        self.ended = threading.Event()
        self.came_back: list[bytes] = []

    def send(self, push: batches.Push, more: int = 0) -> contextlib.closing[Generator[tuple[Planned, bytes]]]:
        """Send two names, and ``more`` in further batches."""
        items = [planned(b"%d" % number) for number in range(2 + more)]
        return contextlib.closing(batches.send(Plan(lambda: iter(items), len(items), 0, ()), push, 2, self.ended.set))

    def wait_for_the_end(self, name: bytes) -> dict[bytes, bytes]:
        """As an rsync that has much to send."""
        assert self.ended.wait(10), "it was never ended"
        self.came_back.append(name)
        raise ProcessError("Sending broke off (rsync status -15): ", -15, "")


@pytest.fixture
def lanes(monkeypatch: pytest.MonkeyPatch) -> Lanes:
    monkeypatch.setattr(batches, "SIZE", 2)
    monkeypatch.setattr(batches, "WORTH_A_LANE", 1)
    return Lanes()


def test_runs_go_at_the_same_time(lanes: Lanes) -> None:
    def push(top: bytes, given_names: Iterable[bytes], sparse: bool) -> dict[bytes, bytes]:
        lanes.both.wait()
        return dict.fromkeys(given_names, b"digest")

    with lanes.send(push, more=2) as sent:
        assert [(item.path, digest) for item, digest in sent] == [(b"%d" % number, b"digest") for number in range(4)]


@pytest.mark.parametrize("failing", [b"0", b"1"])
def test_a_run_that_fails_ends_the_other(lanes: Lanes, failing: bytes) -> None:
    """Whichever of both it is, and what comes out is why it failed, not that the other was ended."""

    def push(top: bytes, given_names: Iterable[bytes], sparse: bool) -> dict[bytes, bytes]:
        [name] = given_names
        lanes.both.wait()
        if name == failing:
            raise BarredError
        return lanes.wait_for_the_end(name)

    with lanes.send(push) as sent, pytest.raises(BarredError):
        next(sent)
    assert lanes.ended.is_set()
    assert lanes.came_back == [b"1" if failing == b"0" else b"0"], "none is left behind"


def test_a_run_that_fails_early_is_heard_of_before_its_turn(lanes: Lanes) -> None:
    """One of the next batch, which begins as soon as a lane is free."""

    def push(top: bytes, given_names: Iterable[bytes], sparse: bool) -> dict[bytes, bytes]:
        [name] = given_names
        if name == b"0":
            return lanes.wait_for_the_end(name)
        if name == b"2":
            raise BarredError
        return {}

    with lanes.send(push, more=2) as sent, pytest.raises(BarredError):
        next(sent)
    assert lanes.came_back == [b"0"]


def test_who_wants_no_more_ends_the_runs(lanes: Lanes) -> None:
    begun: list[bytes] = []
    under_way = threading.Event()

    def push(top: bytes, given_names: Iterable[bytes], sparse: bool) -> dict[bytes, bytes]:
        [name] = given_names
        begun.append(name)
        if name in (b"0", b"1"):
            return {}
        under_way.set()
        return lanes.wait_for_the_end(name)

    with lanes.send(push, more=6) as sent:
        assert next(sent)[0].path == b"0"
        assert under_way.wait(10), "the next batch is sent meanwhile"
        assert not lanes.ended.is_set()
    assert lanes.ended.is_set()
    assert set(lanes.came_back) <= {b"2", b"3"}
    assert set(begun) <= {b"0", b"1", b"2", b"3"}, "none begins any more"


def content(root: Path) -> dict[str, str]:
    """The files below ``root``."""
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def links(root: Path) -> set[frozenset[str]]:
    """Which names are one inode."""
    names: dict[int, set[str]] = {}
    for name in content(root):
        names.setdefault((root / name).stat().st_ino, set()).add(name)
    return {frozenset(together) for together in names.values() if len(together) > 1}


def test_a_run_begins_in_a_source_for_many_names_or_for_all() -> None:
    a, b = [b"a/b/%d" % number for number in range(5)], [b"c/%d" % number for number in range(3)]
    tops = [b"a/b", b"c"]

    def found(*names: bytes) -> list[tuple[bytes, list[bytes]]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(batches, "WORTH_A_RUN", 5)
            return [(top, list(some)) for top, some in batches.pieces(names, tops)]

    five, three = [b"0", b"1", b"2", b"3", b"4"], [b"0", b"1", b"2"]
    assert found(b"a", b"a/b", *a, *b, b"d") == [(b"a/b", five), (b"", [b"a", b"a/b", *b, b"d"])]
    assert found(*a, *b) == [(b"a/b", five), (b"c", three)]
    assert found(*b) == [(b"c", three)]
    assert found(b"a/b/", *a[:4]) == [(b"", [b"a/b/", *a[:4]])], "the directory itself lies in the one above"
    assert found(b"c-", *b) == [(b"", [b"c-", *b])]
    assert found(*a, b"e", *b, b"f") == [(b"a/b", five), (b"", [b"e", *b, b"f"])]
    assert found(b"a/b/x/", b"", b"", b"", b"", b"d") == [(b"a/b", [b"x/"]), (b"", [b"d"])], "four come by its name"
    assert found(b"", b"", b"", b"", b"", b"", *b) == [(b"c", three)]
    assert found() == found(b"", b"") == []


@pytest.mark.parametrize("worth", [1, 4000])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_real_files_arrive_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, worth: int) -> None:
    monkeypatch.setattr(batches, "SIZE", size)
    monkeypatch.setattr(batches, "WORTH_A_RUN", worth)
    pair = Pair(tmp_path)
    for name in ("a", "whole/a", "whole/deep/b", "whole/new\nline", "whole/z", "linked/a", "-n", "x:y", "z/ends"):
        pair.write(name)
    pair.write("p/.sedai-partial/a")
    os.link(pair.source / "linked/a", pair.source / "whole/deep/again")
    (pair.source / "empty").mkdir()
    for _ in range(2):
        generation = pair.backup()
        stored = pair.stored(generation, pair.source)
        assert content(stored) == content(pair.source)
        assert links(stored) == links(pair.source)
        assert len(links(stored)) == 1
        assert (stored / "empty").is_dir()
        pair.write("whole/late/a")
        pair.write("whole/z", "changed")
        (pair.source / "linked/a").unlink()
        pair.write("linked/b")
        os.link(pair.source / "linked/b", pair.source / "linked/a")


@pytest.mark.parametrize("worth", [1, 4000])
def test_names_that_look_like_comments_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worth: int) -> None:
    """rsync passes over what begins like one, and says nothing of it."""
    monkeypatch.setattr(batches, "WORTH_A_RUN", worth)
    pair = Pair(tmp_path)
    for name in ("#recycle/file", "#notes#", ";semicolon", "plain", "below/#notes#"):
        pair.write(name)
    generation = pair.backup()
    assert content(pair.stored(generation, pair.source)) == content(pair.source)
    assert pair.restore(pair.source, to=tmp_path / "to").findings == []
    assert content(tmp_path / "to" / str(pair.source)[1:]) == content(pair.source)


def test_a_source_at_the_root_may_look_like_a_comment(tmp_path: Path) -> None:
    (tmp_path / "#top").mkdir()
    (tmp_path / "#top/file").write_text("x")
    (tmp_path / ";top").write_text("y")
    sent = send.Sent()
    names = [b"#top", b"#top/file", b";top"]
    argv = [*send.push_arguments("ssh", "", 0)[:-4], f"{tmp_path}/", f"{tmp_path}/to/"]
    argv = [word for word in argv if word != "-M--fake-super"]
    send.push(argv, names, sent, lambda size: None)
    assert sent.digests.keys() == {b"#top/file", b";top"}
    assert content(tmp_path / "to") == {"#top/file": "x", ";top": "y"}


def test_a_file_stays_one_when_a_directory_with_one_of_its_names_is_renamed(tmp_path: Path) -> None:
    """Neither its stat nor that of its other names tells of it."""
    pair = Pair(tmp_path)
    for name in ("a/f", "b/alone", "m/f"):
        pair.write(name)
    os.link(pair.source / "m/f", pair.source / "a/one")
    os.link(pair.source / "m/f", pair.source / "z")
    pair.backup()
    (pair.source / "m").rename(pair.source / "c")
    generation = pair.backup()
    stored = pair.stored(generation, pair.source)
    assert links(stored) == links(pair.source) == {frozenset({"a/one", "c/f", "z"})}
    assert content(stored) == content(pair.source)


def test_other_names_that_are_not_as_they_were_are_left_to_the_plan() -> None:
    def line(path: bytes, inode: int) -> bytes:
        return planned(path, inode=inode).line

    base = [line(b"a", 3), line(b"b", 3), line(b"c", 4), line(b"d", 3), line(b"e", 0), line(b"f", 3)]
    items = [planned(b"d", step=Step.REMOVED), planned(b"d2", inode=3)]
    tally = plan.Tally(unchanged=5, new=1, removed=1, linked=1)
    groups = plan.groups_to_send(items)
    done = list(plan.with_other_names(iter(items), base, groups, lambda found: found != base[1], tally))
    assert [(item.step, item.path) for item in done] == [
        (Step.MODIFIED, b"a"),
        (Step.REMOVED, b"d"),
        (Step.NEW, b"d2"),
        (Step.MODIFIED, b"f"),
    ]
    assert done[0].line == base[0]
    assert (tally.unchanged, tally.modified, tally.linked, tally.planned) == (3, 2, 3, 4)


def test_what_is_excluded_never_leaves_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(tmp_path)
    object.__setattr__(pair.config, "sources", (Source(pair.source, ("*.key",)),))
    pair.write("d/open")
    pair.write("d/secret.key")
    left: list[Path] = []

    def look(run: Run) -> None:
        """When everything was sent, before the seal takes it."""
        left.extend(pair.store.delta.rglob("*"))

    monkeypatch.setattr(Run, "_sources_still_there", look)
    pair.backup()
    assert "open" in {path.name for path in left}
    assert "secret.key" not in {path.name for path in left}
