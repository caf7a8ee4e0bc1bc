"""The server's configuration, as Ansible renders it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sedai.core import toml
from sedai.core.errors import UsageError
from sedai.core.generation import Retention

DEFAULT_PATH = Path("/etc/sedai/server.toml")
SANDBOX_MODES = ("require", "off")


@dataclass(frozen=True)
class ClientRules:
    """What differs for one client; ``retention`` replaces the server's. ``quota_gib``: of disk, None without a limit."""

    retention: Retention | None = None
    quota_gib: int | None = None

    def __post_init__(self) -> None:
        if self.quota_gib is not None and self.quota_gib < 1:
            raise ValueError("quota_gib must be at least 1, or left out.")


@dataclass(frozen=True)
class ServerConfig:
    """Everything that the server's programs need to know.

    ``freeze_percent``: where more of the files are removed or changed in one backup, pruning stops.
    ``reserve_percent``: the share of the disk that no client may use.
    """

    store: Path
    log_file: Path
    schema: int = 1
    sandbox: str = "require"
    alert_command: tuple[str, ...] = ()
    retention: Retention = field(default_factory=Retention)
    clients: dict[str, ClientRules] = field(default_factory=dict)
    freeze_percent: int = 50
    reserve_percent: int = 5

    def __post_init__(self) -> None:
        if self.schema != 1:
            raise ValueError(f"schema {self.schema} is not known to this version.")
        if self.sandbox not in SANDBOX_MODES:
            raise ValueError(f"sandbox {self.sandbox!r} must be one of {', '.join(SANDBOX_MODES)}.")

        for name in ("freeze_percent", "reserve_percent"):
            if not 0 <= getattr(self, name) <= 100:
                raise ValueError(f"{name} must be from 0 to 100.")

    def retention_for(self, client: str) -> Retention:
        """The retention rule of ``client``.

        Raises:
            UsageError: the client is not configured here.
        """
        if client not in self.clients:
            raise UsageError(
                f"The client {client} is not configured on this server.", "Run `ansible-playbook site.yml`."
            )
        return self.clients[client].retention or self.retention


def load(path: Path | None) -> ServerConfig:
    """Read the configuration at ``path``, or at its usual place.

    Raises:
        ConfigError: see :func:`sedai.core.toml.load`.
    """
    return toml.load(ServerConfig, path or DEFAULT_PATH)
