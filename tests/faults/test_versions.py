"""A half-upgraded pair: one side speaks another protocol, files of the library are missing or change during a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fault_lab import BACKUP, CLEAN, FINDINGS, TALLY, USAGE, Machine

CLIENT, SERVER = "/root/project/scripts", "/usr/local/lib/sedai"
FEWEST = 6


@pytest.fixture(scope="module")
def made(machine: Machine) -> Machine:
    """The machine."""
    machine.fresh(files=100, big_mib=1)
    return machine


@pytest.fixture(autouse=True)
def upgraded(machine: Machine) -> Iterator[None]:
    """Afterwards both sides have the same version."""
    yield
    upgrade(machine)


def upgrade(machine: Machine) -> None:
    """Bring both sides to this version, file by file, as provisioning does."""
    for place in (CLIENT, SERVER):
        machine.root(f'cd /scripts && find . -type f | while read -r name; do cp "$name" {place}/"$name"; done')


@pytest.mark.parametrize("protocol", [0, 2])
def test_one_side_speaks_another_protocol(made: Machine, protocol: int) -> None:
    """No backup is made, both versions are named, and a person is told at once: an alert is taken from any version."""
    made.root(f"sed -i 's/^PROTOCOL = .*/PROTOCOL = {protocol}/' {CLIENT}/sedai/core/wire.py")
    made.change()
    told, listed = made.told(), made.generations()
    done = made.run(BACKUP)
    assert done.status == USAGE, done.output
    assert f"speaks protocol {protocol}, this server 1" in done.output
    assert "site.yml" in done.output
    assert made.generations() == listed
    assert any(name.startswith("/alerts/") for name in made.told() - told)
    upgrade(made)
    made.assert_recovers()
    TALLY.count("versions", f"protocol {protocol}")


def test_a_server_that_refuses_even_the_alert(made: Machine) -> None:
    """One that does not know yet that it must take it: the alert waits, and arrives after the upgrade."""
    made.root(f"sed -i 's/any_version=command == \"alert\"/any_version=False/; t; ' {SERVER}/sedai/server/gate.py")
    made.root(f"sed -i 's/^PROTOCOL = .*/PROTOCOL = 2/' {CLIENT}/sedai/core/wire.py")
    told = made.told()
    assert made.run(BACKUP).status == USAGE
    [waiting] = made.told() - told
    assert "/state/alerts/" in waiting
    upgrade(made)
    made.change()
    made.assert_recovers()
    assert waiting not in made.told()
    assert any("speaks protocol 2" in made.texts({name}) for name in made.told() - told)
    TALLY.count("versions", "the alert waits")


@pytest.mark.parametrize("name", ["sedai/server/seal.py", "sedai/core/wire.py"])
def test_the_server_s_library_is_half_there(made: Machine, name: str) -> None:
    made.root(f"rm {SERVER}/{name}")
    made.change()
    told, listed = made.told(), made.generations()
    done = made.run(BACKUP)
    assert done.status not in (CLEAN, FINDINGS), done.output
    assert made.generations() == listed
    assert made.told() - told
    upgrade(made)
    made.assert_recovers()
    TALLY.count("versions", f"server without {name}")


def test_the_client_s_library_is_half_there(made: Machine) -> None:
    """It can't speak then; the server's watch does."""
    made.root(f"rm {CLIENT}/sedai/client/plan.py")
    told = made.told()
    done = made.run(BACKUP)
    assert done.status != CLEAN
    assert made.watch_tomorrow().status == FINDINGS
    assert "stale" in made.texts(made.told() - told)
    upgrade(made)
    made.assert_recovers()
    TALLY.count("versions", "client without a module")


@pytest.mark.parametrize("phase", ["scan", "send"])
def test_an_upgrade_in_the_middle_of_a_run(made: Machine, phase: str) -> None:
    made.change()
    told = made.told()
    pid = made.start(BACKUP)
    assert made.call("wait_for", pid=pid, phase=phase, role="client", delay=0.0)["phase"]
    upgrade(made)
    done = made.finish(pid)
    assert done.status == CLEAN or made.told() - told, done.output
    made.assert_recovers()
    TALLY.count("versions", f"upgraded at {phase}")


def test_enough_was_tried() -> None:
    assert TALLY.total("versions") >= FEWEST
