"""Throw-away servers: started for a drill in a directory of their own, reached by a socket only, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from sedai.client.databases import mariadb, postgresql
from sedai.client.databases.engine import Engine
from sedai.client.databases.sqlite import SQLite
from sedai.core.errors import ProcessError, SedaiError
from sedai.core.process import run, start

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_POSTGRESQL = Path("/usr/lib/postgresql")


@contextlib.contextmanager
def server(kind: str, directory: Path) -> Iterator[Engine]:
    """An empty server of ``kind``, with its files below the existing ``directory``; stopped and removed at the end.

    Raises:
        SedaiError: its programs are not installed, or it does not start; with its own words.
    """
    if kind == "sqlite":
        home = directory / "sqlite"
        home.mkdir(mode=0o700)
        try:
            yield SQLite("drill", home / "drill.sqlite")
        finally:
            shutil.rmtree(home, ignore_errors=True)
        return
    make = {"postgresql": _postgresql, "mariadb": _mariadb, "mysql": _mariadb}[kind]
    with make(directory) as engine:
        yield engine


@contextlib.contextmanager
def _postgresql(directory: Path) -> Iterator[Engine]:
    versions = [path for path in _POSTGRESQL.glob("*/bin") if (path / "initdb").exists()]
    if not versions:
        raise SedaiError("There is no PostgreSQL server here to load a dump into.",
                         "Install it (apt install postgresql), or set drill: false for this database.")  # fmt: skip
    programs = max(versions, key=lambda path: [int(number) for number in re.findall(r"\d+", path.parent.name)])
    # PostgreSQL refuses to run as root.
    account = "postgres" if os.geteuid() == 0 else ""
    with _home(directory / "postgresql", account) as home:
        data = home / "data"
        run([str(programs / "initdb"), f"--pgdata={data}", "--username=postgres", "--auth=trust", "--encoding=UTF8",
             "--locale=C.UTF-8", "--no-sync"], run_as=account)  # fmt: skip
        argv = [str(programs / "postgres"), "-D", str(data), "-k", str(home), "-c", "listen_addresses=",
                "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "autovacuum=off", "-c", "max_connections=20"]  # fmt: skip
        access = postgresql.Access(str(home), user="postgres", run_as=account, bin=str(programs))
        with _running(argv, account, home / "log", stop=signal.SIGINT) as process:
            engine = postgresql.PostgreSQL(access, throw_away=True)
            _wait(process, engine, home / "log")
            # So that a dump of a database of this name can be loaded like any other.
            engine.drop("postgres")
            yield engine


@contextlib.contextmanager
def _mariadb(directory: Path) -> Iterator[Engine]:
    programs = {name: _find(name) for name in ("mariadb-install-db", "mariadbd")}
    if None in programs.values():
        raise SedaiError("There is no MariaDB server here to load a dump into.",
                         "Install it (apt install mariadb-server), or set drill: false for this database.")  # fmt: skip
    account = "mysql" if os.geteuid() == 0 else ""
    name = account or pwd.getpwuid(os.geteuid()).pw_name
    with _home(directory / "mariadb", account) as home:
        data, socket = home / "data", home / "s"
        run([str(programs["mariadb-install-db"]), "--no-defaults", f"--datadir={data}", "--skip-test-db",
             "--auth-root-authentication-method=normal"], run_as=account)  # fmt: skip
        argv = [str(programs["mariadbd"]), "--no-defaults", f"--datadir={data}", f"--socket={socket}",
                f"--pid-file={home / 'pid'}", f"--log-error={home / 'log'}", "--skip-networking", "--skip-log-bin",
                "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--event-scheduler=OFF",
                f"--user={name}"]  # fmt: skip
        access = mariadb.Access(str(socket), user="root", run_as=account, throw_away=True)
        with _running(argv, account, home / "output", stop=signal.SIGTERM) as process:
            engine = mariadb.MariaDB(access)
            _wait(process, engine, home / "log")
            yield engine


def _find(name: str) -> str | None:
    return shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


@contextlib.contextmanager
def _home(path: Path, account: str) -> Iterator[Path]:
    """A directory that only ``account`` can enter; all that leads to it can be passed through."""
    path.mkdir(mode=0o700)
    try:
        if account:
            try:
                entry = pwd.getpwnam(account)
            except KeyError as error:
                raise SedaiError(f"This machine has no account {account!r} to run the server as.") from error
            os.chown(path, entry.pw_uid, entry.pw_gid)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _running(argv: list[str], account: str, log: Path, *, stop: signal.Signals) -> Iterator[subprocess.Popen[bytes]]:
    """``argv`` while the context lasts; ended by ``stop``, at last by KILL."""
    with log.open("ab") as output:
        process = start(argv, run_as=account, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], engine: Engine, log: Path) -> None:
    """Until the server answers.

    Raises:
        SedaiError: it ended, or does not answer; with the last words of its log.
    """
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            engine.version()
            return
        except ProcessError as error:
            if process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.2)
                continue
            words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:] if log.exists() else []
            raise SedaiError(f"The throw-away server does not start: {' '.join(words) or error}") from error
