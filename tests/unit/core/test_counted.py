"""Numbers of things as a person says them."""

from __future__ import annotations

import pytest

from sedai.core.counted import counted


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(0, "file", "0 files"), (1, "file", "1 file"), (2, "file", "2 files"), (1, "entry", "1 entry"),
     (1234567, "entry", "1,234,567 entries"), (2, "day", "2 days")],
)  # fmt: skip
def test_one_is_no_more(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text
