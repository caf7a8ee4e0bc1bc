"""Ours, exactly as the roles deploy it: the programs, one TOML file a side, and the gate behind its key with the sandbox on."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import yaml

from benchmarks.lab import ACCOUNT, HOST, Lab, remove
from benchmarks.measure import Command
from benchmarks.packages import ROOT
from benchmarks.tools.tool import Operation, Tool

_PYTHON = "/usr/bin/python3"
_CLIENT = "bench"

_SERVER_CONFIG = """\
schema = 1
store = "{server}/sedai"
log_file = "{server}/sedai/server.log"
sandbox = "require"
alert_command = ["true"]
retention = {{ keep_last = {keep}, guard_days = 0 }}
# The big files are all changed at each backup, which is no reason to stop pruning here.
freeze_percent = 100

[clients.bench]
"""

_CLIENT_CONFIG = """\
schema = 1
client = "bench"
state_directory = "{client}/sedai/state"
log_file = "{client}/sedai/sedai.log"

[server]
host = "127.0.0.1"
port = {port}
account = "{account}"
identity_file = "{client}/sedai/key"
known_hosts_file = "{client}/known_hosts"

[[sources]]
path = "{source}"
"""


class Sedai(Tool):
    """This project."""

    name = "sedai"
    packages = ("bubblewrap", "libdeflate0", "python3-pathspec", "python3-rich", "python3-xxhash", "rsync")
    _keep = 1000

    def __init__(self, lab: Lab, source: Path) -> None:
        super().__init__(lab, source)
        self._own = lab.on_client("sedai")
        self._scripts = self._own / "scripts"
        # Not the account's: in use the gate can't write there either, not even bytecode.
        self._library = lab.base / "sedai-library"
        remove(self._library)
        _deploy("backup_client", self._scripts)
        _deploy("backup_server", self._library)
        names = {"client": lab.client, "port": lab.port, "account": ACCOUNT, "source": source}
        (self._own / "client.toml").write_text(_CLIENT_CONFIG.format(**names))
        self._configure_server(self._keep)
        key = self._own / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sedai", "-f", key], check=True)
        gate = f"{_PYTHON} -P {self._library}/sedai_gate.py --config {self._server_config} --client {_CLIENT}"
        lab.authorize(key.with_suffix(".pub").read_text().strip(), gate)

    @property
    def _server_config(self) -> Path:
        return self.lab.base / "sedai-server.toml"

    def _configure_server(self, keep: int) -> None:
        self._server_config.write_text(_SERVER_CONFIG.format(server=self.lab.server, keep=keep))

    @classmethod
    def version(cls) -> str:
        """Of the project, and of the rsync that it uses."""
        text = (ROOT / "scripts/sedai/__init__.py").read_text()
        [own] = re.findall(r'^__version__ = "(.*)"$', text, re.MULTILINE)
        return str(own)

    @property
    def store(self) -> Path:
        """The directory of all clients."""
        return self.lab.server / "sedai"

    def fresh(self) -> None:
        """Forget everything, on both sides."""
        self.lab.on_server("sedai")
        remove(self._own / "state")

    def prepare(self, operation: Operation) -> None:
        """Let the rule drop one generation."""
        keep = (
            len(list((self.store / _CLIENT / "generations").iterdir())) - 1
            if operation is Operation.PRUNE
            else self._keep
        )
        self._configure_server(keep)

    def commands(self, operation: Operation, target: Path) -> list[Command]:
        """The programs that cron starts; pruning is the server's own."""
        match operation:
            case Operation.VERIFY_ONE:
                return [self._program("check_backup_integrity", "--quiet", "--level", "full")]
            case Operation.VERIFY_TEN:
                return [self._program("check_backup_integrity", "--quiet", "--level", "full", "--all")]
            case Operation.RESTORE:
                return [self._program("restore_data", "restore", "--to", str(target), str(self.source))]
            case Operation.PRUNE:
                program = f"{self._library}/sedai_server.py"
                words = (_PYTHON, "-P", program, "--config", str(self._server_config), "prune", "--client", _CLIENT)
                return [Command((*self.lab.ssh, HOST, *words))]
        return [self._program("backup_data", "--quiet")]

    def _program(self, name: str, *words: str) -> Command:
        return Command((f"{self._scripts}/{name}.py", "--config", f"{self._own}/client.toml", *words))


def _deploy(role: str, directory: Path) -> None:
    """Copy the files that ``role`` brings to a host, and compile them."""
    variables = yaml.safe_load((ROOT / f"roles/{role}/vars/main.yml").read_text(encoding="utf-8"))
    for name in variables[f"__{role}_library_files"]:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "scripts" / name, directory / name)
    # The role does it too, for an account that can't keep what it compiles.
    subprocess.run([_PYTHON, "-m", "compileall", "-q", directory / "sedai"], check=True)
