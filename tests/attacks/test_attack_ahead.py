"""What the server does behind an answer, in wrong hands: begun without end, left at once, or made to fill the disk."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from attack_lab import STORE, Server
from attacker import PROTOCOL, Attacker
from test_attack_seals import SLOWLY, fill

pytestmark = pytest.mark.usefixtures("unharmed", "nothing_left_running")

AT_ONCE = 8  # more sessions than ten on one connection are refused by sshd itself
MIB = 1 << 20
QUOTA = 1 << 30


@pytest.fixture
def nothing_left_running(server: Server) -> Iterator[None]:
    """Whatever was begun comes to its end by itself."""
    yield
    wait_for_quiet(server)


def wait_for_quiet(server: Server) -> None:
    """Wait until no gate, and nothing that one left behind its answer, runs any more."""
    looks = "for _ in $(seq 300); do pgrep -u sedai -f '[s]edai_gate' >/dev/null || exit 0; sleep 0.1; done"
    server.root(f"{looks}; ps -fu sedai; exit 1")


def used(server: Server, client: str) -> int:
    """What a client takes of the disk, all in all."""
    return int(server.root(f"du --summarize --block-size=1 {STORE}/{client} | cut -f1"))


@contextlib.contextmanager
def held(server: Server, lock: str) -> Iterator[None]:
    """Somebody has ``lock`` for as long as this lasts, as who lays a farm of a million files has it."""
    looks = f"while flock --nonblock {lock} true; do sleep 0.1; done"
    holder = server.root(f"flock --no-fork {lock} sleep 600 </dev/null >/dev/null 2>&1 & {looks}; echo $!")
    try:
        yield
    finally:
        server.root(f"kill {holder}")


@pytest.mark.parametrize("laid", ["laid", "to be laid", "being laid"])
def test_a_flood_of_begins(attacker: Attacker, server: Server, laid: str) -> None:
    """Each is answered, and one process works for all of them: the others find it at work, and wait for nothing."""
    attacker.result("begin", {"time": time.time()})
    wait_for_quiet(server)
    farms = f"{STORE}/alpha/farms"
    assert server.root(f"ls {farms}").split() == attacker.generations()[-1:]
    if laid == "to be laid":
        server.root(f"rm -r {farms}/*")
    with held(server, f"{farms}.lock") if laid == "being laid" else contextlib.nullcontext():
        with ThreadPoolExecutor(AT_ONCE) as pool:
            done = list(pool.map(lambda _: attacker.verb("begin", {"time": time.time()}), range(3 * AT_ONCE)))
        assert [one.returncode for one in done] == [0] * len(done)
        if laid == "being laid":
            wait_for_quiet(server)
    wait_for_quiet(server)
    attacker.result("begin", {"time": time.time()})
    wait_for_quiet(server)
    assert server.root(f"ls {farms}").split() == attacker.generations()[-1:]


@pytest.mark.parametrize("moment", ["before the request", "in the request", "after the request", "after the answer"])
def test_begun_and_gone(attacker: Attacker, server: Server, moment: str) -> None:
    """Many at once that end without a word; who comes after them has nothing to wait for."""
    request = json.dumps(PROTOCOL | {"time": time.time()}).encode() + b"\n"
    sent = {"before the request": b"", "in the request": request[:10]}.get(moment, request)

    def begin_and_go(_: int) -> None:
        process = subprocess.Popen(
            [*attacker.ssh_words, "server", "begin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(sent)
        process.stdin.flush()
        if moment == "after the answer":
            assert b"result" in process.stdout.readline()
        else:
            time.sleep(0.3)
        process.kill()
        process.communicate()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(begin_and_go, range(2 * AT_ONCE)))
    began = time.monotonic()
    attacker.result("begin", {"time": time.time()})
    assert time.monotonic() - began < 20


def test_directories_do_not_fill_the_disk_twice(gamma: Attacker, server: Server) -> None:
    """A generation of nothing but directories, of which each farm has its own: what waits counts, and makes way."""
    gamma.put({"secret/list": b"of gamma\n"})
    for number in range(1500):
        (gamma.root / f"directories/{number:04}").mkdir(parents=True)
    assert gamma.push().returncode == 0
    paths = gamma.paths()
    assert gamma.seal(gamma.changes(), len(paths)).returncode == 0
    gamma.sealed = set(paths)
    wait_for_quiet(server)
    farm = int(
        server.root(f"find {STORE}/gamma/farms -type d -printf '%k\\n' | awk '{{ sum += $1 }} END {{ print sum }}'")
    )
    assert farm > 5 * 1024
    with filled(server, QUOTA // MIB - (used(server, "gamma") - farm * 1024) // MIB - 2):
        assert used(server, "gamma") > QUOTA  # with the farm that was laid before the quota was as good as used up
        for _ in range(2):
            gamma.result("begin", {"time": time.time()})
            wait_for_quiet(server)
            assert used(server, "gamma") <= QUOTA
    gamma.back_up({"secret/list": b"of gamma\n"})


@contextlib.contextmanager
def filled(server: Server, mebibytes: int) -> Iterator[None]:
    """So much is stored in generations."""
    filler, usage = f"{STORE}/gamma/generations/.filler", f"{STORE}/gamma/usage"
    server.root(f"fallocate -l {mebibytes}M {filler}; rm -f {usage}")
    try:
        yield
    finally:
        wait_for_quiet(server)
        server.root(f"rm -f {filler} {usage}")


GARBAGE = {
    "a file": "fallocate -l 600M {trash}/garbage",
    "files in a directory that nobody may enter": (
        "mkdir {trash}/garbage && fallocate -l 600M {trash}/garbage/x && chmod 0 {trash}/garbage"
    ),
    "a link out of it": "ln -s {store}/alpha {trash}/garbage && fallocate -l 600M {trash}/x",
    "a FIFO": "mkfifo {trash}/garbage && fallocate -l 600M {trash}/x",
}


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_in_the_trash_bars_nobody(gamma: Attacker, server: Server, garbage: str) -> None:
    """It counts, and goes before anybody is refused for it."""
    wait_for_quiet(server)
    command = GARBAGE[garbage].format(trash=f"{STORE}/gamma/trash", store=STORE)
    server.root(f"runuser -u sedai -- sh -c '{command}'")
    with filled(server, 500):
        gamma.result("begin", {"time": time.time()})
        # What lies in a directory that nobody may enter is not seen by who counts, and goes behind the answer.
        wait_for_quiet(server)
        assert used(server, "gamma") <= QUOTA
        assert server.root(f"ls -A {STORE}/gamma/trash") == ""
    gamma.back_up({"secret/list": b"of gamma\n"})


def test_what_was_dropped_counts_while_more_is_sent(gamma: Attacker, server: Server) -> None:
    gamma.put({f"garbage/{number}": b"\xa5" * MIB for number in range(64)})
    gamma.result("begin", {"time": time.time()})
    wait_for_quiet(server)
    fill(server, "gamma", 400)
    server.root(f"runuser -u sedai -- fallocate -l 600M {STORE}/gamma/trash/garbage")
    done = gamma.push(through=SLOWLY)
    assert done.returncode == 0, done.stderr
    assert used(server, "gamma") <= QUOTA
    server.root(f"rm -r {STORE}/gamma/incoming/delta/*")
    gamma.back_up({"secret/list": b"of gamma\n"})
