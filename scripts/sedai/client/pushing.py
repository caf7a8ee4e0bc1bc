"""Pushing: the runs of rsync that carry a plan to the server, one or several at once, and what they came to."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable

from sedai.client import send
from sedai.client.connection import HOST_ALIAS, Connection
from sedai.client.plan import Planned
from sedai.core import manifest
from sedai.core.errors import ProcessError

# A smaller file without its holes takes little more than with them.
_LEAST_HOLE = 64 << 10
# Judged path by path.
_FEW_FAILED = (0, 23, 24)


class BarredError(Exception):
    """Something in the delta stands in the way of what is sent."""


class Pushing:
    """Sends paths into the delta behind ``connection``; may be called from several threads.

    ``complaints``: what rsync said of single paths; ``sent_files``: how many files it read. ``advance`` hears each file's size.
    """

    def __init__(
        self,
        connection: Connection,
        limit_kib: int,
        advance: Callable[[int], None] = lambda count: None,
        *,
        may_be_barred: bool = False,
    ) -> None:
        self._remote_shell = connection.remote_shell
        self._limit_kib = limit_kib
        self._advance = advance
        self._may_be_barred = may_be_barred
        self._running = send.Running()
        self._guard = threading.Lock()
        self.complaints: list[str] = []
        self.sent_files = 0

    def __call__(self, top: bytes, paths: Iterable[bytes], sparse: bool) -> dict[bytes, bytes]:
        """Send ``paths``, relative to the directory ``top``; the digests of files by path, not relative.

        ``sparse``: some of them may have holes.

        Raises:
            ProcessError: it broke off.
            BarredError: if there may be something in the way, and there is.
        """
        sent = send.Sent()
        begin = top + b"/" if top else b""
        argv = send.push_arguments(self._remote_shell, f"{HOST_ALIAS}:/delta/", self._limit_kib, begin.decode("ascii"))
        send.push(argv, paths, sent, self._count, top=begin, running=self._running)
        if self._may_be_barred and send.is_barred(sent.complaints):
            raise BarredError
        _judge(sent)
        with self._guard:
            self.complaints += sent.complaints
            self.sent_files += len(sent.digests)
        return sent.digests

    def end(self) -> None:
        """Have the runs that are under way end."""
        self._running.end()

    def _count(self, size: int) -> None:
        with self._guard:
            self._advance(size)


def has_holes(item: Planned, root: bytes = b"/") -> bool:
    """Whether what is to be sent is a file with fewer bytes on the disk than in it, as far as that is worth a look."""
    fields = item.line.split(b"\t", manifest.MTIME)
    if fields[manifest.KIND] != b"f" or int(fields[manifest.SIZE]) < _LEAST_HOLE:
        return False
    try:
        stat = os.lstat(root + item.path)
    except OSError:
        return False  # nothing is sent
    return stat.st_blocks * 512 < stat.st_size


def _judge(sent: send.Sent) -> None:
    if sent.status not in _FEW_FAILED:
        text = "\n".join(sent.complaints[-6:])
        raise ProcessError(
            f"Sending broke off (rsync status {sent.status}): {text}",
            sent.status,
            text,
            "What was sent is kept: the next run goes on from there.",
        )
