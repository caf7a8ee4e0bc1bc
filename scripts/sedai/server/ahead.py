"""Ahead: what is done behind an answer, for the run that comes next. The next farm is laid, what was dropped is removed.

By a process of its own. Killed at any moment it leaves nothing that the next one, or the seal itself, does not go on from;
a run waits for it only where it lays the very farm that the run needs.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable
from logging import Logger
from pathlib import Path

from sedai.core import lock
from sedai.core.errors import LockedError, SedaiError
from sedai.core.process import run
from sedai.server.beneath import allow_deep_paths
from sedai.server.store import ClientStore

Room = Callable[[], str]

_WHAT = "The work for the next run"
# What `ps` calls its process, whose command line is that of a gate.
_NAME = "sedai-ahead"


def start(store: ClientStore, log: Logger, used_up: Room, *, urgent: bool) -> None:
    """Begin it in a process of its own; returns at once.

    ``urgent``: a run has begun and will soon need the farm, so who lays it at leisure makes way. ``used_up`` says in words
    that there is no room; the farm is then not laid.
    """
    try:
        if os.fork() != 0:
            return
    except OSError as error:  # the answer was given; the next run does it
        log.warning("%s: no process for the work for the next run: %s", store.root.name, error)
        return
    try:
        os.setsid()
        Path("/proc/self/comm").write_text(_NAME, encoding="ascii")
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # or the connection would stay open until this is done
            os.dup2(nowhere, stream)
        if urgent:
            lock.stop_holder(store.ahead_lock)
        else:
            _be_idle()
        carry_out(store, log, used_up)
    except BaseException:
        log.exception("%s: the work for the next run failed", store.root.name)
    finally:
        os._exit(0)


def carry_out(store: ClientStore, log: Logger, used_up: Room) -> None:
    """Lay the farm of the generation that the next one is built on, then remove what was dropped."""
    with lock.exclusive(store.ahead_lock, _WHAT, wait_seconds=math.inf):
        try:
            with lock.exclusive(store.farm_lock, _WHAT, wait_seconds=math.inf):
                _lay(store, log, used_up)
        except (SedaiError, OSError, ValueError) as error:  # the next run tells it; what was dropped goes all the same
            log.warning("%s: the farm for the next run was not laid: %s", store.root.name, error)
    _be_idle()
    with contextlib.suppress(LockedError):  # somebody is at it
        empty_trash(store, wait_seconds=0)


def empty_trash(store: ClientStore, wait_seconds: float = math.inf) -> None:
    """Remove what was dropped, now.

    Raises:
        LockedError: somebody else does it for longer than ``wait_seconds``.
    """
    with lock.exclusive(store.trash_lock, "The removal of what was dropped", wait_seconds=wait_seconds):
        store.empty_trash()


def give_back(store: ClientStore) -> None:
    """Drop the farm, and remove all that was dropped: the room is needed."""
    lock.stop_holder(store.ahead_lock)
    # Without that lock: whoever holds it can be ended by any run that begins, and this is a gate.
    with lock.exclusive(store.farm_lock, _WHAT, wait_seconds=math.inf):
        store.drop_farms()
    empty_trash(store)


def _lay(store: ClientStore, log: Logger, used_up: Room) -> None:
    from sedai.server.farm import Farm  # behind the answer

    base = store.base()
    store.drop_farms(besides=base)
    if base is None or Farm(store, base).is_laid:
        return
    if words := used_up():
        log.warning("%s: the farm for the next run is not laid: %s", store.root.name, words)
        return
    allow_deep_paths()
    began, busy = time.monotonic(), time.process_time()
    record = store.record_path(base)
    try:
        with lock.shared(record):  # or it could be pruned meanwhile, and would seem to have lost everything
            if not record.exists():
                return
            laid = Farm(store, base).lay()
    except OSError as error:  # a full disk: the room is needed for other things
        log.warning("%s: the farm for the next run was not laid: %s", store.root.name, error)
        store.drop_farms()
        return
    if laid.missing:
        with contextlib.suppress(LockedError), lock.exclusive(store.lock, _WHAT):
            store.want_again(laid.missing)  # so that the next run does not have to fail for it
    log.info("%s: laid the farm for the next run, %d entries, %.1f s, of which %.1f s of CPU", store.root.name,
             laid.entries, time.monotonic() - began, time.process_time() - busy)  # fmt: skip


def _be_idle() -> None:
    """From here on only where nobody else wants the processor or the disk."""
    os.nice(19)
    run(["ionice", "--class", "3", "--pid", str(os.getpid())], success=range(256))
