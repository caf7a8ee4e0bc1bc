"""The receiver was taken over: in its place a program of the attacker's runs, started by the real gate in the sandbox."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from attack_lab import STORE, Server
from attacker import PUSH, Attacker, Done, refused

pytestmark = pytest.mark.usefixtures("unharmed")

RSYNC = "/usr/bin/rsync"


class TakenOver:
    """The receiver runs what the attacker wants."""

    def __init__(self, attacker: Attacker, server: Server) -> None:
        self._attacker = attacker
        self._server = server

    def run(self, script: str) -> Done:
        """Start a push, whose receiver is ``script``."""
        self._server.write(RSYNC, f"#!/bin/bash\n{script}\n")
        return self._attacker.ask(PUSH)

    def says(self, script: str) -> str:
        """What it prints."""
        done = self.run(script)
        return (done.stdout + done.stderr).decode(errors="replace")


def living(server: Server) -> list[str]:
    """What of a receiver is still there."""
    running = server.root("ps -u sedai -o comm=", check=False).split()
    return [name for name in running if name in {"bash", "sh", "sleep", "bwrap", "rsync"}]


@pytest.fixture(scope="module")
def _receiver(attacker: Attacker, server: Server) -> Iterator[TakenOver]:
    server.root(f"[ -e {RSYNC}.true ] || cp -a {RSYNC} {RSYNC}.true")
    yield TakenOver(attacker, server)
    server.root(f"mv -f {RSYNC}.true {RSYNC}")


@pytest.fixture
def receiver(_receiver: TakenOver, attacker: Attacker, server: Server) -> Iterator[TakenOver]:
    """An empty delta before, the true rsync afterwards."""
    server.root(f"rm -rf {STORE}/alpha/incoming/delta")
    yield _receiver
    server.root(f"cp -a {RSYNC}.true {RSYNC}")
    assert living(server) == []


def test_it_does_run(receiver: TakenOver, server: Server) -> None:
    """Without this the others would prove nothing."""
    assert receiver.says("id -u; cat /base/docs/letter; echo here >/delta/here").split() == [
        server.root("id -u sedai").strip(),
        *("dear", "all"),
    ]
    assert server.root(f"cat {STORE}/alpha/incoming/delta/here") == "here\n"


def test_it_sees_four_directories(receiver: TakenOver) -> None:
    assert receiver.says("ls -A /").split() == ["base", "bin", "delta", "dev", "lib", "lib64", "proc", "usr"]


def test_it_sees_itself_only(receiver: TakenOver) -> None:
    assert int(receiver.says("ls -d /proc/[0-9]* | wc -l")) <= 6


def test_its_environment_tells_nothing(receiver: TakenOver) -> None:
    seen = {line.partition("=")[0] for line in receiver.says("env").splitlines()}
    assert seen <= {"PATH", "LANG", "PWD", "SHLVL", "_", "OLDPWD"}


def test_it_has_three_descriptors(receiver: TakenOver) -> None:
    assert set(receiver.says("python3 -c 'import os; print(*os.listdir(\"/proc/self/fd\"))'").split()) <= {
        "0",
        "1",
        "2",
        "3",
    }


READS = [
    *(
        f"{STORE}",
        f"{STORE}/beta",
        f"{STORE}/alpha/generations",
        "/etc/passwd",
        "/etc/shadow",
        "/etc/sedai/server.toml",
    ),
    *("/var/lib/sedai/.ssh/authorized_keys", "/var/log", "/home", "/root", "/tmp/x", "/sys", "/run", "/boot"),
    *("/base/../generation.json", "/base/..", "/delta/../../generations", "/base/../manifest", "/delta/../staging"),
    *("/proc/1/root/etc/passwd", "/proc/self/root/etc/passwd", "/proc/self/cwd/etc/passwd", "/dev/sda", "/dev/mem"),
    *("/proc/kcore", "/dev/kmsg", "/proc/1/environ.none"),
]


@pytest.mark.parametrize("path", READS)
def test_it_reads_nothing_else(receiver: TakenOver, path: str) -> None:
    said = receiver.says(
        f"cat {path} 2>/dev/null | head -c 100; ls -d {path}/{{alpha,beta,20*,passwd,.ssh}} 2>/dev/null"
    )
    assert said == ""


WRITES = {
    "the base": "echo x >/base/docs/letter",
    "a new file in the base": "touch /base/planted",
    "a mode in the base": "chmod 777 /base/docs/letter",
    "a time in the base": "touch -d 2001-01-01 /base/docs/letter",
    "an attribute in the base": "setfattr -n user.x -v y /base/docs/letter",
    "a removal from the base": "rm -f /base/docs/letter",
    "a move out of the base": "mv /base/docs/letter /delta/",
    "a hard link to the base": "ln /base/docs/letter /delta/letter",
    "a hard link by descriptor": 'python3 -c \'import os; f = os.open("/base/docs/letter", 0); '
    'os.link("/proc/self/fd/%d" % f, "/delta/letter", follow_symlinks=True)\'',
    "the base by descriptor": "exec 3</base/docs/letter; echo x >/proc/self/fd/3",
    "a truncation of the base": "python3 -c 'import os; os.truncate(\"/base/docs/letter\", 0)'",
    "a remount of the base": "mount -o remount,rw /base; echo x >/base/docs/letter",
    "a bind mount": "mount --bind /base /delta",
    "an unmount": "umount /base",
    "usr": "touch /usr/planted",
    "the root": "mkdir /planted && touch /planted/x && cat /planted/x | grep x",
    "a device": "mknod /delta/sda b 8 0",
    "a character device": "mknod /delta/null c 1 3",
    "another owner": "touch /delta/f && chown 0:0 /delta/f",
    "an immutable file": "python3 -c 'import fcntl, os; "
    'fcntl.ioctl(os.open("/delta/f", os.O_CREAT), 0x40086602, (16).to_bytes(8, "little"))\'',
    "a capability": "cp /usr/bin/true /delta/true && setcap cap_sys_admin+ep /delta/true",
    "a namespace of its own": "unshare --user --map-root-user true",
    "a mount namespace": "unshare --mount true",
    "somebody else's namespace": "nsenter --target 1 --mount cat /etc/passwd",
    "chroot": "chroot /base /bin/true",
    "the gate": "kill -9 -- -1; kill -0 $PPID && false",
    "the kernel's settings": "echo 1 >/proc/sys/kernel/panic",
    "the host name": "hostname planted",
    "the network": "exec 3<>/dev/tcp/127.0.0.1/22",
    "a socket of the machine": "python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"/run/systemd/private\")'",
    "the clock": "date -s 2001-01-01",
    "a terminal": "exec 3<>/dev/tty",
    "su": "su -c id",
    "sudo": "sudo -n id",
    "the gate again": "python3 -P /usr/local/lib/sedai/sedai_gate.py --client beta </dev/null",
}


@pytest.mark.parametrize("what", WRITES)
def test_it_changes_nothing_else(receiver: TakenOver, what: str) -> None:
    done = receiver.run(WRITES[what])
    assert done.returncode != 0, done.stdout + done.stderr


PLANTS = {
    "a symlink for a directory": "ln -s {store}/beta/generations/{theirs}/tree/secret /delta/docs",
    "a symlink up": "ln -s ../../generations/{own}/tree/docs /delta/docs",
    "a symlink to the root": "ln -s / /delta/docs",
    "a symlink to proc": "ln -s /proc/self/cwd /delta/docs",
    "a symlink for a file": "mkdir /delta/docs; ln -s /etc/passwd /delta/docs/notes",
    "a symlink to a symlink": "mkdir /delta/docs; ln -s /etc /delta/a; ln -s ../a/passwd /delta/docs/notes",
    "a FIFO": "mkdir /delta/docs; mkfifo /delta/docs/notes",
    "a socket": "mkdir /delta/docs; cd /delta/docs; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"notes\")'",
    "a directory for a file": "mkdir -p /delta/docs/notes",
    "a file for a directory": "echo x >/delta/docs",
    "a setuid program": "mkdir /delta/docs; {notes}; chmod 4755 /delta/docs/notes; {time}",
    "a file that nobody can read": "mkdir /delta/docs; {notes}; chmod 0 /delta/docs/notes; {time}",
    "an attribute of root's setuid": "mkdir /delta/docs; {notes}; setfattr -n user.rsync.%stat -v '104755 0,0 0:0' "
    "/delta/docs/notes; {time}",
    "an attribute that is none": "mkdir /delta/docs; {notes}; setfattr -n user.rsync.%stat -v x /delta/docs/notes; {time}",
    "an attribute of a device": "mkdir /delta/docs; {notes}; setfattr -n user.rsync.%stat -v '60600 8,0 0:0' "
    "/delta/docs/notes; {time}",
    "other bytes": "mkdir /delta/docs; echo other >/delta/docs/notes; {time}",
    "another time": "mkdir /delta/docs; {notes}",
    "a sparse monster": "mkdir /delta/docs; truncate -s 7E /delta/docs/notes; {time}",
    "nothing at all": "true",
}


@pytest.mark.parametrize("what", PLANTS)
def test_what_it_plants_is_not_sealed(receiver: TakenOver, attacker: Attacker, theirs: str, what: str) -> None:
    generations = attacker.generations()
    attacker.put({"docs/letter": b"dear all\n", "docs/notes": b"planted\n", "docs/tool": b"#!/bin/sh\n"})
    stat = (attacker.root / "docs/notes").stat()
    script = PLANTS[what].format(
        store=STORE,
        theirs=theirs,
        own=generations[0],
        notes="echo planted >/delta/docs/notes",
        time=f"touch -d @{stat.st_mtime_ns // 10**9}.{stat.st_mtime_ns % 10**9:09} /delta/docs/notes",
    )
    receiver.run(script)
    changes = b"".join(line + b"\n" for line in attacker.changes().splitlines() if line.startswith(b"+docs/notes\t"))
    assert changes
    refused(attacker.seal(changes, 4))
    assert attacker.generations() == generations


@pytest.mark.parametrize("way", ["/", f"{STORE}/beta/generations", "../../generations", "/proc/self/cwd", "."])
@pytest.mark.parametrize("top", ["docs", "docs/deep", "a/docs"])
def test_no_push_begins_behind_a_symlink(receiver: TakenOver, attacker: Attacker, top: str, way: str) -> None:
    assert receiver.run(f"mkdir /delta/a; ln -s '{way}' /delta/docs; ln -s '{way}' /delta/a/docs").returncode == 0
    done = attacker.ask(PUSH.replace("/delta/", f"/delta/{top}/"))
    refused(done)
    assert b"could not make way for" in done.stderr


# Beside the true rsync: a directory that it writes into is exchanged for a symlink and back, as often as there is time. The
# size of the file `swaps` counts them.
_SWAP = r"""
import contextlib, ctypes, os, sys
way, told = sys.argv[1], os.open("/delta/swaps", os.O_CREAT | os.O_WRONLY)
rename, swaps = ctypes.CDLL(None).renameat2, 0
while True:
    with contextlib.suppress(FileExistsError):
        os.mkdir("/delta/docs")
    if not os.path.islink("/delta/docs") and not os.path.islink("/delta/other"):
        if os.path.lexists("/delta/other"):  # rsync has made a directory of the symlink
            os.rename("/delta/other", "/delta/old-%d" % swaps)
        os.symlink(way, "/delta/other")
    swaps += rename(-100, b"/delta/docs", -100, b"/delta/other", 2) == 0
    os.ftruncate(told, swaps)
"""


@pytest.mark.parametrize(
    "way", ["/", "/base/docs", "/usr/bin", f"{STORE}/beta/generations", "../../generations", "/proc/1/cwd"]
)
def test_a_symlink_swapped_while_rsync_writes(
    receiver: TakenOver, attacker: Attacker, server: Server, way: str
) -> None:
    """rsync 3.5 keeps a directory open that it writes into, and follows no symlink; behind that the sandbox holds, see WRITES."""
    server.write(
        RSYNC,
        f"#!/bin/bash\npython3 -c '{_SWAP}' '{way}' </dev/null >/dev/null 2>&1 &\n"
        f'for i in {{1..500}}; do [ -L /delta/other ] && break; sleep 0.01; done\nexec {RSYNC}.true "$@"\n',
    )
    attacker.put({f"docs/planted-{number}": b"x" * 5000 for number in range(400)})
    delta = f"{STORE}/alpha/incoming/delta"
    for _ in range(20):  # sometimes rsync sees at once that this is no directory, and skips what is below it
        server.root(f"rm -rf {delta}/*")
        attacker.push()
        assert living(server) == []
        if server.root(f"find {delta} -name 'planted-*' | head -1"):
            break
    else:
        pytest.fail("rsync never wrote at all")
    assert int(server.root(f"stat -c %s {delta}/swaps")) > 1000
    places = server.root(f"find / -xdev \\( -path /proc -o -path '{delta}' \\) -prune -o -name 'planted*' -print")
    assert places == ""


def test_what_stays_behind_is_gone_before_the_gate_is(receiver: TakenOver, server: Server) -> None:
    """Processes that ignore every signal and go on writing do not outlive the receiver."""
    script = (
        "for i in 1 2 3 4 5 6 7 8; do (trap '' TERM HUP INT PIPE; exec 3>/delta/$i; exec >/dev/null 2>&1 <&-; "
        "while :; do echo x >&3; done) & (setsid sleep 1000 >/dev/null 2>&1 <&- &) ; done; sleep 0.2; exit 0"
    )
    for _ in range(5):
        assert receiver.run(script).returncode == 0
        assert living(server) == []
        sizes = f"cat {STORE}/alpha/incoming/delta/* | wc -c"
        before = server.root(sizes)
        assert int(before) > 0
        time.sleep(0.1)
        assert server.root(sizes) == before


def test_it_ends_with_the_gate(receiver: TakenOver, attacker: Attacker, server: Server) -> None:
    """Whoever kills the gate kills what it started."""
    server.write(RSYNC, "#!/bin/bash\ntrap '' TERM HUP INT PIPE\nsleep 1000 & sleep 1000\n")
    process = subprocess.Popen(
        [*attacker.ssh_words, "server", PUSH],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(lambda: living(server).count("sleep") == 2)
        server.root("pkill -9 -u sedai -f sedai_gate.py", check=False)
        _wait(lambda: living(server) == [])
    finally:
        process.kill()
        process.communicate()


# The transfer of the gate, asked at once whether anybody can still write: a moment later it would be over in any case.
_AT_ONCE = r"""
import os, sys
from pathlib import Path
sys.path.insert(0, "/usr/local/lib/sedai")
from sedai.server import receiver, stored, transfer

delta = Path("/tmp/at-once")
script = "for i in 1 2 3 4; do (exec 3>/delta/$i; while :; do echo x >&3; done) & done; sleep 0.1; exit 0"
living = 0
for _ in range(10):
    delta.mkdir()
    receiver.run(transfer.sandboxed(["sh", "-c", script], {}, {delta: "/delta"}))
    for path in delta.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        living += stored.is_being_written(descriptor)
        os.close(descriptor)
        path.unlink()
    delta.rmdir()
print(living)
"""


def test_nobody_can_write_when_the_transfer_has_ended(server: Server) -> None:
    server.write("/tmp/at_once.py", _AT_ONCE, "0644")
    assert (
        server.root("runuser -u sedai -- /usr/bin/python3 -B /tmp/at_once.py; rm -rf /tmp/at_once.py /tmp/at-once")
        == "0\n"
    )


@pytest.mark.parametrize("how", ["stopped", "deaf", "busy"])
def test_it_holds_no_lock_when_the_client_is_gone(
    receiver: TakenOver, attacker: Attacker, server: Server, how: str
) -> None:
    """A receiver that does not end by itself would keep the honest client waiting for ever."""
    script = {
        "stopped": "python3 -c 'import ctypes; ctypes.CDLL(None).ptrace(16, 1, 0, 0)'",  # its own init, for ever
        "deaf": "trap '' TERM HUP INT PIPE; exec <&- >/dev/null; sleep 1000",
        "busy": "trap '' TERM HUP INT PIPE; while :; do :; done",
    }[how]
    server.write(RSYNC, f"#!/bin/bash\n{script}\n")
    process = subprocess.Popen(
        [*attacker.ssh_words, "server", PUSH],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _wait(lambda: living(server).count("bwrap") == 2)
    time.sleep(1)
    process.kill()
    process.communicate()
    _wait(lambda: living(server) == [])
    attacker.result("begin", {"time": time.time()})


def _wait(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_bomb_of_deep_directories_does_not_end_all_backups(
    receiver: TakenOver, attacker: Attacker, server: Server
) -> None:
    script = (
        'python3 -c \'import os\nos.chdir("/delta")\nfor _ in range(3000):\n os.mkdir("d", 0o700); os.chdir("d")\n'
        'os.mkdir("e", 0)\'; chmod 0 /delta/d'
    )
    receiver.run(script)
    refused(attacker.seal(b"+x\n", 1))
    server.root(f"cp -a {RSYNC}.true {RSYNC}")
    attacker.back_up({"docs/letter": b"dear all\n", "docs/notes": b"second\n", "docs/tool": b"#!/bin/sh\n"})
