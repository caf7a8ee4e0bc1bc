"""What client and gate say to each other: one JSON object a line, and lines of changes.

The client writes one JSON object (the request) on the gate's standard input, for ``seal`` followed by changes. The
gate answers with JSON objects; the last one has the key ``result`` or ``error``. Objects with ``progress`` may come
before it and keep the connection alive. One with ``sign`` asks a client that offered it (``signs``) for the signature of
that record, which it says in an object with ``signature``.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import IO, Any, NamedTuple

from sedai.core import manifest
from sedai.core.errors import CutShortError, IntegrityError, UsageError

PROTOCOL = 1
LONGEST_LINE = 1 << 16
MOST_PATHS = 4096
CHANGES_END = b".\n"
# The first byte of a line of changes.
_SEALED, _UNSTABLE, _REMOVED = b"+", b"~", b"-"
# Both sides must mean the same by these.
PARTIAL_DIRECTORY = ".sedai-partial"
CLOCK_TOLERANCE_SECONDS = 300
# So many runs of rsync may send to one delta at once. More of them are not faster where there is one disk.
MOST_RECEIVERS = 2
# So begins what a backup says of files that are in it, but were open while they were copied.
COPIED_OPEN = "copied while open: "
# A path that stands in rsync's command line as it is, whatever quotes it on the way.
PLAIN_PATH = r"[A-Za-z0-9_.][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_.][A-Za-z0-9_.-]*)*"
# What the gate reads out of a generation at once, and what it answers for the rest; see server/reading.py.
READ_MOST_BYTES = 1 << 18
READ_DIRECTORY, READ_OTHERWISE = b"/\n", b"-\n"
CLIENT_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")


class Change(NamedTuple):
    """A path that is new or different (``line``: its manifest line without CRC32), or gone (``line`` None).

    ``unstable``: the file or directory changed while it was read, so mode, owner, and a file's size and mtime are those that
    arrived.
    """

    path: bytes
    line: bytes | None
    unstable: bool = False


def write_object(stream: IO[bytes], value: dict[str, Any]) -> None:
    """Write one JSON object as one line, at once."""
    stream.write(json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode() + b"\n")
    stream.flush()


def read_object(line: bytes) -> dict[str, Any]:
    """The JSON object on ``line``.

    Raises:
        UsageError: it is not one.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:  # brackets without end are no value either
        raise UsageError(f"Expected one JSON object on a line, got {line[:80]!r}.") from error
    if not isinstance(value, dict):
        raise UsageError(f"Expected a JSON object, got {line[:80]!r}.")
    return value


def encode_change(change: Change) -> bytes:
    """One line of changes."""
    if change.line is None:
        return b"%s%s\n" % (_REMOVED, manifest.escape(change.path))
    return (_UNSTABLE if change.unstable else _SEALED) + change.line


def until_end(stream: IO[bytes]) -> Iterator[bytes]:
    """The list of changes on ``stream`` as it is, in pieces. Behind its end mark nothing is read, where nothing may come yet."""
    while line := stream.readline(LONGEST_LINE):
        yield line
        if line == CHANGES_END:
            return


def read_changes(stream: IO[bytes]) -> Iterator[Change]:
    """The changes on ``stream``, up to the end mark. Their paths are safe; the rest of a line is read by whoever needs it.

    Raises:
        CutShortError: the stream ends before the end mark.
        IntegrityError: a line is damaged.
    """
    while (line := stream.readline(LONGEST_LINE)) != CHANGES_END:
        if line[-1:] != b"\n":
            raise CutShortError("The list of changes ended early.", "Run the backup again.")
        mark, rest = line[:1], line[1:]
        removed = mark == _REMOVED
        path = manifest.unescape(rest[: rest.find(b"\n" if removed else b"\t")])
        if mark not in (_SEALED, _UNSTABLE, _REMOVED) or not manifest.is_safe(path):
            raise IntegrityError(f"The list of changes is damaged at {line[:80]!r}.")
        yield Change(path, None if removed else rest, mark == _UNSTABLE)


def text(path: bytes) -> str:
    """A path for JSON and for people: UTF-8, other bytes and control characters as ``\\xNN``."""
    shown = path.decode("utf-8", "backslashreplace")
    if shown.isprintable():
        return shown
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)


def apart(lines: Iterable[str]) -> tuple[list[str], list[str]]:
    """Of ``lines`` about a backup those on what is not in it, and those on what was copied while it was open."""
    told = list(lines)
    open_ones = [line.removeprefix(COPIED_OPEN) for line in told if line.startswith(COPIED_OPEN)]
    return [line for line in told if not line.startswith(COPIED_OPEN)], open_ones


def pack(path: bytes) -> str:
    """A path for JSON, byte for byte."""
    return base64.b64encode(path).decode("ascii")


def unpack(text: str) -> bytes:
    """The inverse of :func:`pack`.

    Raises:
        ValueError: it is not base64.
    """
    return base64.b64decode(text, validate=True)
