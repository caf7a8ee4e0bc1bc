"""The client's configuration, as Ansible renders it."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from sedai.core import toml

CLIENT_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
LANGUAGES = ("en", "ja")
DEFAULT_PATH = Path("~/.config/sedai/client.toml")


@dataclass(frozen=True)
class Server:
    """Where the gate is and with which key it is asked."""

    host: str
    identity_file: Path
    known_hosts_file: Path
    port: int = 22
    account: str = "sedai"
    ssh_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A path that is backed up; ``exclude`` in gitignore syntax, relative to the path."""

    path: Path
    exclude: tuple[str, ...] = ()
    one_filesystem: bool | None = None

    def __post_init__(self) -> None:
        if not self.path.is_absolute() or ".." in self.path.parts or self.path == Path("/"):
            raise ValueError(f"{self.path} must be an absolute path below /, without `..`.")

    @property
    def tree_path(self) -> bytes:
        """The path below the root of the tree."""
        return os.fsencode(self.path)[1:]


@dataclass(frozen=True)
class Backup:
    """How a backup runs. Shell commands ``before`` and ``after``; ``bandwidth_limit_kib`` in KiB/s, 0 for none."""

    exclude: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    one_filesystem: bool = False
    bandwidth_limit_kib: int = 0
    max_age_hours: int = 26

    def __post_init__(self) -> None:
        if self.max_age_hours < 1 or self.bandwidth_limit_kib < 0:
            raise ValueError("max_age_hours must be at least 1 and bandwidth_limit_kib can't be negative.")


@dataclass(frozen=True)
class ClientConfig:
    """Everything that the client's programs need to know."""

    client: str
    state_directory: Path
    log_file: Path
    server: Server
    sources: tuple[Source, ...]
    schema: int = 1
    language: str = "en"
    backup: Backup = field(default_factory=Backup)

    def __post_init__(self) -> None:
        if self.schema != 1:
            raise ValueError(f"schema {self.schema} is not known to this version.")
        if not CLIENT_NAME.match(self.client):
            raise ValueError(f"client {self.client!r} must be lower-case letters, digits, dots, dashes.")
        if self.language not in LANGUAGES:
            raise ValueError(f"language {self.language!r} must be one of {', '.join(LANGUAGES)}.")
        if not self.sources:
            raise ValueError("sources is empty: nothing would be backed up.")
        ordered = sorted(source.path for source in self.sources)
        for outer, inner in itertools.pairwise(ordered):
            if inner.is_relative_to(outer):
                raise ValueError(f"the sources {outer} and {inner} overlap; name only one of them.")

    def crosses_filesystems(self, source: Source) -> bool:
        """Whether the scan of ``source`` enters other filesystems mounted below it."""
        return not (self.backup.one_filesystem if source.one_filesystem is None else source.one_filesystem)


def load(path: Path | None) -> ClientConfig:
    """Read the configuration at ``path``, or at its usual place.

    Raises:
        ConfigError: see :func:`sedai.core.toml.load`.
    """
    return toml.load(ClientConfig, (path or DEFAULT_PATH).expanduser())
