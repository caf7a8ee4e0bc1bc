"""Work in several processes: in order, with what goes wrong told, and nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sedai.core import workers
from sedai.core.errors import ConfigError, IntegrityError, ProcessError, SedaiError


def children() -> list[str]:
    with open(f"/proc/self/task/{os.getpid()}/children") as stream:
        return stream.read().split()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_results_come_in_order(count: int) -> None:
    before = children()
    found = list(workers.spread(lambda piece: (piece, len(piece) * 2), (b"x" * size for size in range(20)), count))
    assert found == [(b"x" * size, size * 2) for size in range(20)]
    assert children() == before


def test_they_are_other_processes() -> None:
    found = set(workers.spread(lambda piece: os.getpid(), range(8), 2))
    assert len(found) == 2 and os.getpid() not in found


def test_large_pieces_and_large_results_do_not_wait_for_each_other() -> None:
    size = 5 << 20
    found = workers.spread(lambda piece: bytes(piece) * 2, (b"x" * size for _ in range(4)), 2)
    assert [len(result) for result in found] == [2 * size] * 4


def test_what_the_work_raises_is_raised_here() -> None:
    def work(piece: int) -> int:
        if piece == 3:
            raise IntegrityError("a line is damaged", "look at it")
        return piece

    before = children()
    results = workers.spread(work, range(9), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(IntegrityError, match="a line is damaged") as raised:
        next(results)
    assert raised.value.hint == "look at it"
    assert children() == before


def test_a_worker_that_is_killed_is_told() -> None:
    def work(piece: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return piece

    with pytest.raises(SedaiError, match="was ended"):
        list(workers.spread(work, range(3), 2))


def test_a_worker_that_is_killed_while_it_answers_is_told() -> None:
    """Half of its answer has come."""

    def work(piece: int) -> bytes:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0.5)  # by then it waits for somebody to read on
        return bytes(1 << 20)

    taken = workers._Worker(work, ())
    try:
        taken.take(0)
        os.waitid(os.P_PID, taken._process, os.WEXITED | os.WNOWAIT)
        with pytest.raises(SedaiError, match="was ended"):
            taken.result()
    finally:
        taken.end()


def test_who_looks_no_further_leaves_nobody_behind() -> None:
    before = children()
    results: Iterator[int] = workers.spread(lambda piece: piece, iter(range(1000)), 2)
    assert next(results) == 0
    assert len(children()) == len(before) + 2
    results.close()  # type: ignore[attr-defined]
    assert children() == before


def test_they_end_with_the_process_that_started_them() -> None:
    """In the middle of their work too: what they hold, a lock for one, is held no longer."""
    code = (
        "import signal, time\n"
        "from sedai.core import workers\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.5)\n"  # nobody handles it
        "list(workers.spread(lambda piece: time.sleep(60), range(9), 2))\n"
    )
    reading, writing = os.pipe()
    scripts = Path(workers.__file__).parents[2]
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", code], pass_fds=[writing], cwd=scripts) as process:
        os.close(writing)
        assert process.wait() == -signal.SIGALRM
        # The pipe's end is heard when the last of them has gone.
        assert os.read(reading, 1) == b""
    os.close(reading)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "error", [SedaiError("a", "b"), IntegrityError("a"), ConfigError("a", "b"), ProcessError("a", 3, "said", "b")]
)
def test_what_a_worker_raises_is_what_the_other_side_sees(error: SedaiError) -> None:
    def work(piece: int) -> int:
        raise error

    with pytest.raises(type(error)) as raised:
        list(workers.spread(work, [1], 2))
    assert (str(raised.value), vars(raised.value)) == (str(error), vars(error))
