"""Fetch: what a restore brings without rsync: new directories, and the symlinks and small files in them.

rsync writes each file under another name, renames it, and asks for each path from the root on whether it is still the same; for
many small files that is most of a restore. Here the gate reads out the bytes, one file behind the other, and all the rest is in
the manifest, which is signed: the server says neither what is written nor where. Bytes that do not have the digest of the
manifest are not written at all. Everything else, what has ACLs or attributes of its own and what fails here, is left to rsync.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat as st
from collections.abc import Container, Iterator
from typing import NamedTuple

import xxhash

from sedai.client import target, unfinished
from sedai.client.connection import Answers, Connection
from sedai.client.placement import SENT, Action, Placement
from sedai.core import manifest, wire
from sedai.core.beneath import Beneath, allow_deep_paths
from sedai.core.errors import UsageError
from sedai.core.progress import Advance

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT)
# What a file system may store as a hole, which only rsync makes again.
_HOLE = bytes(4096)
_LONGEST_LENGTH = 8
_DEFAULT_ACL, _ACCESS_ACL = "system.posix_acl_default", "system.posix_acl_access"


class DiskFullError(Exception):
    """There is no room for what is restored."""


class _Row(NamedTuple):
    """A row of the placement. ``asked``: it is in a new directory, or is one, and of a kind that can be brought here.

    ``outermost``: a new directory in one that was there.
    """

    action: Action
    line: bytes
    fields: list[bytes]
    path: bytes
    asked: bool
    outermost: bool


class Fetch:
    """Of what is placed below ``root``, except for ``left_out``."""

    def __init__(self, placement: Placement, root: bytes, left_out: Container[bytes]) -> None:
        self._placement = placement
        self._root = root or b"/"
        self._left_out = left_out

    def carry_out(self, connection: Connection, generation: str, advance: Advance) -> int:
        """Bring what can be brought, and note that in the placement; how many rows are left to be sent.

        Raises:
            DiskFullError: what was brought until then is whole.
            SedaiError: the server refused, or fell silent.
        """
        allow_deep_paths()
        names = (
            manifest.escape(row.path) + b"\n" for row in self._rows() if row.asked and row.fields[manifest.KIND] != b"l"
        )
        left = 0

        def rows(answers: Answers) -> Iterator[tuple[Action, bytes]]:
            nonlocal left
            with target.opened(self._root) as tree:
                writer = _Writer(tree, answers, advance)
                for row in self._rows():
                    action = writer.bring(row) if row.asked else row.action
                    left += action in SENT
                    yield action, row.line

        try:
            with connection.reading("read", {"generation": generation}, names) as answers:
                self._placement.decide_again(rows(answers))
        except UsageError:  # an earlier server does not know the verb, or rsync will be told too what it is
            return sum(action in SENT for action, _ in self._placement.rows())
        return left

    def _rows(self) -> Iterator[_Row]:
        """Those of the placement."""
        new: list[bytes] = []  # directories that this restore makes, on the way to the row at hand
        top_is_new = self._placement.is_made(b"") and not _gives_on(self._root)
        for action, line in self._placement.rows():
            fields = line.split(b"\t")
            path = manifest.unescape(fields[0])
            while new and not path.startswith(new[-1]):
                new.pop()
            directory = path.rpartition(b"/")[0]
            in_new = new[-1] == directory + b"/" if new else top_is_new and not directory
            is_directory = fields[manifest.KIND] == b"d"
            asked = (
                action is Action.SEND and path not in self._left_out and (is_directory or (in_new and _fits(fields)))
            )
            if is_directory and (asked or (action is Action.ATTRIBUTES and self._placement.is_made(path))):
                new.append(path + b"/")
            yield _Row(action, line, fields, path, asked, not in_new)


def _fits(fields: list[bytes]) -> bool:
    kind = fields[manifest.KIND]
    return fields[manifest.NLINK] == b"1" and (
        kind == b"l" or (kind == b"f" and int(fields[manifest.SIZE]) <= wire.READ_MOST_BYTES)
    )


def _gives_on(directory: bytes) -> bool:
    """Whether what is made in ``directory`` has something from it: a default ACL or its group."""
    try:
        return _DEFAULT_ACL in os.listxattr(directory) or bool(os.stat(directory).st_mode & st.S_ISGID)
    except OSError:
        return True


class _Writer:
    """Writes below ``tree`` what ``answers`` has."""

    def __init__(self, tree: Beneath, answers: Answers, advance: Advance) -> None:
        self._tree = tree
        self._answers = answers
        self._advance = advance
        self._privileged = target.privileged()
        self._group = os.getegid()
        # Below it nothing can be made.
        self._barred = b"\0"

    def bring(self, row: _Row) -> Action:
        """What is left to be done with ``row``: nothing but a comparison, or what was to be done before."""
        kind = row.fields[manifest.KIND]
        answer = self._answers.line() if kind != b"l" else b""
        content = b""
        if answer[:1].isdigit():  # whatever was asked for: the store may have something else there
            content = self._answers.bytes(_length(answer))
        if row.path.startswith(self._barred):
            return row.action
        try:
            if kind == b"d":
                self._directory(row)
                return Action.BROUGHT if answer == wire.READ_DIRECTORY else row.action
            if kind == b"l":
                self._symlink(row)
                return Action.BROUGHT
            if not answer[:1].isdigit() or not _is_whole(content, row.fields) or _HOLE in content:
                return row.action
            self._file(row, content)
        except OSError as error:
            if error.errno in _FULL:
                raise DiskFullError(f"{wire.text(row.path)}: {error.strerror}") from error
            if kind == b"d":
                self._barred = row.path + b"/"
            return row.action
        self._advance(len(content))
        return Action.BROUGHT

    def _directory(self, row: _Row) -> None:
        parent, name = self._tree.parent(row.path)
        os.mkdir(name, 0o700, dir_fd=parent)
        if row.outermost:
            _strip(parent, name)
        self._give_group(row.fields, parent, name, always=row.outermost)

    def _symlink(self, row: _Row) -> None:
        parent, name = self._tree.parent(row.path)
        os.symlink(manifest.unescape(row.fields[manifest.TARGET].rstrip(b"\n")), name, dir_fd=parent)
        self._give_group(row.fields, parent, name)

    def _give_group(self, fields: list[bytes], parent: int, name: bytes, *, always: bool = False) -> None:
        """What root sets of directories and symlinks is set in the comparison; of others it is the group, if it is theirs.

        ``always``: it may have the group of the directory that it is in.
        """
        gid = int(fields[manifest.GID])
        if not self._privileged and (always or gid != self._group):
            with contextlib.suppress(OSError):
                os.chown(name, -1, gid, dir_fd=parent, follow_symlinks=False)

    def _file(self, row: _Row, content: bytes) -> None:
        parent, name = self._tree.parent(row.path)
        fields = row.fields
        try:
            place = os.open(name, _NEW, unfinished.MODE, dir_fd=parent)
        except FileExistsError:
            if not unfinished.is_ours(os.stat(name, dir_fd=parent, follow_symlinks=False)):
                raise
            os.unlink(name, dir_fd=parent)
            place = os.open(name, _NEW, unfinished.MODE, dir_fd=parent)
        try:
            written = os.write(place, content)
            while written < len(content):
                written += os.write(place, content[written:])
            self._finish(place, fields)
        except BaseException:
            os.unlink(name, dir_fd=parent)
            raise
        finally:
            os.close(place)

    def _finish(self, place: int, fields: list[bytes]) -> None:
        uid, gid = int(fields[manifest.UID]), int(fields[manifest.GID])
        if self._privileged:
            if uid or gid:
                os.fchown(place, uid, gid)
        elif gid != self._group:
            with contextlib.suppress(OSError):
                os.fchown(place, -1, gid)
        mtime = int(fields[manifest.MTIME])
        os.utime(place, ns=(mtime, mtime))
        os.fchmod(place, int(fields[manifest.MODE], 8))  # takes away the sign that it is not whole


def _length(answer: bytes) -> int:
    """How many bytes come behind ``answer``."""
    if not answer[:-1].isdigit() or len(answer) > _LONGEST_LENGTH or int(answer) > wire.READ_MOST_BYTES:
        raise EOFError
    return int(answer)


def _is_whole(content: bytes, fields: list[bytes]) -> bool:
    return (
        len(content) == int(fields[manifest.SIZE])
        and xxhash.xxh3_128_hexdigest(content).encode() == fields[manifest.XXH128]
    )


def _strip(parent: int, name: bytes) -> None:
    """Take from a new directory what it has from the one it is in: what is made in it would have that too."""
    directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        for attribute in {_DEFAULT_ACL, _ACCESS_ACL}.intersection(os.listxattr(directory)):
            os.removexattr(directory, attribute)
        os.fchmod(directory, 0o700)  # the bit of the group among it
    finally:
        os.close(directory)
