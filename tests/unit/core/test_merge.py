"""Merging is what a dictionary would do, and what it makes can't lead out of its tree."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedai.core import manifest
from sedai.core.errors import IntegrityError
from sedai.core.merge import merge
from sedai.core.selection import ancestors
from sedai.core.wire import Change

# Few names, so that changes meet what is there; a dot and a dash sort before the slash.
names = st.sampled_from([b"a", b"b", b"a.txt", b"a-", b"a\nb", b"\xff"])
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)
kinds = st.sampled_from("fld")
trees = st.dictionaries(paths, kinds, max_size=20)


def line(path: bytes, kind: str, size: int = 0) -> bytes:
    """An entry's line."""
    return manifest.encode(manifest.Entry(path, kind, size, 0, 0o644, 0, 0, 1, 1, 1, b"-", b"-", b""))


def lines(tree: dict[bytes, str]) -> list[bytes]:
    """The tree's lines in walk order."""
    return [line(path, tree[path]) for path in sorted(tree, key=manifest.order)]


def with_directories(tree: dict[bytes, str]) -> dict[bytes, str]:
    """The tree with every entry in a directory."""
    return tree | {above: "d" for path in tree for above in ancestors(path)}


def in_blocks(all_lines: list[bytes], ends: Iterable[int]) -> list[bytes]:
    """The lines in pieces that end at ``ends``."""
    places = sorted({0, len(all_lines), *(end for end in ends if end < len(all_lines))})
    return [b"".join(all_lines[begin:end]) for begin, end in itertools.pairwise(places)]


def changes_of(wanted: dict[bytes, str | None]) -> list[Change]:
    """The changes in walk order."""
    return [
        Change(path, None if kind is None else line(path, kind, 1))
        for path, kind in sorted(wanted.items(), key=lambda item: manifest.order(item[0]))
    ]


@given(trees, st.dictionaries(paths, st.none() | kinds, max_size=12), st.lists(st.integers(0, 40)))
def test_whatever_changes_it_is_as_in_a_dictionary_or_refused(
    base: dict[bytes, str], wanted: dict[bytes, str | None], ends: list[int]
) -> None:
    base = with_directories(base)
    told: dict[bytes, bytes | None] = {}
    expected = {path: line(path, kind) for path, kind in base.items()}
    expected |= {change.path: change.line for change in changes_of(wanted) if change.line is not None}
    gone = {path for path, kind in wanted.items() if kind is None}
    kinds_now = {path: kind for path, kind in (base | wanted).items() if kind is not None}
    nested = all(kinds_now.get(above) == "d" for path in kinds_now for above in ancestors(path))
    merged = merge(
        in_blocks(lines(base), ends), changes_of(wanted), lambda change, old: told.update({change.path: old})
    )
    if not nested or gone - base.keys():
        with pytest.raises(IntegrityError, match=r"does not lie in a directory|does not have"):
            list(merged)
        return
    result = b"".join(merged)
    assert list(manifest.lines_of(result)) == [
        expected[path] for path in sorted(expected.keys() - gone, key=manifest.order)
    ]
    assert told == {path: line(path, base[path]) if path in base else None for path in wanted}


def test_what_was_not_changed_goes_by_in_one_piece() -> None:
    base = lines(with_directories({b"a/a": "f", b"b": "f", b"c": "f", b"d/a": "f"}))
    blocks = in_blocks(base, [2, 4])
    assert list(merge(blocks, [])) == blocks
    assert list(merge(blocks, [Change(b"b", None)])) == [blocks[0], line(b"c", "f"), blocks[2]]


@pytest.mark.parametrize("order", [[b"b", b"a"], [b"a", b"a"], [b"a.txt", b"a/a"]])
def test_changes_out_of_order_are_refused(order: list[bytes]) -> None:
    with pytest.raises(IntegrityError, match="out of order"):
        list(merge([], [Change(path, line(path, "d")) for path in order]))


@pytest.mark.parametrize(
    ("base", "change"),
    [
        ({}, (b"a/b", "f")),
        ({b"a": "l"}, (b"a/b", "f")),
        ({b"a": "f"}, (b"a/b", "f")),
        ({b"a": "d", b"a/b": "l"}, (b"a/b/c", "f")),
        ({b"a": "d", b"b": "f"}, (b"b/c", "f")),
        ({b"a": "d", b"a/b": "f"}, (b"a", "l")),
        ({b"a": "d", b"a/b": "f"}, (b"a", None)),
    ],
)
def test_what_would_lie_behind_a_symlink_or_nowhere_is_refused(
    base: dict[bytes, str], change: tuple[bytes, str | None]
) -> None:
    with pytest.raises(IntegrityError, match="does not lie in a directory"):
        list(merge(in_blocks(lines(base), []), changes_of(dict([change]))))
