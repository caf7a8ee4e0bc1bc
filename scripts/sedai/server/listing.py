"""Listing: a generation's manifest beside its directories: what is in one and not in the other, and what is to be looked at.

A file that is the same in two generations is one inode. Where the directory names the inode that the generation before had at that
path, and the manifest says of it what that one's said, everything was looked at then.

One process divides the manifest into its directories, many lines at a time; each of these is listed and compared by whichever
worker gets it, so all processors take part where nothing has to be looked at too.
"""

from __future__ import annotations

import os
import stat as st
from array import array
from collections.abc import Iterable, Iterator

from sedai.core import manifest
from sedai.core.walk import everything, walk
from sedai.server.entries import Directory, Piece, Problem, missing

# About four thousand lines that were seen before, or as much work with others, each of which is to be looked at.
_PIECE_BYTES = 1 << 19
_UNSEEN = 8
# A directory with more than that is not handed out as a whole: neither its lines nor its names are to lie in many processes.
_LARGE_BYTES = 1 << 19
_DIRECTORY = b"\td\t"
_FILE = b"\tf\t"


class Seen:
    """What the generation before had: for each directory a hash of each entry's line and inode. Eight bytes for each entry."""

    def __init__(self) -> None:
        self._directories: dict[bytes, array[int]] = {}
        self._doubted: set[bytes] = set()

    def of(self, directory: bytes) -> array[int]:
        """The hashes of what lay in ``directory``; none where something in it was not as it should be."""
        if directory in self._doubted:
            return array("q")
        return self._directories.get(directory) or array("q")

    def note(self, directory: bytes, hashes: array[int]) -> None:
        """Remember what lies in ``directory`` now."""
        self._directories[directory] = hashes

    def doubt(self, path: bytes) -> None:
        """What lies beside ``path`` is looked at anew in each generation from now on."""
        self._doubted.add(path.rpartition(b"/")[0])


class _Open:
    """A directory whose lines are still to come. ``prefix``: how they begin; ``beside``: once it is known to be a large one."""

    def __init__(self, path: bytes, seen: Seen) -> None:
        """``path``: as the manifest writes it."""
        self.path = manifest.unescape(path)
        self.before = seen.of(self.path)
        self.weight = 1 if self.before else _UNSEEN
        self.prefix = path + b"/" if path else b""
        self.lines: list[bytes] = []
        self.size = 0
        self.beside: _Beside | None = None

    def take(self) -> bytes:
        """The lines that have come since this was asked last."""
        lines = b"".join(self.lines)
        self.lines, self.size = [], 0
        return lines


class Listing:
    """Of one generation; divides the work of checking it into pieces."""

    def __init__(self, generation: str, root: bytes, seen: Seen) -> None:
        self._generation = generation
        self._root = root
        self._seen = seen
        self._stack = [_Open(b"", seen)]
        self._piece = Piece(generation, root)
        self._size = 0

    def divide(self, blocks: Iterable[bytes]) -> Iterator[Piece]:
        """What there is to be done for a manifest, whose ``blocks`` are in walk order."""
        for block in blocks:
            done = 0
            for start, end in _directory_lines(block):
                yield from self._lie(block[done:start])
                yield from self._lie(block[start:end])
                self._stack.append(_Open(block[start : block.index(b"\t", start)], self._seen))
                done = end
            yield from self._lie(block[done:])
        while self._stack:
            yield from self._leave()
        if self._size:
            yield self._piece

    def _lie(self, lines: bytes) -> Iterator[Piece]:
        """Give ``lines``, all but the last of which name no directory, to the directories that they lie in."""
        while lines:
            top = self._stack[-1]
            end = _end_below(lines, top.prefix)
            if end:
                top.lines.append(lines[:end])
                top.size += end
                lines = lines[end:]
            if top.size >= _LARGE_BYTES or (top.beside and top.size * top.weight >= _PIECE_BYTES):
                yield from self._large(top)
            if lines:
                yield from self._leave()

    def _leave(self) -> Iterator[Piece]:
        directory = self._stack.pop()
        lines = directory.take()
        if directory.beside is None:
            self._piece.directories.append(Directory(directory.path, lines, directory.before))
        else:
            directory.beside.compare(lines, self._piece)
            # Noted when it comes back: all pieces before it were looked at then.
            self._piece.listed.hashes.append((directory.path, directory.beside.close(self._piece)))
        yield from self._grown(directory, lines)

    def _large(self, directory: _Open) -> Iterator[Piece]:
        if directory.beside is None:
            directory.beside = _Beside(directory.path, directory.before, self._piece, set())
        lines = directory.take()
        directory.beside.compare(lines, self._piece)
        yield from self._grown(directory, lines)

    def _grown(self, directory: _Open, lines: bytes) -> Iterator[Piece]:
        self._size += (len(lines) + 1) * directory.weight
        if self._size >= _PIECE_BYTES:
            yield self._piece
            self._piece = Piece(self._generation, self._root)
            self._size = 0


def _directory_lines(block: bytes) -> Iterator[tuple[int, int]]:
    """Where in ``block`` the lines of directories begin and end."""
    end = 0
    while (kind := block.find(_DIRECTORY, end)) >= 0:
        start = block.rfind(b"\n", 0, kind) + 1
        end = block.index(b"\n", kind) + 1
        if block.find(b"\t", start) == kind:  # no other field of a damaged line
            yield start, end


def _end_below(lines: bytes, prefix: bytes) -> int:
    """Where those of ``lines`` end that begin with ``prefix``: in walk order they are the first ones."""
    if lines.startswith(prefix, lines.rfind(b"\n", 0, -1) + 1):
        return len(lines)
    last = lines.rfind(b"\n" + prefix) + 1
    return lines.index(b"\n", last) + 1 if lines.startswith(prefix, last) else 0


def list_directories(piece: Piece) -> None:
    """List the directories of ``piece`` and put into it what that comes to; what a worker does first."""
    real: set[bytes] = set()
    for directory in piece.directories:
        beside = _Beside(directory.path, directory.before, piece, real)
        whole = beside.whole(directory.lines)
        if whole in directory.before[-1:]:
            piece.listed.entries += len(directory.before) - 1
            piece.listed.found += len(directory.before) - 1
            piece.listed.files += directory.lines.count(_FILE)
        else:
            beside.compare(directory.lines, piece)
            piece.listed.hashes.append((directory.path, beside.close(piece) + array("q", [whole])))


class _Beside:
    """A directory of the tree of a piece, beside the manifest's lines of what lies in it."""

    def __init__(self, path: bytes, before: array[int], piece: Piece, real: set[bytes]) -> None:
        """``before``: what the generation before had here; ``real``: see :func:`_inodes`."""
        self._path = path
        self._begin = len(manifest.escape(path)) + 1 if path else 0
        self._before = before
        self._known: frozenset[int] | None = None
        self._hashes = array("q")
        # With their inodes those that no line has named yet. None: there is no directory.
        self._names: dict[bytes, int] | None = None
        try:
            self._names = _inodes(piece.root, path, real)
        except (FileNotFoundError, NotADirectoryError):
            pass  # who looks at the entry itself tells
        except OSError as error:
            piece.listed.problems.append(_unreadable(piece.generation, path, error))

    def whole(self, lines: bytes) -> int:
        """A hash of the directory, if ``lines`` are all that the manifest says of it."""
        names = self._names or {}
        return hash((lines, tuple(names), tuple(names.values())))

    def compare(self, block: bytes, piece: Piece) -> None:
        """Add to ``piece`` what of the lines in ``block`` was not looked at before, or is missing."""
        lines = list(manifest.lines_of(block))
        piece.listed.entries += len(lines)
        piece.listed.files += block.count(_FILE)
        if self._names is None:
            piece.listed.problems += [missing(piece.generation, manifest.decode(line)) for line in lines]
            return
        take, begin = self._names.pop, self._begin
        if b"\\" in block:
            inodes = [take(manifest.unescape(line[begin : line.find(b"\t", begin)]), 0) for line in lines]
        else:
            # Not index: a line of a damaged manifest may lie elsewhere and be shorter. It is looked at where it lies.
            inodes = [take(line[begin : line.find(b"\t", begin)], 0) for line in lines]
        piece.listed.found += len(inodes) - inodes.count(0)
        hashes = list(map(hash, zip(lines, inodes, strict=True)))
        self._hashes += array("q", hashes)
        if self._known is None:
            self._known = frozenset(self._before)
        if 0 in inodes or not self._known.issuperset(hashes):
            for known, line, inode in zip(hashes, lines, inodes, strict=True):
                if not inode or known not in self._known:
                    piece.lines.append(line)
                    piece.inodes.append(inode)

    def close(self, piece: Piece) -> array[int]:
        """No more lines: what has not been named is surplus. Returns the hashes for the next generation."""
        piece.listed.surplus += [self._path + b"/" + name if self._path else name for name in sorted(self._names or ())]
        return self._hashes


def _inodes(root: bytes, path: bytes, real: set[bytes]) -> dict[bytes, int]:
    """The names in the directory ``path`` below ``root``, with the inodes that it names.

    ``real``: directories that were found to be ones, and not symlinks, nor reached through one; grows.
    """
    way = [path]
    while way[-1] and way[-1] not in real:
        way.append(way[-1].rpartition(b"/")[0])
    for directory in reversed(way):
        if directory not in real:
            if not st.S_ISDIR(os.lstat(root + b"/" + directory).st_mode):
                raise NotADirectoryError(directory)
            real.add(directory)
    return _names(root + b"/" + path)


def _names(directory: bytes) -> dict[bytes, int]:
    with os.scandir(directory) as found:
        return {entry.name: entry.inode() for entry in found}


def surplus(generation: str, root: bytes, path: bytes) -> Iterator[Problem]:
    """``path``, which is in the tree of ``generation`` at ``root`` and not in its manifest, and what lies below: any number."""
    place = root + b"/" + path
    try:
        stat = os.lstat(place)
    except OSError as error:
        yield _unreadable(generation, path, error)
        return
    yield Problem(generation, "added", path, "nothing", _describe(stat))
    if not st.S_ISDIR(stat.st_mode):
        return
    unreadable: list[Problem] = []

    def failed(path: bytes, error: OSError) -> None:
        unreadable.append(_unreadable(generation, path, error))

    for below, found in walk(place, path, everything, failed):
        yield Problem(generation, "added", below, "nothing", _describe(found))
    yield from unreadable


def _unreadable(generation: str, path: bytes, error: OSError) -> Problem:
    return Problem(generation, "unreadable", path, "readable", error.strerror or str(error))


def _describe(stat: os.stat_result) -> str:
    kind = "a directory" if st.S_ISDIR(stat.st_mode) else "a file"
    return f"{kind}, {stat.st_size} bytes"
