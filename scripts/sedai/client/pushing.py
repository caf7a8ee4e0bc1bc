"""Pushing: the runs of rsync that carry a plan to the server, one or several at once, and what they came to."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable

from sedai.client import send
from sedai.client.connection import HOST_ALIAS, Connection
from sedai.client.readahead import ReadAhead
from sedai.client.scan import LEAST_HOLE, has_holes
from sedai.core.errors import ProcessError

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
        argv = send.push_arguments(
            self._remote_shell, f"{HOST_ALIAS}:/delta/", self._limit_kib, begin.decode("ascii"), sparse=sparse
        )
        with ReadAhead(b"/" + begin) as ahead:

            def count(size: int) -> None:
                ahead.passed()
                self._count(size)

            send.push(argv, ahead.names(paths), sent, count, top=begin, running=self._running)
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


def may_have_holes(path: bytes, size: int, root: bytes = b"/") -> bool:
    """Whether the file at ``path``, which had ``size`` bytes, has holes now."""
    if size < LEAST_HOLE:
        return False
    try:
        return has_holes(os.lstat(root + path))
    except OSError:
        return False  # nothing is sent


def _judge(sent: send.Sent) -> None:
    if sent.status not in _FEW_FAILED:
        text = "\n".join(sent.complaints[-6:])
        raise ProcessError(
            f"Sending broke off (rsync status {sent.status}): {text}",
            sent.status,
            text,
            "What was sent is kept: the next run goes on from there.",
        )
