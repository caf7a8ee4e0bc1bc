"""The incidents that are not over, one small file each beside the spool."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from logging import Logger
from pathlib import Path

from sedai.core import lock
from sedai.mail.fold import MOST_INCIDENTS, Incident, is_forgotten

_SUFFIX = ".json"
_LOCK_WAIT_SECONDS = 30.0


class Incidents:
    """A directory of incidents. What is damaged or lost in it makes one mail more, never one less."""

    def __init__(self, directory: Path, log: Logger) -> None:
        self._directory = directory
        self._log = log

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Between a look and the writing of what came of it nobody else decides.

        Raises:
            OSError: the directory can't be written.
            LockedError: another program holds it for too long.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with lock.exclusive(self._directory / "lock", "Another alert", wait_seconds=_LOCK_WAIT_SECONDS):
            yield

    def read(self, key: str) -> Incident | None:
        """The incident ``key``, where it is open."""
        return self._load(self._path(key))

    def write(self, incident: Incident, now: float) -> None:
        """Keep ``incident``, and no more than so many others.

        Raises:
            OSError: it can't be kept.
        """
        path = self._path(incident.key)
        if not path.exists():
            self._make_room(now)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(json.dumps(dataclasses.asdict(incident), ensure_ascii=False).encode("utf-8", "replace"))
                stream.flush()
                os.fsync(stream.fileno())
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def close(self, key: str) -> None:
        """The incident ``key`` is over."""
        self._path(key).unlink(missing_ok=True)

    def open(self) -> list[Incident]:
        """All that are open, oldest first."""
        found = [self._load(path) for path in sorted(self._directory.glob(f"*{_SUFFIX}"))]
        return sorted((one for one in found if one is not None), key=lambda one: (one.first, one.key))

    def is_empty(self) -> bool:
        """Whether there is nothing to look at, without reading anything."""
        return not any(self._directory.glob(f"[!.]*{_SUFFIX}"))

    def _make_room(self, now: float) -> None:
        """Drop what was forgotten, and the quietest of too many: its next report counts as a first one."""
        everything = sorted(self.open(), key=lambda one: one.last)
        surplus = max(len(everything) - MOST_INCIDENTS + 1, 0)
        for number, incident in enumerate(everything):
            if number < surplus or is_forgotten(incident, now):
                self._log.info("the incident %s is forgotten", incident.key)
                self.close(incident.key)

    def _path(self, key: str) -> Path:
        return self._directory / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}{_SUFFIX}"

    def _load(self, path: Path) -> Incident | None:
        try:
            table = json.loads(path.read_bytes())
            incident = Incident(**(table | {"told": tuple(table["told"])}))
            if not all(isinstance(value, int | float) for value in
                       (incident.first, incident.last, incident.mailed, incident.total, incident.folded)):  # fmt: skip
                raise ValueError("a figure is no number")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            self._log.error("the incident in %s can't be read and counts as none: %s", path, error)
            return None
        return incident
