"""No client fills the disk: what is used up is said in words before it is."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sealing import put, sealed

from sedai.server import quota
from sedai.server.quota import Quota
from sedai.server.receiver import LimitError
from sedai.server.store import ClientStore

ROOT = Path(__file__).parents[3]
MIB = 1 << 20
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
    assert limits.used_up() == ""
    put(store, {"s/h": BYTES.randbytes(2 * MIB)})
    assert limits.used_up() == "The quota of 4 GiB is used up."


def test_what_is_used_up_is_said_where_it_can_t_be_noted(store: ClientStore) -> None:
    """As on a full disk."""
    put(store, {"s/f": BYTES.randbytes(3 * MIB)})
    (store.root / "usage").mkdir()
    assert Quota(store, 2, 0).used_up() == "The quota of 2 GiB is used up."


def test_what_was_sent_too_much_is_dropped(store: ClientStore) -> None:
    limits = Quota(store, 2, 0)
    put(store, {"s/f": BYTES.randbytes(3 * MIB)})
    limits.refuse_if_used_up()
    assert list(store.delta.iterdir()) == []
    sealed(store, put(store, {"s/f": BYTES.randbytes(3 * MIB)}), 2)
    store.prepare()
    with pytest.raises(LimitError, match="quota of 2 GiB"):
        limits.refuse_if_used_up()


def test_what_was_dropped_counts_until_it_is_removed(store: ClientStore) -> None:
    limits = Quota(store, 4, 0)
    for _ in range(2):  # each as much as may be sent
        put(store, {"s/f": BYTES.randbytes(3 * MIB)})
        sealed(store, [], 0)
        store.prepare()
        limits.refuse_if_used_up()
        put(store, {"s/f": BYTES.randbytes(3 * MIB)})
        assert limits.used_up() == ""
    assert sum(path.stat().st_size for path in store.trash.rglob("*") if path.is_file()) < 4 * MIB


def test_without_a_quota_there_is_the_reserve(store: ClientStore) -> None:
    assert Quota(store, None, 0).used_up() == ""
    assert "the disk" in Quota(store, None, 100).used_up()
    assert Quota(store, None, 100).free_bytes() == 0
    assert Quota(store, None, 0).limit().file_bytes is None


def test_a_request_without_end_is_cut(store: ClientStore) -> None:
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: object) -> int:
            assert isinstance(buffer, memoryview)
            return len(buffer)

    target = store.incoming / "changes"
    with target.open("wb") as stream, pytest.raises(LimitError):
        Quota(store, 20, 0).copy(io.BufferedReader(Endless()), stream)
    assert target.stat().st_size < 60 * MIB


def test_a_short_request_is_copied(store: ClientStore) -> None:
    target = io.BytesIO()
    Quota(store, 20, 0).copy(io.BytesIO(b"x" * 100), target)
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


def test_what_a_transfer_leaves_behind_is_waited_for(tmp_path: Path) -> None:
    done = tmp_path / "done"
    leave = f"(sleep 1; echo x >{done}) & exit 3"
    script = f"import os\nstatus = receiver.run(['sh', '-c', {leave!r}])\nos.write(1, open({str(done)!r}, 'rb').read())"
    with received(f"{script}\nraise SystemExit(status)", stdout=subprocess.PIPE) as process:
        assert process.communicate(timeout=50)[0] == "x\n"
    assert process.returncode == 3


def test_a_transfer_ends_when_nobody_listens() -> None:
    began = time.monotonic()
    with received("receiver.run(['sleep', '60'])", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        time.sleep(1)
        process.stdout.close()
        process.wait(50)
    assert time.monotonic() - began < 50
