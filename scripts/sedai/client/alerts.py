"""Alerts on their way: kept on this machine until the server has taken them, so that none is lost."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from logging import Logger
from pathlib import Path
from typing import Any

from sedai.client.config import ClientConfig
from sedai.client.connection import Connection
from sedai.client.messages import Alert
from sedai.client.state import write_atomically
from sedai.core import lock
from sedai.core.errors import LockedError, SedaiError, UsageError


@dataclass(frozen=True)
class LastAlert:
    """When the server took it, in seconds since the epoch, and its subject."""

    taken: float
    subject: str


class Outbox:
    """The alerts that the server has not taken yet, one file each, oldest first."""

    def __init__(self, directory: Path, log: Logger) -> None:
        self._directory = directory
        self._log = log

    def send(self, alert: Alert, config: ClientConfig) -> None:
        """Keep ``alert``, then deliver all that wait; where it can't be kept (a full disk) it goes out from memory."""
        try:
            self._clean(alert.incident).unlink(missing_ok=True)
            self._add(alert)
        except OSError as error:
            self._log.error("the alert %r can't be kept: %s", alert.subject, error)
            try:
                with Connection(config.server) as connection:
                    connection.ask("alert", _request(asdict(alert)))
            except (SedaiError, OSError) as failure:
                self._log.error("the alert %r is lost: %s", alert.subject, failure)
            return
        self.flush_alone(config)

    def resolve(self, alert: Alert, config: ClientConfig) -> None:
        """Tell that an incident is over, unless that was told and nothing came since, and deliver all that wait."""
        mark = self._clean(alert.resolved)
        if not mark.exists():
            try:
                self._add(alert)
                mark.parent.mkdir(mode=0o700, exist_ok=True)
                mark.touch(mode=0o600)
            except OSError as error:  # the next clean run tells it
                self._log.error("the alert %r can't be kept: %s", alert.subject, error)
        self.flush_alone(config)

    def _clean(self, incident: str) -> Path:
        """A file that is there while ``incident`` is known to be over: taking it away needs no room on the disk."""
        return self._directory / "clean" / (incident or "-")

    def _add(self, alert: Alert) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / f"{time.time_ns()}.json"
        write_atomically(path, json.dumps(asdict(alert), ensure_ascii=False))

    @property
    def _last(self) -> Path:
        return self._directory / "last"

    def last(self) -> LastAlert | None:
        """The alert that the server took last; None where that is not known."""
        try:
            table = json.loads(self._last.read_text(encoding="utf-8"))
            return LastAlert(float(table["taken"]), str(table["subject"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def waiting(self) -> list[Path]:
        """The files of the alerts that wait."""
        return sorted(self._directory.glob("*.json")) if self._directory.is_dir() else []

    def set_aside(self) -> list[Path]:
        """The files of those that no server will take: they stay to be looked at, and removed, by a person."""
        return sorted(self._directory.glob("*.refused")) if self._directory.is_dir() else []

    def stuck_seconds(self, now: float) -> float:
        """For how long the oldest alert that waits or was set aside has been here at ``now`` (seconds since the epoch)."""
        made = [float(path.stem) / 1e9 for path in self.waiting() + self.set_aside() if path.stem.isdecimal()]
        return max(0.0, now - min(made)) if made else 0.0

    def flush(self, connection: Connection) -> None:
        """Hand all waiting alerts to the server, in order; never fails, what is not taken waits on."""
        if not self.waiting():
            return
        try:
            with lock.exclusive(self._directory / "lock", "Another delivery of alerts", wait_seconds=30):
                for path in self.waiting():
                    self._hand_over(connection, path)
        except LockedError:
            return  # the other delivery takes these too
        except (SedaiError, OSError) as error:
            self._log.error("alerts wait: %s", error)

    def _hand_over(self, connection: Connection, path: Path) -> None:
        try:
            alert = json.loads(path.read_text(encoding="utf-8"))
            request = _request(alert)
            state = connection.ask("alert", request)["alert"]
        except (ValueError, KeyError, TypeError, UsageError) as error:
            # It will never be taken: it must not hold the others up, and it stays to be looked at.
            self._log.error("the alert %s is set aside: %s", path, error)
            path.rename(path.with_suffix(".refused"))
            return
        path.unlink()
        self._log.info("alert %r: %s", request["subject"], state)
        with contextlib.suppress(OSError):  # a full disk: what counts is that it was taken
            write_atomically(self._last, json.dumps(asdict(LastAlert(time.time(), request["subject"]))))

    def flush_alone(self, config: ClientConfig) -> None:
        """Open a connection just to deliver; where the server can't be reached the alerts wait for the next contact."""
        if not self.waiting():
            return
        try:
            with Connection(config.server) as connection:
                self.flush(connection)
        except (SedaiError, OSError) as error:
            self._log.error("alerts wait until the server can be reached again: %s", error)


def _request(alert: dict[str, Any]) -> dict[str, str]:
    """The request that hands ``alert`` over; one that an earlier version kept names no incident."""
    keys = {name: str(alert[name]) for name in ("incident", "resolved") if alert.get(name)}
    return {"subject": str(alert["subject"]), "body": str(alert["body"])} | keys
