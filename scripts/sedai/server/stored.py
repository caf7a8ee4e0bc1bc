"""How rsync --fake-super stores what an unprivileged account can't: true mode, owner and type in an xattr.

The format of ``user.rsync.%stat`` is rsync's (``set_stat_xattr`` in its xattrs.c): ``<octal mode> <major>,<minor>
<uid>:<gid>``; the attribute is there only where the stored file's own attributes differ.
"""

from __future__ import annotations

import errno
import os
import stat as st
import zlib
from typing import NamedTuple

import xxhash

from sedai.core.errors import IntegrityError

STAT_ATTRIBUTE = b"user.rsync.%stat"
_CHUNK = 1 << 20
_KINDS = {st.S_IFREG: "f", st.S_IFDIR: "d", st.S_IFLNK: "l", st.S_IFIFO: "p", st.S_IFCHR: "c", st.S_IFBLK: "b"}


class Stored(NamedTuple):
    """What a stored path stands for. ``device``: ``major,minor`` of a device, else empty."""

    kind: str
    mode: int
    uid: int
    gid: int
    device: bytes


def read_stored(path: bytes, stat: os.stat_result) -> Stored:
    """What the path stored at ``path`` stands for.

    Raises:
        IntegrityError: its attribute is damaged.
    """
    value = b""
    if not st.S_ISLNK(stat.st_mode):
        try:
            value = os.getxattr(path, STAT_ATTRIBUTE, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
    if not value:
        return Stored(_KINDS.get(st.S_IFMT(stat.st_mode), "?"), st.S_IMODE(stat.st_mode), stat.st_uid, stat.st_gid, b"")
    try:
        mode_text, device, owner = value.split()
        uid, gid = map(int, owner.split(b":"))
        mode = int(mode_text, 8)
    except ValueError as error:
        raise IntegrityError(f"The stored attributes of {path!r} are damaged: {value!r}") from error
    kind = _KINDS.get(st.S_IFMT(mode), "?")
    return Stored(kind, st.S_IMODE(mode), uid, gid, device if kind in "cb" else b"")


class Digests(NamedTuple):
    """CRC32 and XXH128 of a file's bytes, hexadecimal, and how many bytes there were."""

    crc32: bytes
    xxh128: bytes
    size: int


def digest(path: bytes) -> Digests:
    """Read the regular file ``path`` once for both digests; symlinks are not followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        crc = size = 0
        strong = xxhash.xxh3_128()
        while chunk := os.read(descriptor, _CHUNK):
            crc = zlib.crc32(chunk, crc)
            strong.update(chunk)
            size += len(chunk)
    finally:
        os.close(descriptor)
    return Digests(b"%08x" % crc, strong.hexdigest().encode(), size)


def copy_attributes(source: bytes, destination: bytes) -> None:
    """Give the directory ``destination`` the mode and the extended attributes of ``source``, and no others."""
    stat = os.stat(source, follow_symlinks=False)
    os.chmod(destination, st.S_IMODE(stat.st_mode))
    wanted = {name: os.getxattr(source, name) for name in os.listxattr(source) if name.startswith("user.")}
    for name in os.listxattr(destination):
        if name.startswith("user.") and name not in wanted:
            os.removexattr(destination, name)
    for name, value in wanted.items():
        os.setxattr(destination, name, value)
