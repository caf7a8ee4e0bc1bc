"""Big files that change a little, on file systems with reflinks: little room a generation, and nothing else is different.

What one generation takes is what the file system says it has used, not what the programs say.
"""

from __future__ import annotations

import json

import pytest
from fault_lab import BACKUP, CHECK, CLEAN, FINDINGS, FULL, RESTORE, SERVER, SOURCE, STORE, TALLY, Disk, Machine, dice

THEME = "reflinks"
FILES, MIB = ("dump 0", "dump 1", "dump 2"), 64
# 0.1 GB a generation of three files of 1 GiB, and this is a sixteenth of them.
MOST = 100_000_000 * MIB // 1024
FEWEST = 10

# Text, as noise would look like ransomware. A hundredth in pieces of 64 KiB, in place; of `sparse` a few bytes in each MiB.
PLANT = """
import os, sys
for name in sys.argv[1:]:
    with open(name, "wb") as stream:
        for _ in range(64):
            stream.write(os.urandom(1 << 19).hex().encode())
with open("sparse", "wb") as stream:
    for number in range(64):
        stream.seek(number << 20)
        stream.write(os.urandom(50_000).hex().encode())
    stream.truncate(64 << 20)
"""
CHANGE = """
import os, random, sys
dice = random.Random(sys.argv[1])
for name in sys.argv[2:]:
    with open(name, "r+b") as stream:
        size = os.fstat(stream.fileno()).st_size
        for _ in range(max(1, size // 100 // 65536)):
            stream.seek(dice.randrange(size - 65536))
            stream.write(dice.randbytes(32768).hex().encode())
with open("sparse", "r+b") as stream:
    stream.seek(dice.randrange(64) << 20)
    stream.write(dice.randbytes(50_000).hex().encode())
"""
# Text and 40 MiB of zeros behind it: as a hole where that is asked for, else written.
HOLLOW = """
import os, random, sys
with open("hollow", "wb") as stream:
    stream.write(random.Random(1).randbytes(4 << 20).hex().encode())
    if len(sys.argv) == 1:
        stream.write(bytes(40 << 20))
    stream.truncate(48 << 20)
"""
# What a quota counts, as the gate's account sees it.
COUNTED = """
import sys
sys.path.insert(0, "/usr/local/lib/sedai")
from pathlib import Path
from sedai.server.quota import GIB, Quota
from sedai.server.store import ClientStore
print(GIB - Quota(ClientStore(Path("/server/store/laptop")), 1, 0).free_bytes())
"""


def python(machine: Machine, program: str, *words: str) -> str:
    """Run a program in the source's directory."""
    machine.call("write", path="/run/program.py", text=program)
    return machine.root(f"cd {SOURCE} && python3 /run/program.py {' '.join(map(repr, words))}")


def change(machine: Machine) -> None:
    """A hundredth of each big file."""
    machine.seed += 1
    python(machine, CHANGE, str(machine.seed), *FILES)


def used(machine: Machine) -> int:
    """Bytes that the server's disk has no more for others, when all that goes on there is over."""
    machine.call("wait_for_end", role="ahead")
    machine.root("sync -f /server; sleep 1; sync -f /server")
    return int(machine.root("df --block-size=1 --output=used /server | tail -n 1"))


def record(machine: Machine, generation: str) -> dict[str, object]:
    """What the server noted."""
    found: dict[str, object] = json.loads(machine.root(f"cat {STORE}/generations/{generation}/generation.json"))
    return found


def inodes(machine: Machine) -> dict[str, str]:
    """Inode, mode, owner, time and size of each generation's big files, by their paths; whoever links one moves its ctime."""
    shown = machine.root(
        f"cd {STORE}/generations && find . -type f -path '*{SOURCE}/*' -size +3M -printf '%p|%i %m %U %G %T@ %s\\n'"
    )
    return dict(line.split("|", 1) for line in shown.splitlines())


def digests(machine: Machine, generation: str) -> str:
    """Of its big files."""
    return machine.root(
        f"cd {STORE}/generations/{generation} && find . -type f -size +3M -exec sha256sum {{}} + | sort"
    )


def keep(machine: Machine, last: int) -> None:
    """Prune by hand."""
    machine.configure_server(keep_last=last)
    pruned = machine.run(f"runuser -u sedai -- {SERVER} prune --client laptop")
    assert pruned.status == CLEAN, pruned.output
    assert len(machine.generations()) == last


@pytest.fixture(scope="module", params=["xfs", "btrfs"])
def made(machine: Machine, request: pytest.FixtureRequest) -> Machine:
    """A generation with three big files and a sparse one, on a disk with reflinks."""
    machine.fresh(files=40, big_mib=1, keep_last=12, server=Disk("2500M", kind=request.param), client=Disk("300M"))
    python(machine, PLANT, *FILES)
    machine.root(f"cd {SOURCE} && setfattr -n user.note -v kept '{FILES[0]}' && chown 1234:5678 '{FILES[1]}'")
    assert machine.run(BACKUP).status == CLEAN
    return machine


def test_ten_generations_take_little_more_than_one(made: Machine) -> None:
    """The older ones are left as they were; what is new has inodes of its own."""
    first = made.generations()[-1]
    sealed = {first: digests(made, first)}
    for _ in range(9):
        before, room = inodes(made), used(made)
        change(made)
        assert made.run(BACKUP).status == CLEAN
        taken = used(made) - room
        assert taken < MOST
        after, newest = inodes(made), made.generations()[-1]
        assert before.items() <= after.items()
        new = {status.split()[0] for path, status in after.items() if newest in path}
        assert len(new) == len(FILES) + 1
        assert not {status.split()[0] for status in before.values()} & new
        sealed[newest] = digests(made, newest)
        TALLY.count(THEME, "generations")
    assert len(set(sealed.values())) == 10
    assert all(digests(made, name) == known for name, known in sealed.items())
    made.assert_whole()
    stored = f"{STORE}/generations/{made.generations()[-1]}/tree{SOURCE}"
    noted = made.root(f"cd {stored} && getfattr -d '{FILES[0]}' '{FILES[1]}'")
    assert 'user.note="kept"' in noted and 'user.rsync.%stat="100644 0,0 1234:5678"' in noted, noted


def assert_quota_counts_what_is_there(made: Machine) -> None:
    """Within what a file system itself needs."""
    counted, there = int(python(made, COUNTED)), used(made)
    empty = int(made.root("du --summarize --block-size=1 --exclude=generations /server | cut -f 1"))
    assert there - empty - (16 << 20) < counted < there + (16 << 20)


def test_a_quota_counts_what_is_there(made: Machine) -> None:
    """Neither what two generations share twice, nor as shared what is a hole in both."""
    assert_quota_counts_what_is_there(made)
    newest = record(made, made.generations()[-1])
    assert 0 < int(str(newest["shared_bytes"])) < (3 * MIB + 64 * 100_000 // (1 << 20) + 1) << 20
    assert newest["shareable_bytes"] == 0
    TALLY.count(THEME, "a quota")


def test_zeros_in_place_of_a_hole_spare_nothing(made: Machine) -> None:
    """Sent again and again, now with holes and now without, they would be room for which nobody pays."""
    for hollow in (True, False):
        python(made, HOLLOW, *["hollow"] * hollow)
        assert made.run(BACKUP).status == CLEAN
    newest = record(made, made.generations()[-1])
    assert 0 < int(str(newest["shared_bytes"])) <= 8 << 20
    assert_quota_counts_what_is_there(made)
    made.root(f"rm {SOURCE}/hollow")
    TALLY.count(THEME, "zeros")


@pytest.fixture(scope="module")
def few(made: Machine) -> Machine:
    """The same with few generations, which are checked more quickly."""
    keep(made, 2)
    return made


@pytest.mark.parametrize("turn", range(6 if FULL else 1))
@pytest.mark.parametrize("phase, role", [("check", "gate"), ("send", "receiver"), ("publish", "gate")])
def test_a_kill(few: Machine, phase: str, role: str, turn: int) -> None:
    """Whatever is left half made goes, and the next generation takes little room too."""
    room = used(few)
    change(few)
    pid = few.start(BACKUP)
    delay = dice(THEME, phase, turn).random() * 0.4
    hit = few.call("kill", pid=pid, phase=phase, role=role, delay=delay, which=0.5)
    few.finish(pid)
    few.assert_recovers()
    assert few.root(f"ls {STORE}/incoming/staging 2>/dev/null || true") == ""
    assert used(few) - room < 2 * MOST + (8 << 20)
    TALLY.count(THEME, f"killed at {hit or 'its end'}")


def test_a_power_loss(few: Machine) -> None:
    """What was told as sealed is there, with what it shares."""
    if "btrfs" in few.root("findmnt --noheadings --output FSTYPE /server"):
        pytest.skip("btrfs has no shutdown call before Linux 6.19")
    change(few)
    assert few.run(BACKUP).status == CLEAN
    few.call("wait_for_end", role="ahead")
    sealed = few.generations()
    few.cut_power("server")
    few.power_on("server")
    assert few.generations() == sealed
    few.assert_whole()
    few.assert_recovers()
    TALLY.count(THEME, "power loss")


def test_rot_in_the_base_is_not_shared(made: Machine) -> None:
    """Nor does it go on: what was sent is proven, and shares what is the same as that and nothing else."""
    made.configure_server(keep_last=3)  # the first one of the day, and the newest two
    generation = made.generations()[-1]
    stored = f"{STORE}/generations/{generation}/tree{SOURCE}/{FILES[0]}"
    made.root(
        f"touch -r '{stored}' /run/times; printf X | dd of='{stored}' bs=1 seek=20000000 conv=notrunc 2>/dev/null;"
        f" touch -r /run/times '{stored}'"
    )
    change(made)
    assert made.run(BACKUP).status == CLEAN
    assert made.differences() == []
    assert int(str(record(made, made.generations()[-1])["shared_bytes"])) > 2 * MIB << 20
    checked = made.run(CHECK)
    assert checked.status == FINDINGS
    assert generation in checked.output
    assert made.generations()[-1] not in checked.output
    TALLY.count(THEME, "rot")


def test_the_generation_that_is_shared_with_goes(made: Machine) -> None:
    """Each generation stays whole by itself, and can be restored."""
    keep(made, 1)
    made.assert_whole()
    made.root("rm -rf /home/restored")
    restored = made.run(f"{RESTORE} restore --to /home/restored {SOURCE}")
    assert restored.status == CLEAN, restored.output
    assert made.call("differences", source=SOURCE, tree=f"/home/restored{SOURCE}") == []
    TALLY.count(THEME, "pruned")


def test_enough_was_tried() -> None:
    assert TALLY.total(THEME) >= FEWEST
