"""The scrub on real generations: all is read in time, rot is found wherever it is shared, told, and healed."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_seal import line, sealed, send
from watching import Watcher

from sedai.core import lock
from sedai.core.errors import ConfigError, ExitCode, LockedError
from sedai.server import housekeeping
from sedai.server.config import ClientRules, ServerConfig, Watch
from sedai.server.notebook import read_json, write_json
from sedai.server.scrub import Notes, due, scrub, share, with_shares
from sedai.server.store import ClientStore
from sedai.server.stored import digest_open

LOG = logging.getLogger("test")
DAY = 86400.0
NOW = 1_800_000_000.0
DAYS = 7
FILES = 60


@pytest.fixture
def store(tmp_path: Path) -> ClientStore:
    """Two generations: most files are shared, one is only in the first, one only in the second."""
    made = ClientStore(tmp_path / "store" / "laptop")
    made.prepare()
    names = [f"s/{number:02d}" for number in range(FILES)]
    sealed(made, send(made, "s/", *names), FILES + 1)
    sealed(made, send(made, "s/", "s/00", "s/new", content="another"), FILES + 2)
    return made


@pytest.fixture
def config(tmp_path: Path, store: ClientStore) -> ServerConfig:
    sender = tmp_path / "send_alert_email.sh"
    sender.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1 $2" >>{tmp_path}/calls\ncat >{tmp_path}/body\n')
    sender.chmod(0o700)
    (tmp_path / "watch").mkdir()
    return ServerConfig(
        store.root.parent, tmp_path / "log", alert_command=(str(sender),), clients={"laptop": ClientRules()},
        watch=Watch(tmp_path / "watch", scrub_days=DAYS),
    )  # fmt: skip


def rot(path: Path) -> None:
    """Flip a bit; size and times stay."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(stat.st_mode & 0o7777)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def tree(store: ClientStore, number: int) -> Path:
    return store.tree(store.generations()[number])


def nights(config: ServerConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    """One night after the other, at about the same hour."""
    started = time.time()
    for night in range(100):
        now = started + night * DAY + (night * 2654435761 % 7200 - 3600)
        monkeypatch.setattr("sedai.server.scrub.time.time", lambda now=now: now)
        yield now


def told(tmp_path: Path) -> list[str]:
    calls = tmp_path / "calls"
    lines = calls.read_text().splitlines() if calls.exists() else []
    calls.unlink(missing_ok=True)
    return [line.replace("watch:client.laptop.", "") for line in lines]


def test_each_inode_is_read_once_a_week_and_only_once(
    config: ServerConfig, store: ClientStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    genuine = digest_open

    def digest(descriptor: int, expected: int) -> object:
        read.append(os.fstat(descriptor).st_ino)
        return genuine(descriptor, expected)

    monkeypatch.setattr("sedai.server.entries.digest_open", digest)
    every = {path.stat().st_ino for path in store.root.glob("generations/*/tree/s/*")}
    assert len(every) == FILES + 2
    run = nights(config, monkeypatch)
    for _ in range(3):
        read.clear()
        most = 0
        for _ in range(DAYS):
            next(run)
            outcome = scrub(config, LOG)
            assert outcome.findings == []
            most = max(most, outcome.read_files)
        assert sorted(read) == sorted(every)
        assert most < FILES / 2


def test_somebody_who_looks_sees_how_far_it_is(config: ServerConfig, store: ClientStore) -> None:
    everything = replace(config, watch=replace(config.watch, scrub_days=1))
    watcher = Watcher()
    outcome = scrub(everything, LOG, watcher)
    [phase] = watcher.phases
    assert phase.phase == "scrub" and [moved() for moved in phase.moved] == [outcome.read_bytes]
    assert phase.size == outcome.read_bytes > 0


def test_rot_is_found_within_a_week_and_named_with_all_its_generations(
    config: ServerConfig, store: ClientStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rot(tree(store, 0) / "s/07")  # the same inode in both
    rot(tree(store, 0) / "s/00")  # only in the first
    lines: set[str] = set()
    run = nights(config, monkeypatch)
    for _ in range(DAYS):
        next(run)
        for finding in scrub(config, LOG).findings:
            lines |= set(str(finding.figures["lines"]).splitlines())
    first, second = map(str, store.generations())
    assert len(lines) == 2
    assert any(
        line.startswith("content: /s/07: expected CRC32") and line.endswith(f"in {first}, {second}") for line in lines
    )
    assert any(line.startswith("content: /s/00: expected CRC32") and line.endswith(f"in {first}") for line in lines)
    assert store.wanted() == {b"s/07"}


def test_what_the_disk_can_not_read_any_more_is_sent_again(
    config: ServerConfig, store: ClientStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = digest_open

    def digest(descriptor: int, expected: int) -> object:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("/s/07"):
            raise OSError(5, "Input/output error")
        return genuine(descriptor, expected)

    monkeypatch.setattr("sedai.server.entries.digest_open", digest)
    [finding] = scrub(replace(config, watch=replace(config.watch, scrub_days=1)), LOG).findings
    first, second = map(str, store.generations())
    assert finding.figures["lines"] == (
        f"unreadable: /s/07: expected readable, found Input/output error; in {first}, {second}"
    )
    assert store.wanted() == {b"s/07"}


def test_all_names_of_a_rotten_inode_are_named(config: ServerConfig, store: ClientStore) -> None:
    """Hard links of the source are one inode in the store too."""
    send(store, "s/", "s/one", content="linked")
    os.link(store.delta / "s/one", store.delta / "s/two")
    sealed(store, [line(store, name) for name in ("s", "s/one", "s/two")], FILES + 4)
    rot(tree(store, 2) / "s/two")
    [finding] = scrub(replace(config, watch=replace(config.watch, scrub_days=1)), LOG).findings
    assert finding.figures["count"] == 1
    assert str(finding.figures["lines"]).startswith("content: /s/one, /s/two: expected CRC32")


def test_rot_is_told_healed_and_over(
    tmp_path: Path, config: ServerConfig, store: ClientStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    daily = replace(config, watch=replace(config.watch, scrub_days=1))
    assert housekeeping.carry_out("scrub", daily) is ExitCode.CLEAN
    told(tmp_path)
    rot(tree(store, 0) / "s/07")
    assert housekeeping.carry_out("scrub", daily) is ExitCode.FINDINGS
    assert told(tmp_path) == ["--incident rot"]
    body = (tmp_path / "body").read_text()
    assert "/s/07" in body and str(store.generations()[0]) in body and "none is known" in body
    # The next backup sends the file again: the newest generation is whole, the older ones stay as they are.
    assert store.wanted() == {b"s/07"}
    third = sealed(store, send(store, "s/", "s/07"), FILES + 2)
    assert housekeeping.carry_out("scrub", daily) is ExitCode.CLEAN
    assert told(tmp_path) == []  # nothing new, and not over
    notes = read_json(tmp_path / "watch" / "scrub.json")
    assert len(notes["rotten"]["laptop"]) == 1
    # New rot in an old generation is news.
    rot(tree(store, 0) / "s/00")
    assert housekeeping.carry_out("scrub", daily) is ExitCode.FINDINGS
    assert told(tmp_path) == ["--incident rot"]
    assert third.generation in (tmp_path / "body").read_text()
    for generation in store.generations()[:-1]:
        store.directory(generation).rename(tmp_path / str(generation))
    assert housekeeping.carry_out("scrub", daily) is ExitCode.CLEAN
    assert told(tmp_path) == ["--resolved rot"]
    assert housekeeping.carry_out("scrub", daily) is ExitCode.CLEAN
    assert told(tmp_path) == []


def test_what_is_rotten_is_not_over_because_another_share_is_read(
    tmp_path: Path, config: ServerConfig, store: ClientStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rot(tree(store, 0) / "s/07")
    run = nights(config, monkeypatch)
    states = []
    for _ in range(2 * DAYS):
        next(run)
        outcome = scrub(config, LOG)
        states.append(bool(outcome.findings))
        assert outcome.over == ([] if True in states else ["laptop"])
    found = states.index(True)
    assert all(states[found:])  # it is in the newest, so it is told each night until it is healed


@pytest.mark.parametrize("damage", ["missing", "added", "truncated", "manifest", "record"])
def test_everything_else_is_found_on_the_way(config: ServerConfig, store: ClientStore, damage: str) -> None:
    victim = tree(store, 1) / "s/33"
    if damage == "missing":
        victim.unlink()
    elif damage == "added":
        victim.with_name("planted").write_text("x")
    elif damage == "truncated":
        os.truncate(victim, 1)
    else:
        name = {"manifest": "manifest", "record": "generation.json"}[damage]
        (store.directory(store.generations()[1]) / name).write_bytes(b"rubbish")
    [finding] = scrub(config, LOG).findings
    assert finding.last_good in ("", str(store.generations()[0]))


def test_a_generation_that_is_being_read_is_not_pruned_and_the_lock_of_the_backup_is_free(
    config: ServerConfig, store: ClientStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = digest_open
    seen: list[bool] = []

    def digest(descriptor: int, expected: int) -> object:
        used = [lock.in_use(store.record_path(generation)) for generation in store.generations()]
        with lock.exclusive(store.lock, "a backup"):
            seen.append(used.count(True) == 1)
        return genuine(descriptor, expected)

    monkeypatch.setattr("sedai.server.entries.digest_open", digest)
    scrub(config, LOG)
    assert seen
    assert all(seen)


def test_a_generation_that_is_pruned_meanwhile_is_passed_over(
    config: ServerConfig, store: ClientStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = digest_open
    oldest = store.generations()[0]

    def digest(descriptor: int, expected: int) -> object:
        if store.directory(oldest).exists():
            store.directory(oldest).rename(tmp_path / "pruned")
        return genuine(descriptor, expected)

    monkeypatch.setattr("sedai.server.entries.digest_open", digest)
    assert scrub(config, LOG).findings == []


def test_a_generation_that_is_pruned_just_now_is_passed_over(
    config: ServerConfig, store: ClientStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oldest = store.generations()[0]
    genuine = lock.shared

    def shared(path: Path) -> object:
        if path == store.record_path(oldest):
            store.directory(oldest).rename(tmp_path / "pruned")
        return genuine(path)

    monkeypatch.setattr("sedai.server.verify.lock.shared", shared)
    assert scrub(config, LOG).findings == []
    assert not store.directory(oldest).exists()


def test_one_that_is_killed_begins_again(
    config: ServerConfig, store: ClientStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("sedai.server.entries.digest_open", lambda descriptor, expected: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            scrub(config, LOG)
    assert scrub(config, LOG).shares == (0,)
    assert scrub(config, LOG).shares == (1,)


@pytest.mark.parametrize("damage", ["{", "[]", '{"started": "x"}', '{"started": 1, "read": 5, "rotten": {}}'])
def test_damaged_notes_are_begun_anew(config: ServerConfig, tmp_path: Path, damage: str) -> None:
    (tmp_path / "watch" / "scrub.json").write_text(damage)
    assert scrub(config, LOG).shares == (0,)


def test_two_at_once_do_not_meet(config: ServerConfig, tmp_path: Path) -> None:
    with lock.exclusive(tmp_path / "watch" / "scrub.lock", "a scrub"), pytest.raises(LockedError):
        scrub(config, LOG)
    with pytest.raises(ConfigError):
        scrub(replace(config, watch=Watch()), LOG)


def read(*ages: float) -> Notes:
    """Shares that were read so many days ago."""
    return Notes(NOW - 100 * DAY, tuple(NOW - age * DAY for age in ages))


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        (with_shares(Notes(), NOW, 7), (0,)),
        (read(6, 5, 4, 3, 2, 1, 7), (6,)),
        (read(7, 6, 5, 4, 3, 2, 1), (0,)),
        (read(7.2, 6.3, 5, 4, 3, 2, 1), (0, 1)),
        (read(6.7, 5.7, 4.7, 3.7, 2.7, 1.7, 0.7), (0,)),
        (read(9, 8, 7, 6, 5, 4, 3), (0, 1, 2)),  # two nights were missed
        (read(99, 99, 99, 99, 99, 99, 99), (0, 1, 2, 3, 4, 5, 6)),
        (read(5, 5, -30, 5, 5, 5, 5), (0, 2)),  # from a wrong clock
        (read(1), (0,)),
    ],
)
def test_what_is_due(notes: Notes, expected: tuple[int, ...]) -> None:
    assert due(notes, NOW, len(notes.read)) == expected


@settings(deadline=None)
@given(st.integers(1, 30), st.lists(st.floats(-3.0, 3.0), min_size=60, max_size=60), st.sets(st.integers(0, 59)))
def test_nothing_stays_unread_too_long(days: int, jitter: list[float], missed: set[int]) -> None:
    """Nightly within three hours: all is read in time; after missed nights it is, from the first that is not missed."""
    notes = with_shares(Notes(), NOW, days)
    for night in range(60):
        if night in missed:
            continue
        now = NOW + night * DAY + jitter[night] * 3600
        taken = due(notes, now, days)
        assert taken
        moments = tuple(now if number in taken else moment for number, moment in enumerate(notes.read))
        notes = replace(notes, read=moments)
        oldest = min(moment or notes.started for moment in notes.read)
        assert now + DAY - oldest <= (days + 0.5) * DAY


@pytest.mark.parametrize("step", [1, 2, 7, 8, 64, 512])
def test_shares_are_of_about_one_size(step: int) -> None:
    """However a file system numbers its inodes."""
    inodes = range(1, 7000 * step, step)
    sizes = [sum(share(inode, DAYS) == number for inode in inodes) for number in range(DAYS)]
    assert min(sizes) > 800 and max(sizes) < 1200


def test_another_number_of_days_keeps_what_is_known() -> None:
    notes = Notes(NOW - 9 * DAY, (NOW - 3 * DAY, NOW - DAY), {"laptop": {"line": 5}})
    assert with_shares(notes, NOW, 3) == Notes(NOW - 9 * DAY, (NOW - 3 * DAY,) * 3, {"laptop": {"line": 5}})
    assert with_shares(notes, NOW, 2) is notes


def test_notes_are_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scrub.json"
    write_json(path, {"a": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sedai.server.notebook.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_json(path, {"a": 2})
    assert read_json(path) == {"a": 1}
