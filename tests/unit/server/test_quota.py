"""No client fills the disk: what is used up is said in words before it is."""

from __future__ import annotations

import dataclasses
import io
import itertools
import logging
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sealing import put, sealed

from sedai.server import ahead, quota
from sedai.server.quota import Quota
from sedai.server.receiver import LimitError
from sedai.server.store import ClientStore

ROOT = Path(__file__).parents[3]
MIB = 1 << 20
LOG = logging.getLogger("test")
BYTES = random.Random(2)  # noqa: S311  not for secrets


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClientStore:
    """An empty store; a "GiB" is a MiB here."""
    monkeypatch.setattr(quota, "GIB", MIB)
    made = ClientStore(tmp_path / "laptop")
    made.prepare()
    return made


def test_all_that_is_stored_counts_once(store: ClientStore) -> None:
    limits = Quota(store, 4, 0)
    assert limits.used_up() == ""
    assert limits.free_bytes() > 3 * MIB
    sealed(store, put(store, {"s/f": BYTES.randbytes(2 * MIB)}), 2)
    sealed(store, put(store, {"s/g": b"x"}), 3)  # s/f is in both
    assert MIB < limits.free_bytes() < 2 * MIB
    assert limits.make_room() == ""
    put(store, {"s/h": BYTES.randbytes(2 * MIB)})
    assert limits.used_up() == "The quota of 4 GiB is used up."


def test_what_two_generations_share_counts_once(store: ClientStore) -> None:
    """Of what is shared with a generation that is not there any more one has its own."""
    for _ in range(3):
        record = sealed(store, put(store, {"s/f": BYTES.randbytes(2 * MIB)}), 2)
        dataclasses.replace(record, shared_bytes=MIB).write(store.record_path(store.generations()[-1]))
    store.prepare()
    first, *_ = store.generations()
    limits = Quota(store, 8, 0)
    assert 4 * MIB - 100_000 < 8 * MIB - limits.free_bytes() < 4 * MIB + 200_000
    store.discard(store.directory(first))
    assert 3 * MIB - 100_000 < 8 * MIB - limits.free_bytes() < 3 * MIB + 200_000


def test_what_is_used_up_is_said_where_it_can_t_be_noted(store: ClientStore) -> None:
    """As on a full disk."""
    put(store, {"s/f": BYTES.randbytes(3 * MIB)})
    (store.root / "usage").mkdir()
    assert Quota(store, 2, 0).used_up() == "The quota of 2 GiB is used up."


def test_what_was_sent_too_much_is_dropped(store: ClientStore) -> None:
    limits = Quota(store, 2, 0)
    put(store, {"s/f": BYTES.randbytes(3 * MIB)})
    limits.drop_or_refuse()
    assert list(store.delta.iterdir()) == []
    sealed(store, put(store, {"s/f": BYTES.randbytes(3 * MIB)}), 2)
    store.prepare()
    with pytest.raises(LimitError, match="quota of 2 GiB"):
        limits.drop_or_refuse()


def test_what_was_dropped_counts_until_it_is_removed(store: ClientStore) -> None:
    limits = Quota(store, 4, 0)
    for _ in range(2):  # each as much as may be sent
        put(store, {"s/f": BYTES.randbytes(3 * MIB)})
        sealed(store, [], 0)
        store.prepare()
        limits.drop_or_refuse()
        put(store, {"s/f": BYTES.randbytes(3 * MIB)})
        assert limits.limit().exceeded() == ""
        assert list(store.trash.iterdir()) == []


@pytest.fixture
def many_directories(store: ClientStore, monkeypatch: pytest.MonkeyPatch) -> ClientStore:
    """A generation of hardly anything but directories, 2 MiB of them, whose farm waits; there is nothing else."""
    monkeypatch.setattr(ahead, "_be_idle", lambda: None)
    sealed(store, put(store, {f"s/{number}/f": b"" for number in range(511)}), 511 * 2 + 1)
    store.prepare()
    ahead.carry_out(store, LOG, str)
    return store


def test_a_farm_that_waits_counts(many_directories: ClientStore) -> None:
    store = many_directories
    assert Quota(store, 4, 0).used_up()
    assert Quota(store, 5, 0).used_up() == ""
    [note] = store.farms.glob("*/laid")
    note.unlink()  # one that is not whole is measured
    assert Quota(store, 4, 0).used_up()
    assert Quota(store, 5, 0).used_up() == ""


def test_what_waits_is_given_back_before_anybody_is_refused(many_directories: ClientStore) -> None:
    """What was dropped first: the farm is needed soon."""
    store, garbage = many_directories, many_directories.trash / "garbage"
    garbage.write_bytes(BYTES.randbytes(2 * MIB))
    assert Quota(store, 5, 0).make_room() == ""
    assert not garbage.exists()
    assert list(store.farms.iterdir())
    assert Quota(store, 4, 0).make_room() == ""
    assert list(store.farms.iterdir()) == list(store.trash.iterdir()) == []
    assert Quota(store, 1, 0).make_room()


def test_a_farm_that_there_is_no_room_for_is_given_up_again(many_directories: ClientStore) -> None:
    store = many_directories
    ahead.give_back(store)
    limits = Quota(store, 4, 0)
    assert limits.used_up() == ""
    ahead.carry_out(store, LOG, limits.used_up)
    assert list(store.farms.iterdir()) == list(store.trash.iterdir()) == []
    ahead.carry_out(store, LOG, Quota(store, 5, 0).used_up)
    assert list(store.farms.iterdir())


def test_what_was_dropped_keeps_no_farm_from_being_laid(many_directories: ClientStore) -> None:
    """It is removed first where there is no room for both."""
    store = many_directories
    ahead.give_back(store)
    (store.trash / "garbage").write_bytes(BYTES.randbytes(3 * MIB))
    ahead.carry_out(store, LOG, Quota(store, 5, 0).used_up)
    assert list(store.farms.iterdir())


def test_without_a_quota_there_is_the_reserve(store: ClientStore) -> None:
    assert Quota(store, None, 0).used_up() == ""
    assert "the disk" in Quota(store, None, 100).used_up()
    assert Quota(store, None, 100).free_bytes() == 0
    assert Quota(store, None, 0).limit().file_bytes is None


def test_a_request_without_end_is_cut(store: ClientStore) -> None:
    target = store.incoming / "changes"
    with target.open("wb") as stream, pytest.raises(LimitError):
        Quota(store, 20, 0).copy(itertools.repeat(bytes(1 << 16)), stream)
    assert target.stat().st_size < 60 * MIB


def test_a_short_request_is_copied(store: ClientStore) -> None:
    target = io.BytesIO()
    Quota(store, 20, 0).copy([b"x" * 60, b"x" * 40], target)
    assert target.getvalue() == b"x" * 100


def received(script: str, **streams: int) -> subprocess.Popen[str]:
    """A process of its own that receives: it waits for all its children, and this one has some that stay."""
    return subprocess.Popen(
        [sys.executable, "-c", f"from sedai.server import receiver\n{script}"],
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
        **streams,
    )


def test_a_transfer_ends_when_the_limit_is_reached() -> None:
    script = """
answers = iter(["", "", "used up"])
try:
    receiver.run(["sleep", "60"], receiver.Limit(None, lambda: next(answers)))
except receiver.LimitError as error:
    raise SystemExit(str(error))
"""
    began = time.monotonic()
    with received(script, stderr=subprocess.PIPE) as process:
        assert process.communicate(timeout=50)[1] == "used up\n"
    assert process.returncode == 1
    assert time.monotonic() - began < 50


def test_a_file_has_no_more_than_the_limit(tmp_path: Path) -> None:
    target = tmp_path / "f"
    write = f"exec dd if=/dev/zero of={target} bs=65536 count=64 2>/dev/null"
    with received(f"assert receiver.run(['sh', '-c', {write!r}], receiver.Limit({MIB})) != 0") as process:
        assert process.wait(50) == 0
    assert target.stat().st_size == MIB


def test_a_transfer_ends_when_nobody_listens() -> None:
    began = time.monotonic()
    with received("receiver.run(['sleep', '60'])", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        time.sleep(1)
        process.stdout.close()
        process.wait(50)
    assert time.monotonic() - began < 50
