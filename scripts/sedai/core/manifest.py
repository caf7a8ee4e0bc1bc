r"""The manifest: every entry of a generation, one text line each, in walk order.

A line is thirteen tab-separated fields::

    path kind size mtime_ns mode uid gid nlink inode ctime_ns crc32 xxh128 target

``path`` is relative to the root of the tree, raw bytes with ``\\``, tab, newline and carriage return written as
``\\\\``, ``\\t``, ``\\n``, ``\\r``. ``kind`` is one of ``f d l p c b``. Times are nanoseconds since 1970 (negative
before), ``mode`` is octal, ``crc32`` (ISO 3309, as in rhash and SFV files) and ``xxh128`` (XXH3, 128 bits, canonical
big-endian) are hexadecimal, ``-`` where there is no content. ``target`` is a symlink's target or a device's
``major,minor``. The fields up to ``ctime_ns`` are what one lstat tells: the *signature* by which a scan knows that
nothing changed.

Walk order is depth first with names sorted as bytes, which is the order of the paths with ``/`` as the lowest byte.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from sedai.core.errors import IntegrityError

HEADER = b"#sedai-manifest 1\n"
NO_DIGEST = b"-"
# What came as a line of changes is a few bytes longer here.
_LONGEST_LINE = 1 << 17
# Where a field is found in a line that was split at its tabs.
KIND, SIZE, MTIME, MODE, UID, GID, NLINK, INODE, CTIME, CRC32, XXH128, TARGET = range(1, 13)

_KINDS = frozenset("fdlpcb")
_NO_NAMES = frozenset((b"", b".", b".."))
_BLOCK_BYTES = 1 << 18
# The kind and the size of a regular file: no other field can be a lone "f" between two tabs, as tabs are escaped.
_FILE_SIZE = re.compile(rb"\tf\t(\d{1,20})\t")
_FILE = b"\tf\t"
# What is left of a line without all but tabs and newlines.
_SHAPE = b"\t" * 12 + b"\n"
_ALL_BUT_SHAPE = bytes(byte for byte in range(256) if byte not in _SHAPE)

_SPECIAL = re.compile(rb"[\\\t\n\r]").search
_ESCAPES = {b"\\": b"\\\\", b"\t": b"\\t", b"\n": b"\\n", b"\r": b"\\r"}
_UNESCAPES = {escaped: raw for raw, escaped in _ESCAPES.items()}
_ESCAPED = re.compile(rb"\\[\\tnr]")


LinkGroup = tuple[int, int, int, int]


class Entry(NamedTuple):
    """One line of a manifest, decoded."""

    path: bytes
    kind: str
    size: int
    mtime_ns: int
    mode: int
    uid: int
    gid: int
    nlink: int
    inode: int
    ctime_ns: int
    crc32: bytes
    xxh128: bytes
    target: bytes

    @property
    def link_group(self) -> LinkGroup | None:
        """What all names of one inode have in common, or None for a file with one name."""
        if self.nlink < 2 or self.kind == "d":
            return None
        return (self.inode, self.ctime_ns, self.mtime_ns, self.size)


def escape(path: bytes) -> bytes:
    """Write ``path`` so that it fits one field of one line."""
    if _SPECIAL(path) is None:
        return path
    return re.sub(rb"[\\\t\n\r]", lambda match: _ESCAPES[match[0]], path)


def unescape(field: bytes) -> bytes:
    """The inverse of :func:`escape`."""
    if b"\\" not in field:
        return field
    return _ESCAPED.sub(lambda match: _UNESCAPES[match[0]], field)


def order(path: bytes) -> bytes:
    """Sort key of walk order; a name holds neither NUL nor ``/``, so NUL can stand for the separator."""
    return path.replace(b"/", b"\0")


def at_or_below(path: bytes, top: bytes) -> bool:
    """Whether ``path`` is ``top`` or lies below it."""
    return path == top or path.startswith(top + b"/")


def line_path(line: bytes) -> bytes:
    """The unescaped path of a manifest line."""
    return unescape(line[: line.index(b"\t")])


def encode(entry: Entry) -> bytes:
    """The manifest line of ``entry``, newline included."""
    return b"%s\t%s\t%d\t%d\t%o\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n" % (
        escape(entry.path),
        entry.kind.encode(),
        *entry[2:10],
        entry.crc32,
        entry.xxh128,
        escape(entry.target),
    )


def decode(line: bytes) -> Entry:
    """Read one manifest line.

    Raises:
        IntegrityError: the line is not of this form.
    """
    fields = line.rstrip(b"\n").split(b"\t")
    try:
        path, kind, size, mtime, mode, uid, gid, nlink, inode, ctime, crc32, xxh128, target = fields
        entry = Entry(
            unescape(path),
            kind.decode("ascii"),
            int(size),
            int(mtime),
            int(mode, 8),
            int(uid),
            int(gid),
            int(nlink),
            int(inode),
            int(ctime),
            crc32,
            xxh128,
            unescape(target),
        )
    except ValueError as error:
        raise IntegrityError(f"A manifest line is damaged: {line[:200]!r}") from error
    if entry.kind not in _KINDS or not is_safe(entry.path):
        raise IntegrityError(f"A manifest line is damaged: {line[:200]!r}")
    return entry


def is_safe(path: bytes) -> bool:
    """Whether ``path`` is relative and normal: joined to a root it stays below that root."""
    return b"\0" not in path and _NO_NAMES.isdisjoint(path.split(b"/"))


def blocks(path: Path) -> Iterator[bytes]:
    """The lines of a stored manifest, in order and several at a time, header checked and left out.

    Raises:
        IntegrityError: the file is not a whole manifest.
    """
    try:
        with gzip.open(path, "rb") as stream:
            if stream.readline(len(HEADER)) != HEADER:
                raise IntegrityError(f"{path} is not a manifest that this version knows.")
            begun = b""
            while chunk := stream.read(_BLOCK_BYTES):
                end = chunk.rfind(b"\n") + 1
                if end:
                    yield _whole(begun + chunk[:end], path)
                    begun = b""
                begun += chunk[end:]
                if len(begun) > _LONGEST_LINE:
                    break
            if begun:
                raise IntegrityError(f"The manifest {path} is damaged at {begun[:80]!r}, a line without an end.")
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise IntegrityError(f"The manifest {path} can't be read: {error}") from error


def _whole(block: bytes, path: Path) -> bytes:
    """``block``, each of whose lines was found to have its thirteen fields."""
    shape = block.translate(None, _ALL_BUT_SHAPE)
    if shape != _SHAPE * (len(shape) // len(_SHAPE)):
        damaged = next(line for line in lines_of(block) if line.count(b"\t") != _SHAPE.count(b"\t"))
        raise IntegrityError(f"The manifest {path} is damaged at {damaged[:80]!r}.")
    return block


def proven(path: Path, sha256: str) -> Iterator[bytes]:
    """As :func:`blocks`; when all were read their digest was compared.

    Raises:
        IntegrityError: the file is not a whole manifest, or not the one with this SHA-256.
    """
    digest = hashlib.sha256(HEADER)
    for block in blocks(path):
        digest.update(block)
        yield block
    if digest.hexdigest() != sha256:
        raise IntegrityError(
            f"The manifest {path} is not the one that was sealed: it has another SHA-256 than its record."
        )


def lines_of(block: bytes) -> Iterator[bytes]:
    """The lines of a block, each with its newline."""
    return iter(io.BytesIO(block))


def lines(of: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of many blocks, one by one."""
    for block in of:
        yield from lines_of(block)


def read(path: Path) -> Iterator[bytes]:
    """The lines of a stored manifest, one by one; otherwise as :func:`blocks`."""
    return lines(blocks(path))


@dataclass(frozen=True)
class Totals:
    """What a manifest holds: ``entries`` of all kinds, regular ``files`` and their ``bytes``, its SHA-256."""

    entries: int
    files: int
    bytes: int
    sha256: str


class _Count:
    """Counts what goes by."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256(HEADER)
        self._entries = self._files = self._bytes = 0

    def add(self, block: bytes | bytearray) -> None:
        sizes = _FILE_SIZE.findall(block)
        if len(sizes) != block.count(_FILE):
            raise IntegrityError("The manifest is damaged: a file has a size that is none.")
        self._digest.update(block)
        self._entries += block.count(b"\n")
        self._files += len(sizes)
        self._bytes += sum(map(int, sizes))

    @property
    def totals(self) -> Totals:
        return Totals(self._entries, self._files, self._bytes, self._digest.hexdigest())


class Writer:
    """Writes a manifest and counts; use as a context manager, then read :attr:`totals`."""

    def __init__(self, path: Path, compresslevel: int = 1) -> None:
        """``compresslevel``: of gzip. 0 costs nothing, and three times the room."""
        # A fixed time and no name in the gzip header: equal manifests are equal files.
        self._file = path.open("wb")
        self._gzip = gzip.GzipFile(filename="", mode="wb", compresslevel=compresslevel, fileobj=self._file, mtime=0)
        self._gzip.write(HEADER)
        self._count = _Count()
        self._waiting = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()
        self._gzip.close()
        self._file.close()

    def add(self, block: bytes) -> None:
        """Append encoded lines: one or many."""
        self._waiting += block
        if len(self._waiting) >= _BLOCK_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._count.add(self._waiting)
        self._gzip.write(self._waiting)
        self._waiting.clear()

    @property
    def totals(self) -> Totals:
        """Counts and digest of what was written so far."""
        if self._waiting:
            self._flush()
        return self._count.totals


def totals(path: Path, see: Callable[[bytes], None] = lambda block: None) -> Totals:
    """Counts and digest of a stored manifest, read once; ``see`` is shown each block.

    Raises:
        IntegrityError: the file is not a whole manifest.
    """
    count = _Count()
    for block in blocks(path):
        count.add(block)
        see(block)
    return count.totals


def prove(path: Path, expected: Totals, see: Callable[[bytes], None] = lambda block: None) -> None:
    """Read a stored manifest once; ``see`` is shown each block.

    Raises:
        IntegrityError: the file is not a whole manifest, or not the one with these counts and this digest.
    """
    if totals(path, see) != expected:
        raise IntegrityError(f"The manifest {path} does not have the SHA-256 and the counts that its record names.")


def sha256(path: Path, see: Callable[[bytes], None] = lambda block: None) -> str:
    """The digest alone; ``see`` is shown each block.

    Raises:
        IntegrityError: the file is not a whole manifest.
    """
    digest = hashlib.sha256(HEADER)
    for block in blocks(path):
        digest.update(block)
        see(block)
    return digest.hexdigest()
