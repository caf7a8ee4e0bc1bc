"""Full disks: bytes and inodes, of the server and of the client, at each phase; and nothing but room is needed afterwards."""

from __future__ import annotations

from typing import Any

import pytest
from fault_lab import (
    BACKUP,
    CHECK,
    CLEAN,
    FINDINGS,
    FULL,
    MOUNTS,
    NOT_DONE,
    SERVER,
    SOURCE,
    STATE,
    STORE,
    TALLY,
    Disk,
    Machine,
    delays,
    dice,
    spans_of,
)

# Nothing is set aside for root, and few inodes are there.
SMALL = Disk("90M", ("-m", "0", "-N", "4000"))
PHASES = {
    "server": ("begin", "send", "seal", "check", "link", "publish", "sign", "prune"),
    "client": ("connect", "scan", "send", "settle", "seal", "link", "record"),
}
ALL = [(side, phase, what) for what in ("bytes", "inodes") for side, phases in PHASES.items() for phase in phases]
QUICK = [("server", "send", "bytes"), ("server", "link", "inodes"), ("client", "seal", "bytes")]
FEWEST = 31 if FULL else 7
# Gives a file names in a directory until it can have no more, and says how many it has.
USE_UP_NAMES = """
import errno, itertools, os, sys
try:
    for number in itertools.count():
        os.link(sys.argv[1], f"{sys.argv[2]}/{number}")
except OSError as error:
    assert error.errno == errno.EMLINK
print(os.stat(sys.argv[1]).st_nlink)
"""
# An attribute of a file, which must not be lost with its inode.
NOTE = "python3 -c 'import os, sys; os.setxattr(sys.argv[1], \"user.note\", sys.argv[2].encode())'"
NOTED = "python3 -c 'import os, sys; print(os.getxattr(sys.argv[1], \"user.note\").decode())'"


@pytest.fixture(scope="module")
def spans(machine: Machine) -> dict[str, float]:
    """Seconds that a run spends in each phase, on disks that are soon full."""
    machine.fresh(files=300, big_mib=2, keep_last=3, server=SMALL, client=SMALL, reserve_percent=0)
    return spans_of(machine, 3 if FULL else 1)


def filling(side: str, what: str, leave: int = 0) -> dict[str, Any]:
    """The agent's call that leaves no room on one side's disk."""
    return {"call": "fill_inodes" if what == "inodes" else "fill", "directory": MOUNTS[side], "leave": leave}


def fill(machine: Machine, side: str, what: str, leave: int = 0) -> None:
    """No room on one side's disk."""
    assert_full(what, machine.call(**filling(side, what, leave)), leave)


def assert_full(what: str, left: int, leave: int = 0) -> None:
    """No more is left than was to be."""
    assert left < leave + (16 if what == "inodes" else 16 << 10)


def make_room(machine: Machine) -> None:
    """What a person does, and nothing else."""
    machine.root("rm -rf /server/ballast /root/ballast /server/many-files /root/many-files")


def judge(machine: Machine, status: int | None, output: str, told: set[str], listed: list[str]) -> None:
    """Whatever came of a run that met a full disk, somebody hears of what is not done."""
    sealed = machine.generations()[-1] not in listed
    assert status in (CLEAN, FINDINGS, NOT_DONE), output
    assert sealed if status == CLEAN else machine.told() - told, output


def test_a_file_with_as_many_names_as_the_file_system_allows(machine: Machine) -> None:
    """ext4 allows 65,000: the first name of the next generation is the last of them, the others share one copy."""
    machine.fresh(files=40, big_mib=1, server=Disk("90M"))
    machine.call("wait_for_end", role="ahead")
    machine.root(f"mkdir '{SOURCE}/many names'; cd '{SOURCE}/many names'; seq 100 >1; ln 1 2; ln 1 3; {NOTE} 1 kept")
    assert machine.run(BACKUP).status == CLEAN
    machine.call("wait_for_end", role="ahead")
    trees = [f"{STORE}/generations/{machine.generations()[-1]}/tree{SOURCE}/many names"]
    machine.root(f"rm -r {STORE}/farms; mkdir /server/names")
    most = int(machine.root(f"python3 -c '{USE_UP_NAMES}' '{trees[0]}/1' /server/names"))
    assert most == 65_000
    machine.root("rm /server/names/0")
    machine.change()
    machine.assert_recovers()
    trees.append(f"{STORE}/generations/{machine.generations()[-1]}/tree{SOURCE}/many names")
    first, *others = machine.root(f"cd '{trees[1]}'; stat --format '%i %h %Y %A' 1 2 3").splitlines()
    old = machine.root(f"stat --format '%i %h %Y %A' '{trees[0]}/1'").strip()
    assert first == old
    assert len(set(others)) == 1
    assert others[0].split()[1:] == ["4", *old.split()[2:]]  # two of the generation, two of the farm that waits
    assert machine.root(f"{NOTED} '{trees[1]}/3'") == "kept\n"
    TALLY.count("full", "names of a file")


@pytest.mark.parametrize("turn", range(2 if FULL else 1))
@pytest.mark.parametrize("side, phase, what", ALL if FULL else QUICK)
def test_it_fills_up_during_a_backup(
    machine: Machine, spans: dict[str, float], side: str, phase: str, what: str, turn: int
) -> None:
    throw = dice("full", side, phase, what, turn)
    for delay in delays(throw, spans.get(phase, 0.05) / 2):
        machine.change()
        machine.root(f"head -c 3000000 /dev/urandom | od >{SOURCE}/new")
        told, listed = machine.told(), machine.generations()
        pid = machine.start(BACKUP)
        then = filling(side, what)
        found = machine.call("wait_for", pid=pid, phase=phase, role="client", delay=delay, then=then)
        done = machine.finish(pid)
        at = found["phase"]
        if not at:
            assert done.status == CLEAN, done.output
            continue
        assert_full(what, found["done"])
        judge(machine, done.status, done.output, told, listed)
        make_room(machine)
        machine.assert_recovers(look_first=throw.random() < 0.5)
        TALLY.count("full", f"{side} {what} at {at}")
        if at == phase:
            return
    pytest.fail("the phase was always over before")


@pytest.mark.parametrize("side, what", [(side, what) for side in PHASES for what in ("bytes", "inodes")])
def test_it_is_full_beforehand(machine: Machine, spans: dict[str, float], side: str, what: str) -> None:
    """And stays so for a while: the generations can be checked meanwhile, and each run that fails is told."""
    machine.change()
    fill(machine, side, what)
    told, listed = machine.told(), machine.generations()
    done = machine.run(BACKUP)
    judge(machine, done.status, done.output, told, listed)
    if side == "server":
        assert done.status == NOT_DONE
        assert machine.told() - told
        checked = machine.run(CHECK)
        assert checked.status == CLEAN, checked.output
    elif done.status != CLEAN:
        told_now = [name for name in machine.told() - told if name.startswith("/alerts/")]
        assert told_now, "the server is there: the alert need not wait for room on the client"
    make_room(machine)
    machine.assert_recovers()
    TALLY.count("full", f"{side} {what} beforehand")


@pytest.mark.parametrize("kib", range(2900, 12000, 700) if FULL else [4200])
def test_there_is_room_for_a_part(machine: Machine, spans: dict[str, float], kib: int) -> None:
    """From nothing of what a run needs to all of it: wherever it ends, it ends well."""
    machine.change()
    machine.root(f"head -c 3000000 /dev/urandom | od >{SOURCE}/new")
    fill(machine, "server", "bytes", kib << 10)
    told, listed = machine.told(), machine.generations()
    done = machine.call("profile", command=BACKUP)
    judge(machine, done["status"], done["output"], told, listed)
    make_room(machine)
    machine.assert_recovers()
    TALLY.count("full", f"server with {kib} KiB left")


def test_pruning_by_hand_makes_room(machine: Machine, spans: dict[str, float]) -> None:
    """On a disk on which not one byte is left."""
    for _ in range(3):
        machine.change()
        assert machine.run(BACKUP).status == CLEAN
    machine.call("wait_for_end", role="ahead")  # which makes room, by removing what was dropped
    fill(machine, "server", "inodes")
    fill(machine, "server", "bytes")
    before = machine.generations()
    machine.configure_server(keep_last=2, reserve_percent=0)
    pruned = machine.run(f"runuser -u sedai -- {SERVER} prune --client laptop")
    assert pruned.status == CLEAN, pruned.output
    assert len(machine.generations()) < len(before)
    make_room(machine)
    machine.configure_server(keep_last=3, reserve_percent=0)
    machine.assert_recovers()
    TALLY.count("full", "pruned by hand")


def test_a_reserve_is_kept(machine: Machine, spans: dict[str, float]) -> None:
    """Long before the disk is full a backup is refused in words, and the server's watch has said so."""
    machine.configure_server(keep_last=3, reserve_percent=10)
    fill(machine, "server", "bytes", 7 << 20)
    told = machine.told()
    assert machine.watch().status == FINDINGS
    assert "the disk of the backups is nearly full" in machine.texts(machine.told() - told)
    done = machine.run(BACKUP)
    assert done.status == NOT_DONE
    assert "10 %" in done.output
    make_room(machine)
    machine.configure_server(keep_last=3, reserve_percent=0)
    machine.watch()
    machine.assert_recovers()
    TALLY.count("full", "a reserve")


def test_an_alert_that_the_server_can_neither_mail_nor_keep(machine: Machine, spans: dict[str, float]) -> None:
    """The real ``send_alert_email.sh`` ends with 73 then: the client keeps the alert, and hands it over later."""
    machine.root(
        "mkdir -p /spool /usr/local/lib/alerts && (mountpoint -q /spool || mount -t tmpfs -o size=64k tmpfs /spool)"
        " && chown sedai: /spool && mkdir -p -m 0700 /root/nowhere"
    )
    machine.call("write", path="/etc/sedai/alert.toml", text=(
        'recipients = ["user@example.com"]\nfrom_address = "user@example.com"\nfrom_name = "server"\n'
        'spool_directory = "/spool"\nlog_file = "/server/log/mail.log"\nmsmtp_config = "/nonexistent"\n'
    ))  # fmt: skip
    machine.root("chown sedai: /etc/sedai/alert.toml; head -c 100000 /dev/zero >/spool/ballast; true")
    machine.call(
        "write",
        path="/usr/local/lib/alerts/send_alert_email.sh",
        text='#!/bin/sh\nexec python3 /scripts/send_alert_email.py /etc/sedai/alert.toml "$@"\n',
        mode=0o755,
    )
    sent = machine.run("runuser -u sedai -- /usr/local/lib/alerts/send_alert_email.sh --incident a:b subject text")
    assert sent.status == 73, sent.output
    machine.root(
        "sed -i 's|/usr/local/bin/send_alert_email.sh|/usr/local/lib/alerts/send_alert_email.sh|' /etc/sedai/server.toml"
    )
    machine.root(f"mv {SOURCE} {SOURCE}.away")
    failed = machine.run(BACKUP)
    machine.root(f"mv {SOURCE}.away {SOURCE}")
    assert failed.status == FINDINGS, failed.output
    waiting = machine.root(f"ls {STATE}/alerts/*.json").split()
    assert len(waiting) == 1
    machine.root("rm /spool/ballast")
    assert machine.run(BACKUP).status == CLEAN
    assert machine.run(f"ls {STATE}/alerts/*.json").status != 0, "it still waits"
    assert "backup" in machine.root("cat /spool/queue/*")
    machine.configure_server(keep_last=3, reserve_percent=0)
    machine.assert_recovers()
    TALLY.count("full", "the spool of the alerts")


def test_enough_was_full() -> None:
    assert TALLY.total("full") >= FEWEST
    wanted = {f"{side} {what} at {phase}" for side, phase, what in (ALL if FULL else QUICK)}
    assert wanted <= set(TALLY.rounds["full"])
