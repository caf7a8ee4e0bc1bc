"""Several at once: two backups, what a dead one left, and pruning while the same generation is restored or checked."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest
from fault_lab import BACKUP, CHECK, CLEAN, FULL, NOT_DONE, RESTORE, SLOW, SOURCE, STATE, STORE, TALLY, USAGE, Machine

STOP, GO_ON = int(signal.SIGSTOP), int(signal.SIGCONT)
OTHER = "/root/.config/sedai/other.toml"
ATTEMPTS = 5
FEWEST = 12 if FULL else 7


@pytest.fixture(scope="module")
def made(machine: Machine) -> Machine:
    """The machine with as many generations as are kept."""
    machine.fresh(files=300, big_mib=4, keep_last=3)
    for _ in range(2):
        machine.change()
        assert machine.run(BACKUP).status == CLEAN
    return machine


@pytest.fixture(autouse=True)
def right_network(machine: Machine) -> Iterator[None]:
    """Afterwards the line is fast again."""
    yield
    machine.heal_network()


# The server's side begins later than ours: it is waited for.
HELD = "for attempt in $(seq 100); do flock --nonblock {file} true || {{ echo held; break; }}; sleep 0.1; done"


def caught(machine: Machine, command: str, phase: str, role: str, held: str = "") -> tuple[int, list[int]]:
    """Start a program, and stop its processes of ``role`` in the middle of ``phase``; its id and theirs.

    ``held``: a file that the server locks as soon as its side has begun, and as long as not all is sent.
    """
    for _ in range(ATTEMPTS):
        pid = machine.start(command)
        found = machine.call("wait_for", pid=pid, phase=phase, role=role, delay=0.0)
        if found["phase"] == phase:
            for one in found["pids"]:
                machine.call("send", pid=one, number=STOP)
            if not held or machine.root(HELD.format(file=held)):
                return pid, found["pids"]
            go_on(machine, found["pids"])
        assert machine.finish(pid).status == CLEAN  # it was too quick
        machine.change()
    pytest.fail(f"nothing was caught in {phase}")


def go_on(machine: Machine, pids: list[int]) -> None:
    """Let stopped processes run again."""
    for one in pids:
        machine.call("send", pid=one, number=GO_ON)


def back_up_three_times(machine: Machine) -> None:
    """So often that all but the oldest of the present generations are due to go."""
    for _ in range(3):
        machine.change()
        done = machine.run(BACKUP)
        assert done.status == CLEAN, done.output


def second_oldest(machine: Machine) -> str:
    """The next one to be pruned: the oldest is the first of its day, which stays."""
    return machine.generations()[1]


@pytest.mark.parametrize("phase", ["scan", "send", "settle", "link"] if FULL else ["send"])
def test_two_backups_of_one_machine(made: Machine, phase: str) -> None:
    made.change()
    told = made.told()
    pid, stopped = caught(made, BACKUP, phase, "client")
    second = made.run(BACKUP)
    assert second.status == NOT_DONE
    assert "already running" in second.output
    assert made.told() - told
    go_on(made, stopped)
    assert made.finish(pid).status == CLEAN
    made.assert_recovers()
    TALLY.count("concurrent", f"two backups at {phase}")


@pytest.mark.parametrize("phase", ["send", "settle", "seal"] if FULL else ["settle"])
def test_two_machines_with_one_key(made: Machine, phase: str) -> None:
    """A copy of the machine, say: whatever becomes of the two runs, nothing of it is half, and who failed is told."""
    made.root(f"sed 's|/root/state|/root/other-state|' /root/.config/sedai/client.toml >{OTHER}")
    made.change()
    told = made.told()
    pid, stopped = caught(made, BACKUP, phase, "client")
    second = made.run(f"{BACKUP} --config {OTHER}")
    go_on(made, stopped)
    first = made.finish(pid)
    for done in (first, second):
        assert done.status in (CLEAN, USAGE, NOT_DONE), done.output
    assert CLEAN in (first.status, second.status) or phase == "send"
    if (first.status, second.status) != (CLEAN, CLEAN):
        waiting = made.run("ls /root/other-state/alerts/*.json").output
        assert made.told() - told or "json" in waiting
    made.root(f"rm -rf /root/other-state {OTHER}")
    made.assert_recovers()
    TALLY.count("concurrent", f"two machines at {phase}")


def test_what_a_dead_run_left(made: Machine) -> None:
    """Locks of processes that are gone, a seal and a pruning in the middle, half a file: nothing that needs a hand."""
    farm = f"{STORE}/farms/{made.generations()[-1]}"
    made.call("wait_for_end", role="ahead")
    made.root(
        f"echo 'pid 1 since 2001-01-01 00:00:00 +0000' | tee {STATE}/lock {STATE}/runs.lock {STORE}/lock"
        f" {STORE}/farms.lock {STORE}/trash.lock >/dev/null;"
        f"mkdir -p {STORE}/farms/20010101T000000Z-000001/tree/x {farm}/tree {STORE}/trash/x/y; echo half >{farm}/laid;"
        f"mkdir -p {STORE}/incoming/staging/tree/x {STORE}/incoming/spent/y {STORE}/incoming/trash/z;"
        f"mkdir -p {STORE}/incoming/delta{SOURCE}/.sedai-partial;"
        f"echo half >{STORE}/incoming/delta{SOURCE}/.sedai-partial/big; echo wrong >{STORE}/incoming/delta{SOURCE}/big;"
        f"echo -n half >{STORE}/incoming/changes; : >{STORE}/sequence;"
        f"chown -R sedai: {STORE}/incoming {STORE}/*.lock {STORE}/farms {STORE}/trash;"
        f"echo half >{STATE}/plan; echo half >{STATE}/changes; echo half >{STATE}/sealed.manifest;"
        f"echo half >{STATE}/base.manifest; mkdir -m 0700 /tmp/sedai-abcdefgh"
    )
    made.change()
    made.assert_recovers()
    TALLY.count("concurrent", "leftovers")


def test_pruning_while_it_is_restored(made: Machine) -> None:
    oldest = second_oldest(made)
    made.root("rm -rf /home/restored")
    restore = f"{RESTORE} restore --keep-existing --generation {oldest} --to /home/restored {SOURCE}"
    pid, stopped = caught(made, restore, "send", "rsync", f"{STORE}/generations/{oldest}/generation.json")
    back_up_three_times(made)
    assert oldest in made.generations(), "it was pruned while it was read"
    go_on(made, stopped)
    done = made.finish(pid)
    assert done.status == CLEAN, done.output
    tree = f"{STORE}/generations/{oldest}/tree{SOURCE}"
    assert made.call("differences", source=f"/home/restored{SOURCE}", tree=tree) == []
    made.change()
    made.assert_recovers()
    assert oldest not in made.generations()
    TALLY.count("concurrent", "pruned while restored")


def test_pruning_between_two_steps_of_a_restore(made: Machine) -> None:
    """Nothing holds it there: the restore says what happened, and has written nothing."""
    oldest = second_oldest(made)
    made.root("rm -rf /home/restored")
    pid, stopped = caught(
        made, f"{RESTORE} restore --generation {oldest} --to /home/restored {SOURCE}", "verify", "client"
    )
    for _ in range(100):
        if not any(role == "gate" for _, role, _ in made.call("programs")):
            break
        time.sleep(0.1)
    back_up_three_times(made)
    assert oldest not in made.generations()
    go_on(made, stopped)
    done = made.finish(pid)
    assert done.status in (USAGE, NOT_DONE), done.output
    assert "pruned" in done.output
    assert made.root("find /home/restored -type f | wc -l") == "0\n"
    made.root("rm -rf /home/restored")
    made.assert_recovers()
    TALLY.count("concurrent", "pruned between two steps")


def test_pruning_while_it_is_checked(made: Machine) -> None:
    oldest = second_oldest(made)
    pid, stopped = caught(made, CHECK, "verify", "gate")
    back_up_three_times(made)
    go_on(made, stopped)
    done = made.finish(pid)
    assert done.status == CLEAN, done.output
    made.assert_recovers()
    assert oldest not in made.generations()
    TALLY.count("concurrent", "pruned while checked")


def test_a_check_while_a_backup_is_sent(made: Machine) -> None:
    made.change()
    made.root(f"head -c 3000000 /dev/urandom | od >{SOURCE}/new; {SLOW.format(mbit=20)}")
    pid = made.start(BACKUP)
    assert made.call("wait_for", pid=pid, phase="send", role="rsync", delay=0.0)["phase"]
    checked = made.run(CHECK)
    assert checked.status == CLEAN, checked.output
    assert made.finish(pid).status == CLEAN
    made.assert_recovers()
    TALLY.count("concurrent", "checked while sent")


def test_enough_was_tried() -> None:
    assert TALLY.total("concurrent") >= FEWEST
