"""kill -9 of whatever takes part, at a random moment of a chosen phase.

A kill counts where it hit: by the phase that the run was in at that moment, and by the program that died. The client can't
speak when it is killed itself: then the server's watch must, the day after.
"""

from __future__ import annotations

import random

import pytest
from fault_lab import (
    BACKUP,
    CHECK,
    CLEAN,
    FINDINGS,
    FULL,
    NOT_DONE,
    RESTORE,
    SLOW,
    SOURCE,
    TALLY,
    Machine,
    delays,
    dice,
    spans_of,
)

KILLED = -9
# Who can be killed when. A phase ends where the next begins: `connect` until the gate is asked for the first verb, `scan`
# and `settle` are the client's own (a part of the scan comes before), `seal` to `prune` happen within the server's seal; in
# `sign` it waits for the signature. `record` is what the client does then. `ahead` is what the gate leaves running behind its
# answer to `begin` and `seal`.
VICTIMS = {
    "connect": ("client", "ssh"),
    "begin": ("client", "ssh", "sshd", "gate"),
    "scan": ("client", "ssh", "sshd", "ahead"),
    "send": ("client", "rsync", "ssh", "sshd", "gate", "receiver"),
    "settle": ("client", "ssh", "sshd"),
    "seal": ("client", "ssh", "sshd", "gate"),
    "check": ("client", "ssh", "sshd", "gate"),
    "link": ("client", "ssh", "sshd", "gate"),
    "publish": ("client", "sshd", "gate"),
    "prune": ("client", "ssh", "sshd", "gate"),
    "sign": ("client", "ssh", "sshd", "gate"),
    "record": ("client", "ssh", "ahead"),
}
ALL = [(phase, role) for phase, roles in VICTIMS.items() for role in roles]
QUICK = [
    ("send", "client"),
    ("send", "rsync"),
    ("send", "receiver"),
    ("scan", "ssh"),
    ("scan", "ahead"),
    ("link", "gate"),
    ("prune", "gate"),
    ("sign", "gate"),
]
TURNS = 6 if FULL else 1
FEWEST = 200 if FULL else 5


@pytest.fixture(scope="module")
def spans(machine: Machine) -> dict[str, float]:
    """Seconds that a run spends in each phase."""
    machine.fresh(files=1200, big_mib=24, keep_last=3)
    spans = spans_of(machine, 3 if FULL else 1)  # from the third generation on there is something to prune
    assert set(spans) <= set(VICTIMS)
    return spans


def strike(machine: Machine, throw: random.Random, phase: str, role: str, delay: float) -> str:
    """Back up, kill, and look at what became of it; the phase that was hit, or nothing where the run was quicker."""
    machine.change()
    told, listed = machine.told(), machine.generations()
    pid = machine.start(BACKUP)
    hit = str(machine.call("kill", pid=pid, phase=phase, role=role, delay=delay, which=throw.random()))
    done = machine.finish(pid)
    if not hit or (role == "client" and done.status == CLEAN):  # over, or at its very end
        assert done.status == CLEAN, done.output
        return ""
    sealed = machine.generations()[-1] not in listed
    if role == "client":
        assert done.status == KILLED, done.output
        if not sealed:
            assert machine.watch_tomorrow().status == FINDINGS
            assert "stale" in machine.texts(machine.told() - told)
    elif done.status == NOT_DONE:
        assert machine.told() - told, "nobody was told"
    elif done.status == FINDINGS:
        assert sealed and machine.told() - told, done.output
        # A connection's process that dies at its end is missed only when the signature is sent, or not but by rsync's words.
        assert "could not be signed" in done.output or "FINDING: rsync: mux_client" in done.output
    else:
        assert done.status == CLEAN and sealed, done.output
    return hit


@pytest.mark.parametrize("turn", range(TURNS))
@pytest.mark.parametrize("phase, role", ALL if FULL else QUICK)
def test_a_backup(machine: Machine, spans: dict[str, float], phase: str, role: str, turn: int) -> None:
    throw = dice("backup", phase, role, turn)
    for delay in delays(throw, spans.get(phase, 0.05)):
        hit = strike(machine, throw, phase, role, delay)
        machine.assert_recovers(look_first=throw.random() < 0.5)
        if hit:
            TALLY.count("kill", f"{hit}: {role}")
            return


@pytest.mark.parametrize("turn", range(4 if FULL else 1))
@pytest.mark.parametrize("role", ["client", "rsync", "ssh", "sshd", "gate", "receiver"] if FULL else ["client"])
def test_a_restore(machine: Machine, spans: dict[str, float], role: str, turn: int) -> None:
    throw = dice("restore", role, turn)
    restore = f"{RESTORE} restore --to /home/restored {SOURCE}"
    phase = "send" if role in ("rsync", "receiver") else throw.choice(["list", "verify", "read", "send"])
    for delay in delays(throw, 0.3):
        machine.root("rm -rf /home/restored")
        pid = machine.start(restore)
        hit = machine.call("kill", pid=pid, phase=phase, role=role, delay=delay, which=throw.random())
        done = machine.finish(pid)
        assert done.status in ((CLEAN, KILLED) if role == "client" else (CLEAN, FINDINGS, NOT_DONE)), done.output
        if done.status != CLEAN:
            again = machine.run(restore)
            assert again.status == CLEAN, again.output
        assert machine.call("differences", source=SOURCE, tree=f"/home/restored{SOURCE}") == []
        assert machine.leftovers() == []
        if hit:
            TALLY.count("kill of a restore", f"{hit}: {role}")
            return
    pytest.fail("no kill hit")


@pytest.mark.parametrize("role", ["client", "ssh", "sshd", "gate"] if FULL else ["gate"])
def test_a_check(machine: Machine, spans: dict[str, float], role: str) -> None:
    throw = dice("check", role)
    for delay in delays(throw, 0.2):
        told = machine.told()
        pid = machine.start(CHECK)
        hit = machine.call("kill", pid=pid, phase="verify", role=role, delay=delay, which=throw.random())
        done = machine.finish(pid)
        # One of sshd's two processes may die when all has been said, or not be missed.
        assert done.status != CLEAN or "Everything is as it was sealed" in done.output
        assert role == "client" or done.status == CLEAN or machine.told() - told
        machine.assert_whole()
        if hit and done.status != CLEAN:
            TALLY.count("kill of a check", f"{hit}: {role}")
            return
    pytest.fail("no kill hit a check that had something to do")


def test_the_receiver_without_a_sandbox(machine: Machine, spans: dict[str, float]) -> None:
    machine.configure_server(keep_last=3, sandbox="off")
    try:
        for turn in range(6 if FULL else 1):
            throw = dice("no sandbox", turn)
            role = ("gate", "receiver", "client")[turn % 3]
            for delay in delays(throw, spans.get("send", 0.05)):
                hit = strike(machine, throw, "send", role, delay)
                machine.assert_recovers()
                if hit:
                    TALLY.count("kill without a sandbox", f"{hit}: {role}")
                    break
    finally:
        machine.configure_server(keep_last=3)


def test_a_client_that_dies_leaves_nothing_that_sends_for_hours(machine: Machine, spans: dict[str, float]) -> None:
    """What the killed run had started ends with it: else the next one would find the server's lock held."""
    machine.root(SLOW.format(mbit=4))
    machine.root(f"head -c 12000000 /dev/urandom >{SOURCE}/slow")
    pid = machine.start(BACKUP)
    assert machine.call("kill", pid=pid, phase="send", role="client", delay=1.0, which=0.0) == "send"
    assert machine.finish(pid).status == KILLED
    machine.root("for _ in $(seq 50); do pgrep -x -u root rsync >/dev/null || exit 0; sleep 0.1; done; exit 1")
    machine.assert_recovers()
    machine.heal_network()
    machine.root(f"rm {SOURCE}/slow")


def test_enough_was_hit() -> None:
    assert TALLY.total("kill") >= FEWEST
    hits = {name.split(": ")[0] for name in TALLY.rounds["kill"]}
    assert not FULL or hits >= set(VICTIMS)
    for theme in ("kill of a restore", "kill of a check", "kill without a sandbox"):
        assert TALLY.total(theme) >= 1
