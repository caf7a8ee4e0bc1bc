"""The client's configuration, as Ansible renders it."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from sedai.core import metrics, ping, toml, wire

DATABASE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
DATABASE_KINDS = ("postgresql", "mariadb", "mysql", "sqlite")
LANGUAGES = ("en", "ja")
# A socket's path has at most 107 bytes; ssh needs the last 61.
_LONGEST_DRILL_DIRECTORY = 46
_SSH_WORD = re.compile(r"[^\s-]\S*\Z")
_SSH_OPTION = re.compile(r"[A-Za-z0-9]+[= ][^\n\r]+\Z")
# The gate takes no longer number.
_FASTEST_KIB = 999_999_999
DEFAULT_PATH = Path("~/.config/sedai/client.toml")


@dataclass(frozen=True)
class Server:
    """Where the gate is and with which key it is asked, and generations are signed.

    ``allowed_signers_file``: keys with which earlier machines of this client's name signed, as ssh-keygen(1) describes.
    """

    host: str
    identity_file: Path
    known_hosts_file: Path
    allowed_signers_file: Path | None = None
    port: int = 22
    account: str = "sedai"
    ssh_options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise ValueError(f"port {self.port} must be from 1 to 65535.")
        for key in ("host", "account"):
            if not _SSH_WORD.match(getattr(self, key)):
                raise ValueError(f"{key} {getattr(self, key)!r} must be one word, without blanks.")
        for option in self.ssh_options:
            if not _SSH_OPTION.match(option):
                raise ValueError(f"{option!r} in ssh_options must be of the form Name=value, as in ssh_config(5).")


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
class Database:
    """A database server, or an SQLite file (``path``), that is dumped before each backup.

    ``databases``: which ones; all where it is empty. ``host``: a name or address, or (beginning with ``/``) a socket, or
    nothing for the usual socket. ``run_as``: the account of this machine that the client programs run as.
    ``credentials_file``: a pgpass file or an option file. ``globals``: whether accounts are dumped too. ``drill``: whether
    the restore drill loads it.
    """

    name: str
    kind: str
    databases: tuple[str, ...] = ()
    path: Path | None = None
    host: str = ""
    port: int = 0
    user: str = ""
    run_as: str = ""
    credentials_file: Path | None = None
    globals: bool = True
    drill: bool = True

    def __post_init__(self) -> None:
        if not DATABASE_NAME.match(self.name):
            raise ValueError(f"name {self.name!r} must be lower-case letters, digits, dashes and underscores.")
        if self.kind not in DATABASE_KINDS:
            raise ValueError(f"kind {self.kind!r} must be one of {', '.join(DATABASE_KINDS)}.")
        if (self.kind == "sqlite") != (self.path is not None):
            raise ValueError("path names the file of an sqlite database, and of no other kind.")
        if self.path is not None and not self.path.is_absolute():
            raise ValueError(f"path {self.path} must be absolute.")
        if "" in self.databases or len(set(self.databases)) < len(self.databases):
            raise ValueError("databases names each one once, and none by an empty name.")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port} must be at most 65535 (0: the usual one).")
        if self.credentials_file is not None and not self.credentials_file.is_absolute():
            raise ValueError(f"credentials_file {self.credentials_file} must be absolute.")
        if self.kind == "sqlite" and (self.databases or self.host or self.port or self.user):
            raise ValueError("an sqlite database has only a path: no databases, host, port or user.")


@dataclass(frozen=True)
class Drill:
    """The restore drill: how many files of at most how many bytes in all are brought back, and where to."""

    files: int = 200
    bytes: int = 1 << 30
    directory: Path = Path("/var/tmp")  # noqa: S108  only the parent of a directory that nobody else can enter

    def __post_init__(self) -> None:
        if self.files < 1 or self.bytes < 1 or not self.directory.is_absolute():
            raise ValueError("files and bytes must be at least 1, and directory an absolute path.")
        if len(os.fsencode(self.directory)) > _LONGEST_DRILL_DIRECTORY:
            raise ValueError(
                f"directory {self.directory} is too long for the sockets in it; {_LONGEST_DRILL_DIRECTORY} bytes are the most."
            )


@dataclass(frozen=True)
class Backup:
    """How a backup runs. Shell commands ``before`` and ``after``; ``bandwidth_limit_kib`` in KiB/s, 0 for none.

    ``idle_priority``: it has the processor and the disk of this machine only where nobody else wants them.
    ``accept_live``: live database files at or below these paths are backed up as they are, knowingly.
    """

    accept_live: tuple[Path, ...] = ()
    exclude: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    one_filesystem: bool = False
    bandwidth_limit_kib: int = 0
    idle_priority: bool = False
    max_age_hours: int = 26

    def __post_init__(self) -> None:
        if self.max_age_hours < 1 or not 0 <= self.bandwidth_limit_kib <= _FASTEST_KIB:
            raise ValueError(f"max_age_hours must be at least 1 and bandwidth_limit_kib from 0 to {_FASTEST_KIB}.")
        for path in self.accept_live:
            if not path.is_absolute():
                raise ValueError(f"accept_live: {path} must be absolute.")


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
    staging_directory: Path | None = None
    databases: tuple[Database, ...] = ()
    drill: Drill = field(default_factory=Drill)
    ping_url: str = ""
    metrics_file: Path | None = None
    state_file: Path | None = None

    def __post_init__(self) -> None:
        if self.schema != 1:
            raise ValueError(f"schema {self.schema} is not known to this version.")
        if not wire.CLIENT_NAME.match(self.client):
            raise ValueError(f"client {self.client!r} must be lower-case letters, digits, dots, dashes.")
        if self.language not in LANGUAGES:
            raise ValueError(f"language {self.language!r} must be one of {', '.join(LANGUAGES)}.")
        ping.check_url(self.ping_url)
        metrics.check_path(self.metrics_file)
        if not self.sources:
            raise ValueError("sources is empty: nothing would be backed up.")
        names = [database.name for database in self.databases]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"databases has the name {name} twice.")
        self._check_paths()

    def _check_paths(self) -> None:
        ordered = sorted(source.path for source in self.sources)
        for outer, inner in itertools.pairwise(ordered):
            if inner.is_relative_to(outer):
                raise ValueError(f"the sources {outer} and {inner} overlap; name only one of them.")
        told = self.state_file
        if told is not None and not (told.is_absolute() and told.suffix == ".json"):
            raise ValueError(f"state_file {told} must be an absolute path that ends with .json.")
        staging = self.staging_directory
        if staging is None:
            if self.databases:
                raise ValueError("staging_directory is missing: the dumps of the databases have no place.")
            return
        Source(staging)  # refuses what no source may be
        if any(source.path.is_relative_to(staging) for source in self.sources):
            raise ValueError(f"the staging_directory {staging} is backed up by itself; it can't hold a source.")
        if self.state_directory.is_relative_to(staging):
            raise ValueError(f"the state_directory can't lie in the staging_directory {staging}.")

    @property
    def staged(self) -> bytes:
        """The staging directory below the root of the tree; empty where there is none."""
        return os.fsencode(self.staging_directory)[1:] if self.staging_directory else b""

    @property
    def scanned(self) -> tuple[Source, ...]:
        """What is walked: the sources, and the staging directory where no source holds it."""
        staging = self.staging_directory
        if staging is None or any(staging.is_relative_to(source.path) for source in self.sources):
            return self.sources
        return (*self.sources, Source(staging, one_filesystem=False))

    def crosses_filesystems(self, source: Source) -> bool:
        """Whether the scan of ``source`` enters other filesystems mounted below it."""
        return not (self.backup.one_filesystem if source.one_filesystem is None else source.one_filesystem)


def load(path: Path | None) -> ClientConfig:
    """Read the configuration at ``path``, or at its usual place.

    Raises:
        ConfigError: see :func:`sedai.core.toml.load`.
    """
    return toml.load(ClientConfig, (path or DEFAULT_PATH).expanduser())
