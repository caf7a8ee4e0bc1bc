"""From the configuration to an engine. Each kind is imported where it is used: most backups have one or none."""

from __future__ import annotations

import os
import pwd

from sedai.client.config import Database
from sedai.client.databases.engine import Engine


def connect(entry: Database) -> Engine:
    """The engine of a configured database; nothing is asked of the server yet."""
    if entry.kind == "sqlite":
        from sedai.client.databases.sqlite import SQLite

        assert entry.path is not None  # the configuration insists on it
        return SQLite(entry.name, entry.path)
    if entry.kind == "postgresql":
        from sedai.client.databases import postgresql

        run_as = entry.run_as or _peer(entry)
        access = postgresql.Access(entry.host, entry.port, entry.user, run_as, entry.credentials_file)
        return postgresql.PostgreSQL(access, entry.databases, with_globals=entry.globals)
    from sedai.client.databases import mariadb

    maria = mariadb.Access(entry.host, entry.port, entry.user, entry.run_as, entry.credentials_file)
    # MySQL's own dump has no form for accounts.
    return mariadb.MariaDB(maria, entry.databases, with_globals=entry.globals and entry.kind == "mariadb")


def _peer(entry: Database) -> str:
    """The account that a local PostgreSQL lets in by its name alone (``peer``), where we may become it."""
    by_socket = not entry.host or entry.host.startswith("/")
    if os.geteuid() != 0 or not by_socket or entry.credentials_file is not None:
        return ""
    name = entry.user or "postgres"
    try:
        pwd.getpwnam(name)
    except KeyError:
        return ""
    return name
