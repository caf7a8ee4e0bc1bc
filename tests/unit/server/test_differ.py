"""What of an old snapshot is copied: what the generation before it has not, and no more."""

from __future__ import annotations

from sedai.core import manifest
from sedai.core.manifest import Entry
from sedai.server.differ import differences

DIRECTORY = Entry(b"d", "d", 0, 5, 0o755, 0, 0, 1, 0, 0, b"-", b"-", b"")
FILE = Entry(b"d/file", "f", 3, 5, 0o644, 0, 0, 1, 7, 0, b"-", b"-", b"")
ONE = FILE._replace(path=b"d/one", inode=8, nlink=2)
TWO = ONE._replace(path=b"d/two")
LAST = FILE._replace(path=b"last", inode=9)
BASE = [DIRECTORY, FILE, ONE, TWO, LAST]


def told(*entries: Entry) -> list[tuple[bytes, bool, bool]]:
    """Path, whether it is there now, and whether it was before, of what differs from the base, which has digests."""
    base = [manifest.encode(one._replace(crc32=b"00000001", xxh128=b"2" * 32)) for one in BASE]
    return [(one.path, one.entry is not None, one.replaces) for one in differences(lambda: entries, lambda: iter(base))]


def test_what_is_the_same_is_not_copied() -> None:
    assert told(*BASE) == []


def test_what_is_new_gone_or_another_is_told_in_order() -> None:
    other = FILE._replace(mtime_ns=6)
    assert told(DIRECTORY, other, ONE, TWO, LAST._replace(path=b"new")) == [
        (b"d/file", True, True), (b"last", False, True), (b"new", True, False)]  # fmt: skip
    assert told() == [(one.path, False, True) for one in BASE]


def test_a_directory_that_became_a_file_takes_its_files_along() -> None:
    file = FILE._replace(path=b"d")
    assert told(file, LAST) == [(b"d", True, True), *((one.path, False, True) for one in (FILE, ONE, TWO))]


def test_all_names_of_an_inode_are_told_where_one_differs() -> None:
    third = TWO._replace(path=b"d/third")
    assert told(DIRECTORY, FILE, ONE, third, LAST) == [
        (b"d/one", True, True), (b"d/third", True, False), (b"d/two", False, True)]  # fmt: skip
