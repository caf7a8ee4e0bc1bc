"""Where a push begins: in directories of the delta and of the base, and never in what a symlink leads to."""

from __future__ import annotations

import stat as st
from pathlib import Path

import pytest

from sedai.core.errors import UsageError
from sedai.server import below


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree/a").mkdir(parents=True)
    (tmp_path / "elsewhere/b").mkdir(parents=True)
    return tmp_path / "tree"


def test_what_is_missing_is_made_for_nobody_else(tree: Path) -> None:
    assert below.made(tree, b"a/b/c") == tree / "a/b/c"
    assert below.made(tree, b"a/b/c") == tree / "a/b/c"
    assert [st.S_IMODE((tree / name).stat().st_mode) for name in ("a/b", "a/b/c")] == [0o700, 0o700]
    assert below.made(tree, b"") == tree


@pytest.mark.parametrize("planted", ["a/b", "a/b/c"])
def test_no_symlink_is_followed_and_no_file_is_taken_for_a_directory(tree: Path, planted: str) -> None:
    (tree / planted).parent.mkdir(exist_ok=True)
    for way in ("../../elsewhere", "../../../elsewhere", str(tree.parent / "elsewhere"), "nowhere", None):
        (tree / planted).symlink_to(way) if way else (tree / planted).touch()
        with pytest.raises(UsageError, match="could not make way for"):
            below.made(tree, b"a/b/c")
        assert below.directory(tree, b"a/b/c") is None
        (tree / planted).unlink()
    assert [str(path.relative_to(tree.parent)) for path in (tree.parent / "elsewhere").rglob("*")] == ["elsewhere/b"]


def test_a_directory_that_is_not_there_is_none(tree: Path) -> None:
    assert below.directory(tree, b"a") == tree / "a"
    assert below.directory(tree, b"") == tree
    assert below.directory(tree, b"a/x") is None
    assert below.directory(tree, b"x/y") is None
