"""Big files that changed in part: what they have in common with the base's version is stored once, where reflinks are to be had.

Such a file arrives whole and is proven. On XFS, if it has no holes, the kernel then compares it with the base's version, range by
range, and lets the same ranges share their extents (``FIDEDUPERANGE``). The base's is read from the disk for it, so that rot of it
that nobody has found is found to differ. On btrfs that frees nothing: an extent stays there as long as any block of it is in use.
There, and where there are holes, the file's place is taken by a copy, an inode of its own too, which has the same bytes (they are
read back and proven again) and the same attributes, but shares with the base's version the extents whose bytes are the same.
Whatever fails on the way, what arrived stays.

rsync ``--inplace`` into a reflink copy of the base's version would do without the second writing. But it can use nothing that
has moved in the file: one row more in the dump of a database, and all that follows goes over the line again (1,069 MB instead of
33 KB of a file of 1 GiB); and it would be one more thing that a client may ask rsync for.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import stat as st
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sedai.core import manifest
from sedai.core.beneath import Beneath
from sedai.core.errors import IntegrityError
from sedai.server.arrived import Identity
from sedai.server.kept import same_files
from sedai.server.stored import copy_extended

# Smaller files have little to share, and there can be very many of them.
BIG = 4 << 20
# An extent costs the file system a record and a reader a seek: less than this is written.
LEAST = 64 << 10
_CHUNK = 1 << 20
# So much is being read from the disk while a chunk is looked at.
_AHEAD = 4 << 20
_MOST_LOOKS = 64

# ioctl_ficlonerange(2), and its struct file_clone_range.
_FICLONERANGE, _RANGE = 0x4020940D, struct.Struct("=qQQQ")
# ioctl_fideduperange(2): struct file_dedupe_range with one struct file_dedupe_range_info, of which the last three are answers.
_FIDEDUPERANGE, _DEDUPE = 0xC0189436, struct.Struct("=QQHHIqQQiI")
_SAME, _STATUS = 0, -2
# XFS_IOC_FSGEOMETRY_V1 (linux/fs/xfs/libxfs/xfs_fs.h), which no other file system answers, and how long its answer is.
_XFS_GEOMETRY, _GEOMETRY_BYTES = 0x80705864, 112
_NO_REFLINKS = (errno.EOPNOTSUPP, errno.ENOTTY)
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Sharing:
    """Lets big files of the delta share what the base's tree, if there is one, has of them.

    ``scratch``: where a file can be made, in a directory of the server's own. ``bytes``: so many are stored once now.
    ``missed``: about so many could be, had the file system reflinks.
    """

    def __init__(self, delta: Beneath, base_tree: Path | None, scratch: Path) -> None:
        self._delta = delta
        self._base_tree = base_tree
        self._scratch = scratch
        self._reflinks = True  # until one can't be made
        self.bytes = 0
        self.missed = 0

    def share(self, old: bytes, new: bytes, identity: Identity) -> Identity:
        """Look at the file of the line ``new``, which was checked, in place of the base's line ``old``.

        Returns what it is to be recognised by now.
        """
        if self._base_tree is None or not (_is_big_file(old) and _is_big_file(new)):
            return identity
        entry = manifest.decode(new)
        with contextlib.ExitStack() as held:
            held.enter_context(contextlib.suppress(OSError, IntegrityError))  # it stays as it arrived then
            base = held.enter_context(Beneath(self._base_tree))
            stored, arrived = (
                held.enter_context(os.fdopen(tree.open(entry.path), "rb", buffering=0)).fileno()
                for tree in (base, self._delta)
            )
            stat = os.fstat(arrived)
            # A copy of its own is no further name of what has some.
            if Identity.of(stat) == identity and stat.st_nlink == 1 and st.S_ISREG(os.fstat(stored).st_mode):
                return self._share(stored, arrived, entry) or identity
        return identity

    def _share(self, stored: int, arrived: int, entry: manifest.Entry) -> Identity | None:
        about = estimate(stored, arrived)
        if about and self._reflinks:
            try:
                if _is_dense(arrived) and _is_xfs(arrived):
                    for done in deduplicate(stored, arrived):
                        self.bytes += done
                    return None
                return self._replace(stored, arrived, entry)
            except OSError as error:
                if error.errno not in _NO_REFLINKS:
                    raise
                self._reflinks = False
        self.missed += about
        return None

    def _replace(self, stored: int, arrived: int, entry: manifest.Entry) -> Identity | None:
        copy = os.open(self._scratch, _NEW, 0o600)
        try:
            shared = _copy(copy, stored, arrived)
            stat = os.fstat(arrived)
            os.fchmod(copy, st.S_IMODE(stat.st_mode))
            copy_extended(arrived, copy)
            os.utime(copy, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            if not same_files(copy, arrived, entry):
                return None
            parent, name = self._delta.parent(entry.path)
            os.rename(self._scratch, name, dst_dir_fd=parent)
            self.bytes += shared
            return Identity.of(os.fstat(copy))
        finally:
            os.close(copy)
            self._scratch.unlink(missing_ok=True)


def _is_dense(descriptor: int) -> bool:
    """Whether there are no holes. Beside each piece of a sparse file XFS keeps room that only a copy does not have."""
    stat = os.fstat(descriptor)
    return stat.st_blocks * 512 >= stat.st_size


def _is_xfs(descriptor: int) -> bool:
    try:
        fcntl.ioctl(descriptor, _XFS_GEOMETRY, bytearray(_GEOMETRY_BYTES))
    except OSError:
        return False
    return True


def deduplicate(stored: int, arrived: int) -> Iterator[int]:
    """Let ``arrived`` have the extents of ``stored`` where both have the same bytes at the same place; how many, time and again.

    Both stay what they are: inode, bytes and times. Blocks of zeros do not count: they may have been a hole on either side.

    Raises:
        OSError: the file system can't do it, or can't go on; what was told is done.
    """
    # What is compared is what the disk has, unless a process of this account holds it in memory.
    os.posix_fadvise(stored, 0, 0, os.POSIX_FADV_DONTNEED)
    block = os.fstatvfs(arrived).f_bsize
    size = _common_size(stored, arrived) // block * block
    read = bytearray(_CHUNK)
    for offset in range(0, size, _CHUNK):
        # The kernel itself would read it page by page.
        os.posix_fadvise(stored, offset + _CHUNK, _AHEAD, os.POSIX_FADV_WILLNEED)
        os.preadv(stored, [read], offset)
        for begin, end in _deduplicate(stored, arrived, offset, min(offset + _CHUNK, size)):
            yield end - begin - _zeros(read, begin - offset, end - offset, block)


def _deduplicate(stored: int, arrived: int, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """What is shared now of a range; where it differs, of its halves."""
    request = bytearray(_DEDUPE.pack(begin, end - begin, 1, 0, 0, arrived, begin, 0, 0, 0))
    fcntl.ioctl(stored, _FIDEDUPERANGE, request)
    status = _DEDUPE.unpack(request)[_STATUS]
    if status < 0:
        raise OSError(-status, os.strerror(-status))
    if status == _SAME:
        yield begin, end
    elif end - begin > LEAST:
        middle = begin + max((end - begin) // 2 // LEAST, 1) * LEAST
        yield from _deduplicate(stored, arrived, begin, middle)
        yield from _deduplicate(stored, arrived, middle, end)


def _zeros(read: bytearray, begin: int, end: int, block: int) -> int:
    """How many bytes the blocks of zeros have."""
    zeros = bytes(block)
    return sum(block for at in range(begin, end, block) if not read[at] and read[at : at + block] == zeros)


def _copy(copy: int, stored: int, arrived: int) -> int:
    """Give ``copy`` the bytes of ``arrived``, as far as possible in the extents of ``stored``; how many it shares.

    A write that falls short is found when the copy is read back.
    """
    size, block = os.fstat(arrived).st_size, os.fstatvfs(copy).f_bsize
    _clone(stored, copy, 0, block)  # can it be done at all? Before anything is read for it.
    os.ftruncate(copy, 0)
    os.ftruncate(copy, size)
    at = shared = 0
    for offset, length in common(stored, arrived, block):
        _write(copy, arrived, at, offset)
        _clone(stored, copy, offset, length)
        at = offset + length
        shared += length
    _write(copy, arrived, at, size)
    return shared


def _clone(stored: int, copy: int, offset: int, length: int) -> None:
    fcntl.ioctl(copy, _FICLONERANGE, _RANGE.pack(stored, offset, length, offset))


def _write(copy: int, arrived: int, begin: int, end: int) -> None:
    for offset in range(begin, end, LEAST):
        found = os.pread(arrived, min(LEAST, end - offset), offset)
        if found != bytes(len(found)):  # else it is a hole already
            os.pwrite(copy, found, offset)


def common(stored: int, arrived: int, block: int) -> Iterator[tuple[int, int]]:
    """Offset and length of each run of blocks that are the same at the same place in both, and worth an extent.

    Blocks of zeros are left out: they are holes mostly, and a hole that counts as shared would be room that nobody has spared.
    """
    for same, run in itertools.groupby(_compared(stored, arrived, block), lambda piece: piece.same):
        first, *others = run
        length = first.length + sum(piece.length for piece in others)
        if same and length >= LEAST:
            yield first.offset, length


class _Piece(NamedTuple):
    """A part of two files, in bytes, that is the same in both or is not."""

    offset: int
    length: int
    same: bool


def _compared(stored: int, arrived: int, block: int) -> Iterator[_Piece]:
    """All whole blocks that both files have; as whole chunks where that will do."""
    size = _common_size(stored, arrived)
    zeros = bytes(block)
    for offset in range(0, size, _CHUNK):
        before, after = os.pread(stored, _CHUNK, offset), os.pread(arrived, _CHUNK, offset)
        length = min(_CHUNK, size - offset) // block * block
        if length == _CHUNK and before == after and zeros not in after:
            yield _Piece(offset, length, same=True)
            continue
        for at in range(0, length, block):
            found = after[at : at + block]
            yield _Piece(offset + at, block, found == before[at : at + block] and found != zeros)


def estimate(stored: int, arrived: int) -> int:
    """About how many bytes are the same at the same place in both, by a few looks: it must cost nothing."""
    size = _common_size(stored, arrived)
    looks = min(size // _CHUNK, _MOST_LOOKS)
    zeros = bytes(LEAST)
    same = 0
    with contextlib.suppress(OSError):  # behind the last data of a file that ends in a hole
        for number in range(looks):
            data = os.lseek(arrived, (2 * number + 1) * size // (2 * looks), os.SEEK_DATA)
            offset = data // LEAST * LEAST
            found = os.pread(arrived, LEAST, offset)
            same += found != zeros and found == os.pread(stored, LEAST, offset)
    return min(size, os.fstat(arrived).st_blocks * 512) * same // looks if looks else 0


def _common_size(stored: int, arrived: int) -> int:
    return min(os.fstat(stored).st_size, os.fstat(arrived).st_size)


def _is_big_file(line: bytes) -> bool:
    fields = line.split(b"\t", manifest.SIZE + 1)
    return fields[manifest.KIND] == b"f" and int(fields[manifest.SIZE]) >= BIG
