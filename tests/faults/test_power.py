"""Power loss: one side's disk keeps what was written to it and nothing else, its programs end, and it comes back.

The disk is ext4; the cut is its own shutdown call, as the file system's developers test with: no further block is written,
the journal's last transactions are lost, and mounting it again replays the rest. (What a drive's own cache may lose or
reorder after it has promised a flush is not tried.)
"""

from __future__ import annotations

import pytest
from fault_lab import BACKUP, CLEAN, FINDINGS, FULL, NOT_DONE, TALLY, Machine, delays, dice, power_cut, spans_of

PHASES = {
    "server": ("begin", "scan", "send", "settle", "seal", "check", "link", "publish", "prune", "sign", "record"),
    "client": ("connect", "scan", "send", "settle", "seal", "check", "link", "prune", "sign", "record"),
}
ALL = [(side, phase) for side, phases in PHASES.items() for phase in phases]
QUICK = [("server", "send"), ("server", "link"), ("client", "record")]
TURNS = 4 if FULL else 1
FEWEST = 68 if FULL else 4
# About as long as the work for the next run takes here.
AHEAD_SECONDS = 0.15
ATTEMPTS = 6


@pytest.fixture(scope="module")
def spans(machine: Machine) -> dict[str, float]:
    """Seconds that a run spends in each phase."""
    machine.fresh(files=600, big_mib=8, keep_last=3)
    return spans_of(machine, 3 if FULL else 1)


@pytest.mark.parametrize("turn", range(TURNS))
@pytest.mark.parametrize("side, phase", ALL if FULL else QUICK)
def test_during_a_backup(machine: Machine, spans: dict[str, float], side: str, phase: str, turn: int) -> None:
    throw = dice("power", side, phase, turn)
    for delay in delays(throw, spans.get(phase, 0.05)):
        machine.change()
        told, listed = machine.told(), machine.generations()
        pid = machine.start(BACKUP)
        then = power_cut(side)
        at = machine.call("wait_for", pid=pid, phase=phase, role="client", delay=delay, then=then)["phase"]
        done = machine.finish(pid)
        if not at:
            assert done.status == CLEAN, done.output
            continue
        lost = machine.power_on(side)
        sealed = machine.generations()[-1] not in listed
        if done.status in (CLEAN, FINDINGS):  # sealed, and not signed yet, say
            assert sealed, f"{at}: the client was told of a generation that is lost"
        if side == "server":
            assert done.status in (CLEAN, FINDINGS, NOT_DONE), done.output
            assert done.status == CLEAN or machine.told() - told, "nobody was told"
        elif not sealed:
            assert machine.watch_tomorrow().status == FINDINGS
        machine.assert_recovers(look_first=throw.random() < 0.5)
        if side == "client" and done.status == CLEAN:  # it was at its end
            continue
        TALLY.count("power", f"{side} at {at}")
        if lost:
            TALLY.count("power loss that took something away", side)
        if at == phase:
            return
    pytest.fail("the phase was always over before")


@pytest.mark.parametrize("turn", range(8 if FULL else 1))
def test_while_the_server_works_for_the_next_run(machine: Machine, spans: dict[str, float], turn: int) -> None:
    """Behind the seal's answer: the farm is laid, what was pruned is removed, and nobody waits for either."""
    throw = dice("power", "ahead", turn)
    for _ in range(ATTEMPTS):
        machine.change()
        told, listed = machine.told(), machine.generations()
        pid = machine.start(BACKUP)
        at = machine.call("wait_for_ahead", pid=pid, before=listed, delay=throw.random() * AHEAD_SECONDS)
        machine.cut_power("server")
        done = machine.finish(pid)
        lost = machine.power_on("server")
        assert machine.generations()[-1] not in listed, "what was sealed is lost"
        assert done.status == CLEAN or machine.told() - told, "nobody was told"
        machine.assert_stored_whole()
        machine.assert_recovers()
        if lost:
            TALLY.count("power loss that took something away", "server")
        if at:
            TALLY.count("power", f"server, {at} ahead")
            return
    pytest.fail("the work for the next run was always done before")


def test_right_after_a_backup(machine: Machine, spans: dict[str, float]) -> None:
    """What the client was told is on the disk."""
    machine.change()
    assert machine.run(BACKUP).status == CLEAN
    sealed = machine.generations()
    machine.cut_power("server")
    assert machine.power_on("server")
    assert set(sealed) <= set(machine.generations())  # one that was pruned just now may be there again, as a whole
    machine.assert_whole()
    machine.cut_power("client")
    assert machine.power_on("client")
    machine.assert_recovers()
    for side in ("server", "client"):
        TALLY.count("power loss that took something away", side)
    TALLY.count("power", "after a backup")


def test_enough_was_lost() -> None:
    assert TALLY.total("power") >= FEWEST
    assert {f"{side} at {phase}" for side, phase in (ALL if FULL else QUICK)} <= set(TALLY.rounds["power"])
    assert set(TALLY.rounds["power loss that took something away"]) == {"client", "server"}
