"""What arrived: each entry of the delta compared with what the client says of it, as if the receiver were an enemy.

A receiver that was taken over can put into the delta whatever an unprivileged process can make. So nothing is reached
through a symlink, nothing is read that is no regular file or directory, a file that changes while it is read or that
somebody could still write to is refused, and so is one that has a name outside the delta.
"""

from __future__ import annotations

import os
import re
import stat as st
from dataclasses import dataclass
from typing import NamedTuple, Self

from sedai.core import manifest, prefetch, wire
from sedai.core.beneath import Beneath
from sedai.core.errors import IntegrityError
from sedai.server.stored import Digests, Stored, digest_open, is_being_written, read_stored

_LONGEST_TARGET = 4096
# What the client has of a file and is not compared with anything here: an inode, a time in nanoseconds, as a manifest has them.
_NUMBER = re.compile(rb"(?:0|[1-9][0-9]{0,19})\Z").match


class Identity(NamedTuple):
    """What a checked entry is recognised by when it is placed: any change in between changes its ctime."""

    inode: int
    ctime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Self:
        """The identity that a stat shows."""
        return cls(stat.st_ino, stat.st_ctime_ns)


@dataclass
class _Linked:
    """An inode with several names: how many it has, how many of them were named so far, and its bytes if it has any."""

    names: int
    named: int = 0
    digests: Digests | None = None


class Checked(NamedTuple):
    """An entry that is what the client says, with its CRC32; ``read`` is how many bytes were read for it."""

    entry: manifest.Entry
    identity: Identity
    read: int


class Plain(NamedTuple):
    """A file with one name that is just what its line says, with its CRC32; ``read``: its bytes."""

    crc32: bytes
    identity: Identity
    read: int


class Arrived:
    """Checks the entries of one delta, in walk order."""

    def __init__(self, delta: Beneath, ahead: Beneath) -> None:
        """``ahead``: the delta once more, for what is opened before its turn; neither goes back and forth then."""
        self._delta = delta
        self._ahead = ahead
        self._device = delta.device
        self._linked: dict[int, _Linked] = {}

    def begin(self, path: bytes, fields: list[bytes]) -> int | None:
        """Open what is at ``path`` for :meth:`plain`, if ``fields`` of its line are those of a file with one name."""
        if not _is_of_a_plain_file(path, fields):
            return None
        return prefetch.begun(lambda: self._ahead.open(path))

    def plain(self, descriptor: int, fields: list[bytes]) -> Plain | None:
        """The file behind ``descriptor``, where it has one name and is just what ``fields`` of its line say.

        Most files are. None where it is not: :meth:`check` then tells what is wrong, if anything is.
        """
        try:
            return self._plain(descriptor, fields)
        except (OSError, IntegrityError):
            return None

    def _plain(self, descriptor: int, fields: list[bytes]) -> Plain | None:
        stat = os.fstat(descriptor)
        is_plain = (
            st.S_ISREG(stat.st_mode)
            and stat.st_nlink == 1
            and stat.st_dev == self._device
            and fields[manifest.MTIME] == b"%d" % stat.st_mtime_ns
            and fields[manifest.SIZE] == b"%d" % stat.st_size
            and not _is_unusual(stat)
        )
        if not is_plain:
            return None
        kind, mode, uid, gid, _ = read_stored(descriptor, stat)
        if kind != "f" or b"%o %d %d" % (mode, uid, gid) != b" ".join(fields[manifest.MODE : manifest.NLINK]):
            return None
        if is_being_written(descriptor):
            return None
        digests = digest_open(descriptor, stat.st_size)
        identity = Identity.of(stat)
        if Identity.of(os.fstat(descriptor)) != identity or digests.size != stat.st_size:
            return None
        return Plain(digests.crc32, identity, digests.size) if digests.xxh128 == fields[manifest.XXH128] else None

    def check(self, entry: manifest.Entry, unstable: bool) -> Checked:
        """Compare what lies at the entry's path with the entry.

        ``unstable``: it changed at the client while it was read, so mode, owner, and a file's size and mtime are those that
        arrived.

        Raises:
            IntegrityError: it is something else, or nothing that the receiver would have stored.
        """
        if entry.kind != "f" and (entry.crc32, entry.xxh128) != (manifest.NO_DIGEST, manifest.NO_DIGEST):
            raise IntegrityError(f"{wire.text(entry.path)} is no file, so it has no digests.")
        if entry.kind not in "lcb" and entry.target:
            raise IntegrityError(f"{wire.text(entry.path)} is neither symlink nor device, so it has no target.")
        try:
            stat = self._delta.lstat(entry.path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise IntegrityError(f"{wire.text(entry.path)} did not arrive.") from error
        if stat.st_dev != self._device or not (
            st.S_ISREG(stat.st_mode) or st.S_ISDIR(stat.st_mode) or st.S_ISLNK(stat.st_mode)
        ):
            raise IntegrityError(f"{wire.text(entry.path)} arrived as something that rsync never stores.")
        if st.S_ISLNK(stat.st_mode):
            return self._symlink(entry, stat)
        descriptor = self._delta.open(entry.path)
        try:
            same = os.fstat(descriptor)
            if Identity.of(same) != Identity.of(stat):
                raise IntegrityError(f"{wire.text(entry.path)} changed while it was looked at.")
            return self._opened(descriptor, entry, unstable, same)
        finally:
            os.close(descriptor)

    def _symlink(self, entry: manifest.Entry, stat: os.stat_result) -> Checked:
        """A true symlink, as a receiver without --fake-super stores it; only its text is ever used."""
        _compare(read_stored(entry.path, stat), entry)
        directory, name = self._delta.parent(entry.path)
        _compare_target(os.readlink(name, dir_fd=directory), entry)
        self._count(stat)
        return Checked(entry, Identity.of(stat), 0)

    def _opened(self, descriptor: int, entry: manifest.Entry, unstable: bool, stat: os.stat_result) -> Checked:
        stored = read_stored(descriptor, stat)
        if unstable:
            entry = entry._replace(mode=stored.mode, uid=stored.uid, gid=stored.gid)
        if unstable and entry.kind == "f":
            entry = entry._replace(size=stat.st_size, mtime_ns=stat.st_mtime_ns)
        _compare(stored, entry)
        if st.S_ISDIR(stat.st_mode) != (entry.kind == "d"):
            raise IntegrityError(f"{wire.text(entry.path)} arrived with attributes that belong to something else.")
        if entry.kind == "d":
            return Checked(entry, Identity.of(stat), 0)
        _refuse_unusual(descriptor, stat, entry)
        # rsync does not keep the time of symlinks and devices that --fake-super stores as files; they get it when placed.
        linked = self._count(stat)
        if entry.kind == "f":
            return self._file(descriptor, entry, stat, linked)
        if entry.kind == "l":
            _compare_target(os.read(descriptor, _LONGEST_TARGET + 1), entry)
        if entry.kind in "cb" and stored.device.replace(b" ", b"") != entry.target:
            raise IntegrityError(
                f"{wire.text(entry.path)} arrived as device {stored.device!r}, the client has {entry.target!r}."
            )
        return Checked(entry, Identity.of(stat), 0)

    def _file(self, descriptor: int, entry: manifest.Entry, stat: os.stat_result, linked: _Linked | None) -> Checked:
        if stat.st_mtime_ns != entry.mtime_ns:
            raise IntegrityError(
                f"{wire.text(entry.path)} arrived with mtime {stat.st_mtime_ns} ns, the client has {entry.mtime_ns} ns."
            )
        # Before it is read: a sparse file, which costs the receiver nothing, could keep the seal reading for hours.
        if stat.st_size != entry.size:
            raise IntegrityError(
                f"{wire.text(entry.path)} arrived with {stat.st_size} bytes, the client's rsync read {entry.size}."
            )
        known = linked.digests if linked else None
        digests = known or digest_open(descriptor, stat.st_size)
        if Identity.of(os.fstat(descriptor)) != Identity.of(stat):
            raise IntegrityError(f"{wire.text(entry.path)} changed while it was read.")
        if linked:
            linked.digests = digests
        if digests.size != entry.size or digests.xxh128 != entry.xxh128:
            raise IntegrityError(
                f"{wire.text(entry.path)} arrived with {digests.size} bytes and XXH128 {digests.xxh128.decode()}, the "
                f"client's rsync read {entry.size} bytes and {entry.xxh128.decode()}."
            )
        return Checked(entry._replace(crc32=digests.crc32), Identity.of(stat), 0 if known else digests.size)

    def _count(self, stat: os.stat_result) -> _Linked | None:
        if stat.st_nlink == 1:
            return None
        linked = self._linked.setdefault(stat.st_ino, _Linked(stat.st_nlink))
        linked.named += 1
        return linked

    def forget_linked(self) -> bool:
        """Forget the inodes with several names that were checked until now; whether there were any."""
        had_some = bool(self._linked)
        self._linked.clear()
        return had_some

    def refuse_names_outside(self) -> None:
        """Every name of every inode that was checked lies in the delta.

        Raises:
            IntegrityError: a file has a further name somewhere else, so what is sealed could be changed there.
        """
        named = {inode: 0 for inode, found in self._linked.items() if found.named < found.names}
        if not named:
            return
        # Names that the changes don't have: left from a run that broke off, or outside.
        for item in self._delta.everything():
            if item.inode() in named and not item.is_dir(follow_symlinks=False):
                named[item.inode()] += 1
        for inode, count in named.items():
            if count != self._linked[inode].names:
                raise IntegrityError(f"A file that arrived (inode {inode}) has a name outside of what was sent.")


def _is_of_a_plain_file(path: bytes, fields: list[bytes]) -> bool:
    """Whether a line is that of a file with one name, and just as it is to be in the manifest, CRC32 apart."""
    return (
        len(fields) == manifest.TARGET + 1
        and fields[manifest.KIND] == b"f"
        and fields[manifest.NLINK] == b"1"
        and fields[manifest.TARGET] == b"\n"
        and fields[0] == path == manifest.escape(path)
        and all(_NUMBER(fields[number]) for number in (manifest.INODE, manifest.CTIME))
    )


def _is_unusual(stat: os.stat_result) -> bool:
    return stat.st_mode & 0o7000 != 0 or stat.st_mode & 0o600 != 0o600


def _refuse_unusual(descriptor: int, stat: os.stat_result, entry: manifest.Entry) -> None:
    if _is_unusual(stat):
        raise IntegrityError(
            f"{wire.text(entry.path)} arrived with mode {st.S_IMODE(stat.st_mode):o}, which rsync never stores."
        )
    if is_being_written(descriptor):
        raise IntegrityError(f"{wire.text(entry.path)} is still open for writing.")


def _compare(stored: Stored, entry: manifest.Entry) -> None:
    wanted = (entry.kind, entry.mode, entry.uid, entry.gid)
    arrived = (stored.kind, stored.mode, stored.uid, stored.gid)
    # A symlink's own mode means nothing on Linux.
    if wanted != arrived and not (entry.kind == "l" == stored.kind and wanted[2:] == arrived[2:]):
        raise IntegrityError(
            f"{wire.text(entry.path)} arrived as {arrived}, the client has {wanted} (kind, mode, uid, gid)."
        )


def _compare_target(target: bytes, entry: manifest.Entry) -> None:
    if target != entry.target:
        raise IntegrityError(
            f"The symlink {wire.text(entry.path)} arrived with target {target!r}, the client has {entry.target!r}."
        )


def check_directory(descriptor: int, entry: manifest.Entry) -> None:
    """Whether the directory behind ``descriptor`` is still what ``entry`` says.

    Raises:
        IntegrityError: it is not.
    """
    _compare(read_stored(descriptor, os.fstat(descriptor)), entry)
