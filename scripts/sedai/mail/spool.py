"""Mails that wait, one file each: a line of JSON (the envelope), then the mail itself.

Whoever delivers a mail holds a flock on its file, so that cron's flush and a fresh alert never send the same one
twice; the kernel drops the lock with the process, and the mail stays.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sedai.core.errors import SedaiError

_SUFFIX = ".mail"


class DamagedMailError(SedaiError):
    """A file in the spool is not what this module wrote."""


@dataclass(frozen=True)
class Envelope:
    """What is known of a waiting mail; times in seconds since the epoch. ``incident``: the key of what it is about."""

    recipient: str
    created: float
    attempts: int = 0
    next_attempt: float = 0.0
    last_status: int = 0
    last_reply: str = ""
    incident: str = ""


@dataclass(frozen=True)
class Letter:
    """One mail for one recipient."""

    envelope: Envelope
    message: bytes


@dataclass(frozen=True)
class Held:
    """A letter in the queue whose lock is ours."""

    path: Path
    letter: Letter


class Spool:
    """The directory with ``queue/`` (waits) and ``failed/`` (was given up, never deleted by us)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.queue = directory / "queue"
        self.failed = directory / "failed"

    @contextlib.contextmanager
    def add(self, letter: Letter) -> Iterator[Held]:
        """Store ``letter`` so that a crash can't lose it, and hold it.

        Raises:
            OSError: it could not be stored, for example because the disk is full.
        """
        self.queue.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{int(letter.envelope.created * 1e6):018d}-{secrets.token_hex(4)}{_SUFFIX}"
        descriptor = self._store(self.queue / name, letter)
        try:
            yield Held(self.queue / name, letter)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def hold(self, path: Path) -> Iterator[Held | None]:
        """The letter at ``path``, held; ``None`` when it is gone or someone else delivers it now.

        Raises:
            DamagedMailError: the file can't be understood.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            yield None
            return
        try:
            yield Held(path, _read(path, descriptor)) if _lock(path, descriptor) else None
        finally:
            os.close(descriptor)

    def postpone(self, held: Held, envelope: Envelope) -> None:
        """Replace the envelope of a held letter; the last thing to do with it."""
        os.close(self._store(held.path, Letter(envelope, held.letter.message)))

    def park(self, path: Path) -> None:
        """Give up on the mail at ``path``: it goes to ``failed/`` for a person to look at."""
        self.failed.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.rename(self.failed / path.name)

    def waiting(self) -> list[Path]:
        """The files in the queue, oldest first."""
        return _mails(self.queue)

    def envelopes(self) -> Iterator[Envelope]:
        """The envelopes of all that wait and can be read."""
        for path in self.waiting():
            with contextlib.suppress(DamagedMailError, OSError):
                yield read(path).envelope

    def given_up(self) -> list[Path]:
        """The files in ``failed/``, oldest first."""
        return _mails(self.failed)

    def _store(self, path: Path, letter: Letter) -> int:
        """Write beside ``path``, flush to disk, rename over it; return the descriptor, which holds the lock.

        The lock is taken before the name exists, so that no flush can be quicker than we are.
        """
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with open(descriptor, "wb", closefd=False) as stream:
                stream.write(json.dumps(dataclasses.asdict(letter.envelope)).encode() + b"\n" + letter.message)
            os.fsync(descriptor)
            temporary.rename(path)
        except BaseException:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)
        return descriptor


def read(path: Path) -> Letter:
    """The letter at ``path``, without holding it.

    Raises:
        DamagedMailError: the file can't be understood.
        OSError: it can't be read, for example because it was delivered meanwhile.
    """
    return _parse(path, path.read_bytes())


def _read(path: Path, descriptor: int) -> Letter:
    with open(descriptor, "rb", closefd=False) as stream:
        return _parse(path, stream.read())


def _parse(path: Path, data: bytes) -> Letter:
    head, _, message = data.partition(b"\n")
    try:
        return Letter(Envelope(**json.loads(head)), message)
    except (ValueError, TypeError) as error:
        raise DamagedMailError(f"{path} is not a mail of this spool: {error}") from error


def _lock(path: Path, descriptor: int) -> bool:
    """Whether we hold ``path`` now: nobody else does, and it still is the file that we opened."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except (BlockingIOError, FileNotFoundError):
        return False


def _mails(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob(f"*{_SUFFIX}") if not path.name.startswith("."))


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
