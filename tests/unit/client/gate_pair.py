"""A client and a server in one directory: real backups by the real gate and the real rsync, with no network between."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from unittest import mock

from sedai.client import catalog, restore
from sedai.client import check as checking
from sedai.client.alerts import Outbox
from sedai.client.backup import Outcome, Run
from sedai.client.config import ClientConfig, Server, Source
from sedai.client.connection import Connection
from sedai.client.placement import Existing
from sedai.client.program import Context, Result
from sedai.client.progress import Reporter
from sedai.client.restore import Restored
from sedai.client.stage import Staged
from sedai.client.state import State
from sedai.core.log import open_log
from sedai.server.store import ClientStore

SCRIPTS = Path(__file__).parents[3] / "scripts"
QUIET = Reporter(quiet=True)


class LocalConnection(Connection):
    """Starts the gate itself where the real one asks ssh to."""

    def __init__(self, server: Server, program: Path) -> None:
        super().__init__(server)
        self._program = program

    def __enter__(self) -> Self:
        return self

    @property
    def _ssh(self) -> list[str]:
        return [str(self._program)]


@dataclass
class Pair:
    """Both machines below ``root``; ``source`` is what is backed up."""

    root: Path
    keep_last: int = 10
    config: ClientConfig = field(init=False)

    def __post_init__(self) -> None:
        self.source.mkdir(parents=True)
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sedai laptop", "-f", str(self.root / "key")]
        subprocess.run(keygen, check=True)
        server_config = self.root / "server.toml"
        server_config.write_text(
            f'schema = 1\nstore = "{self.root}/store"\nlog_file = "{self.root}/gate.log"\nsandbox = "off"\n'
            f"[retention]\nkeep_last = {self.keep_last}\n[clients.laptop]\n"
        )
        program = self.root / "ssh"
        gate = shlex.join(
            [sys.executable, str(SCRIPTS / "sedai_gate.py"), "--client=laptop", f"--config={server_config}"]
        )
        # As ssh does it: the host first, then the words of the command. A file `cut` makes a line that breaks in a transfer.
        program.write_text(
            f'#!/bin/sh\nshift\nexport SSH_ORIGINAL_COMMAND="$*"\n'
            f'case "$1" in rsync) [ ! -e {self.root}/cut ] || {{ {gate} | {{ . {self.root}/cut; }}; exit; }};; esac\n'
            f"exec {gate}\n"
        )
        program.chmod(0o700)
        server = Server("server", self.root / "key", self.root / "known_hosts", self.root / "allowed_signers")
        self.config = ClientConfig(
            "laptop", self.root / "state", self.root / "client.log", server, (Source(self.source),)
        )
        self.state.prepare()

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def state(self) -> State:
        return State(self.root / "state")

    @property
    def store(self) -> ClientStore:
        return ClientStore(self.root / "store" / "laptop")

    def connect(self) -> LocalConnection:
        return LocalConnection(self.config.server, self.root / "ssh")

    def write(self, name: str, text: str = "") -> Path:
        """Make a file of the source."""
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text or name)
        return path

    def run(self) -> Outcome:
        """Back up."""
        with self.connect() as connection:
            return Run(self.config, self.state, connection, QUIET, Staged()).carry_out()

    def backup(self) -> str:
        """Seal a generation, without any problem; returns its name."""
        outcome = self.run()
        assert not outcome.problems
        return str(outcome.record["generation"])

    def check(self, level: str = "quick", generation: str = "latest") -> Result:
        """Check as the program does."""
        log = open_log("check", self.config.log_file)
        context = Context(self.config, self.state, Outbox(self.state.root / "alerts", log), log)
        with mock.patch.object(checking, "Connection", side_effect=lambda server: self.connect()):
            return checking.check(context, level, generation, quiet=True)

    def stored(self, generation: str, path: Path) -> Path:
        """Where the server keeps ``path``."""
        return self.store.tree(self.store.find(generation)) / str(path)[1:]

    def rot(self, generation: str, path: Path) -> None:
        """Flip a bit of the stored file, which keeps its size and time."""
        stored = self.stored(generation, path)
        times, data = stored.stat(), bytearray(stored.read_bytes())
        data[0] ^= 1
        with stored.open("r+b") as stream:
            stream.write(data)
        os.utime(stored, ns=(times.st_atime_ns, times.st_mtime_ns))

    def restore(
        self,
        *paths: Path,
        generation: str = "latest",
        to: Path | None = None,
        overwrite: bool = False,
        keep: bool = False,
        **options: Any,
    ) -> Restored:
        """Restore as the program does."""
        existing = Existing.REPLACE if overwrite else Existing.KEEP if keep else Existing.REFUSE
        with self.connect() as connection:
            record = catalog.choose(catalog.generations(connection), generation)
            return restore.restore(
                connection, self.state, record, paths, to, existing=existing, reporter=QUIET, **options
            )
