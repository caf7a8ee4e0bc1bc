"""Wrong clocks, by libfaketime: of either side, by hours, jumping in the middle of a run, and the change to winter time.

Only what a program of ours asks for the time is told a wrong one; files keep the kernel's times.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from fault_lab import BACKUP, CHECK, CLEAN, FAKETIME, FINDINGS, FULL, GATE, SERVER, TALLY, Machine

from sedai.core.generation import Generation

FEWEST = 9 if FULL else 5
CLOCK = "/tmp/clock"
# What stat tells is true. The seconds since boot are as wrong as the time: with FAKETIME_DONT_FAKE_MONOTONIC libfaketime 0.9.10
# takes the deadline of Python's sleep for a wrong one, and sleeps for hours or fails.
TRUE_BUT_THE_TIME = {"LD_PRELOAD": FAKETIME, "NO_FAKE_STAT": "1"}


def wrong(offset: str) -> dict[str, str]:
    """The environment in which a program's clock is wrong by ``offset`` (as libfaketime takes it: ``+5h``)."""
    return TRUE_BUT_THE_TIME | {"FAKETIME": offset}


def words(environment: dict[str, str]) -> str:
    """As words of ``env``."""
    return " ".join(f"{name}={value}" for name, value in environment.items())


@pytest.fixture(autouse=True)
def right_clocks(machine: Machine) -> Iterator[None]:
    """Afterwards the clocks are right again."""
    yield
    machine.authorise(GATE)


@pytest.fixture(scope="module")
def made(machine: Machine) -> Machine:
    """The machine with a store and a few generations that are due to be pruned."""
    machine.fresh(files=200, big_mib=1, keep_last=3)
    return machine


def recovers_in_the_end(machine: Machine) -> None:
    """A generation of a wrong time is named by each check while it is there, and goes like every other one."""
    for _ in range(4):
        machine.change()
        assert machine.run(BACKUP).status == CLEAN
        machine.watch()
        checked = machine.run(CHECK)
        problems = [line for line in checked.output.splitlines() if line.startswith("PROBLEM")]
        assert all(line.startswith("PROBLEM time:") for line in problems), checked.output
        assert machine.differences() == []
        if not problems:
            break
    machine.assert_recovers()


@pytest.mark.parametrize("offset", ["+5h", "-5h", "+400d"] if FULL else ["-5h"])
def test_the_client_s_is_wrong(made: Machine, offset: str) -> None:
    made.change()
    told, listed = made.told(), made.generations()
    done = made.run(BACKUP, **wrong(offset))
    assert done.status == FINDINGS, done.output
    assert "the clocks of this machine and the server differ" in done.output
    assert "clock" in made.texts(made.told() - told)
    assert set(listed) < set(made.generations()), "something was pruned by a wrong clock"
    checked = made.run(CHECK, **wrong(offset))
    assert checked.status == FINDINGS
    assert "clock" in checked.output
    assert made.watch().status == FINDINGS  # it names the clock too
    made.assert_recovers()
    assert made.watch().status == CLEAN
    TALLY.count("clock", f"client {offset}")


@pytest.mark.parametrize("offset", ["+5h", "-5h"] if FULL else ["+5h"])
def test_the_server_s_is_wrong(made: Machine, offset: str) -> None:
    made.change()
    told, listed = made.told(), made.generations()
    made.authorise(f"env {words(wrong(offset))} {GATE}")
    done = made.run(BACKUP)
    assert done.status == FINDINGS, done.output
    assert "the clocks of this machine and the server differ" in done.output
    assert made.told() - told
    assert set(listed) < set(made.generations()), "something was pruned by a wrong clock"
    made.authorise(GATE)
    recovers_in_the_end(made)
    TALLY.count("clock", f"server {offset}")


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("phase", ["begin", "send", "seal"] if FULL else ["send"])
def test_it_goes_back_in_the_middle_of_a_run(made: Machine, side: str, phase: str) -> None:
    made.change()
    made.call("write", path=CLOCK, text="+3h\n")
    made.root(f"chmod 0644 {CLOCK}")
    jumping = TRUE_BUT_THE_TIME | {"FAKETIME_TIMESTAMP_FILE": CLOCK, "FAKETIME_NO_CACHE": "1"}
    if side == "server":
        made.authorise(f"env {words(jumping)} {GATE}")
    pid = made.call("start", command=f"exec {BACKUP}", env=jumping if side == "client" else {})
    assert made.call("wait_for", pid=pid, phase=phase, role="client", delay=0.0)["phase"]
    made.call("write", path=CLOCK, text="-3h\n")
    done = made.finish(pid)
    assert done.status in (CLEAN, FINDINGS), done.output
    made.root(f"rm {CLOCK}")
    made.authorise(GATE)
    recovers_in_the_end(made)
    TALLY.count("clock", f"{side} jumps back at {phase}")


def next_change(zone: ZoneInfo, later: timedelta) -> float:
    """When the next winter time begins after ``later`` from now, in seconds since the epoch."""
    moment = (datetime.now(UTC) + later).replace(minute=0, second=0, microsecond=0)
    while not moment.astimezone(zone).dst() or (moment + timedelta(hours=1)).astimezone(zone).dst():
        moment += timedelta(hours=1)
    return (moment + timedelta(hours=1)).timestamp()


def test_winter_time_begins(made: Machine) -> None:
    """An hour that comes twice: the generations are in the order in which they were made, and each can be named."""
    zone = "Europe/Berlin"
    change = next_change(ZoneInfo(zone), timedelta(days=2))
    listed = made.generations()
    for seconds in (-3000, -60, 60, 3000):  # local times 02:10, 02:59, 02:01, 02:50
        made.change()
        now = {"TZ": zone} | wrong(f"{change + seconds - time.time():+.0f}s")
        made.authorise(f"env {words(now)} {GATE}")
        done = made.run(BACKUP, **now)
        assert done.status == CLEAN, done.output
        server = f"runuser -u sedai -- env {words(now)} {SERVER}"
        made.run(f"{server} watch; {server} scrub")  # what it says of the year since the last time is true
        checked = made.run(CHECK, **now)
        assert checked.status == CLEAN, checked.output
        watched = made.run(f"{server} watch")
        assert watched.status == CLEAN, watched.output
        assert made.differences() == []
    new = [generation for generation in map(Generation.parse, made.generations()) if generation]
    assert len({str(generation) for generation in new} - set(listed)) >= 2
    assert new == sorted(new)
    assert [generation.time for generation in new] == sorted(generation.time for generation in new)
    made.authorise(GATE)
    recovers_in_the_end(made)
    TALLY.count("clock", "winter time")


def test_enough_was_tried() -> None:
    assert TALLY.total("clock") >= FEWEST
