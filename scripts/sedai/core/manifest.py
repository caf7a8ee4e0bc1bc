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

import contextlib
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from sedai.core.errors import IntegrityError

HEADER = b"#sedai-manifest 1\n"
NO_DIGEST = b"-"
# What came as a line of changes is a few bytes longer here.
_LONGEST_LINE = 1 << 17
_TABS = 12

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
    if entry.kind not in {"f", "d", "l", "p", "c", "b"} or not is_safe(entry.path):
        raise IntegrityError(f"A manifest line is damaged: {line[:200]!r}")
    return entry


def is_safe(path: bytes) -> bool:
    """Whether ``path`` is relative and normal: joined to a root it stays below that root."""
    return path != b"" and b"\0" not in path and not {b"", b".", b".."} & set(path.split(b"/"))


def read(path: Path) -> Iterator[bytes]:
    """The lines of a stored manifest, in order, header checked and left out.

    Raises:
        IntegrityError: the file is not a whole manifest.
    """
    with _opened(path) as stream:
        yield from stream


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with gzip.open(path, "rb") as raw, io.BufferedReader(raw, 1 << 20) as stream:
            if stream.readline(len(HEADER)) != HEADER:
                raise IntegrityError(f"{path} is not a manifest that this version knows.")
            yield stream
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise IntegrityError(f"The manifest {path} can't be read: {error}") from error


def _whole_lines(path: Path) -> Iterator[bytes]:
    """As :func:`read`, each line found to have its thirteen fields and its end."""
    with _opened(path) as stream:
        while line := stream.readline(_LONGEST_LINE):
            if line.count(b"\t") != _TABS or not line.endswith(b"\n"):
                raise IntegrityError(f"The manifest {path} is damaged at {line[:80]!r}.")
            yield line


def proven(path: Path, sha256: str) -> Iterator[bytes]:
    """As :func:`read`; when the lines are exhausted they were those with the digest ``sha256``.

    Raises:
        IntegrityError: the file is not a whole manifest, or another one.
    """
    digest = hashlib.sha256(HEADER)
    for line in _whole_lines(path):
        digest.update(line)
        yield line
    if digest.hexdigest() != sha256:
        raise IntegrityError(f"The manifest {path} is not the one that was sealed.")


@dataclass(frozen=True)
class Totals:
    """What a manifest holds: ``entries`` of all kinds, regular ``files`` and their ``bytes``, its SHA-256."""

    entries: int
    files: int
    bytes: int
    sha256: str


class Writer:
    """Writes a manifest line by line and counts; use as a context manager, then read :attr:`totals`."""

    def __init__(self, path: Path) -> None:
        # A fixed time and no name in the gzip header: equal manifests are equal files.
        self._file = path.open("wb")
        self._gzip = gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=self._file, mtime=0)
        self._stream = io.BufferedWriter(self._gzip, 1 << 20)
        self._digest = hashlib.sha256()
        self._entries = self._files = self._bytes = 0
        self._put(HEADER)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._file.close()

    def add(self, line: bytes) -> None:
        """Append one encoded line."""
        fields = line.split(b"\t", 3)
        self._entries += 1
        if fields[1] == b"f":
            self._files += 1
            self._bytes += int(fields[2])
        self._put(line)

    def _put(self, line: bytes) -> None:
        self._digest.update(line)
        self._stream.write(line)

    @property
    def totals(self) -> Totals:
        """Counts and digest of what was written so far."""
        return Totals(self._entries, self._files, self._bytes, self._digest.hexdigest())


def totals(path: Path) -> Totals:
    """Counts and digest of a stored manifest, read once.

    Raises:
        IntegrityError: the file is not a whole manifest.
    """
    digest = hashlib.sha256(HEADER)
    entries = files = size = 0
    for line in _whole_lines(path):
        digest.update(line)
        fields = line.split(b"\t", 3)
        entries += 1
        if fields[1] == b"f":
            files += 1
            try:
                size += int(fields[2])
            except ValueError as error:
                raise IntegrityError(f"The manifest {path} is damaged at {line[:80]!r}.") from error
    return Totals(entries, files, size, digest.hexdigest())


def nested(lines: Iterable[bytes]) -> Iterator[bytes]:
    """``lines`` in walk order, each checked to lie in a directory that was named before it.

    So no entry can be reached through a symlink: what is made by such a manifest stays below its root.

    Raises:
        IntegrityError: an entry's parent is not a directory of this manifest.
    """
    above: list[bytes] = []
    for line in lines:
        path, kind = line.split(b"\t", 2)[:2]
        path = unescape(path)
        parent = path.rpartition(b"/")[0]
        while above and above[-1] != parent:
            above.pop()
        if parent and not above:
            raise IntegrityError(f"{path!r} does not lie in a directory of this manifest.")
        if kind == b"d":
            above.append(path)
        yield line


def merge(base: Iterator[bytes], changes: Iterator[tuple[bytes, bytes | None]]) -> Iterator[bytes]:
    """The lines of ``base`` with ``changes`` applied, in walk order.

    ``changes`` are ``(path, line)`` in walk order; ``line`` None removes the path. Removing what is not there is an
    error of the caller's plan.

    Raises:
        IntegrityError: ``changes`` are out of order, or remove a path that ``base`` does not have.
    """
    last = b""
    line = next(base, None)
    key = order(line_path(line)) if line is not None else None
    for path, replacement in changes:
        wanted = order(path)
        if wanted <= last:
            raise IntegrityError(f"The changes are out of order at {path!r}.")
        last = wanted
        while line is not None and key is not None and key < wanted:
            yield line
            line = next(base, None)
            key = order(line_path(line)) if line is not None else None
        present = key == wanted
        if present:
            line = next(base, None)
            key = order(line_path(line)) if line is not None else None
        if replacement is not None:
            yield replacement
        elif not present:
            raise IntegrityError(f"The changes remove {path!r}, which the base does not have.")
    if line is not None:
        yield line
        yield from base
