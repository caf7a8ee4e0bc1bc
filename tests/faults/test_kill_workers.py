"""kill -9 of one of the processes that share the work of a backup, a restore, a check: who waits for it says so, and loses nothing.

The trees of the tests are too small to be worth processes; the programs are told that they are.
"""

from __future__ import annotations

import pytest
from fault_lab import BACKUP, CHECK, CLEAN, FULL, NOT_DONE, RESTORE, SOURCE, TALLY, Machine, dice, spans_of

THEME = "kill of a worker"
TURNS = 8 if FULL else 1
# On a busy machine a worker is done before the kill comes: each attempt waits for a shorter time.
ATTEMPTS = 20
# The client's work only at the scan, which begins before there is a connection.
BACKUPS = [("", "client's worker"), ("check", "gate's worker"), ("link", "gate's worker")]


@pytest.fixture(scope="module")
def spans(machine: Machine) -> dict[str, float]:
    """Seconds that a run whose work is shared spends in each phase."""
    machine.fresh(files=4000, big_mib=4, keep_last=3)
    machine.share_all_work()
    return spans_of(machine, 3)


@pytest.mark.parametrize("turn", range(TURNS))
@pytest.mark.parametrize("phase, role", BACKUPS)
def test_of_a_backup(machine: Machine, spans: dict[str, float], phase: str, role: str, turn: int) -> None:
    throw = dice("worker", phase, turn)
    for attempt in range(ATTEMPTS):
        machine.change()
        told, listed = machine.told(), machine.generations()
        pid = machine.start(BACKUP)
        delay = throw.random() * (spans[phase] / 8 if phase else 0.05) / (1 + attempt)
        hit = str(machine.call("kill", pid=pid, phase=phase, role=role, delay=delay, which=throw.random()))
        done = machine.finish(pid)
        if done.status != CLEAN:
            assert done.status == NOT_DONE and hit, done.output
            assert "share the work was ended" in done.output
            assert "share the work was ended" in machine.texts(machine.told() - told)
            assert machine.generations() == listed
        machine.assert_recovers()
        if done.status != CLEAN:  # else it had done its part
            TALLY.count(THEME, f"{phase or 'scan'}: {role}")
            return
    pytest.fail("no kill hit a worker that had something to do")


@pytest.mark.parametrize("turn", range(TURNS))
def test_of_a_removal(machine: Machine, spans: dict[str, float], turn: int) -> None:
    """Nobody waits for what is removed behind the answer: the next run removes it."""
    throw = dice("worker of a removal", turn)
    for attempt in range(ATTEMPTS):
        machine.change()
        pid = machine.start(BACKUP)
        hit = machine.call(
            "kill", pid=pid, phase="record", role="ahead", delay=throw.random() * 0.1 / (1 + attempt), which=0.99
        )
        assert machine.finish(pid).status == CLEAN
        machine.assert_recovers()
        if hit:
            TALLY.count(THEME, "removal: ahead")
            return
    pytest.fail("nothing worked behind the answer when it was to be killed")


@pytest.mark.parametrize("turn", range(TURNS))
def test_of_a_restore(machine: Machine, spans: dict[str, float], turn: int) -> None:
    throw = dice("worker of a restore", turn)
    restore = f"{RESTORE} restore --to /home/restored {SOURCE}"
    for attempt in range(ATTEMPTS):
        machine.root("rm -rf /home/restored")
        pid = machine.start(restore)
        delay = throw.random() * 0.1 / (1 + attempt)
        machine.call("kill", pid=pid, phase="", role="client's worker", delay=delay, which=throw.random())
        done = machine.finish(pid)
        if done.status != CLEAN:
            assert done.status == NOT_DONE, done.output
            assert "share the work was ended" in done.output
            again = machine.run(restore)
            assert again.status == CLEAN, again.output
        assert machine.call("differences", source=SOURCE, tree=f"/home/restored{SOURCE}") == []
        assert machine.leftovers() == []
        if done.status != CLEAN:
            TALLY.count(THEME, "restore: client's worker")
            return
    pytest.fail("no kill hit a worker that had something to do")


@pytest.mark.parametrize("turn", range(TURNS))
def test_of_a_check(machine: Machine, spans: dict[str, float], turn: int) -> None:
    throw = dice("worker of a check", turn)
    for attempt in range(ATTEMPTS):
        told = machine.told()
        pid = machine.start(CHECK)
        delay = throw.random() * 0.1 / (1 + attempt)
        machine.call("kill", pid=pid, phase="verify", role="gate's worker", delay=delay, which=throw.random())
        done = machine.finish(pid)
        machine.assert_whole()
        if done.status != CLEAN:
            assert done.status == NOT_DONE, done.output
            assert "share the work was ended" in machine.texts(machine.told() - told)
            TALLY.count(THEME, "check: gate's worker")
            return
    pytest.fail("no kill hit a worker that had something to do")


def test_enough_was_hit() -> None:
    assert TALLY.total(THEME) >= TURNS * (len(BACKUPS) + 3)
