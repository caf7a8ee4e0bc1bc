"""A client and a server in one directory: real backups by the real gate and the real rsync, with no network between."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from unittest import mock

import sedai_gate
from sedai.client import catalog, restore, run_backup
from sedai.client import check as checking
from sedai.client.alerts import Outbox
from sedai.client.backup import Outcome, Run
from sedai.client.config import ClientConfig, Server, Source
from sedai.client.connection import KINDS, Connection, Pending
from sedai.client.placement import Existing
from sedai.client.program import Context, Result
from sedai.client.restore import Restored
from sedai.client.stage import Staged
from sedai.client.state import State
from sedai.core import wire
from sedai.core.errors import SedaiError, ServerError
from sedai.core.log import open_log
from sedai.core.progress import Reporter
from sedai.server import config as server_config
from sedai.server.config import ServerConfig
from sedai.server.gate import Gate, refuse
from sedai.server.store import ClientStore

SCRIPTS = Path(__file__).parents[3] / "scripts"
QUIET = Reporter(quiet=True)


class LocalConnection(Connection):
    """Starts the gate itself where the real one asks ssh to."""

    def __init__(self, server: Server, program: Path) -> None:
        super().__init__(server)
        self._is_open = True
        self._program = program

    def __enter__(self) -> Self:
        return self

    @property
    def _ssh(self) -> list[str]:
        return [str(self._program)]


class DirectConnection(LocalConnection):
    """Calls the gate without a process of its own, which is most of what a verb costs; rsync still starts one.

    What the gate asks is answered with ``reply``, whatever it asks; with nothing if that is empty.
    """

    def __init__(self, server: Server, program: Path, settings: ServerConfig) -> None:
        super().__init__(server, program)
        self.reply = b""
        self._settings = settings
        self._log = open_log("sedai-gate", settings.log_file)

    def stream(
        self,
        verb: str,
        request: dict[str, Any],
        feed: Iterable[bytes],
        on_object: Callable[[dict[str, Any]], dict[str, Any] | None],
        *,
        talks: bool = False,
    ) -> Generator[bytes]:
        said = json.dumps(request | {"protocol": wire.PROTOCOL}).encode() + b"\n"
        answers = io.BytesIO()
        try:
            gate = Gate(self._settings, "laptop", io.BytesIO(said + b"".join(feed) + self.reply), answers, self._log)
            sedai_gate.serve(gate, verb)
        except SedaiError as error:
            refuse(verb, error, answers)
        for line in io.BytesIO(answers.getvalue()):
            if line.startswith(b"{"):
                self._take(wire.read_object(line), on_object)
            else:
                yield line

    def start(self, verb: str, request: dict[str, Any]) -> Asking:
        return Asking(self, verb, request)

    def _take(self, answer: dict[str, Any], on_object: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
        if "error" in answer:
            raise KINDS.get(str(answer["kind"]), ServerError)(str(answer["error"]), str(answer["hint"]))
        if "result" in answer:
            self.result = answer["result"]
        else:
            on_object(answer)


class Asking(Pending):
    """Asks only when the answer is wanted: there is no process that could work on it meanwhile."""

    def __init__(self, connection: Connection, verb: str, request: dict[str, Any]) -> None:
        self._ask = lambda: connection.ask(verb, request)

    def result(self) -> dict[str, Any]:
        return self._ask()

    def look(self) -> None:
        pass


@dataclass
class Pair:
    """Both machines below ``root``; ``source`` is what is backed up, below ``place`` where that is given.

    ``direct``: the gate runs in this process.
    """

    root: Path
    keep_last: int = 10
    place: Path | None = None
    direct: bool = False
    config: ClientConfig = field(init=False)

    def __post_init__(self) -> None:
        self.source.mkdir(parents=True)
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sedai laptop", "-f", str(self.root / "key")]
        subprocess.run(keygen, check=True)
        settings = self.root / "server.toml"
        settings.write_text(
            f'schema = 1\nstore = "{self.root}/store"\nlog_file = "{self.root}/gate.log"\nsandbox = "off"\n'
            f"[retention]\nkeep_last = {self.keep_last}\n[clients.laptop]\n"
        )
        program = self.root / "ssh"
        gate = shlex.join([sys.executable, str(SCRIPTS / "sedai_gate.py"), "--client=laptop", f"--config={settings}"])
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
        return (self.place or self.root) / "source"

    @property
    def state(self) -> State:
        return State(self.root / "state")

    @property
    def store(self) -> ClientStore:
        return ClientStore(self.root / "store" / "laptop")

    def connect(self) -> LocalConnection:
        if self.direct:
            settings = server_config.load(self.root / "server.toml")
            return DirectConnection(self.config.server, self.root / "ssh", settings)
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

    def program(self, **options: Any) -> Result:
        """Back up as the program does, with all that is around it."""
        with mock.patch.object(run_backup, "Connection", side_effect=lambda server: self.connect()):
            return run_backup.back_up(self.context("backup"), quiet=True, **options)

    def context(self, name: str) -> Context:
        """What the client's programs are given."""
        log = open_log(name, self.config.log_file)
        return Context(self.config, self.state, Outbox(self.state.root / "alerts", log), log)

    def check(self, level: str = "quick", generation: str = "latest") -> Result:
        """Check as the program does."""
        with mock.patch.object(checking, "Connection", side_effect=lambda server: self.connect()):
            return checking.check(self.context("check"), level, generation, quiet=True)

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
