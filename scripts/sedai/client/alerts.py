"""Alerts on their way: kept on this machine until the server has taken them, so that none is lost."""

from __future__ import annotations

import json
import time
from logging import Logger
from pathlib import Path

from sedai.client.config import ClientConfig
from sedai.client.connection import Connection
from sedai.client.messages import Alert
from sedai.client.state import write_atomically
from sedai.core.errors import SedaiError


class Outbox:
    """The alerts that the server has not taken yet, one file each, oldest first."""

    def __init__(self, directory: Path, log: Logger) -> None:
        self._directory = directory
        self._log = log

    def add(self, alert: Alert) -> None:
        """Keep ``alert`` until it is delivered."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / f"{time.time_ns()}.json"
        write_atomically(path, json.dumps({"subject": alert.subject, "body": alert.body}, ensure_ascii=False))

    def waiting(self) -> list[Path]:
        """The files of the alerts that wait."""
        return sorted(self._directory.glob("*.json")) if self._directory.is_dir() else []

    def flush(self, connection: Connection) -> None:
        """Hand all waiting alerts to the server, in order; stops at the first that it does not take."""
        for path in self.waiting():
            alert = json.loads(path.read_text(encoding="utf-8"))
            try:
                state = connection.ask("alert", alert)["alert"]
            except SedaiError as error:
                self._log.error("the alert %r waits: %s", alert["subject"], error)
                return
            path.unlink()
            self._log.info("alert %r: %s", alert["subject"], state)

    def flush_alone(self, config: ClientConfig) -> None:
        """Open a connection just to deliver; where the server can't be reached the alerts wait for the next contact."""
        if not self.waiting():
            return
        try:
            with Connection(config.server) as connection:
                self.flush(connection)
        except SedaiError as error:
            self._log.error("alerts wait until the server can be reached again: %s", error)
