"""The sample of a drill: within its bounds, fair, and the same again for the same seed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sedai.client.sample import draw
from sedai.core.manifest import Entry


def files(*sizes: int) -> list[Entry]:
    """Files of these sizes."""
    return [Entry(b"file %d" % number, "f", size, 0, 0o644, 0, 0, 1, number, 0, b"-", b"-", b"")
            for number, size in enumerate(sizes)]  # fmt: skip


@given(st.lists(st.integers(0, 100)), st.integers(1, 20), st.integers(1, 300), st.integers(0, 2**32))
def test_it_keeps_within_its_bounds_and_in_order(sizes: list[int], count: int, size: int, seed: int) -> None:
    everything = files(*sizes)
    drawn = draw(everything, count, size, seed)
    assert len(drawn) <= count
    assert sum(entry.size for entry in drawn) <= size
    positions = [everything.index(entry) for entry in drawn]
    assert positions == sorted(set(positions))
    assert draw(everything, count, size, seed) == drawn
    if any(entry.size <= size for entry in everything):
        assert drawn


def test_everything_is_drawn_where_it_fits() -> None:
    everything = files(*range(50))
    assert draw(everything, 50, sum(range(50)), 1) == everything


def test_each_file_is_as_likely_as_any_other() -> None:
    everything = files(*[1] * 20)
    drawn = Counter(entry.path for seed in range(4000) for entry in draw(everything, 5, 1000, seed))
    # 1000 each; a standard deviation is 27.
    assert len(drawn) == 20
    assert all(860 < number < 1140 for number in drawn.values())


def test_where_the_bytes_are_too_many_each_is_as_likely_too() -> None:
    everything = files(*[10] * 12)
    drawn = Counter(entry.path for seed in range(4000) for entry in draw(everything, 12, 45, seed))
    # 4 of 12.
    assert all(1180 < number < 1490 for number in drawn.values())
    assert len(drawn) == 12


def test_a_file_larger_than_all_that_may_come_back_is_never_drawn() -> None:
    [small] = draw(files(1 << 40, 7, 1 << 41), 3, 1 << 20, 1)
    assert small.path == b"file 1"
