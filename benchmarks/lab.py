"""Two sides on one machine: a directory each, and an sshd of our own between them that only the loopback reaches."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import IO

from benchmarks import cgroup
from benchmarks.cgroup import Group
from benchmarks.memory_disk import in_memory
from benchmarks.packages import UnavailableError, install
from benchmarks.wire import Wire

ACCOUNT = "sedai-bench"
HOST = "bench-server"
PACKAGES = ("openssh-server", "openssh-client", "nftables")
_LOCK = Path("/run/lock/sedai-bench.lock")
_SSHD = "/usr/sbin/sshd"
_START_SECONDS = 10.0

_SSHD_CONFIG = """\
ListenAddress 127.0.0.1:{port}
HostKey {directory}/host_key
PidFile none
AuthorizedKeysFile {directory}/authorized_keys
AllowUsers {account}
AuthenticationMethods publickey
UsePAM no
StrictModes no
MaxStartups 100
LogLevel ERROR
Subsystem sftp /usr/lib/openssh/sftp-server
"""

_SSH_CONFIG = """\
Host {host}
  HostName 127.0.0.1
  Port {port}
  User {account}
  IdentityFile {client}/key
  IdentitiesOnly yes
  UserKnownHostsFile {client}/known_hosts
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  BatchMode yes
"""


@dataclass(frozen=True)
class Lab:
    """Where everything of a run is. ``server`` belongs to the account, everything else to root."""

    base: Path
    port: int
    client_group: Group
    server_group: Group
    wire: Wire
    listener: int

    @property
    def client(self) -> Path:
        """What the client's side keeps."""
        return self.base / "client"

    @property
    def server(self) -> Path:
        """What the server's side keeps."""
        return self.base / "server"

    @property
    def ssh_config(self) -> Path:
        """Leads to ``HOST``, with a key that may do anything there."""
        return self.client / "ssh_config"

    @property
    def ssh(self) -> tuple[str, ...]:
        """The beginning of a command that the server's account runs, or of rsync's remote shell."""
        return ("ssh", "-F", str(self.ssh_config))

    def authorize(self, public_key: str, command: str) -> None:
        """Let a second key in, for a forced command only."""
        keys = self.base / "sshd" / "authorized_keys"
        admitted = keys.read_text().splitlines()[:1]
        keys.write_text("\n".join([*admitted, f'restrict,command="{command}" {public_key}']) + "\n")

    def on_server(self, name: str) -> Path:
        """An empty directory of the account's below :attr:`server`."""
        path = self.server / name
        remove(path)
        path.mkdir(mode=0o700)
        account = pwd.getpwnam(ACCOUNT)
        os.chown(path, account.pw_uid, account.pw_gid)
        return path

    def on_client(self, name: str) -> Path:
        """An empty directory of root's below :attr:`client`."""
        path = self.client / name
        remove(path)
        path.mkdir(mode=0o700)
        return path

    def processes(self) -> list[int]:
        """What runs now on both sides, without the sshd that waits for connections."""
        return [
            process
            for process in (*self.client_group.processes(), *self.server_group.processes())
            if process != self.listener
        ]


def remove(path: Path) -> None:
    """Remove a tree; as fast as rm can."""
    subprocess.run(["rm", "-rf", "--", path], check=True)


@contextlib.contextmanager
def opened(parent: Path, memory_gib: int) -> Iterator[Lab]:
    """The lab, in a new directory below ``parent``, or in memory; nothing of it is left afterwards.

    Two benchmarks on one machine would measure each other, so the second one waits.

    Raises:
        UnavailableError: what it needs can't be had here.
    """
    with contextlib.ExitStack() as stack:
        _interruptible()
        _be_alone(stack.enter_context(_LOCK.open("w")))
        install(PACKAGES)
        groups = [cgroup.make(f"sedai-bench-{side}") for side in ("client", "server")]
        for group in groups:
            stack.callback(group.remove)
        _make_account()
        stack.callback(_remove_account)
        base = Path(tempfile.mkdtemp(prefix="sedai-bench-", dir=parent))
        stack.callback(remove, base)
        if memory_gib:
            stack.enter_context(in_memory(base, memory_gib))
        port = _free_port()
        _furnish(base, port)
        wire = stack.enter_context(Wire(port))
        listener = _start(base, port, groups[1])
        stack.callback(_stop, listener)
        for group in groups:  # before the directory goes in which they work
            stack.callback(group.remove)
        stack.callback(_deaf)
        yield Lab(base, port, groups[0], groups[1], wire, listener.pid)


def _be_alone(lock: IO[str]) -> None:
    try:
        flock(lock, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        print("benchmark: waiting for another one to end", file=sys.stderr, flush=True)
        flock(lock, LOCK_EX)


def _interruptible() -> None:
    """Being asked to end is like Ctrl-C: everything is taken away."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def _deaf() -> None:
    """Nothing stops what takes everything away, which is short."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _make_account() -> None:
    """An account like the one that the role makes: no password, not root, with a shell for the forced command."""
    _remove_account()  # of a run that was killed
    # `*`, not `!`: sshd without PAM refuses accounts that are locked.
    command = ["useradd", "--system", "--no-create-home", "--home-dir", "/", "--password", "*"]
    done = subprocess.run([*command, "--shell", "/bin/sh", ACCOUNT], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UnavailableError(f"The account {ACCOUNT} can't be made: {done.stderr.strip()}")


def _remove_account() -> None:
    subprocess.run(["userdel", ACCOUNT], capture_output=True, check=False)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _furnish(base: Path, port: int) -> None:
    base.chmod(0o755)
    sshd, client = base / "sshd", base / "client"
    for path in (sshd, client, client / "tmp", base / "server"):
        path.mkdir()
    for key in (sshd / "host_key", client / "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", key], check=True)
    names = {"directory": sshd, "port": port, "account": ACCOUNT, "host": HOST, "client": client}
    (sshd / "config").write_text(_SSHD_CONFIG.format(**names))
    shutil.copy(client / "key.pub", sshd / "authorized_keys")
    (client / "ssh_config").write_text(_SSH_CONFIG.format(**names))
    host_key = (sshd / "host_key.pub").read_text()
    (client / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    # Where sshd's unprivileged half lives; Debian makes it when the service starts.
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


def _start(base: Path, port: int, group: Group) -> subprocess.Popen[bytes]:
    log = base / "sshd" / "log"
    with log.open("wb") as stream:
        listener = subprocess.Popen(
            [*group.joining, _SSHD, "-D", "-e", "-f", str(base / "sshd/config")],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        )
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and listener.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return listener
        time.sleep(0.02)
    listener.kill()
    listener.wait()
    raise UnavailableError(f"sshd did not start: {log.read_text().strip() or 'it said nothing'}")


def _stop(listener: subprocess.Popen[bytes]) -> None:
    listener.terminate()
    listener.wait()
