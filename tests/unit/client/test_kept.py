"""Files that are sent again and are what the base has: they use no room twice, and nothing else is taken for them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from gate_pair import Pair


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """One generation of one file and one pair of hard links."""
    made = Pair(tmp_path, direct=True)
    made.write("letter", "Dear Sir or Madam")
    made.write("one")
    (made.source / "other").hardlink_to(made.source / "one")
    made.backup()
    return made


def move_in(directory: Path) -> None:
    """As a restore does it: everything is as it was, in other inodes."""
    shutil.copytree(directory, directory.with_name("new"), symlinks=True)
    shutil.rmtree(directory)
    directory.with_name("new").rename(directory)


def inodes(pair: Pair, name: str = "letter") -> set[int]:
    return {pair.stored(str(generation), pair.source / name).stat().st_ino for generation in pair.store.generations()}


def test_a_file_in_a_new_inode_keeps_the_stored_one(pair: Pair) -> None:
    move_in(pair.source)
    outcome = pair.run()
    assert outcome.sent_files >= 1
    assert len(inodes(pair)) == 1
    assert outcome.record["new_bytes"] == 2 * len("one")  # they were links, and were copied
    assert pair.check("full", "all").findings == []


def rot(pair: Pair) -> None:
    pair.rot("latest", pair.source / "letter")


def touch_stored(pair: Pair) -> None:
    os.utime(pair.stored("latest", pair.source / "letter"))


def lose(pair: Pair) -> None:
    pair.stored("latest", pair.source / "letter").unlink()


@pytest.mark.parametrize("harm", [rot, touch_stored, lose])
def test_what_was_harmed_on_the_server_is_replaced(pair: Pair, harm: Callable[[Pair], None]) -> None:
    shutil.rmtree(pair.store.farms, ignore_errors=True)
    harm(pair)
    pair.check("full")  # notes what is to be sent again
    move_in(pair.source)
    pair.backup()
    assert pair.check("full").findings == []


def test_rot_that_nobody_has_noticed_is_not_linked_on(pair: Pair) -> None:
    rot(pair)
    move_in(pair.source)
    pair.backup()
    assert len(inodes(pair)) == 2
    assert pair.check("full").findings == []


def chmod(path: Path) -> None:
    path.chmod(0o600)


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def name(path: Path) -> None:
    os.setxattr(path, "user.name", b"a value")


def rewrite(path: Path) -> None:
    """Another text of the same length and time."""
    stat = path.stat()
    path.write_text("Dear Madam or Sir")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("change", [chmod, touch, name, rewrite])
def test_whatever_differs_is_stored(pair: Pair, change: Callable[[Path], None]) -> None:
    change(pair.source / "letter")
    pair.backup()
    assert len(inodes(pair)) == 2
    pair.restore(pair.source / "letter", to=pair.root / "back")
    back = pair.root / "back" / str(pair.source)[1:] / "letter"
    for told in (Path.read_bytes, os.listxattr, lambda path: path.stat().st_mode, lambda path: path.stat().st_mtime_ns):
        assert told(back) == told(pair.source / "letter")
    assert pair.check("full", "all").findings == []


def test_an_attribute_that_is_taken_away_goes(pair: Pair) -> None:
    name(pair.source / "letter")
    pair.backup()
    os.removexattr(pair.source / "letter", "user.name")
    pair.backup()
    assert "user.name" not in os.listxattr(pair.stored("latest", pair.source / "letter"))


def test_names_of_one_inode_stay_together(pair: Pair) -> None:
    (pair.source / "third").hardlink_to(pair.source / "one")
    (pair.source / "other").unlink()
    pair.backup()
    assert pair.stored("latest", pair.source / "one").samefile(pair.stored("latest", pair.source / "third"))
    assert pair.check("full", "all").findings == []
