"""Settling: nothing is sealed that was not read whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from sedai.client import batches, plan, settle
from sedai.client.plan import Planned, Step
from sedai.client.scan import Scanned
from sedai.core import manifest
from sedai.core.wire import Change

DIGEST = b"d" * 32
OLD = 10**18
LATER = OLD + 10**10


def scanned(path: bytes, *, ctime: int = OLD, inode: int = 7, nlink: int = 1, kind: bytes = b"f") -> Scanned:
    """A file as lstat tells it."""
    return Scanned(path, b"%s\t%s\t5\t1\t644\t0\t0\t%d\t%d\t%d\t" % (path, kind, nlink, inode, ctime), b"")


def planned(item: Scanned, step: Step = Step.NEW) -> Planned:
    """It in a plan."""
    return Planned(step, item.path, plan.line_of(item))


def settled(
    items: list[Planned],
    digests: dict[bytes, bytes],
    now: dict[bytes, Scanned],
    after: dict[bytes, Scanned] | None = None,
) -> tuple[list[Change], settle.Settlement]:
    """What is sealed of ``items`` when the paths look like ``now`` after the first sending, ``after`` after the second."""

    def looker(seen: dict[bytes, Scanned]) -> Callable[[bytes], Scanned | None]:
        return seen.get

    def push(top: bytes, paths: Iterable[bytes], sparse: bool) -> dict[bytes, bytes]:
        return {path: digests[path] for path in paths if path in digests}

    def sent(items: list[Planned]) -> list[tuple[Planned, bytes]]:
        return list(
            batches.send(batches.Plan(lambda: iter(items), len(items), sum(item.linked for item in items), ()), push)
        )

    found = settle.Settlement()
    done = sent(items)
    for item in items:
        settle.find_changed(item, found, looker(now), lambda: LATER)
    if found.again:
        found.digests_again = {item.path: digest for item, digest in sent(list(found.again.values()))}
        settle.find_unstable(found, looker(now if after is None else after))
    return list(settle.changes(done, found)), found


def entry(change: Change) -> manifest.Entry:
    """The entry that a change seals."""
    assert change.line is not None
    return manifest.decode(change.line)


def test_a_file_that_stayed_is_sealed_with_its_digest() -> None:
    item = scanned(b"a")
    [change], found = settled([planned(item)], {b"a": DIGEST}, {b"a": item})
    assert entry(change).xxh128 == DIGEST
    assert entry(change).ctime_ns == OLD
    assert not change.unstable
    assert found.entries_lost == 0


def test_a_file_that_changed_once_is_sealed_as_it_is_now() -> None:
    then, now = scanned(b"a"), scanned(b"a", ctime=OLD + 5)
    [change], _ = settled([planned(then)], {b"a": DIGEST}, {b"a": now})
    assert entry(change).ctime_ns == OLD + 5
    assert not change.unstable


def test_a_file_that_keeps_changing_is_sent_again_next_time() -> None:
    then, now, later = scanned(b"a"), scanned(b"a", ctime=OLD + 5), scanned(b"a", ctime=OLD + 9)
    [change], _ = settled([planned(then)], {b"a": DIGEST}, {b"a": now}, {b"a": later})
    assert change.unstable
    assert entry(change).ctime_ns == 0


@pytest.mark.parametrize(("step", "lost"), [(Step.NEW, 1), (Step.MODIFIED, 0)])
@pytest.mark.parametrize("kinds", [(b"f", b"l", b"f"), (b"f", b"f", b"l"), (b"l", b"l", b"l"), (b"f", b"f", b"d")])
def test_what_keeps_becoming_something_else_stays_as_the_base_has_it_and_is_told(
    step: Step, lost: int, kinds: tuple[bytes, bytes, bytes]
) -> None:
    then, now, later = (scanned(b"a", kind=kind, ctime=OLD + moment) for moment, kind in enumerate(kinds))
    changes, found = settled([planned(then, step)], {b"a": DIGEST}, {b"a": now}, {b"a": later})
    assert changes == []
    assert found.entries_lost == lost
    assert [(problem.code, problem.path) for problem in settle.problems(found, [])] == [("restless", b"a")]


def test_a_directory_that_became_a_file_on_the_second_look_is_gone() -> None:
    then, now, later = scanned(b"a", kind=b"d"), scanned(b"a", kind=b"d", ctime=OLD + 5), scanned(b"a", ctime=OLD + 9)
    changes, found = settled([planned(then)], {}, {b"a": now}, {b"a": later})
    assert changes == []
    assert found.entries_lost == 1


@pytest.mark.parametrize(("step", "lost"), [(Step.NEW, 3), (Step.MODIFIED, 2)])
@pytest.mark.parametrize("later", [b"f", b"l", None])
def test_what_is_new_below_a_directory_that_is_left_out_goes_with_it(
    step: Step, lost: int, later: bytes | None
) -> None:
    """The directory went, and came back before its files were looked at."""
    top, below, deeper = scanned(b"a", kind=b"d"), scanned(b"a/b", kind=b"d"), scanned(b"a/b/c")
    beside = scanned(b"b")
    now = {b"a/b": below, b"a/b/c": deeper, b"b": beside}
    if later is not None:
        now[b"a"] = scanned(b"a", kind=later)
    items = [planned(top, step), planned(below), planned(deeper), planned(beside)]
    changes, found = settled(items, {b"a/b/c": DIGEST, b"b": DIGEST}, now)
    assert [change.path for change in changes] == [b"b"]
    assert found.entries_lost == lost


def test_a_directory_that_keeps_changing_is_sealed_with_what_arrived() -> None:
    then, now, later = (scanned(b"a", kind=b"d", ctime=OLD + moment) for moment in range(3))
    [change], _ = settled([planned(then)], {}, {b"a": now}, {b"a": later})
    assert change.unstable
    assert entry(change).ctime_ns == 0


def test_a_file_written_just_now_is_sent_again_next_time() -> None:
    item = scanned(b"a", ctime=LATER - 1_000)
    [change], _ = settled([planned(item)], {b"a": DIGEST}, {b"a": item})
    assert entry(change).ctime_ns == 0
    assert not change.unstable


@pytest.mark.parametrize(("step", "sealed"), [(Step.NEW, []), (Step.MODIFIED, [Change(b"a", None)])])
def test_a_file_that_vanished_is_gone(step: Step, sealed: list[Change]) -> None:
    changes, found = settled([planned(scanned(b"a"), step)], {}, {})
    assert changes == sealed
    assert found.entries_lost == 1


def test_a_file_that_has_rotted_here_too_stays_as_the_base_has_it() -> None:
    item, other = planned(scanned(b"a"), Step.MODIFIED), planned(scanned(b"b"), Step.MODIFIED)
    found = settle.Settlement()
    changes = list(settle.changes([(item, DIGEST), (other, DIGEST)], found, {b"a"}))
    assert [change.path for change in changes] == [b"b"]
    assert [problem.path for problem in settle.problems(found, [])] == [b"a"]
    assert found.entries_lost == 0


@pytest.mark.parametrize(("step", "lost"), [(Step.NEW, 1), (Step.MODIFIED, 0)])
def test_an_unreadable_file_stays_as_the_base_has_it_and_is_told(step: Step, lost: int) -> None:
    item = scanned(b"a")
    changes, found = settled([planned(item, step)], {}, {b"a": item})
    assert changes == []
    assert found.entries_lost == lost
    assert [problem.path for problem in settle.problems(found, [])] == [b"a"]


def test_names_of_one_inode_share_the_digest_that_rsync_told_of_one() -> None:
    one, two = scanned(b"a", nlink=2), scanned(b"b", nlink=2)
    changes, found = settled([planned(one), planned(two)], {b"b": DIGEST}, {b"a": one, b"b": two})
    assert [entry(change).xxh128 for change in changes] == [DIGEST, DIGEST]
    assert found.unsent == []


def test_directories_need_no_digest() -> None:
    item = scanned(b"a", kind=b"d")
    [change], found = settled([planned(item)], {}, {b"a": item})
    assert entry(change).kind == "d"
    assert found.unsent == []


def test_what_else_rsync_complains_about_is_told() -> None:
    lines = ["rsync: [receiver] rsync_xal_set: lsetxattr failed", "rsync error: some files (code 23)"]
    assert [problem.detail for problem in settle.problems(settle.Settlement(), lines)] == lines[:1]


def test_a_file_that_can_t_be_looked_at_stays_and_is_told() -> None:
    blind = Scanned(b"a", b"", b"")
    changes, found = settled([planned(scanned(b"a"), Step.MODIFIED)], {b"a": DIGEST}, {b"a": blind})
    assert changes == []
    assert [problem.code for problem in settle.problems(found, [])] == ["unreadable"]


def test_a_directory_that_vanished_stays_with_what_the_base_has_below_it() -> None:
    below = planned(scanned(b"d/new"))
    changes, found = settled([planned(scanned(b"d", kind=b"d"), Step.MODIFIED), below], {}, {})
    assert changes == []
    assert found.entries_lost == 1


def test_a_directory_that_became_a_file_stays_as_it_was() -> None:
    changes, _ = settled([planned(scanned(b"d", kind=b"d"), Step.MODIFIED)], {}, {b"d": scanned(b"d")})
    assert changes == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('rsync: [sender] link_stat "/etc/a" failed: No such file or directory (2)', False),
        ('rsync: [sender] link_stat "/etc/abc" failed: Input/output error (5)', True),
        ('rsync: [sender] link_stat "/etc/n\\#012l" failed: No such file or directory (2)', False),
    ],
)
def test_a_complaint_is_passed_over_only_for_its_own_path(line: str, told: bool) -> None:
    found = settle.Settlement(gone={b"etc/a", b"etc/n\nl"})
    assert bool(list(settle.problems(found, [line]))) is told
