"""Pruning stops where a backup looks like ransomware or an accident, and only there."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sealing import line, put, sealed

from sedai.core.generation import Generation, Retention
from sedai.core.wire import Change
from sedai.server import freeze, prune
from sedai.server.store import ClientStore

ROOT = Path(__file__).parents[3]
NOISE = random.Random(1)  # noqa: S311  not for secrets
ENTRIES = 101
NEWEST_ONLY = Retention(keep_last=1, guard_days=0)


def text(number: int) -> bytes:
    """A page that compresses well."""
    return b"".join(b"%d: %d apples and pears\n" % (number, line) for line in range(100))


def other_text(number: int) -> bytes:
    """Another one."""
    return text(number + 1000)


def noise(number: int) -> bytes:
    """What encryption leaves."""
    return NOISE.randbytes(4000)


def packed(number: int) -> bytes:
    """What an honest program leaves."""
    return gzip.compress(noise(number))


def documents(
    store: ClientStore, numbers: Sequence[int], content: Callable[[int], bytes], ending: str = ""
) -> list[Change]:
    """Documents in the delta, and their changes."""
    return put(store, {f"s/{number:03}.txt{ending}": content(number) for number in numbers})


def gone(numbers: Sequence[int]) -> list[Change]:
    """Documents that are removed."""
    return [Change(b"s/%03d.txt" % number, None) for number in numbers]


@pytest.fixture
def store(tmp_path: Path) -> ClientStore:
    """A hundred documents in one generation."""
    made = ClientStore(tmp_path / "laptop")
    made.prepare()
    record = sealed(made, documents(made, range(100), text), ENTRIES, 50)
    assert (record.anomaly, freeze.read(made)) == ("", None)
    return made


def s(store: ClientStore) -> list[Change]:
    """The directory itself, which changes with its names."""
    store.prepare()
    (store.delta / "s").mkdir(exist_ok=True)
    return [line(store, "s")]


Attack = Callable[[ClientStore], tuple[list[Change], int]]


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (
            lambda store: (documents(store, range(51), other_text), ENTRIES),
            "0 of 100 files were removed and 51 changed",
        ),
        (lambda store: ([*s(store), *gone(range(51))], 50), "51 of 100 files were removed and 0 changed"),
        (
            lambda store: ([*documents(store, range(30), other_text), *gone(range(40, 70))], 71),
            "30 of 100 files were removed and 30 changed",
        ),
        (lambda store: (documents(store, range(15), noise), ENTRIES), "15 of 15 changed files"),
        (
            lambda store: ([*documents(store, range(12), noise, ".locked"), *gone(range(12))], ENTRIES),
            "12 of 12 changed files",
        ),
        (
            lambda store: ([*documents(store, range(12), noise, ".id-7.locked"), *gone(range(12))], ENTRIES),
            "12 of 12 changed files",
        ),
    ],
)
def test_it_freezes(store: ClientStore, attack: Attack, words: str) -> None:
    record = sealed(store, *attack(store), 50)
    assert words in record.anomaly
    assert store.record(store.generations()[-1]).anomaly == record.anomaly
    found = freeze.read(store)
    assert found is not None
    assert (found.generation, found.reason) == (record.generation, record.anomaly)
    done = prune.prune(store, NEWEST_ONLY)
    assert done.dropped == ()
    assert record.generation in done.frozen and words in done.frozen
    assert len(store.generations()) == 2
    assert freeze.release(store) == found
    assert len(prune.prune(store, NEWEST_ONLY).dropped) == 1


@pytest.mark.parametrize(
    "honest",
    [
        lambda store: (documents(store, range(50), other_text), ENTRIES),
        lambda store: (documents(store, range(100, 300), noise), 301),  # new files are no anomaly
        lambda store: (documents(store, range(9), noise), ENTRIES),
        lambda store: ([*documents(store, range(30), packed, ".gz"), *gone(range(30))], ENTRIES),  # logrotate
        lambda store: (documents(store, range(100), text), ENTRIES),  # touched or chmodded: the same bytes
        lambda store: ([*documents(store, range(12), noise, "-other"), *gone(range(12))], ENTRIES),
    ],
)
def test_it_does_not_freeze(store: ClientStore, honest: Attack) -> None:
    assert sealed(store, *honest(store), 50).anomaly == ""
    assert freeze.read(store) is None


def test_what_was_noise_before_is_nothing_new(store: ClientStore) -> None:
    put(store, {f"s/{number:03}.jpg": noise(number) for number in range(40)})
    sealed(store, [*s(store), *(line(store, f"s/{number:03}.jpg") for number in range(40))], 141, 50)
    put(store, {f"s/{number:03}.jpg": noise(number) for number in range(40)})
    record = sealed(store, [*s(store), *(line(store, f"s/{number:03}.jpg") for number in range(40))], 141, 50)
    assert record.anomaly == ""


def unreadable(place: Path) -> None:
    """Reading it fails, as on a bad disk: a directory can be opened, too."""
    place.mkdir()


@pytest.mark.parametrize("become", [unreadable, os.mkfifo, lambda place: place.symlink_to("/"), lambda place: None])
def test_what_has_become_something_else_in_the_base_is_no_reason_to_refuse(
    store: ClientStore, become: Callable[[Path], None]
) -> None:
    """The changed file is healed by the very generation that would not come."""
    place = store.tree(store.generations()[-1]) / "s/003.txt"
    place.unlink()
    become(place)
    record = sealed(store, documents(store, range(12), other_text), ENTRIES, 50)
    assert record.anomaly == ""
    assert (store.tree(store.generations()[-1]) / "s/003.txt").read_bytes() == other_text(3)


def test_a_tree_of_a_few_files_may_change_wholly(tmp_path: Path) -> None:
    store = ClientStore(tmp_path / "small")
    store.prepare()
    sealed(store, documents(store, range(19), text), 20, 50)
    assert sealed(store, documents(store, range(19), noise), 20, 50).anomaly == ""
    assert sealed(store, [*s(store), *gone(range(19))], 1, 50).anomaly == ""


def test_at_100_percent_only_noise_counts(store: ClientStore) -> None:
    assert sealed(store, documents(store, range(100), other_text), ENTRIES, 100).anomaly == ""
    assert "noise" in sealed(store, documents(store, range(100), noise), ENTRIES, 100).anomaly


def test_a_frozen_store_goes_on_taking_generations(store: ClientStore) -> None:
    first = sealed(store, documents(store, range(60), noise), ENTRIES, 50)
    second = sealed(store, documents(store, range(60), text), ENTRIES, 50)
    found = freeze.read(store)
    assert found is not None and found.generation == first.generation != second.generation


def test_a_mark_that_can_t_be_read_holds(store: ClientStore) -> None:
    for content in ("", "[]", "{}", '{"since": 3}'):
        store.frozen.write_text(content)
        assert "can't be read" in str(freeze.read(store))
        assert prune.prune(store, NEWEST_ONLY).frozen


@pytest.mark.parametrize(
    ("count", "minutes", "held"), [(20, 1, False), (21, 1, True), (21, 59, True), (21, 60, False), (21, -5, False)]
)
def test_while_nothing_is_pruned_one_an_hour_is_taken(tmp_path: Path, count: int, minutes: int, held: bool) -> None:
    store = ClientStore(tmp_path / "laptop")
    store.prepare()
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    for number in range(1, count + 1):
        store.directory(Generation(number, now - timedelta(minutes=minutes))).mkdir()
    assert bool(prune.too_many(store, Retention(), now)) is held


def program(tmp_path: Path, *words: str) -> str:
    """Run sedai_server.py."""
    configuration = tmp_path / "server.toml"
    configuration.write_text(f'store = "{tmp_path}"\nlog_file = "{tmp_path}/log"\n[clients.laptop]\n')
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/sedai_server.py", "--config", configuration, *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_person_freezes_and_releases(store: ClientStore, tmp_path: Path) -> None:
    assert "was not frozen" in program(tmp_path, "release", "--client", "laptop")
    assert "moving house" in program(tmp_path, "freeze", "--client", "laptop", "--reason", "moving house")
    assert "nothing dropped, frozen since" in program(tmp_path, "prune", "--client", "laptop")
    assert "moving house" in program(tmp_path, "prune", "--explain")
    assert "moving house" in program(tmp_path, "release", "--client", "laptop")
    assert "dropped 0, kept 1" in program(tmp_path, "prune")
    assert "1 of 10" in program(tmp_path, "prune", "--explain")
