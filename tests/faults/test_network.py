"""The line between client and server: cut without a word, slow, losing packets, gone for a while.

This kernel need not have netem: packets are lost by nftables, and the line is made slow by tc's token bucket.
"""

from __future__ import annotations

import pytest
from fault_lab import BACKUP, CLEAN, FULL, NOT_DONE, SLOW, TALLY, Machine, dice, spans_of

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

PHASES = ("connect", "begin", "scan", "send", "settle", "seal", "check", "link", "prune", "record")
FEWEST = 16 if FULL else 3


@pytest.fixture(scope="module")
def spans(machine: Machine) -> dict[str, float]:
    """Seconds that a run spends in each phase. Both sides find out within seconds that the other is gone."""
    machine.fresh(files=400, big_mib=8, keep_last=3, hurried=True)
    return spans_of(machine, 1)


@pytest.mark.parametrize("phase", PHASES if FULL else ["send"])
def test_a_cut(machine: Machine, spans: dict[str, float], phase: str) -> None:
    """Nothing arrives any more, and nobody says so: each side finds out by itself, and lets go of what it holds."""
    machine.change()
    told, listed = machine.told(), machine.generations()
    pid = machine.start(BACKUP)
    delay = dice("cut", phase).random() * spans.get(phase, 0.05)
    at = machine.call("wait_for", pid=pid, phase=phase, role="client", delay=delay)["phase"] or "after"
    ports = machine.root(CLIENTS_PORTS).split()
    machine.root(CUT)
    done = machine.finish(pid)
    machine.heal_network()
    if ports:
        # What was cut stays so, as behind a router that has a new address: the server is never told that the client went.
        machine.root(LOSE % {"ports": f"{{ {', '.join(ports)} }}", "which": ""})
    if done.status != CLEAN or machine.generations()[-1] in listed:
        assert done.status == NOT_DONE, done.output
        waiting = machine.told() - told
        assert any("/state/alerts/" in name for name in waiting), "nothing waits to be told"
    machine.assert_recovers()
    machine.heal_network()
    assert not any("/state/alerts/" in name for name in machine.told()), "it was not delivered"
    TALLY.count("network", f"cut at {at}")


def test_a_line_that_is_gone_for_a_moment(machine: Machine, spans: dict[str, float]) -> None:
    machine.change()
    pid = machine.start(BACKUP)
    assert machine.call("wait_for", pid=pid, phase="send", role="client", delay=0.1)["phase"]
    machine.root(f"{CUT}\nsleep 1.5")
    machine.heal_network()
    assert machine.finish(pid).status == CLEAN
    machine.assert_whole()
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
    TALLY.count("network", f"loses {percent} %")


@pytest.mark.parametrize("mbit", [2] if FULL else [20])
def test_a_slow_line(machine: Machine, spans: dict[str, float], mbit: int) -> None:
    machine.change()
    machine.root(f"head -c 4000000 /dev/urandom >/home/data/new && {SLOW.format(mbit=mbit)}")
    done = machine.run(BACKUP, seconds=600)
    machine.heal_network()
    assert done.status == CLEAN, done.output
    machine.assert_whole()
    TALLY.count("network", f"{mbit} Mbit/s")


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
