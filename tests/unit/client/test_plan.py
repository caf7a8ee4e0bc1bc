"""The plan: applied to the base it gives exactly what the scan saw."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedai.client import plan
from sedai.client.plan import Planned, Step, Tally
from sedai.client.planning import _groups, _spoil
from sedai.client.scan import Scanned
from sedai.core import manifest
from sedai.core.merge import merge
from sedai.core.selection import ancestors
from sedai.core.wire import Change

names = st.sampled_from([b"a", b"b", b"a.txt", b"a\nb", b"\xff", b"-", b"z"])
paths = st.lists(names, min_size=1, max_size=3).map(b"/".join)


def with_directories(tree: dict[bytes, int]) -> dict[bytes, int]:
    """The tree with the directories that its paths lie in: those of version 0."""
    return tree | {above: 0 for path in tree for above in ancestors(path)}


trees = st.dictionaries(paths, st.integers(0, 3), max_size=12).map(with_directories)


def scanned(path: bytes, version: int) -> Scanned:
    """A file whose signature is told by ``version``; a directory where that is 0."""
    kind = b"f" if version else b"d"
    return Scanned(path, b"%s\t%s\t%d\t0\t644\t0\t0\t1\t1\t%d\t" % (manifest.escape(path), kind, version, version), b"")


def line(path: bytes, version: int) -> bytes:
    """Its line in a manifest, digests known."""
    return scanned(path, version).signature + b"deadbeef\t%032d\t\n" % version


def compare(found: list[Scanned], base: list[bytes]) -> tuple[list[Planned], Tally]:
    """The plan, and its counts."""
    tally = Tally()
    return list(plan.compare(found, iter(base), tally)), tally


def ordered(tree: dict[bytes, int]) -> list[tuple[bytes, int]]:
    """The tree in walk order."""
    return sorted(tree.items(), key=lambda item: manifest.order(item[0]))


@given(trees, trees)
def test_the_plan_turns_the_base_into_what_was_scanned(base: dict[bytes, int], now: dict[bytes, int]) -> None:
    base_lines = [line(*item) for item in ordered(base)]
    planned, tally = compare([scanned(*item) for item in ordered(now)], base_lines)
    changes = (Change(item.path, item.line or None) for item in planned)
    merged = [manifest.decode(text) for text in merge(base_lines, changes)]
    assert [(entry.path, entry.size) for entry in merged] == ordered(now)
    assert tally.entries == len(now)
    assert tally.unchanged == sum(base.get(path) == version for path, version in now.items())
    assert tally.removed == len(base.keys() - now.keys())
    assert tally.new == len(now.keys() - base.keys())
    assert tally.send_bytes == sum(version for path, version in now.items() if base.get(path) != version)


@given(trees, trees)
def test_what_is_to_stay_is_not_removed(base: dict[bytes, int], now: dict[bytes, int]) -> None:
    base_lines = [line(*item) for item in ordered(base)]
    tally = Tally()
    found = [scanned(*item) for item in ordered(now)]
    planned = list(plan.compare(found, iter(base_lines), tally, lambda path: path.startswith(b"a")))
    gone = {item.path for item in planned if item.step is Step.REMOVED}
    assert gone == {path for path in base.keys() - now.keys() if not path.startswith(b"a")}
    assert tally.kept == len(base.keys() - now.keys()) - len(gone)
    assert tally.entries == len(now) + tally.kept


@given(trees)
def test_nothing_changed_plans_nothing(tree: dict[bytes, int]) -> None:
    planned, tally = compare([scanned(*item) for item in ordered(tree)], [line(*item) for item in ordered(tree)])
    assert planned == []
    assert tally.unchanged == len(tree)


@pytest.mark.parametrize(
    ("found", "kept", "removed"),
    [
        # The whole source is missing: all of it stays.
        ([Scanned(b"s", b"", b"")], [b"s", b"s/a", b"s/a/x", b"s/b"], [b"t"]),
        # One directory can't be listed: it is seen, what is below it stays.
        ([scanned(b"s", 1), scanned(b"s/a", 1), Scanned(b"s/a", b"", b""), scanned(b"s/b", 1)], [b"s/a/x"], [b"t"]),
        # What was never there is no loss.
        ([Scanned(b"r", b"", b""), scanned(b"t", 1)], [], [b"s", b"s/a", b"s/a/x", b"s/b"]),
    ],
)
def test_what_could_not_be_read_stays_as_it_was(found: list[Scanned], kept: list[bytes], removed: list[bytes]) -> None:
    base = [line(path, 1) for path in (b"s", b"s/a", b"s/a/x", b"s/b", b"t")]
    planned, tally = compare(found, base)
    assert [item.path for item in planned if item.step is Step.REMOVED] == removed
    assert tally.kept == len(kept)


@given(st.sampled_from(list(Step)), paths)
def test_a_plan_line_reads_back(step: Step, path: bytes) -> None:
    planned = Planned(step, path, b"" if step is Step.REMOVED else line(path, 1))
    assert plan.decode(plan.encode(planned)) == planned


def test_what_the_server_lost_is_sent_again_with_all_names_of_its_inode() -> None:
    def linked(path: bytes, inode: int) -> bytes:
        return b"%s\tf\t1\t0\t644\t0\t0\t2\t%d\t1\t-\t-\t\n" % (path, inode)

    lines = [linked(b"a", 5), linked(b"b", 6), linked(b"c", 5), line(b"d", 1), line(b"e", 1)]
    wanted = {b"a", b"e"}
    were: list[bytes] = []
    spoiled = list(_spoil(iter(lines), wanted, _groups(iter(lines), wanted), were))
    assert [old != new for old, new in zip(lines, spoiled, strict=True)] == [True, False, True, False, True]
    assert were == [lines[0], lines[2], lines[4]]
