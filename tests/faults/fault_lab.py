"""The machine that breaks: a client and a server on one kernel, and what must hold after every fault.

One container, without systemd, whose network is its own loopback. The server's store and the client's root directory lie on
file systems of their own (ext4 if no other is asked for, on loop devices), so that either can be filled, or lose its power,
without the other. The rest is the real thing: sshd, the gate as forced command of the store's account, rsync in its sandbox,
the programs as cron starts them. Alerts that reach the server's alert command count as told, and so do those that wait on the
client.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from labkit import images
from labkit.system import CHECKOUT, PODMAN, scenario_lab

FULL = os.environ.get("SEDAI_FAULTS") == "full"
SEED = int(os.environ.get("SEDAI_SEED") or random.SystemRandom().randrange(1 << 32))
IMAGE = os.environ.get("SEDAI_TEST_IMAGE") or "bookworm"

SSHD = CHECKOUT / "roles/backup_server/templates/sshd.conf.j2"
# A client that gives a silent server up after seconds.
HURRIED = ("ServerAliveInterval=1", "ServerAliveCountMax=3")
AGENT = Path(__file__).with_name("agent.py")
SOURCE, STORE, STATE = "/home/data", "/server/store/laptop", "/root/state"
BACKUP = "python3 /root/project/scripts/backup_data.py"
CHECK = "python3 /root/project/scripts/check_backup_integrity.py --level full --all"
RESTORE = "python3 /root/project/scripts/restore_data.py"
SERVER = "python3 -P /usr/local/lib/sedai/sedai_server.py"
GATE = "/usr/bin/python3 -P /usr/local/lib/sedai/sedai_gate.py --client laptop"
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"

# What runs on each side, and where its disk is mounted.
ROLES = {"client": ("client", "rsync", "ssh"), "server": ("sshd", "gate", "receiver", "ahead")}
MOUNTS = {"client": "/root", "server": "/server"}

CLEAN, FINDINGS, USAGE, NOT_DONE = range(4)

# What a run may leave in the client's state, and on the server in the client's directory and below incoming.
_STATE = {"alerts", "base.manifest", "changes", "digests", "lock", "plan", "restores", "runs.jsonl", "runs.lock", "sealed.json",
          "signed.json", "unsigned"}  # fmt: skip
_CLIENT = {"checked", "days.json", "farms", "farms.lock", "generations", "incoming", "known", "latest", "lock", "receiver-0.lock",
           "receiver-1.lock", "sequence", "trash", "trash.lock", "usage"}  # fmt: skip
_INCOMING = {"alerts_stuck", "clock_skew", "delta"}

# What decides whether work is shared, and in pieces of what size, becomes so small that a tree of the tests is worth it.
_SHARED = {
    "_WORTH_WORKERS": 10, "WORTH_WORKERS": 10, "_PIECE": 20, "_PIECE_BYTES": 1 << 12, "_LARGE_BYTES": 1 << 14,
    "WORTH_A_LANE": 1 << 14, "_WORTH_WORKERS_BYTES": 1 << 14,
}  # fmt: skip

# A link of so many MBit/s. (tbf drops what is larger than its burst: the loopback has packets of usual size here.)
SLOW = "tc qdisc replace dev lo root tbf rate {mbit}mbit burst 256k latency 500ms"

_SETUP = r"""set -eu
ip link set lo mtu 1500
export DEBIAN_FRONTEND=noninteractive
apt-get install --yes --quiet=2 --no-install-recommends libdeflate0 python3-xxhash python3-pathspec python3-rich bubblewrap \
    libfaketime nftables xfsprogs btrfs-progs >/dev/null 2>&1
useradd --system --home-dir /var/lib/sedai --shell /bin/sh --password '*' sedai
mkdir -p /disks /server /usr/local/lib /var/lib/sedai/.ssh /etc/sedai /run/sshd /alerts /home/data
mount -t tmpfs -o mode=1777 tmpfs /alerts
mount -t tmpfs tmpfs /home
mkdir /home/data
chmod 0700 /home/data
cat >/usr/local/bin/send_alert_email.sh <<'END'
#!/bin/sh
# Takes an alert as the real one does, and keeps it where the tests look.
new=$(mktemp /alerts/.XXXXXX)
{ for word; do printf '%s\n' "$word"; done; cat; } >"$new"
mv "$new" "/alerts/$(date +%s.%N)"
END
chmod 0755 /usr/local/bin/send_alert_email.sh
ssh-keygen -A >/dev/null
printf '%s\n' 'Port 22' 'ListenAddress 127.0.0.1' 'UsePAM no' 'PasswordAuthentication no' 'StrictModes yes' \
    'LogLevel ERROR' >/etc/ssh/sshd_config.d/lab.conf
/usr/sbin/sshd
"""

# The client's disk is that of root's home and of /tmp.
_MAKE_DISKS = r"""set -eu
umount -l /tmp /root /server 2>/dev/null || true
mountpoint -q /disks || mount -t tmpfs -o size=3g tmpfs /disks
rm -f /disks/* /alerts/*
for disk in {server_disk} {client_disk}; do
    set -- $(echo "$disk" | tr , ' ')
    truncate --size "$2" "/disks/$1"
    "mkfs.$3" -q $(echo "${{4:-}}" | tr : ' ') "/disks/$1"
done
mount -o loop /disks/server /server
mount -o loop /disks/client /root
install -d -m 0700 /root/.ssh /root/.config/sedai /root/project/scripts
install -d -m 1777 /root/tmp
mount --bind /root/tmp /tmp
install -d -m 0755 /server/store
install -d -o sedai -g sedai -m 0700 /server/store/laptop /server/log /server/watch
cp -r /scripts/. /root/project/scripts
rm -rf /usr/local/lib/sedai
cp -r /scripts /usr/local/lib/sedai
# A transfer that stands still is given up within a test's time.
sed -i 's/^_STALLED_SECONDS = .*/_STALLED_SECONDS = 60.0/' /root/project/scripts/sedai/client/send.py
grep -q '^_STALLED_SECONDS = 60.0$' /root/project/scripts/sedai/client/send.py
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_sedai
echo "127.0.0.1 $(cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub)" >/root/.ssh/known_sedai
"""

_CLIENT_TOML = """schema = 1
client = "laptop"
state_directory = "/root/state"
log_file = "/root/log/sedai.log"
[server]
host = "127.0.0.1"
identity_file = "/root/.ssh/id_sedai"
known_hosts_file = "/root/.ssh/known_sedai"
ssh_options = {ssh_options}
"""


def dice(*what: object) -> random.Random:
    """Dice of this session's seed for the round ``what``: the same throws whatever ran before."""
    return random.Random(f"{SEED} {what}")  # noqa: S311


@dataclass(frozen=True)
class Done:
    """How a program ended; ``status`` is None where it did not by itself. ``output`` holds both streams."""

    status: int | None
    output: str


@dataclass(frozen=True)
class Disk:
    """A file system: its size as truncate takes it, further options for mkfs, and what it is to be."""

    size: str = "900M"
    options: tuple[str, ...] = ()
    kind: str = "ext4"


@dataclass
class Machine:
    """Client and server, seen by whoever breaks them."""

    process: subprocess.Popen[bytes]
    seed: int = 0
    started: set[str] = field(default_factory=set)

    def call(self, call: str, **arguments: Any) -> Any:
        """One of the agent's calls."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"call": call} | arguments).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the machine is gone"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def run(self, command: str, *, seconds: float = 600, **env: str) -> Done:
        """A shell command, whatever comes of it."""
        return Done(**self.call("run", command=command, env=env, seconds=seconds))

    def root(self, command: str) -> str:
        """A shell command that must succeed; what it says."""
        done = self.run(command)
        assert done.status == 0, f"{command}\n{done.output}"
        return done.output

    def start(self, command: str, **env: str) -> int:
        """Start a program and leave it running."""
        return int(self.call("start", command=f"exec {command}", env=env))

    def finish(self, pid: int, *, seconds: float = 600) -> Done:
        """How a program ended that was started."""
        done = Done(**self.call("finish", pid=pid, seconds=seconds))
        assert done.status is not None, f"it hangs: {done.output}"
        return done

    def fresh(
        self,
        *,
        files: int = 400,
        big_mib: int = 8,
        keep_last: int = 4,
        server: Disk = Disk(),
        client: Disk = Disk("300M"),
        reserve_percent: int = 1,
        sandbox: str = "require",
        hurried: bool = False,
    ) -> None:
        """New disks, a new source, and a first generation of it; ``hurried``: see :meth:`configure_sshd`."""
        self.call("kill_all", roles=[*ROLES["client"], *ROLES["server"]])
        self.heal_network()
        disks = {"server_disk": _spell("server", server), "client_disk": _spell("client", client)}
        self.root(_MAKE_DISKS.format(**disks))
        self.configure_server(keep_last=keep_last, reserve_percent=reserve_percent, sandbox=sandbox)
        self.configure_sshd(hurried=hurried)
        self.configure_client(ssh_options=HURRIED if hurried else ())
        self.authorise(GATE)
        self.seed = SEED
        assert self.watch().status == CLEAN
        self.call("plant", source=SOURCE, seed=self.seed, files=files, big_mib=big_mib)
        assert self.run(BACKUP).status == CLEAN
        self.assert_whole()
        self.root("sync -f /root; sync -f /server")  # what was put there just now is not what a fault is to take away

    def share_all_work(self) -> None:
        """From now on every scan, check, placing and removal is shared among processes, until the disks are new."""
        for name, value in _SHARED.items():
            self.root(
                f"grep -rlE '^{name} = ' /root/project/scripts /usr/local/lib/sedai --include=*.py | "
                f"xargs --no-run-if-empty sed -i -E 's/^{name} = .*/{name} = {value}/'; "
                f"test $(grep -rE '^{name} = {value}$' /usr/local/lib/sedai | wc -l) -gt 0"
            )

    def configure_server(self, *, keep_last: int = 4, reserve_percent: int = 1, sandbox: str = "require") -> None:
        """Write the server's configuration."""
        text = (
            'schema = 1\nstore = "/server/store"\nlog_file = "/server/log/server.log"\n'
            f'sandbox = "{sandbox}"\nalert_command = ["/usr/local/bin/send_alert_email.sh"]\n'
            f"reserve_percent = {reserve_percent}\n[retention]\nkeep_last = {keep_last}\nguard_days = 1\n"
            '[watch]\nstate_directory = "/server/watch"\n[clients.laptop]\n'
        )
        self.call("write", path="/etc/sedai/server.toml", text=text)

    def configure_sshd(self, *, hurried: bool = False) -> None:
        """Give sshd what the role gives it; ``hurried``: it gives a silent client up after seconds."""
        text = re.sub(r"\{\{ ansible_managed.*\n", "", SSHD.read_text(encoding="utf-8"))
        text = text.replace("{{ backup_server_account }}", "sedai")
        if hurried:
            text, count = re.subn("Interval [0-9]+", "Interval 1", text)
            assert count == 1
        self.call("write", path="/etc/ssh/sshd_config.d/50-sedai.conf", text=text)
        self.root("pkill -HUP -o -x sshd")

    def configure_client(self, sources: Sequence[str] = (SOURCE,), ssh_options: Sequence[str] = ()) -> None:
        """Write the client's configuration."""
        text = _CLIENT_TOML.format(ssh_options=json.dumps(list(ssh_options))) + "".join(
            f'[[sources]]\npath = "{source}"\n' for source in sources
        )
        self.call("write", path="/root/.config/sedai/client.toml", text=text)

    def authorise(self, gate: str) -> None:
        """Let the client's key start ``gate`` and nothing else."""
        key = self.root("cut -d' ' -f1,2 /root/.ssh/id_sedai.pub").strip()
        self.call(
            "write",
            path="/var/lib/sedai/.ssh/authorized_keys",
            text=f'restrict,command="{gate}" {key}\n',
        )

    def heal_network(self) -> None:
        """Nothing is dropped or slowed down any more."""
        self.root("nft flush ruleset; tc qdisc del dev lo root 2>/dev/null || true")

    def cut_power(self, side: str) -> None:
        """Whatever ``side`` (client or server) has not written to its disk is lost, and its programs end."""
        self.call(**power_cut(side))

    def power_on(self, side: str) -> bool:
        """Mount the disk again, whose journal is replayed; whether the cut took away what was written last."""
        mount = MOUNTS[side]
        self.root(f"umount -l /tmp; for _ in $(seq 100); do umount {mount} && exit 0; sleep 0.1; done; exit 1")
        self.root(f"mount -o loop /disks/{side} {mount} && mount --bind /root/tmp /tmp")
        return self.run(f"rm {mount}/never-synced").status != 0

    def change(self) -> None:
        """Something happens to the source."""
        self.seed += 1
        self.call("change", source=SOURCE, seed=self.seed)

    def generations(self) -> list[str]:
        """The generations that are listed, oldest first."""
        names = self.root(f"ls {STORE}/generations").split()
        return sorted(names, key=lambda name: name.rpartition("-")[2])

    def told(self) -> set[str]:
        """Every alert that reached the server's alert command, or waits on the client, by file name."""
        return set(self.root(f"grep -l incident /alerts/* {STATE}/alerts/*.json 2>/dev/null; true").split())

    def texts(self, names: set[str]) -> str:
        """What these alerts say."""
        return self.root(f"cat {' '.join(sorted(names))}") if names else ""

    def differences(self) -> list[str]:
        """Where the newest generation is not the source."""
        tree = f"{STORE}/generations/{self.generations()[-1]}/tree{SOURCE}"
        found: list[str] = self.call("differences", source=SOURCE, tree=tree)
        return found

    def watch(self) -> Done:
        """The server's watch, as cron starts it."""
        return self.run(f"runuser -u sedai -- {SERVER} watch")

    def watch_tomorrow(self) -> Done:
        """The server's watch as it would speak in 30 hours, if nothing came until then; it notes nothing for today's."""
        self.root("sed 's|/server/watch|/server/tomorrow|' /etc/sedai/server.toml >/etc/sedai/tomorrow.toml")
        self.root("rm -rf /server/tomorrow && install -d -o sedai -m 0700 /server/tomorrow")
        fake = f"env LD_PRELOAD={FAKETIME} FAKETIME=+30h"
        return self.run(f"runuser -u sedai -- {fake} {SERVER} --config /etc/sedai/tomorrow.toml watch")

    def leftovers(self) -> list[str]:
        """What a run that is over should not have left anywhere."""
        state = set(self.root(f"ls {STATE}").split()) - _STATE
        self.call("wait_for_end", role="ahead")
        client = set(self.root(f"ls {STORE}").split()) - _CLIENT
        trash = self.root(f"ls -A {STORE}/trash").split("\n")
        farms = set(self.root(f"ls {STORE}/farms 2>/dev/null || true").split()) - {self.generations()[-1]}
        incoming = set(self.root(f"ls {STORE}/incoming").split()) - _INCOMING
        delta = self.root(f"ls -A {STORE}/incoming/delta").split("\n")
        unsigned = self.root(f"ls -A {STATE}/unsigned 2>/dev/null || true").split("\n")
        temporary = self.root("ls -A /tmp; ls -d /dev/shm/sedai* 2>/dev/null; true").split("\n")
        trees = {"state": state, "client": client, "trash": trash, "farms": farms, "incoming": incoming, "delta": delta,
                 "/tmp": temporary, "unsigned": unsigned}  # fmt: skip
        return [f"{where}/{name}" for where, names in trees.items() for name in sorted(names) if name]

    def assert_stored_whole(self) -> None:
        """Every listed generation passes a full check."""
        checked = self.run(CHECK)
        assert checked.status == CLEAN, checked.output
        assert f"Checked {len(self.generations())} generations" in checked.output or len(self.generations()) == 1

    def assert_whole(self) -> None:
        """Every listed generation passes a full check, and the newest is the source."""
        self.assert_stored_whole()
        assert self.differences() == []

    def assert_recovers(self, *, look_first: bool = False) -> None:
        """The next run succeeds by itself and needs no hand, and all is whole then.

        ``look_first``: what is stored is whole before that run too, which then does not find everything as it was left.
        """
        if look_first:
            self.assert_stored_whole()
        before = self.generations()
        done = self.run(BACKUP)
        assert done.status == CLEAN, done.output
        assert self.generations()[-1] not in before
        self.assert_whole()
        assert self.leftovers() == []


def power_cut(side: str) -> dict[str, Any]:
    """The agent's call that cuts the power of ``side``."""
    return {"call": "power_off", "mount": MOUNTS[side], "roles": list(ROLES[side])}


def delays(throw: random.Random, span: float) -> Iterator[float]:
    """So many seconds to wait within a phase of ``span`` seconds, for each attempt to hit it.

    On a quick machine the phase, or the whole run, is over before the fault comes: the next attempt is a sooner one.
    """
    for attempt in range(8):
        yield throw.random() * span / 2**attempt


def spans_of(machine: Machine, runs: int) -> dict[str, float]:
    """Seconds that undisturbed runs spend in each phase at most."""
    spans: dict[str, float] = {}
    for _ in range(runs):
        machine.change()
        done = machine.call("profile", command=BACKUP)
        assert done["status"] == CLEAN, done["output"]
        spans |= {phase: max(seconds, spans.get(phase, 0.0)) for phase, seconds in done["phases"].items()}
    return spans


def _spell(name: str, disk: Disk) -> str:
    return ",".join([name, disk.size, disk.kind, ":".join(disk.options)])


@dataclass
class Tally:
    """What was tried in this session, for the summary; ``rounds`` by theme and by what was hit."""

    rounds: dict[str, Counter[str]] = field(default_factory=dict)

    def count(self, theme: str, what: str) -> None:
        """One round of ``theme`` that did what it was to do."""
        self.rounds.setdefault(theme, Counter())[what] += 1

    def total(self, theme: str) -> int:
        """How many rounds of ``theme`` there were."""
        return sum(self.rounds.get(theme, Counter()).values())

    def lines(self) -> Iterator[str]:
        """The figures, for people."""
        for theme, counts in sorted(self.rounds.items()):
            what = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
            yield f"faults: {theme}: {counts.total()} rounds ({what})"


TALLY = Tally()


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """The machine, up; it ends with this process, whatever becomes of it."""
    images.build_missing([IMAGE])
    name = f"sedai-{scenario_lab('faults')}-{os.getpid()}"
    process = subprocess.Popen(
        [
            *(PODMAN, "run", "--rm", "--interactive", "--name", name, "--label", f"sedai.checkout={CHECKOUT}"),
            # Loop devices, file systems and a firewall of its own; no systemd in it that could meddle with the host.
            *("--privileged", "--network", "none", "--volume", f"{CHECKOUT}/scripts:/scripts:ro"),
            *(images.recipe(IMAGE).reference, "python3", "-u", "-c", AGENT.read_text(encoding="utf-8")),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    made = Machine(process)
    try:
        made.root(_SETUP)
        yield made
        made.root("umount -l /tmp /root /server")
    finally:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        process.stdout.close()
        process.wait()
