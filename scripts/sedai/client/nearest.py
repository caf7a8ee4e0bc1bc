"""The names nearest to one that is not there: a person who mistypes is shown what was meant."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable, Iterator

_LIKE_ENOUGH = 0.6
# A shorter word is in too many names to mean one; in UTF-8 this is one Japanese character.
_WORD_BYTES = 3


def nearest(wanted: bytes, paths: Iterable[bytes], count: int = 3) -> list[bytes]:
    """At most ``count`` of ``paths`` whose last name has that of ``wanted`` in it, else is most like it.

    Among equals the nearer directory.
    """
    return [path for _, path in heapq.nlargest(count, _scored(wanted, paths), key=lambda scored: scored[0])]


def has_word(path: bytes, word: bytes) -> bool:
    """Whether the last name of ``path`` has ``word`` in it, in whatever case."""
    return len(word) >= _WORD_BYTES and word.lower() in path.rpartition(b"/")[2].lower()


def _scored(wanted: bytes, paths: Iterable[bytes]) -> Iterator[tuple[tuple[bool, float, int, int], bytes]]:
    parts = wanted.split(b"/")
    matcher = difflib.SequenceMatcher(None, b"", parts[-1], autojunk=False)
    known: dict[bytes, float] = {}
    for path in paths:
        name = path.rpartition(b"/")[2]
        score = known.get(name)
        if score is None:
            score = known[name] = _likeness(matcher, name)
        worded = has_word(path, parts[-1])
        if worded or score >= _LIKE_ENOUGH:
            others = path.split(b"/")
            yield (worded, score, _common(parts, others), -abs(len(parts) - len(others))), path


def _likeness(matcher: difflib.SequenceMatcher[int], name: bytes) -> float:
    matcher.set_seq1(name)
    # The two upper bounds cost little and rule most names out.
    if matcher.real_quick_ratio() < _LIKE_ENOUGH or matcher.quick_ratio() < _LIKE_ENOUGH:
        return 0.0
    return matcher.ratio()


def _common(parts: list[bytes], others: list[bytes]) -> int:
    """How many directories are the same, wherever one was left out or added."""
    return len(set(parts[:-1]) & set(others[:-1]))
