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


def system_call(call: str) -> str:
    """A script that makes one call of the C library, and says why it failed."""
    return (
        "python3 -c 'import ctypes, os, sys; libc = ctypes.CDLL(None, use_errno=True); "
        f"sys.exit(os.strerror(ctypes.get_errno()) if libc.{call} else 0)'"
    )


READ_ONLY, NOT_PERMITTED = "Read-only file system", "Operation not permitted"
# Each with the words in which it is refused: a program that is not there, or another cause, would prove nothing.
WRITES = {
    "the base": ("echo x >/base/docs/letter", READ_ONLY),
    "a new file in the base": ("touch /base/planted", READ_ONLY),
    "a mode in the base": ("chmod 777 /base/docs/letter", READ_ONLY),
    "a time in the base": ("touch -d 2001-01-01 /base/docs/letter", READ_ONLY),
    "an attribute in the base": ("setfattr -n user.x -v y /base/docs/letter", READ_ONLY),
    "a removal from the base": ("rm -f /base/docs/letter", READ_ONLY),
    "a move out of the base": ("mv /base/docs/letter /delta/", READ_ONLY),
    "a hard link to the base": ("ln /base/docs/letter /delta/letter", "Invalid cross-device link"),
    "a hard link by descriptor": (
        (
            'python3 -c \'import os; f = os.open("/base/docs/letter", 0); '
            'os.link("/proc/self/fd/%d" % f, "/delta/letter", follow_symlinks=True)\''
        ),
        "Invalid cross-device link",
    ),
    "the base by descriptor": ("exec 3</base/docs/letter; echo x >/proc/self/fd/3", READ_ONLY),
    "a truncation of the base": ("python3 -c 'import os; os.truncate(\"/base/docs/letter\", 0)'", READ_ONLY),
    "a remount of the base": (system_call('mount(None, b"/base", None, 32, None)'), NOT_PERMITTED),
    "a bind mount": (system_call('mount(b"/base", b"/delta", None, 4096, None)'), NOT_PERMITTED),
    "an unmount": (system_call('umount2(b"/base", 2)'), NOT_PERMITTED),
    "usr": ("touch /usr/planted", READ_ONLY),
    "a device": ("mknod /delta/sda b 8 0", NOT_PERMITTED),
    "a character device": ("mknod /delta/null c 1 3", NOT_PERMITTED),
    "another owner": ("touch /delta/f && chown 0:0 /delta/f", "Invalid argument"),
    "an immutable file": (
        (
            "python3 -c 'import fcntl, os; "
            'fcntl.ioctl(os.open("/delta/f", os.O_CREAT), 0x40086602, (16).to_bytes(8, "little"))\''
        ),
        NOT_PERMITTED,
    ),
    # cap_sys_admin, in the kernel's vfs_cap_data
    "a capability": (
        "cp /usr/bin/true /delta/true && "
        + system_call(
            'setxattr(b"/delta/true", b"security.capability", (0x02000001 + (1 << 53)).to_bytes(20, "little"), 20, 0)'
        ),
        NOT_PERMITTED,
    ),
    "a namespace of its own": ("unshare --user --map-root-user true", "No space left on device"),  # their number is 0
    "a mount namespace": ("unshare --mount true", NOT_PERMITTED),
    "somebody else's namespace": ("nsenter --target 1 --mount cat /etc/passwd", NOT_PERMITTED),
    "chroot": ("/usr/sbin/chroot /usr /bin/true", NOT_PERMITTED),
    "the gate": ("kill -9 -- -1", "No such process"),
    "the kernel's settings": ("echo 1 >/proc/sys/kernel/panic", "Permission denied"),
    "the host name": (system_call('sethostname(b"planted", 7)'), NOT_PERMITTED),
    "the network": ("exec 3<>/dev/tcp/127.0.0.1/22", "Connection refused"),
    "a socket of the machine": (
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"/run/systemd/private\")'",
        "No such file or directory",
    ),
    "the clock": ("date -s 2001-01-01", NOT_PERMITTED),
    "a terminal": ("exec 3<>/dev/tty", "No such device or address"),
    "su": ("su -c id", "user root does not exist"),
    "sudo": ("sudo -n id", "no new privileges"),
    "the gate again": (
        "python3 -P /usr/local/lib/sedai/sedai_gate.py --client beta </dev/null",
        "server.toml is not there",
    ),
}


@pytest.mark.parametrize("what", WRITES)
def test_it_changes_nothing_else(receiver: TakenOver, what: str) -> None:
    script, words = WRITES[what]
    done = receiver.run(script)
    refused(done, words)
    assert done.returncode < 126, "it never ran, or the gate is dead"


def test_what_it_writes_beside_the_delta_is_nowhere(receiver: TakenOver, server: Server) -> None:
    """Its root directory is its own, and ends with it."""
    assert receiver.says("echo planted >/planted; cat /planted") == "planted\n"
    assert receiver.says("ls /planted 2>/dev/null") == ""
    assert server.root("find / -xdev -path /proc -prune -o -name planted -print") == ""


SEALED = {"docs/letter": b"dear all\n", "docs/notes": b"second\n", "docs/tool": b"#!/bin/sh\n"}


@pytest.fixture(scope="module")
def _base(_receiver: TakenOver, attacker: Attacker) -> None:
    """What is planted is a change of one file of these."""
    attacker.back_up(SEALED)


class Planting:
    """Asks for the seal of one file that the receiver planted in place of rsync."""

    def __init__(self, receiver: TakenOver, attacker: Attacker, theirs: str) -> None:
        self._receiver = receiver
        self._attacker = attacker
        self._theirs = theirs

    def __call__(self, script: str) -> Done:
        """The seal's answer to what ``script`` planted; its ``{notes}`` is just what rsync would have stored."""
        attacker = self._attacker
        attacker.put(SEALED | {"docs/notes": b"planted\n"})
        stat = (attacker.root / "docs/notes").stat()
        words = {
            "store": STORE,
            "theirs": self._theirs,
            "own": attacker.generations()[0],
            "file": "mkdir -p /delta/docs; echo planted >/delta/docs/notes",
            # As `rsync --fake-super` notes it: without it everything would be refused by its owner.
            "attribute": "setfattr -n user.rsync.%stat -v "
            f"'{stat.st_mode:o} 0,0 {stat.st_uid}:{stat.st_gid}' /delta/docs/notes",
            "time": f"touch -d @{stat.st_mtime_ns // 10**9}.{stat.st_mtime_ns % 10**9:09} /delta/docs/notes",
        }
        words["notes"] = "{file}; {attribute}; {time}".format(**words)
        planted = self._receiver.run(script.format(**words))
        assert planted.returncode == 0, planted.stdout + planted.stderr
        lines = attacker.changes().splitlines(keepends=True)
        [change] = [line for line in lines if line.startswith(b"+docs/notes\t")]
        return attacker.seal(change, 4)


@pytest.fixture
def planting(_base: None, receiver: TakenOver, attacker: Attacker, theirs: str) -> Planting:
    return Planting(receiver, attacker, theirs)


def test_what_it_stores_as_rsync_would_is_sealed(planting: Planting, attacker: Attacker, server: Server) -> None:
    """Without this the plants would prove nothing."""
    generations = attacker.generations()
    done = planting("{notes}")
    assert done.returncode == 0, done.stdout + done.stderr
    newest = attacker.generations()[-1]
    assert newest not in generations
    assert server.root(f"cat {STORE}/alpha/generations/{newest}/tree/docs/notes") == "planted\n"


NOT_THERE, NO_FILE = "docs/notes did not arrive", "something that rsync never stores"
PLANTS = {
    "a symlink for a directory": ("ln -s {store}/beta/generations/{theirs}/tree/secret /delta/docs", NOT_THERE),
    "a symlink up": ("ln -s ../../generations/{own}/tree/docs /delta/docs", NOT_THERE),
    "a symlink to the root": ("ln -s / /delta/docs", NOT_THERE),
    "a symlink to proc": ("ln -s /proc/self/cwd /delta/docs", NOT_THERE),
    "a symlink to the right directory": ("{notes}; mv /delta/docs /delta/real; ln -s real /delta/docs", NOT_THERE),
    "a symlink for a file": ("mkdir /delta/docs; ln -s /etc/passwd /delta/docs/notes", "arrived as ('l', "),
    "a symlink to a symlink": (
        "mkdir /delta/docs; ln -s /etc /delta/a; ln -s ../a/passwd /delta/docs/notes",
        "arrived as ('l', ",
    ),
    "a symlink to the right file": (
        "{notes}; mv /delta/docs/notes /delta/real; ln -s ../real /delta/docs/notes",
        "arrived as ('l', ",
    ),
    "a FIFO": ("mkdir /delta/docs; mkfifo /delta/docs/notes", NO_FILE),
    "a socket": (
        "mkdir /delta/docs; cd /delta/docs; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"notes\")'",
        NO_FILE,
    ),
    "a directory for a file": ("mkdir -p /delta/docs/notes", "arrived as ('d', "),
    "a directory said to be a file": (
        "mkdir -p /delta/docs/notes; {attribute}; {time}",
        "arrived with attributes that belong to something else",
    ),
    "a file for a directory": ("echo x >/delta/docs", NOT_THERE),
    "a setuid program": ("{notes}; chmod 4755 /delta/docs/notes", "arrived with mode 4755"),
    "a file that nobody can read": ("{notes}; chmod 0 /delta/docs/notes", "Permission denied"),
    "a file that only can be read": ("{notes}; chmod 444 /delta/docs/notes", "arrived with mode 444"),
    "an attribute of root's setuid": (
        "{file}; setfattr -n user.rsync.%stat -v '104755 0,0 0:0' /delta/docs/notes; {time}",
        "arrived as ('f', 2541, ",
    ),
    "an attribute that is none": (
        "{file}; setfattr -n user.rsync.%stat -v x /delta/docs/notes; {time}",
        "are damaged: b'x'",
    ),
    "an attribute of a device": (
        "{file}; setfattr -n user.rsync.%stat -v '60600 8,0 0:0' /delta/docs/notes; {time}",
        "arrived as ('b', ",
    ),
    "no attribute": ("{file}; {time}", "arrived as ('f', "),
    "other bytes": ("{file}; {attribute}; echo PLANTED >/delta/docs/notes; {time}", "arrived with 8 bytes and XXH128"),
    "more bytes": ("{file}; {attribute}; echo more >>/delta/docs/notes; {time}", "arrived with 13 bytes"),
    "another time": ("{file}; {attribute}", "arrived with mtime"),
    "a sparse monster": (
        "{file}; {attribute}; truncate -s 15T /delta/docs/notes; {time}",
        "arrived with 16492674416640 bytes",
    ),
    "nothing at all": ("true", NOT_THERE),
}


@pytest.mark.parametrize("what", PLANTS)
def test_what_it_plants_is_not_sealed(planting: Planting, attacker: Attacker, what: str) -> None:
    generations = attacker.generations()
    script, words = PLANTS[what]
    refused(planting(script), words)
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
    attacker.back_up(SEALED)
