"""A manifest by its directories: each entry lies in one of them, wherever blocks, pieces and names end."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sedai.core import manifest
from sedai.server import listing
from sedai.server.entries import Directory, Piece
from sedai.server.listing import Listing, Seen, list_directories

# Names that begin with each other's, sort around a slash, or are written otherwise than they are.
NAMES = [b"a", b"ab", b"a\\", b"a\tb", b"a-", b"a0", b"b\n", b"d\td", b"\xff"]


@st.composite
def trees(draw: st.DrawFn) -> dict[bytes, str]:
    """Paths with their kinds."""
    found: dict[bytes, str] = {}
    for path in draw(st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), max_size=25)):
        for depth in range(1, len(path)):
            found[b"/".join(path[:depth])] = "d"
        found.setdefault(b"/".join(path), draw(st.sampled_from("fdl")))
    return found


def lines(tree: dict[bytes, str]) -> list[bytes]:
    """Those of the manifest, in walk order; a digest looks like the kind of a directory."""
    made = []
    for path in sorted(tree, key=manifest.order):
        digests = (b"d", b"0") if tree[path] == "f" else (manifest.NO_DIGEST, manifest.NO_DIGEST)
        made.append(manifest.encode(manifest.Entry(path, tree[path], 1, 2, 0o644, 0, 0, 1, 5, 6, *digests, b"")))
    return made


def in_blocks(of: list[bytes], sizes: list[int]) -> Iterator[bytes]:
    """Several lines at a time."""
    rest = of
    for size in sizes:
        if rest:
            yield b"".join(rest[:size])
            rest = rest[size:]
    if rest:
        yield b"".join(rest)


def divided(tree: dict[bytes, str], sizes: list[int], seen: Seen | None = None) -> list[Piece]:
    return list(Listing("g", b"/nowhere", seen or Seen()).divide(in_blocks(lines(tree), sizes)))


@given(trees(), st.lists(st.integers(1, 6), max_size=20))
@example({b"a": "d", b"a/a": "f", b"a/b": "f", b"b": "f"}, [])
def test_each_line_is_given_to_the_directory_that_it_lies_in(tree: dict[bytes, str], sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "_PIECE_BYTES", 300)
        given_out = [directory for piece in divided(tree, sizes) for directory in piece.directories]
    assert sorted(directory.path for directory in given_out) == sorted([
        b"", *(path for path, kind in tree.items() if kind == "d")
    ])  # fmt: skip
    for directory in given_out:
        expected = [line for line in lines(tree) if manifest.line_path(line).rpartition(b"/")[0] == directory.path]
        assert list(manifest.lines_of(directory.lines)) == expected


def test_pieces_hold_about_as_much_work_as_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that was not seen before is as much as several that were."""
    monkeypatch.setattr(listing, "_PIECE_BYTES", 2000)
    tree = {b"%03d" % number: "d" for number in range(200)} | {b"%03d/x" % number: "f" for number in range(200)}
    seen = Seen()
    for number in range(100):
        seen.note(b"%03d" % number, array("q", [1, 2]))
    per_piece = [len(piece.directories) for piece in divided(tree, [7] * 99, seen)]
    longest = max(map(len, lines(tree))) + 1
    assert 2000 // longest <= per_piece[0] <= 2000 // 30
    assert 2000 // longest // 8 <= per_piece[-2] <= 2000 // 30 // 8 + 1
    assert sum(per_piece) == 201


def listed(piece: Piece) -> tuple[list[bytes], list[tuple[str, bytes]], list[bytes]]:
    """What is to be looked at, the problems and what is surplus."""
    list_directories(piece)
    to_look_at = [manifest.line_path(line) for line in piece.lines]
    return to_look_at, [(problem.code, problem.path) for problem in piece.listed.problems], piece.listed.surplus


def test_names_are_compared_as_they_are(tmp_path: Path) -> None:
    """Also where the manifest writes them otherwise, in the directory's own name too."""
    tree: dict[bytes, str] = {b"a\tb": "d"} | {b"a\tb/" + name: "f" for name in NAMES}
    place = os.fsencode(tmp_path) + b"/a\tb"
    os.mkdir(place)
    for name in [*NAMES[1:], b"new\n"]:
        Path(os.fsdecode(place + b"/" + name)).touch()
    [piece] = Listing("g", os.fsencode(tmp_path), Seen()).divide([b"".join(lines(tree))])
    to_look_at, problems, surplus = listed(piece)
    assert sorted(to_look_at) == sorted(tree)
    assert piece.inodes.count(0) == 1 and piece.lines[piece.inodes.index(0)].startswith(b"a\\tb/a\t")
    assert (problems, surplus) == ([], [b"a\tb/new\n"])
    assert (piece.listed.entries, piece.listed.files, piece.listed.found) == (10, 9, 9)


@pytest.mark.parametrize("large", [50, 1 << 19])
def test_what_is_surplus_is_told_wherever_a_piece_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    """In a large directory too, and at the very end."""
    monkeypatch.setattr(listing, "_LARGE_BYTES", large)
    monkeypatch.setattr(listing, "_PIECE_BYTES", 1)
    for name in ("a", "b", "new"):
        (tmp_path / name).touch()
    pieces = list(Listing("g", os.fsencode(tmp_path), Seen()).divide([b"".join(lines({b"a": "f", b"b": "f"}))]))
    found = [listed(piece) for piece in pieces]
    assert sorted(path for to_look_at, _, _ in found for path in to_look_at) == [b"a", b"b"]
    assert [path for _, _, surplus in found for path in surplus] == [b"new"]


def test_what_is_reached_through_a_symlink_is_not_there(tmp_path: Path) -> None:
    """However deep below it, and whichever piece it comes in."""
    (tmp_path / "elsewhere/b/c").mkdir(parents=True)
    (tmp_path / "elsewhere/b/c/x").touch()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/a").symlink_to(tmp_path / "elsewhere")
    deepest = {b"a/b/c/x": "f"}
    piece = Piece("g", os.fsencode(tmp_path / "tree"))
    piece.directories.append(Directory(b"a/b/c", b"".join(lines(deepest)), Seen().of(b"")))
    assert listed(piece) == ([], [("missing", b"a/b/c/x")], [])


def test_a_damaged_order_is_no_reason_to_give_up(tmp_path: Path) -> None:
    """A line that lies elsewhere, and is shorter than the way to where it came, is looked at like any other."""
    above = b"a" * 200
    (tmp_path / os.fsdecode(above)).mkdir()
    first, second, third = lines({above: "d", above + b"/x": "f", above + b"/z": "f"})
    [strange] = lines({b"b/q": "f"})
    [piece] = Listing("g", os.fsencode(tmp_path), Seen()).divide([first + second + strange + third])
    list_directories(piece)
    assert sorted(piece.lines) == sorted([first, second, strange, third])
    assert (piece.listed.entries, piece.listed.found) == (4, 1)
