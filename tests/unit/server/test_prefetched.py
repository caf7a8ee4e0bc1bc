"""Whoever reads many stored files has the next ones read meanwhile: on a real disk, with none of them in memory."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from page_cache import disk_directory, drop, is_cached
from sealing import put, sealed

from sedai.client import rehash, target
from sedai.core import manifest
from sedai.core.beneath import Beneath
from sedai.server import arrived, entries, reading, verify
from sedai.server.store import ClientStore

NAMES = [f"s/{number:02}" for number in range(40)]
LATER = 20


@pytest.fixture
def store() -> Iterator[ClientStore]:
    with disk_directory() as directory:
        yield ClientStore(directory / "laptop")


class Watched:
    """A function that reads a file: when it is called first, is the file of ``later`` on the way to memory?"""

    def __init__(self, genuine: Callable[..., Any], later: Path) -> None:
        self._genuine = genuine
        self._later = later
        self.came: bool | None = None

    def __call__(self, *arguments: Any) -> Any:
        if self.came is None:
            deadline = time.monotonic() + 10.0
            while not is_cached(self._later) and time.monotonic() < deadline:
                time.sleep(0.01)
            self.came = is_cached(self._later)
        return self._genuine(*arguments)


def content(name: str) -> bytes:
    return name.encode() * 2000


def generation(store: ClientStore) -> Path:
    """One is sealed, and none of it is in memory; its tree."""
    sealed(store, put(store, {name: content(name) for name in NAMES}), len(NAMES) + 1)
    tree = store.tree(store.generations()[0])
    for name in NAMES:
        drop(tree / name)
    return tree


@pytest.mark.parametrize("from_disk", [False, True])
def test_by_the_check_and_the_scrub(store: ClientStore, monkeypatch: pytest.MonkeyPatch, from_disk: bool) -> None:
    tree = generation(store)
    watched = Watched(entries.digest_open, tree / NAMES[LATER])
    monkeypatch.setattr(entries, "digest_open", watched)
    verifier = verify.Verifier(store, "full", lambda tally: None, from_disk=from_disk)
    assert list(verifier.generations(store.generations())) == []
    assert watched.came
    assert verifier.tally.read_files == len(NAMES)
    # The scrub leaves the memory to those who have use for it.
    assert [is_cached(tree / name) for name in NAMES] == [not from_disk] * len(NAMES)


def test_the_scrub_has_nothing_read_that_is_not_due(store: ClientStore) -> None:
    tree = generation(store)
    due = {(tree / name).stat().st_ino for name in NAMES[::2]}
    verifier = verify.Verifier(store, "full", lambda tally: None, reads=due.__contains__)
    assert list(verifier.generations(store.generations())) == []
    time.sleep(0.2)
    assert [is_cached(tree / name) for name in NAMES] == [True, False] * (len(NAMES) // 2)


def test_by_the_seal(store: ClientStore, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = put(store, {name: content(name) for name in NAMES})
    for name in NAMES:
        drop(store.delta / name)
    watched = Watched(arrived.digest_open, store.delta / NAMES[LATER])
    monkeypatch.setattr(arrived, "digest_open", watched)
    assert sealed(store, changes, len(NAMES) + 1).files == len(NAMES)
    assert watched.came


def test_by_a_restore(store: ClientStore, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = generation(store)
    watched = Watched(reading._answer, tree / NAMES[LATER])
    monkeypatch.setattr(reading, "_answer", watched)
    with Beneath(tree) as below:
        told = b"".join(reading.answers(below, io.BytesIO(b"".join(os.fsencode(name) + b"\n" for name in NAMES))))
    assert told == b"".join(b"%d\n%s" % (len(content(name)), content(name)) for name in NAMES)
    assert watched.came


def test_by_the_check_of_the_clients_own_files(store: ClientStore, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = generation(store)
    lines = list(manifest.read(store.manifest(store.generations()[0])))
    watched = Watched(target.digest, tree / NAMES[LATER])
    monkeypatch.setattr(target, "digest", watched)
    rehashed = rehash.Rehashed()
    # The tree itself is taken for the source: the links have the inodes and times of what arrived, but another ctime.
    monkeypatch.setattr(rehash, "_is_untouched", lambda path, line, root: True)
    assert list(rehash.compare(iter(lines), lambda entry: True, rehashed, root=os.fsencode(tree) + b"/")) == []
    assert rehashed.files == len(NAMES)
    assert watched.came
    assert not any(is_cached(tree / name) for name in NAMES)
