"""What the watch looks at, gathered from the store; nothing is judged here."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path

from sedai.core.errors import IntegrityError
from sedai.server import days
from sedai.server.config import ServerConfig
from sedai.server.store import ClientStore


@dataclass(frozen=True)
class GenerationFacts:
    """A sealed generation: its name, the time in its name (seconds since the epoch), and what its record says.

    ``error``: why the record can't be read; the figures are 0 then. ``is_first``: it was built on no other.
    ``shareable_bytes``: about how much it would share with the one before it, if the file system had reflinks.
    """

    name: str
    time: float
    files: int = 0
    bytes: int = 0
    new_bytes: int = 0
    is_first: bool = False
    error: str = ""
    not_in_backup: tuple[str, ...] = ()
    shareable_bytes: int = 0


@dataclass(frozen=True)
class ClientFacts:
    """A configured client. ``generations`` oldest first; ``known_since``: when the watch first saw its name.

    ``checked``: when it last had its generations checked, 0 where that is not known. ``alerts_stuck``: for how many seconds
    an alert had been waiting on it that it could not hand over, as of its last run.
    ``clock_skew``: client minus server in seconds, as of its last run. ``error``: why its directory can't be used;
    ``unseen``: it can't even be looked into, so that nothing else is known. ``days``: how many generations were sealed on
    each day (2026-01-31, UTC), those that were pruned too; 0 where a run began and none was.
    """

    name: str
    known_since: float
    max_age_seconds: float
    generations: tuple[GenerationFacts, ...] = ()
    clock_skew: float = 0.0
    checked: float = 0.0
    alerts_stuck: float = 0.0
    error: str = ""
    unseen: bool = False
    days: dict[str, int] = field(default_factory=dict)

    @property
    def whole(self) -> tuple[GenerationFacts, ...]:
        """The generations whose records can be read."""
        return tuple(generation for generation in self.generations if not generation.error)


@dataclass(frozen=True)
class Disk:
    """The file system of the store: bytes and inodes, in all and free for the store's account."""

    total: int
    free: int
    inodes: int = 0
    free_inodes: int = 0


@dataclass(frozen=True)
class Facts:
    """Everything at one moment. ``disk`` is None where the file system can't be asked; ``open`` are the keys of what the
    watch has reported and not ended. ``unread_since``: for so long some stored file was not read by the scrub."""

    now: float
    clients: tuple[ClientFacts, ...]
    disk: Disk | None
    open: frozenset[str] = frozenset()
    unread_since: float = 0.0


def gather(
    config: ServerConfig, known_since: dict[str, float], open_keys: frozenset[str], scrubbed: float = 0.0
) -> Facts:
    """Look at the store of each configured client; nothing that is wrong there stops the look at the others.

    ``scrubbed``: every stored file was read then or later, or the scrub began then; 0 where it never did.
    """
    now = time.time()
    clients = []
    for name in sorted(config.clients):
        since = min(known_since.get(name, now), now)
        max_age = config.max_age_hours_for(name) * 3600.0
        try:
            clients.append(_client(ClientStore(config.store / name), name, since, max_age))
        except OSError as error:
            clients.append(ClientFacts(name, since, max_age, error=str(error), unseen=True))
    unread_since = scrubbed or min((client.known_since for client in clients), default=now)
    return Facts(now, tuple(clients), _disk(config), open_keys, unread_since)


def _client(store: ClientStore, name: str, since: float, max_age: float) -> ClientFacts:
    os.scandir(store.root).close()  # one that is not there, because a disk is not mounted, is not an empty one
    found = []
    generations = store.generations()
    for generation in generations:
        moment = generation.time.timestamp()
        try:
            record = store.record(generation)
            found.append(GenerationFacts(str(generation), moment, record.files, record.bytes, record.new_bytes,
                                         not record.previous, not_in_backup=record.not_in_backup,
                                         shareable_bytes=record.shareable_bytes))  # fmt: skip
        except IntegrityError as error:
            found.append(GenerationFacts(str(generation), moment, error=error.message))
    return ClientFacts(name, since, max_age, tuple(found), _noted(store.incoming / "clock_skew"), _checked(store),
                       _noted(store.alerts_stuck), _try_to_write(store), days=days.counted(store, generations))  # fmt: skip


def _noted(path: Path) -> float:
    """The figure that the gate wrote down there; 0 where it did not."""
    try:
        figure = float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0.0
    return figure if math.isfinite(figure) else math.inf


def _checked(store: ClientStore) -> float:
    try:
        return store.checked.stat().st_mtime
    except OSError:
        return 0.0


def _try_to_write(store: ClientStore) -> str:
    """Make a file and take it away: only trying shows a file system that was remounted read-only, or is full."""
    probe = store.root / f".watch-{secrets.token_hex(4)}"
    try:
        with open(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as stream:
            stream.write(b"watch\n" * 1000)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        return str(error)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return ""


def _disk(config: ServerConfig) -> Disk | None:
    try:
        found = os.statvfs(config.store)
    except OSError:
        return None
    return Disk(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, found.f_files, found.f_favail)
