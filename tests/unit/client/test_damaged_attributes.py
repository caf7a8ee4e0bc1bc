"""A damaged attribute of rsync's own in the newest generation: rsync ends at it, and nobody must be needed to go on."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from gate_pair import Pair

from sedai.core.errors import IntegrityError, ProcessError

STAT = "user.rsync.%stat"


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A FIFO, which the server keeps as a file with an attribute, and a file."""
    made = Pair(tmp_path, direct=True)
    made.write("letter")
    os.mkfifo(made.source / "fifo")
    time.sleep(0.15)  # a file this young would be sent again
    made.backup()
    return made


def damage(pair: Pair, value: bytes = b"10644 0,0 0:\xb0") -> None:
    os.setxattr(pair.stored(str(pair.store.newest()), pair.source / "fifo"), STAT, value)


def newest(pair: Pair) -> list[tuple[str, str]]:
    """What a check of the newest generation finds."""
    findings = pair.check("full").record["findings"]
    return [(one["code"], Path(one["path"]).name) for one in findings]


def test_what_a_check_has_found_stops_no_run(pair: Pair) -> None:
    damage(pair)
    assert newest(pair) == [("unreadable", "fifo")]
    pair.backup()
    assert newest(pair) == []


def test_what_nobody_has_found_costs_one_run(pair: Pair) -> None:
    damage(pair)
    os.utime(pair.source / "fifo")  # so that rsync compares it with the base
    with pytest.raises(ProcessError, match=r"Corrupt user.rsync.%stat xattr"):
        pair.run()
    pair.backup()
    assert newest(pair) == []


def test_what_rsync_does_not_look_at_is_healed_when_it_is_found(pair: Pair) -> None:
    damage(pair)
    pair.write("letter", "another text")
    pair.backup()
    assert newest(pair) == [("unreadable", "fifo")]  # it is the same inode
    pair.backup()
    assert newest(pair) == []


def test_a_directory_too(pair: Pair) -> None:
    pair.write("below/file")
    (pair.source / "below").chmod(0o500 if os.geteuid() else 0o755)
    pair.backup()
    stored = pair.stored(str(pair.store.newest()), pair.source / "below")
    os.setxattr(stored, STAT, b"nonsense")
    pair.write("below/file", "another text")
    with pytest.raises(ProcessError):
        pair.run()
    pair.backup()
    assert newest(pair) == []


def test_a_restore_refuses_it_and_brings_the_rest_on_demand(pair: Pair, tmp_path: Path) -> None:
    damage(pair)
    with pytest.raises(IntegrityError, match="fifo: unreadable"):
        pair.restore(pair.source, to=tmp_path / "to")
    restored = pair.restore(pair.source, to=tmp_path / "there", accept_damaged=True)
    assert (tmp_path / "there" / str(pair.source)[1:] / "letter").read_text() == "letter"
    assert "fifo" in str(restored)


@pytest.mark.parametrize(
    "value",
    [b"", b"10644", b"10644 0,0 0:0 ", b"10644  0,0 0:0", b"010644 0,0 0:0", b"10644 0,1 0:0", b"10644 0,0 00:0",
     b"10644 0,0 +0:0", b"10644 0,0 0:0\0", b"-10644 0,0 0:0", b"10644\t0,0 0:0", b"7777777 0,0 0:0", b"10644 0,0 0:-1"],
)  # fmt: skip
def test_no_bit_of_it_is_without_a_meaning(pair: Pair, value: bytes) -> None:
    damage(pair, value)
    assert newest(pair) != []
