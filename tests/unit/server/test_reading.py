"""What the gate reads out: small plain files of one generation, and nothing that lies elsewhere."""

from __future__ import annotations

import io
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from sedai.core import manifest, wire
from sedai.core.beneath import Beneath
from sedai.core.errors import UsageError
from sedai.server import reading
from sedai.server.stored import STAT_ATTRIBUTE


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree, and a file beside it that is none of its."""
    tree = tmp_path / "tree"
    (tree / "dir/below").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (tree / "dir/file").write_text("content")
    return tree


def read(tree: Path, *paths: bytes) -> bytes:
    """The answers to ``paths``."""
    with Beneath(tree) as below:
        return b"".join(reading.answers(below, io.BytesIO(b"".join(manifest.escape(path) + b"\n" for path in paths))))


def test_each_path_is_answered_in_order(tree: Path) -> None:
    (tree / "dir/empty").touch()
    (tree / os.fsdecode(b"dir/odd\n\t\\\xff")).write_bytes(b"\n9\n/\n-\n")
    found = read(tree, b"dir", b"dir/empty", b"dir/missing", b"dir/odd\n\t\\\xff", b"dir/file", b"dir/below")
    assert found == b"/\n" + b"0\n" + b"-\n" + b"7\n\n9\n/\n-\n" + b"7\ncontent" + b"/\n"


def test_what_only_rsync_can_bring(tree: Path) -> None:
    os.setxattr(tree / "dir/file", STAT_ATTRIBUTE, b"100644 0,0 0:0")
    assert read(tree, b"dir/file") == b"7\ncontent"
    os.setxattr(tree / "dir/file", b"user.rsync.%aacl", b"x")
    os.setxattr(tree / "dir/below", b"user.mine", b"x")
    (tree / "dir/large").write_bytes(bytes(wire.READ_MOST_BYTES + 1))
    (tree / "dir/largest").write_bytes(bytes(wire.READ_MOST_BYTES))
    assert read(tree, b"dir/file", b"dir/below", b"dir/large") == b"-\n-\n-\n"
    assert len(read(tree, b"dir/largest")) == len(b"262144\n") + wire.READ_MOST_BYTES


def test_what_is_no_file_is_not_opened(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tree / "dir/fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tree)  # the path of a socket must be short
        listener.bind("dir/socket")
        assert read(tree, b"dir/fifo", b"dir/socket") == b"-\n-\n"


def test_no_symlink_is_followed(tree: Path) -> None:
    """Whoever planted it, wherever it is on the way."""
    (tree / "dir/link").symlink_to("../../secret")
    (tree / "dir/up").symlink_to("../..")
    (tree / "dir/away").symlink_to("/etc")
    (tree / "dir/within").symlink_to("below")
    asked = (b"dir/link", b"dir/up/secret", b"dir/away/passwd", b"dir/within", b"dir/within/x")
    assert read(tree, *asked) == b"-\n" * len(asked)


@pytest.mark.parametrize(
    "path", [b"../secret", b"dir/../../secret", b"/etc/passwd", b"", b".", b"dir//file", b"dir/\0"]
)
def test_a_path_that_leads_out_is_refused(tree: Path, path: bytes) -> None:
    with pytest.raises(UsageError, match="Not a path of a tree"):
        read(tree, path)


@pytest.mark.parametrize("sent", [b"dir/file", b"x" * wire.LONGEST_LINE * 2 + b"\n"])
def test_a_line_without_an_end_is_refused(tree: Path, sent: bytes) -> None:
    with Beneath(tree) as below, pytest.raises(UsageError, match="Not a path of a tree"):
        list(reading.answers(below, io.BytesIO(sent)))


@given(sent=some.binary(max_size=200))
def test_whatever_is_asked_nothing_from_elsewhere_is_answered(
    sent: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    top = tmp_path_factory.mktemp("read")
    (top / "tree").mkdir()
    (top / "secret").write_text("secret")
    with Beneath(top / "tree") as below:
        try:
            answered = b"".join(reading.answers(below, io.BytesIO(sent)))
        except UsageError:
            return
    assert set(answered) <= set(b"-\n")


def test_much_is_answered_in_pieces(tree: Path) -> None:
    """What is held at a time does not grow with what is asked."""
    for number in range(40):
        (tree / f"dir/{number}").write_bytes(bytes(100_000))
    with Beneath(tree) as below:
        names = io.BytesIO(b"".join(b"dir/%d\n" % number for number in range(40)))
        pieces = list(map(len, reading.answers(below, names)))
    assert len(pieces) > 10
    assert max(pieces) < 600_000
    assert sum(pieces) == 40 * (100_000 + len(b"100000\n"))
