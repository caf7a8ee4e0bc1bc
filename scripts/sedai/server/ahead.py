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
from sedai.core.beneath import allow_deep_paths
from sedai.core.errors import LockedError, SedaiError
from sedai.core.process import be_idle
from sedai.server import removal
from sedai.server.store import ClientStore

Room = Callable[[], str]

_WHAT = "The work for the next run"
# What `ps` calls its process, whose command line is that of a gate: one that anybody may end, and one that a run waits for.
_AT_LEISURE, _HURRIED = "sedai-ahead", "sedai-ahead-now"
# How long a process may take to end that lays at idle priority, on a busy disk.
_MAKE_WAY_SECONDS = 60


def start(
    store: ClientStore, log: Logger, used_up: Room, *, urgent: bool, at_last: Callable[[], None] | None = None
) -> None:
    """Begin it in a process of its own; returns at once.

    ``urgent``: a run has begun and will soon need the farm, so who lays it at leisure makes way. ``used_up`` says in words
    that there is no room; the farm is then not laid. ``at_last``: what else is to be done, when all this is.
    """
    try:
        if os.fork() != 0:
            return
    except OSError as error:  # the answer was given; the next run does it
        log.warning("%s: no process for the work for the next run: %s", store.root.name, error)
        return
    try:
        os.setsid()
        _be_called(_HURRIED if urgent else _AT_LEISURE)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # or the connection would stay open until this is done
            os.dup2(nowhere, stream)
        if not urgent:
            _be_idle()
        carry_out(store, log, used_up, urgent=urgent)
        if at_last is not None:
            at_last()
    except BaseException:
        log.exception("%s: the work for the next run failed", store.root.name)
    finally:
        os._exit(0)


def carry_out(store: ClientStore, log: Logger, used_up: Room, *, urgent: bool = False) -> None:
    """Lay the farm of the generation that the next one is built on, then remove what was dropped.

    Whoever finds either of it being done leaves it to them: however many runs begin, one process lays.
    """
    if used_up():
        _sweep(store)
    made_way = urgent and make_way(store)
    try:
        with lock.exclusive(store.farm_lock, _WHAT, wait_seconds=_MAKE_WAY_SECONDS if made_way else 0):
            _lay(store, log, used_up, store.begun if urgent else "")
    except LockedError:
        pass  # a run that waits for the farm, or a seal, behind which it is laid
    except (SedaiError, OSError, ValueError) as error:  # the next run tells it; what was dropped goes all the same
        log.warning("%s: the farm for the next run was not laid: %s", store.root.name, error)
    _be_idle()
    _sweep(store)


def _sweep(store: ClientStore) -> None:
    # Who drops something while another process removes leaves it to that one, which has to look again: with the lock
    # let go, or what is dropped between its look and that would stay until the next run.
    with contextlib.suppress(LockedError):
        while store.has_trash():
            with lock.exclusive(store.trash_lock, _WHAT):
                store.empty_trash()


def make_way(store: ClientStore) -> bool:
    """End whoever lays the farm at leisure, for one who needs it now and goes on with it; whether there was anybody."""
    return lock.stop_holder(store.farm_lock, (_AT_LEISURE,))


def empty_trash(store: ClientStore, gone: removal.Gone = removal.ignore) -> None:
    """Remove what was dropped, now, and tell ``gone`` on the way."""
    lock.stop_holder(store.trash_lock, (_AT_LEISURE,))
    with lock.exclusive(store.trash_lock, "The removal of what was dropped", wait_seconds=math.inf):
        store.empty_trash(gone)


def give_back(store: ClientStore) -> None:
    """Drop the farm, and remove all that was dropped: the room is needed."""
    lock.stop_holder(store.farm_lock, (_AT_LEISURE, _HURRIED))
    with lock.exclusive(store.farm_lock, _WHAT, wait_seconds=math.inf):
        store.drop_farms()
    empty_trash(store)


def _lay(store: ClientStore, log: Logger, used_up: Room, run: str) -> None:
    """``run``: the one in flight, for which a farm that waits is looked at now, so that its seal need not do it."""
    from sedai.server.farm import Farm  # behind the answer

    base = store.base()
    store.drop_farms(besides=base)
    if base is None:
        return
    allow_deep_paths()
    farm = Farm(store, base)
    if farm.is_laid and (not run or farm.look(run)):
        return
    if words := used_up():
        log.warning("%s: the farm for the next run is not laid: %s", store.root.name, words)
        return
    began, busy = time.monotonic(), time.process_time()
    record = store.record_path(base)
    try:
        with lock.shared(record):  # or it could be pruned meanwhile, and would seem to have lost everything
            if not record.exists():
                return
            laid = farm.lay()
    except OSError as error:  # a full disk: the room is needed for other things
        log.warning("%s: the farm for the next run was not laid: %s", store.root.name, error)
        store.drop_farms()
        return
    if words := used_up():
        log.warning("%s: the farm for the next run is given up again: %s", store.root.name, words)
        store.drop_farms()
        return
    if laid.missing:
        with contextlib.suppress(LockedError), lock.exclusive(store.lock, _WHAT):
            store.want_again(laid.missing)  # so that the next run does not have to fail for it
    log.info("%s: laid the farm for the next run, %d entries, %.1f s, of which %.1f s of CPU", store.root.name,
             laid.entries, time.monotonic() - began, time.process_time() - busy)  # fmt: skip


def _be_idle() -> None:
    _be_called(_AT_LEISURE)
    be_idle()


def _be_called(name: str) -> None:
    Path("/proc/self/comm").write_text(name, encoding="ascii")
