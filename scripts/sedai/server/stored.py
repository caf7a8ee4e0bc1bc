"""How rsync --fake-super stores what an unprivileged account can't: true mode, owner and type in an xattr.

The format of ``user.rsync.%stat`` is rsync's (``set_stat_xattr`` in its xattrs.c): ``<octal mode> <major>,<minor>
<uid>:<gid>``; the attribute is there only where the stored file's own attributes differ.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import stat as st
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import xxhash

from sedai.core.errors import IntegrityError

STAT_ATTRIBUTE = b"user.rsync.%stat"
# Who opens a FIFO that somebody has put in the place of a file waits for nobody.
TO_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 1 << 20
_HIGHEST_MODE = 0o177777
_KINDS = {st.S_IFREG: "f", st.S_IFDIR: "d", st.S_IFLNK: "l", st.S_IFIFO: "p", st.S_IFCHR: "c", st.S_IFBLK: "b"}


class Stored(NamedTuple):
    """What a stored path stands for. ``device``: ``major,minor`` of a device, else empty."""

    kind: str
    mode: int
    uid: int
    gid: int
    device: bytes


def read_stored(path: bytes | int, stat: os.stat_result) -> Stored:
    """What is stored at ``path``, or behind the descriptor ``path``, stands for.

    Raises:
        IntegrityError: its attribute is damaged.
    """
    value = None
    if not st.S_ISLNK(stat.st_mode):
        try:
            value = os.getxattr(path, STAT_ATTRIBUTE, follow_symlinks=isinstance(path, int))
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
    if value is None:
        return Stored(_KINDS.get(st.S_IFMT(stat.st_mode), "?"), st.S_IMODE(stat.st_mode), stat.st_uid, stat.st_gid, b"")
    try:
        return _parse(value)
    except ValueError as error:
        raise IntegrityError(f"The stored attributes of {path!r} are damaged: {value!r}") from error


@functools.lru_cache(maxsize=256)
def _parse(value: bytes) -> Stored:
    """What an attribute says; most files of a tree share a few of them."""
    mode_text, device, owner = value.split()
    uid, gid = map(int, owner.split(b":"))
    mode = int(mode_text, 8)
    if not 0 <= mode <= _HIGHEST_MODE:
        raise ValueError(mode)
    kind = _KINDS.get(st.S_IFMT(mode), "?")
    # As rsync writes it and not otherwise: a changed bit in what means nothing here is damage too.
    if value != b"%o %s %d:%d" % (mode, device if kind in "cb" else b"0,0", uid, gid):
        raise ValueError(value)
    return Stored(kind, st.S_IMODE(mode), uid, gid, device if kind in "cb" else b"")


def unreadable(tree: Path, paths: Iterable[bytes]) -> Iterator[bytes]:
    """Those of ``paths`` below ``tree`` whose attribute is damaged: rsync ends at the first of them that it looks at."""
    for path in paths:
        place = os.fsencode(tree) + b"/" + path
        try:
            read_stored(place, os.lstat(place))
        except IntegrityError:
            yield path
        except OSError:
            continue  # nothing there, so nothing for rsync to look at


class Digests(NamedTuple):
    """CRC32 and XXH128 of a file's bytes, hexadecimal, and how many bytes there were."""

    crc32: bytes
    xxh128: bytes
    size: int


def digest_open(descriptor: int, expected: int = _CHUNK) -> Digests:
    """Read the regular file behind ``descriptor`` from its position on, once for both digests.

    ``expected``: its size in bytes, as far as is known; a small file then needs no large buffer, and only one call.
    """
    at_once = min(expected + 1, _CHUNK)
    chunk = os.read(descriptor, at_once)
    if len(chunk) < at_once:  # less than was asked for is the end of a regular file
        return Digests(b"%08x" % zlib.crc32(chunk), xxhash.xxh3_128_hexdigest(chunk).encode(), len(chunk))
    crc = size = 0
    crc32, strong = _fast_crc32(), xxhash.xxh3_128()
    while chunk:
        crc = crc32(chunk, crc)
        strong.update(chunk)
        size += len(chunk)
        chunk = os.read(descriptor, at_once)
    return Digests(b"%08x" % crc, strong.hexdigest().encode(), size)


@functools.cache
def _fast_crc32() -> Callable[[bytes, int], int]:
    """The CRC32 of libdeflate, four times as fast as zlib's; that of zlib where it is not installed."""
    try:
        import ctypes  # who reads small files alone does without it

        compute = ctypes.CDLL("libdeflate.so.0").libdeflate_crc32
    except (ImportError, OSError, AttributeError):
        return zlib.crc32
    compute.argtypes, compute.restype = (ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t), ctypes.c_uint32

    def crc32(chunk: bytes, crc: int) -> int:
        found: int = compute(crc, chunk, len(chunk))
        return found

    return crc32


def sha256(path: Path) -> str:
    """SHA-256 of the file at ``path``, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_being_written(descriptor: int) -> bool:
    """Whether any process of this machine has the file behind ``descriptor`` open for writing.

    The kernel grants a read lease only where nobody has; a file system without leases (NFS) says nothing.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def copy_attributes(source: bytes | int, destination: bytes | int) -> None:
    """Give the directory ``destination`` the permissions and the extended attributes of ``source``, and no others.

    Both are paths or descriptors. Bits that rsync --fake-super would not store are not taken over, whoever set them.
    """
    stat = os.fstat(source) if isinstance(source, int) else os.lstat(source)
    os.chmod(destination, stat.st_mode & 0o777 | 0o700)
    copy_extended(source, destination)


def copy_extended(source: bytes | int, destination: bytes | int) -> None:
    """Give ``destination`` the extended attributes of ``source``, and no others."""
    wanted = {name: os.getxattr(source, name) for name in os.listxattr(source) if name.startswith("user.")}
    for name in os.listxattr(destination):
        if name.startswith("user.") and name not in wanted:
            os.removexattr(destination, name)
    for name, value in wanted.items():
        os.setxattr(destination, name, value)
