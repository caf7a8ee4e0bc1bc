"""The line between client and server: cut without a word, slow, long, losing packets, in odd pieces, gone for a while.

This kernel need not have netem: packets are lost by nftables, the line is made slow by tc's token bucket, and long by a relay.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_lab import BACKUP, CLEAN, FINDINGS, FULL, NOT_DONE, SLOW, TALLY, Machine, delays, dice, spans_of

# Of what goes to and comes from these ports nothing arrives, or only a part.
LOSE = """nft -f - <<'END'
table inet lab {
    chain in {
        type filter hook input priority 0;
        tcp dport %(ports)s %(which)s drop
        tcp sport %(ports)s %(which)s drop
    }
}
END"""
CUT = LOSE % {"ports": "22", "which": ""}
CLIENTS_PORTS = "ss --no-header --tcp --numeric state established dst 127.0.0.1:22 | awk '{print $3}' | sed 's/.*://'"

PHASES = ("connect", "begin", "scan", "send", "settle", "seal", "check", "link", "publish", "sign", "prune", "record")
CUTS = PHASES if FULL else ("send",)
FEWEST = 20 if FULL else 5
RELAY = Path(__file__).with_name("relay.py").read_text(encoding="utf-8")
RELAY_PORT = 2222


@pytest.fixture(scope="module")
def spans(machine: Machine) -> dict[str, float]:
    """Seconds that a run spends in each phase. Both sides find out within seconds that the other is gone."""
    machine.fresh(files=400, big_mib=8, keep_last=3, hurried=True)
    return spans_of(machine, 1)


@pytest.mark.parametrize("phase", CUTS)
def test_a_cut(machine: Machine, spans: dict[str, float], phase: str) -> None:
    """Nothing arrives any more, and nobody says so: each side finds out by itself, and lets go of what it holds."""
    throw = dice("cut", phase)
    for delay in delays(throw, spans.get(phase, 0.05)):
        at = cut(machine, phase, delay)
        if not at:
            continue
        machine.assert_recovers(look_first=throw.random() < 0.5)
        machine.heal_network()
        assert not any("/state/alerts/" in name for name in machine.told()), "it was not delivered"
        TALLY.count("network", f"cut at {at}")
        if at == phase:
            return
    pytest.fail("the phase was always over before")


def cut(machine: Machine, phase: str, delay: float) -> str:
    """Back up and cut the line; the phase that was hit, or nothing where the run was over."""
    machine.change()
    told, listed = machine.told(), machine.generations()
    pid = machine.start(BACKUP)
    then = {"call": "run", "command": f"{CLIENTS_PORTS} >/run/ports\n{CUT}"}
    at = str(machine.call("wait_for", pid=pid, phase=phase, role="client", delay=delay, then=then)["phase"])
    done = machine.finish(pid)
    if not at:
        assert done.status == CLEAN, done.output
        return ""
    ports = machine.root("cat /run/ports").split()
    machine.heal_network()
    if ports:
        # What was cut stays so, as behind a router that has a new address: the server is never told that the client went.
        machine.root(LOSE % {"ports": f"{{ {', '.join(ports)} }}", "which": ""})
    sealed = machine.generations()[-1] not in listed
    if done.status == FINDINGS:  # the line went when nothing but the signature was left to send
        assert sealed and "could not be signed" in done.output, done.output
    elif done.status != CLEAN or not sealed:
        assert done.status == NOT_DONE, done.output
    if done.status != CLEAN:
        waiting = machine.told() - told
        assert any("/state/alerts/" in name for name in waiting), "nothing waits to be told"
    return at


def test_a_line_that_is_gone_for_a_moment(machine: Machine, spans: dict[str, float]) -> None:
    machine.change()
    pid = machine.start(BACKUP)
    assert machine.call("wait_for", pid=pid, phase="send", role="client", delay=0.1)["phase"]
    machine.root(f"{CUT}\nsleep 1.5")
    machine.heal_network()
    assert machine.finish(pid).status == CLEAN
    machine.assert_whole()
    machine.assert_recovers()
    TALLY.count("network", "gone for a moment")


@pytest.mark.parametrize("percent", [3, 10] if FULL else [3])
def test_a_line_that_loses_packets(machine: Machine, spans: dict[str, float], percent: int) -> None:
    machine.configure_client()  # a hurried client would take the losses for the end
    machine.change()
    machine.root(LOSE % {"ports": "22", "which": f"numgen random mod 100 < {percent}"})
    done = machine.run(BACKUP, seconds=600)
    machine.heal_network()
    assert done.status == CLEAN, done.output
    machine.assert_whole()
    machine.assert_recovers()
    TALLY.count("network", f"loses {percent} %")


@pytest.mark.parametrize("mbit", [2] if FULL else [20])
def test_a_slow_line(machine: Machine, spans: dict[str, float], mbit: int) -> None:
    machine.change()
    machine.root(f"head -c 4000000 /dev/urandom >/home/data/new && {SLOW.format(mbit=mbit)}")
    done = machine.run(BACKUP, seconds=600)
    machine.heal_network()
    assert done.status == CLEAN, done.output
    machine.assert_whole()
    machine.assert_recovers()
    TALLY.count("network", f"{mbit} Mbit/s")


@contextmanager
def through_a_relay(machine: Machine, *, delay: float = 0.0, seed: int = 0) -> Iterator[None]:
    """The client reaches the server through relay.py, and a whole backup goes that way."""
    machine.call("write", path="/home/relay.py", text=RELAY)
    relay = machine.start(f"python3 /home/relay.py {delay} {seed} {RELAY_PORT} 22")
    machine.root(f"until ss --no-header --tcp --listening --numeric | grep -q ':{RELAY_PORT} '; do sleep 0.1; done")
    machine.configure_client(ssh_options=(f"Port={RELAY_PORT}", "HostKeyAlias=127.0.0.1"))
    try:
        yield
    finally:
        machine.configure_client()
        machine.call("send", pid=relay, number=15)
        done = machine.finish(relay)
    carried, pieces = map(int, done.output.split())
    assert carried > 4_000_000, "the backup went another way"
    if seed:
        assert pieces > carried // 60_000 * 4, "it was not cut into pieces"


@pytest.mark.parametrize("milliseconds", [50, 150, 400] if FULL else [150])
def test_a_long_line(machine: Machine, spans: dict[str, float], milliseconds: int) -> None:
    """So much each way."""
    machine.change()
    machine.root("head -c 4000000 /dev/urandom >/home/data/new")
    with through_a_relay(machine, delay=milliseconds / 1000):
        began = time.monotonic()
        done = machine.run(BACKUP)
        took = time.monotonic() - began
    assert done.status == CLEAN, done.output
    assert took > 20 * milliseconds / 1000, "the line was not long"
    machine.assert_whole()
    machine.assert_recovers()
    TALLY.count("network", f"{milliseconds} ms each way")


@pytest.mark.parametrize("turn", range(4 if FULL else 1))
def test_a_line_that_delivers_in_odd_pieces(machine: Machine, spans: dict[str, float], turn: int) -> None:
    """Whoever reads a line, a length or a frame in one piece has been lucky so far."""
    machine.change()
    machine.root("head -c 4000000 /dev/urandom >/home/data/new")
    with through_a_relay(machine, seed=1 + dice("pieces", turn).randrange(1 << 31)):
        done = machine.run(BACKUP)
    assert done.status == CLEAN, done.output
    machine.assert_whole()
    machine.assert_recovers()
    TALLY.count("network", "in odd pieces")


def test_a_server_that_is_not_there(machine: Machine, spans: dict[str, float]) -> None:
    """It refuses the connection: the alert waits, and reaches the server with the next run."""
    machine.change()
    machine.root("mv /var/lib/sedai/.ssh/authorized_keys /var/lib/sedai/.ssh/away")
    done = machine.run(BACKUP)
    machine.root("mv /var/lib/sedai/.ssh/away /var/lib/sedai/.ssh/authorized_keys")
    assert done.status == NOT_DONE
    assert "can't be reached" in done.output
    assert any("/state/alerts/" in name for name in machine.told())
    machine.assert_recovers()
    assert not any("/state/alerts/" in name for name in machine.told())
    TALLY.count("network", "refused")


def test_enough_was_tried() -> None:
    assert TALLY.total("network") >= FEWEST
    assert {f"cut at {phase}" for phase in CUTS} <= set(TALLY.rounds["network"])
