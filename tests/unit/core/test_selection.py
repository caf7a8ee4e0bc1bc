"""Selecting paths of a manifest in one pass is the same as asking of each line whether it is wanted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedai.core import manifest
from sedai.core.selection import Selection, ancestors, is_within

names = st.lists(st.sampled_from([b"a", b"a\x01", b"a.", b"b", b"\n"]), min_size=1, max_size=3).map(b"/".join)


@given(st.sets(names), st.lists(st.one_of(names, st.just(b"")), min_size=1))
def test_the_pass_finds_what_a_look_at_each_line_finds(paths: set[bytes], wanted: list[bytes]) -> None:
    whole = sorted({*paths, *(above for path in paths for above in ancestors(path))}, key=manifest.order)
    selection = Selection(wanted)
    taken = list(selection.take(manifest.escape(path) + b"\tf\t\n" for path in whole))
    assert [found.path for found in taken if found.chosen] == [
        path for path in whole if any(is_within(path, one) for one in wanted)
    ]
    above = {directory for path in wanted for directory in ancestors(path)}
    assert [found.path for found in taken if not found.chosen] == [
        path for path in whole if path in above and not any(is_within(path, one) for one in wanted)
    ]
    assert selection.unmet == {path for path in wanted if path} - set(whole)


@pytest.mark.parametrize(
    ("path", "directory", "within"),
    [(b"a", b"a", True), (b"a/b", b"a", True), (b"ab", b"a", False), (b"a", b"a/b", False), (b"a", b"", True)],
)
def test_within(path: bytes, directory: bytes, within: bool) -> None:
    assert is_within(path, directory) is within
