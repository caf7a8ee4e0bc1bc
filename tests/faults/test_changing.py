"""Sources that don't hold still: files that change, shrink, grow, vanish and turn into directories while they are read;
files that can't be read, and a disk that isn't mounted.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from fault_lab import BACKUP, CLEAN, FINDINGS, FULL, NOT_DONE, SLOW, SOURCE, STORE, TALLY, Machine, dice

BIG = f"{SOURCE}/read slowly"
# What happens to the file while it is read; a rewrite keeps its size.
DEEDS = {
    "shrinks": f"truncate --size 1000000 '{BIG}'",
    "grows": f"head -c 3000000 /dev/urandom >>'{BIG}'",
    "is rewritten": f"head -c 5000000 /dev/urandom | dd of='{BIG}' conv=notrunc status=none",
    "is emptied": f": >'{BIG}'",
    "vanishes": f"rm '{BIG}'",
    "becomes a directory": f"rm '{BIG}' && mkdir '{BIG}' && echo x >'{BIG}/below'",
    "becomes a symlink": f"rm '{BIG}' && ln -s /etc/passwd '{BIG}'",
    "is replaced": f"head -c 2000000 /dev/urandom >/home/other && mv /home/other '{BIG}'",
    "other directories vanish": f"rm -r '{SOURCE}/directory 1'*",  # a third: more would be taken for a disaster
    "its source is unmounted": f"umount -l {SOURCE}",
}
STOP = int(signal.SIGSTOP)
QUICK = ["shrinks", "vanishes", "becomes a directory"]
FEWEST = 16 if FULL else 6

# Runs beside the backup until it is killed.
RESTLESS = r"""
import os, random, shutil, sys, time
dice, top = random.Random(sys.argv[1]), sys.argv[2]
os.makedirs(top, exist_ok=True)
while True:
    path = f"{top}/{dice.randrange(40)}"
    deed = dice.randrange(9)
    try:
        if deed == 0:
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
        elif deed == 1:
            os.mkdir(path)
        elif deed == 2:
            open(f"{path}/{dice.randrange(9)}", "w").write("below")
        elif deed == 3:
            os.symlink("/etc/hostname", path)
        elif deed == 4:
            os.rename(path, f"{top}/{dice.randrange(40)}")
        elif deed == 5:
            os.truncate(path, dice.randrange(100_000))
        elif deed == 6:
            os.chmod(path, dice.choice([0o600, 0o644, 0o755]))
        elif deed == 7:
            os.link(path, f"{top}/{dice.randrange(40)}")
        else:
            with open(path, dice.choice(["ab", "wb", "r+b"])) as stream:
                stream.write(dice.randbytes(dice.randrange(200_000)).hex().encode())
    except OSError:
        pass
    time.sleep(0.004)
"""


@pytest.fixture(scope="module")
def made(machine: Machine) -> Machine:
    """The machine with a source on a file system of its own."""
    machine.root(f"mountpoint -q {SOURCE} || mount -t tmpfs -o size=200m tmpfs {SOURCE}")
    machine.fresh(files=150, big_mib=1)
    return machine


@pytest.mark.parametrize("deed", DEEDS if FULL else QUICK)
def test_a_file_while_it_is_read(made: Machine, deed: str) -> None:
    made.root(f"rm -rf '{BIG}'; head -c 6000000 /dev/urandom | od >'{BIG}'")
    made.root(SLOW.format(mbit=20))
    told, listed = made.told(), made.generations()
    pid = made.start(BACKUP)
    reading = f"for _ in $(seq 600); do ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q '{BIG}' && exit 0; sleep 0.05; done; exit 1"
    made.root(reading)
    made.root(DEEDS[deed])
    made.heal_network()
    done = made.finish(pid)
    if deed == "its source is unmounted":
        assert done.status == NOT_DONE, done.output
        assert made.told() - told
        assert made.generations() == listed
        made.root(f"mount -t tmpfs -o size=200m tmpfs {SOURCE}")
        made.call("plant", source=SOURCE, seed=made.seed, files=150, big_mib=1)
    else:
        assert done.status in (CLEAN, FINDINGS), done.output
        assert done.status == CLEAN or made.told() - told
    made.assert_recovers()
    TALLY.count("changing", deed)


@pytest.fixture
def restless(made: Machine, request: pytest.FixtureRequest) -> Iterator[int]:
    """A program at whose forty names something happens all the time; its process id."""
    seed = dice("restless", request.node.name).randrange(1 << 32)
    made.call("write", path="/home/restless.py", text=RESTLESS)
    pid = made.start(f"python3 /home/restless.py {seed} {SOURCE}/restless")
    yield pid
    made.call("send", pid=pid, number=9)
    made.finish(pid)


@pytest.mark.parametrize("turn", range(10 if FULL else 1))
def test_a_restless_directory(made: Machine, restless: int, turn: int) -> None:
    """Each generation is whole, whatever it caught; where there is none, a person hears of it."""
    for _ in range(3):
        backup_beside(made)
    made.call("send", pid=restless, number=STOP)
    made.assert_recovers()


def backup_beside(made: Machine) -> int | None:
    """A backup beside the restless program; its status."""
    told = made.told()
    done = made.run(BACKUP)
    assert done.status in (CLEAN, FINDINGS, NOT_DONE), done.output
    assert done.status == CLEAN or made.told() - told
    made.assert_stored_whole()
    TALLY.count("changing", "restless, no generation" if done.status == NOT_DONE else "restless")
    return done.status


def test_a_file_that_can_t_be_read_stays_as_it_was(made: Machine) -> None:
    """Root without its right to read everything, as on a file system that refuses even root."""
    unreadable = f"{SOURCE}/directory 5/file 5"
    made.root(f"mkdir -p '{SOURCE}/directory 5'; echo old >'{unreadable}'")
    made.assert_recovers()
    made.root(f"echo new >'{unreadable}'; chmod 0 '{unreadable}'")
    told = made.told()
    done = made.run(f"setpriv --bounding-set=-dac_override,-dac_read_search {BACKUP}")
    assert done.status == FINDINGS, done.output
    assert "directory 5/file 5" in done.output
    assert "directory 5/file 5" in made.texts(made.told() - told)
    stored = f"{STORE}/generations/{made.generations()[-1]}/tree{unreadable}"
    assert made.root(f"cat '{stored}'") == "old\n"
    made.assert_stored_whole()
    made.root(f"chmod 0644 '{unreadable}'")
    made.assert_recovers()
    TALLY.count("changing", "unreadable")


def test_a_source_that_is_an_empty_mount_point(made: Machine) -> None:
    """What it held stays in the next generation, and a person hears of it."""
    before = made.root(f"find {SOURCE} -type f | wc -l")
    made.root(f"umount -l {SOURCE}")
    told = made.told()
    done = made.run(BACKUP)
    assert done.status == FINDINGS, done.output
    assert "is it mounted?" in done.output
    assert "is it mounted?" in made.texts(made.told() - told)
    newest = f"{STORE}/generations/{made.generations()[-1]}/tree{SOURCE}"
    assert made.root(f"find {newest} -type f | wc -l") == before
    made.assert_stored_whole()
    made.root(f"mount -t tmpfs -o size=200m tmpfs {SOURCE}")
    made.call("plant", source=SOURCE, seed=made.seed, files=150, big_mib=1)
    made.assert_recovers()
    TALLY.count("changing", "not mounted")


def test_enough_was_tried(made: Machine) -> None:
    made.root(f"umount -l {SOURCE}")
    assert TALLY.total("changing") >= FEWEST
    rounds = TALLY.rounds["changing"]
    assert rounds["restless"] > rounds["restless, no generation"]
