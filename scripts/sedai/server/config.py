"""The server's configuration, as Ansible renders it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sedai.core import metrics, ping, toml, wire
from sedai.core.errors import UsageError
from sedai.core.generation import Retention

DEFAULT_PATH = Path("/etc/sedai/server.toml")
SANDBOX_MODES = ("require", "off")
LANGUAGES = ("en", "ja")
# An exbibyte; the limits of the kernel are 64-bit numbers.
_MOST_GIB = 1 << 30
# The scrub notes something for each of its days.
_MOST_SCRUB_DAYS = 3650


@dataclass(frozen=True)
class ClientRules:
    """What differs for one client; ``retention`` and ``max_age_hours`` replace the server's.

    ``quota_gib``: of disk, None without a limit.
    """

    retention: Retention | None = None
    quota_gib: int | None = None
    max_age_hours: int | None = None

    def __post_init__(self) -> None:
        if self.quota_gib is not None and not 1 <= self.quota_gib <= _MOST_GIB:
            raise ValueError(f"quota_gib must be from 1 to {_MOST_GIB}, or left out.")
        if self.max_age_hours is not None and self.max_age_hours < 1:
            raise ValueError("max_age_hours must be at least 1, or left out.")


@dataclass(frozen=True)
class Watch:
    """What the watch on the server calls wrong, and where it notes what it saw (nowhere: there is no watch).

    ``max_age_hours``: of the newest generation. ``max_check_hours``: since a client last had its generations checked, 0 for no
    limit. ``disk_percent``: the disk counts as nearly full from here.
    ``disk_days``: for how many days of new content there must be room. ``scrub_days``: every stored byte is read anew
    within so many days.
    """

    state_directory: Path | None = None
    max_age_hours: int = 28
    max_check_hours: int = 50
    disk_percent: int = 90
    disk_days: int = 3
    scrub_days: int = 7

    def __post_init__(self) -> None:
        if min(self.max_age_hours, self.scrub_days) < 1 or min(self.disk_days, self.max_check_hours) < 0:
            raise ValueError(
                "max_age_hours and scrub_days must be at least 1, disk_days and max_check_hours at least 0."
            )
        if not 1 <= self.disk_percent <= 100:
            raise ValueError("disk_percent must be 1 to 100.")
        if self.scrub_days > _MOST_SCRUB_DAYS:
            raise ValueError(f"scrub_days must be at most {_MOST_SCRUB_DAYS}.")


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
    language: str = "en"
    watch: Watch = field(default_factory=Watch)
    ping_url: str = ""
    metrics_file: Path | None = None

    def __post_init__(self) -> None:
        ping.check_url(self.ping_url)
        metrics.check_path(self.metrics_file)
        if self.schema != 1:
            raise ValueError(f"schema {self.schema} is not known to this version.")
        if self.sandbox not in SANDBOX_MODES:
            raise ValueError(f"sandbox {self.sandbox!r} must be one of {', '.join(SANDBOX_MODES)}.")
        if self.language not in LANGUAGES:
            raise ValueError(f"language {self.language!r} must be one of {', '.join(LANGUAGES)}.")
        if not self.store.is_absolute():
            raise ValueError(f"store {self.store} must be an absolute path.")
        for client in self.clients:
            if not wire.CLIENT_NAME.match(client):
                raise ValueError(f"client {client!r} must be lower-case letters, digits, dots, dashes.")
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

    def max_age_hours_for(self, client: str) -> int:
        """How old the newest generation of ``client`` may be."""
        rules = self.clients.get(client, ClientRules())
        return self.watch.max_age_hours if rules.max_age_hours is None else rules.max_age_hours


def load(path: Path | None) -> ServerConfig:
    """Read the configuration at ``path``, or at its usual place.

    Raises:
        ConfigError: see :func:`sedai.core.toml.load`.
    """
    return toml.load(ServerConfig, path or DEFAULT_PATH)
