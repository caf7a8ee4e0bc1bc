"""The hands of the fault suites inside the machine: starts programs, watches what they are at, and breaks things.

Runs as the machine's first process, on Debian's Python alone. Each line on standard input is a JSON object
``{"call": NAME, ...}``, each line on standard output its answer. When standard input ends, the machine ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

STORE = Path("/server/store/laptop")
ACCOUNT = "sedai"
# _IOR('X', 125, __u32) of the kernel's ext4.h, and EXT4_GOING_FLAGS_NOLOGFLUSH: nothing more reaches the disk.
_SHUTDOWN, _WITHOUT_THE_LOG = 0x8004587D, 2
_POLL_SECONDS = 0.001

Answer = dict[str, Any]


class Program(NamedTuple):
    """A process that takes part in a backup. ``role`` is what a kill aims at, ``verb`` what its gate carries out.

    Who shares the work of client or gate is a ``client's worker`` or a ``gate's worker``.
    """

    pid: int
    role: str
    verb: str


def programs() -> Iterator[Program]:
    """Everything of ours that runs, on either side."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):  # gone meanwhile
            words = Path("/proc", name, "cmdline").read_bytes().split(b"\0")
            role = _role(words, os.stat(f"/proc/{name}").st_uid, Path("/proc", name, "comm").read_bytes())
            if role in ("client", "gate") and _is_worker(name, words):
                yield Program(int(name), f"{role}'s worker", "")
            elif role:
                yield Program(int(name), role, _verb(int(name)) if role == "gate" else "")


def _is_worker(pid: str, words: list[bytes]) -> bool:
    """A worker is forked, and has its parent's command line; so has what is about to be ssh, but that ignores no signal."""
    status = dict(
        line.split(":\t", 1) for line in Path("/proc", pid, "status").read_text(encoding="ascii").splitlines()
    )
    if not int(status["SigIgn"], 16) & 1 << signal.SIGINT - 1:
        return False
    return Path("/proc", status["PPid"], "cmdline").read_bytes().split(b"\0") == words


def _of_role(role: str) -> list[Program]:
    return [program for program in programs() if program.role == role]


def _role(words: list[bytes], uid: int, comm: bytes) -> str:
    if comm.startswith(b"sedai-ahead"):  # a gate whose answer was given
        return "ahead"
    program = os.path.basename(words[0])
    if program.startswith(b"python3"):
        script = {os.path.basename(word) for word in words[1:4]}
        if script & {b"backup_data.py", b"restore_data.py", b"check_backup_integrity.py"}:
            return "client"
        return "gate" if b"sedai_gate.py" in script else ""
    if program.startswith(b"sshd: sedai"):
        return "sshd"
    if program in (b"ssh", b"ssh:") or words[0].startswith(b"ssh: "):
        return "ssh"
    if program in (b"rsync", b"bwrap"):
        return "receiver" if b"--server" in words else "rsync" if uid == 0 else ""
    return ""


def _verb(pid: int) -> str:
    for setting in Path("/proc", str(pid), "environ").read_bytes().split(b"\0"):
        if setting.startswith(b"SSH_ORIGINAL_COMMAND="):
            return setting.partition(b"=")[2].split(b" ")[0].decode()
    return ""


# What the client is at by itself after each verb.
_AFTER = {"": "connect", "begin": "scan", "rsync": "settle", "seal": "record"}


class Phases:
    """What a run is at, told from outside: by the verb that the gate carries out, and by what lies in the store."""

    def __init__(self) -> None:
        self._last = ""
        self._before = self._generations()

    @staticmethod
    def _generations() -> set[str]:
        with contextlib.suppress(OSError):
            return set(os.listdir(STORE / "generations"))
        return set()

    def now(self, running: list[Program]) -> str:
        """The phase, of those in test_kill.PHASES for a backup."""
        verbs = {program.verb for program in running if program.verb}
        if not verbs:
            return _AFTER.get(self._last, self._last)
        verb = self._last = max(verbs)
        return self._seal() if verb == "seal" else {"rsync": "send"}.get(verb, verb)

    def _seal(self) -> str:
        incoming = STORE / "incoming"
        if (incoming / "spent").exists():
            return "publish"
        for new in self._generations() - self._before:
            return "prune" if (STORE / "generations" / new / "generation.json.sig").exists() else "sign"
        if (incoming / "staging/tree").exists():
            return "link"
        return "check" if (incoming / "staging").exists() else "seal"

    def behind_link(self) -> str:
        """What comes behind ``link``, without a look at all processes meanwhile: ``publish`` is over within milliseconds."""
        deadline = time.monotonic() + 2
        while (phase := self._seal()) == "link" and time.monotonic() < deadline:
            pass
        return phase


class Hands:
    """What can be asked for: each public method is a call."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[subprocess.Popen[bytes], Any]] = {}

    def start(self, command: str, env: dict[str, str] | None = None) -> int:
        """Start a shell command (better with ``exec``) and leave it running; returns its process id."""
        output = tempfile.TemporaryFile(dir="/dev/shm")  # noqa: SIM115  closed when it is finished
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | (env or {}),
            start_new_session=True,
        )
        self._running[process.pid] = (process, output)
        return process.pid

    def finish(self, pid: int, seconds: float) -> Answer:
        """Wait for the end of what was started; a program that takes longer is killed, its status is None then."""
        process, output = self._running.pop(pid)
        status: int | None = None
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        said = output.read().decode(errors="backslashreplace")
        output.close()
        return {"status": status, "output": said}

    def ended(self, pid: int) -> bool:
        """Whether what was started has ended."""
        return self._running[pid][0].poll() is not None

    def run(self, command: str, env: dict[str, str] | None = None, seconds: float = 600) -> Answer:
        """A shell command to its end."""
        return self.finish(self.start(command, env), seconds)

    def send(self, pid: int, number: int) -> None:
        """A signal to a process."""
        os.kill(pid, number)

    def profile(self, command: str) -> Answer:
        """Carry out a command undisturbed; ``phases``: how many seconds it was in each."""
        pid = self.start(command)
        phases, spent, since = Phases(), dict[str, float](), time.monotonic()
        while not self.ended(pid):
            phase = phases.now(list(programs()))
            now = time.monotonic()
            spent[phase] = spent.get(phase, 0.0) + now - since
            since = now
            time.sleep(_POLL_SECONDS)
        return self.finish(pid, 1) | {"phases": spent}

    def wait_for(self, pid: int, phase: str, role: str, delay: float, then: Answer | None = None) -> Answer:
        """Wait until the run ``pid`` is in ``phase`` with a program of ``role``, and ``delay`` seconds more.

        ``phase`` is empty where the run ended first; else it is what the run is at now, and ``pids`` are those of ``role``.
        ``then``: a call that is made at once, before the run has gone on; what it returned is ``done``.
        """
        phases, due = Phases(), 0.0
        while not self.ended(pid):
            running = list(programs())
            current = phases.now(running)
            if phase == "publish" and current == "link":
                current = phases.behind_link()
            found = [program.pid for program in running if program.role == role]
            if not due and found and (current == phase or not phase):
                due = time.monotonic() + delay
            if due and found and time.monotonic() >= due:
                done = (
                    getattr(self, then["call"])(**{key: then[key] for key in then if key != "call"}) if then else None
                )
                return {"phase": current, "pids": found, "done": done}
            time.sleep(_POLL_SECONDS)
        return {"phase": "", "pids": []}

    def kill(self, pid: int, phase: str, role: str, delay: float, which: float) -> str:
        """SIGKILL to one of the programs of ``role``, ``which`` (0 to 1) of them; the phase that it hit, or nothing."""
        found = self.wait_for(pid, phase, role, delay)
        if found["phase"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found["pids"][int(which * len(found["pids"]))], signal.SIGKILL)
                return str(found["phase"])
        return ""

    def wait_for_ahead(self, pid: int, before: list[str], delay: float) -> str:
        """Wait until the run ``pid`` has a generation that is not among ``before`` and somebody works behind the answer, and
        ``delay`` seconds more; what is done then: ``laying`` or ``removing``, or nothing any more.
        """
        generations, new = STORE / "generations", set[str]()
        while not (new and _of_role("ahead")):
            if self.ended(pid) and not _of_role("ahead"):
                return ""
            new = set(os.listdir(generations)) - set(before)
            time.sleep(_POLL_SECONDS)
        time.sleep(delay)
        if not _of_role("ahead"):
            return ""
        return "removing" if Path(STORE, "farms", new.pop(), "laid").exists() else "laying"

    def wait_for_end(self, role: str) -> None:
        """Wait until no program of ``role`` runs any more."""
        while _of_role(role):
            time.sleep(0.01)

    def programs(self) -> list[list[Any]]:
        """Everything of ours that runs."""
        return [list(program) for program in programs()]

    def kill_all(self, roles: list[str]) -> int:
        """SIGKILL to all programs of these roles until none is left; how many there were."""
        killed: set[int] = set()
        while found := [program.pid for program in programs() if program.role in roles]:
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            time.sleep(0.01)
        return len(killed)

    def power_off(self, mount: str, roles: list[str]) -> None:
        """The disk at ``mount`` loses what was not written to it yet, and the programs of these roles end.

        A file ``never-synced`` is made just before: it must be gone afterwards.
        """
        Path(mount, "never-synced").touch()
        descriptor = os.open(mount, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_THE_LOG))
        finally:
            os.close(descriptor)
        self.kill_all(roles)

    def differences(self, source: str, tree: str) -> list[str]:
        """Where the stored tree is not the source: names, kinds, bytes."""
        wanted, found = _content(Path(source)), _content(Path(tree))
        return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))

    def fill_inodes(self, directory: str, leave: int) -> int:
        """Make empty files in ``directory`` until only ``leave`` inodes of its disk are left; returns how many are."""
        os.makedirs(f"{directory}/many-files", exist_ok=True)
        Path(directory, "ballast").touch()  # so that bytes can be filled up too
        with contextlib.suppress(OSError):
            for number in itertools.count():
                if os.statvfs(directory).f_ffree <= leave:
                    break
                Path(directory, "many-files", str(number)).touch()
        return os.statvfs(directory).f_ffree

    def plant(self, source: str, seed: int, files: int, big_mib: int) -> None:
        """See :func:`plant`."""
        plant(Path(source), seed, files, big_mib)

    def change(self, source: str, seed: int) -> None:
        """See :func:`change`."""
        change(Path(source), seed)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file, with the directories above it."""
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
        place.chmod(mode)

    def fill(self, directory: str, leave: int) -> int:
        """Put a file ``ballast`` into ``directory`` that leaves ``leave`` bytes of its disk; returns what is left."""

        def left() -> int:
            disk = os.statvfs(directory)
            return disk.f_bavail * disk.f_frsize

        with open(f"{directory}/ballast", "wb", buffering=0) as stream:
            for step in (1 << 20, 1 << 14, 1 << 10):
                with contextlib.suppress(OSError):
                    while left() >= leave + step:
                        os.posix_fallocate(stream.fileno(), os.fstat(stream.fileno()).st_size, step)
        return left()


def _lines(dice: random.Random, size: int) -> bytes:
    """Text, not noise: files that turn into noise look like ransomware and stop the pruning."""
    return b"\n".join(dice.randbytes(30).hex().encode() for _ in range(size // 61 + 1))


def plant(source: Path, seed: int, files: int, big_mib: int) -> None:
    """A tree of so many small files, with a few of all kinds, and a big file."""
    dice = random.Random(seed)  # noqa: S311  a throw that can be repeated
    for name in os.listdir(source):
        place = source / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    for number in range(files):
        place = source / f"directory {number % 31}" / f"file {number}"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(_lines(dice, dice.randrange(4000)))
    (source / "big").write_bytes(_lines(dice, big_mib << 20))
    (source / "symlink").symlink_to("directory 1/file 1")
    os.link(source / "directory 1/file 1", source / "another name")
    os.setxattr(source / "directory 2/file 2", "user.note", b"kept")
    os.chown(source / "directory 3/file 3", 1234, 5678)


def change(source: Path, seed: int) -> None:
    """Some files new, different, gone or moved, and a hundredth of the big file rewritten in its place."""
    dice = random.Random(seed)  # noqa: S311  a throw that can be repeated
    files = sorted(path for path in source.glob("directory*/file*") if path.is_file())
    for place in dice.sample(files, len(files) // 12):
        place.write_bytes(_lines(dice, dice.randrange(4000)))
    for place in dice.sample(files, len(files) // 30):
        place.unlink()
        (place.parent / f"file {dice.randrange(1 << 40)}").write_bytes(_lines(dice, dice.randrange(4000)))
    for place in dice.sample(sorted(source.glob("directory*/")), 1):
        place.rename(source / f"directory {dice.randrange(1 << 40)}")
    with (source / "big").open("r+b") as stream:
        size = os.fstat(stream.fileno()).st_size
        for _ in range(max(1, size // 100 // 4096)):
            stream.seek(dice.randrange(size - 4096))
            stream.write(_lines(dice, 4000))


def _content(top: Path) -> dict[str, str]:
    """What each path below ``top`` holds; the source's symlinks are stored as symlinks."""
    found: dict[str, str] = {}
    for above, directories, files in os.walk(top):
        for name in directories + files:
            path = Path(above, name)
            shown = str(path.relative_to(top)).encode(errors="surrogateescape").decode(errors="backslashreplace")
            if path.is_symlink():
                found[shown] = f"-> {os.readlink(path)}"
            elif path.is_dir():
                found[shown] = "directory"
            elif path.is_file():
                found[shown] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                found[shown] = "something else"
    return found


def serve() -> None:
    """Answer until nobody asks any more."""
    hands = Hands()
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            method: Callable[..., Any] = getattr(hands, asked.pop("call"))
            answer = {"result": method(**asked)}
        except Exception as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


def main() -> None:
    """As the first process: wait for every orphan, and end with the agent."""
    child = os.fork()
    if child == 0:
        serve()
        return
    os.close(0)
    while os.wait()[0] != child:
        pass


if __name__ == "__main__":
    main()
