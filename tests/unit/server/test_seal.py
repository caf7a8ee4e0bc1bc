"""Sealing in a real directory: what was said is what is stored, or there is no generation."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xxhash

from sedai.client import scan
from sedai.core import lock, manifest, workers
from sedai.core.errors import IntegrityError, UsageError
from sedai.core.generation import Record, Retention
from sedai.core.wire import Change
from sedai.server import ahead, edit, prune, verify
from sedai.server.seal import Request, seal
from sedai.server.store import ClientStore


@pytest.fixture(params=[0, 2])
def store(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClientStore]:
    """An empty store of one client, in which so many processes place files, two at a time."""
    monkeypatch.setattr(edit, "_WORTH_WORKERS", 0)
    monkeypatch.setattr(edit, "_PIECE", 2)
    monkeypatch.setattr(workers, "count", lambda: request.param)
    made = ClientStore(tmp_path / "laptop")
    made.prepare()
    return made


def line(store: ClientStore, path: str, **changes: object) -> Change:
    """The change that seals ``path`` as it lies in the delta."""
    place = store.delta / path
    begin = scan.signature(os.fsencode(path), place.lstat())
    assert begin is not None
    target = manifest.escape(os.readlink(os.fsencode(place))) if place.is_symlink() else b""
    entry = manifest.decode(begin + b"-\t-\t" + target + b"\n")
    if entry.kind == "f":
        entry = entry._replace(xxh128=xxhash.xxh3_128(place.read_bytes()).hexdigest().encode())
    return Change(entry.path, manifest.encode(entry._replace(**changes)))  # type: ignore[arg-type]


def send(store: ClientStore, *paths: str, content: str = "") -> list[Change]:
    """Put files (directories end in a slash, symlinks are ``name -> target``) into the delta; the changes for them."""
    store.prepare()
    changes = []
    for path in paths:
        name, arrow, target = path.partition(" -> ")
        place = store.delta / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if arrow:
            place.symlink_to(target)
        elif name.endswith("/"):
            place.mkdir(exist_ok=True)
        else:
            place.write_text(content or name)
        changes.append(name.rstrip("/"))
    return [line(store, name) for name in changes]


def sealed(store: ClientStore, changes: list[Change], entries: int) -> Record:
    """Seal ``changes`` on the newest generation."""
    store.prepare()
    base = store.base()
    record = store.record(base) if base else None
    request = Request(str(base or ""), record.manifest_sha256 if record else "", entries, "now", ("/s",))
    ordered = sorted(changes, key=lambda change: manifest.order(change.path))
    return seal(store, "laptop", request, iter(ordered), lambda answer: None, lambda checked: None)


def problems(store: ClientStore) -> list[tuple[str, str]]:
    """Code and path of everything that a full check finds."""
    verifier = verify.Verifier(store, "full", lambda tally: None)
    return [(found.code, os.fsdecode(found.path)) for found in verifier.generations(store.generations())]


def content(store: ClientStore) -> dict[str, str]:
    """The newest generation's files."""
    newest = store.newest()
    assert newest is not None
    root = store.tree(newest)
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_generations_share_what_did_not_change(store: ClientStore) -> None:
    first = sealed(store, send(store, "s/", "s/same", "s/changes", "s/goes"), 4)
    changes = [*send(store, "s/", "s/changes", "s/comes", content="new"), Change(b"s/goes", None)]
    second = sealed(store, changes, 4)
    assert content(store) == {"s/same": "s/same", "s/changes": "new", "s/comes": "new"}
    old, new = (store.tree(generation) for generation in store.generations())
    assert (old / "s/same").stat().st_ino == (new / "s/same").stat().st_ino
    assert (old / "s/changes").read_text() == "s/changes"
    assert (second.previous, second.previous_manifest_sha256) == (first.generation, first.manifest_sha256)
    assert problems(store) == []


def test_many_files_are_placed_where_they_belong(store: ClientStore) -> None:
    first = send(
        store, "s/", *(f"s/{number % 3}/" for number in range(3)), *(f"s/{number % 3}/{number}" for number in range(20))
    )
    for name in ("s/0", "s/1"):
        os.utime(store.delta / name, ns=(5, 5))
    first = [line(store, os.fsdecode(change.path)) for change in first]
    sealed(store, first, 24)
    second = send(
        store, *(f"s/{number % 3}/{number}" for number in (16, *range(20, 30))), "s/new/", "s/new/f", "s/link -> f"
    )
    for name in ("s/new/again", "s/2/again"):
        os.link(store.delta / "s/1/16", store.delta / name)
    names = ["s/1/16", "s/new/again", "s/2/again"]
    elsewhere = ("s", "s/0", "s/1", "s/2", "s/1/16")
    second = [change for change in second if os.fsdecode(change.path) not in elsewhere]
    second += [line(store, name) for name in names]
    record = sealed(store, second, 24 + 10 + 3 + 2)
    assert (record.changed, record.removed) == (len(second), 0)
    assert problems(store) == []
    tree = store.tree(store.generations()[-1])
    assert {path.name for path in (tree / "s/1").iterdir()} == {"1", "4", "7", "10", "13", "16", "19", "22", "25", "28"}
    assert len({(tree / name).stat().st_ino for name in names}) == 1
    for name in ("s/0", "s/1"):
        assert (tree / name).stat().st_mtime_ns == 5, "what was edited keeps the time that the client says"


def test_a_directory_becomes_a_file_and_back(store: ClientStore) -> None:
    sealed(store, send(store, "s/", "s/x/", "s/x/y"), 3)
    sealed(store, [*send(store, "s/", "s/x"), Change(b"s/x/y", None)], 2)
    assert content(store) == {"s/x": "s/x"}
    sealed(store, send(store, "s/", "s/x/", "s/x/z"), 3)
    assert content(store) == {"s/x/z": "s/x/z"}
    assert problems(store) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"xxh128": b"0" * 32}, "arrived with"),
        ({"size": 4}, "arrived with"),
        ({"mtime_ns": 1}, "mtime"),
        ({"mode": 0o4755}, "arrived as"),
        ({"uid": 4242}, "arrived as"),
        ({"kind": "l", "xxh128": b"-"}, "arrived as"),
        ({"target": b"x"}, "no target"),
    ],
)
def test_what_arrived_otherwise_is_no_generation(store: ClientStore, wrong: dict[str, object], words: str) -> None:
    changes = send(store, "s/", "s/f")
    with pytest.raises(IntegrityError, match=words):
        sealed(store, [changes[0], line(store, "s/f", **wrong)], 2)
    assert store.generations() == []


def test_what_did_not_arrive_is_no_generation(store: ClientStore) -> None:
    changes = send(store, "s/", "s/f")
    (store.delta / "s/f").unlink()
    with pytest.raises(IntegrityError, match="did not arrive"):
        sealed(store, changes, 2)


def test_another_count_is_no_generation(store: ClientStore) -> None:
    with pytest.raises(IntegrityError, match="counts differ"):
        sealed(store, send(store, "s/", "s/f"), 3)
    assert store.generations() == []


def test_another_base_is_refused(store: ClientStore) -> None:
    sealed(store, send(store, "s/", "s/f"), 2)
    request = Request("", "", 2, "now", ("/s",))
    with pytest.raises(UsageError, match="newest generation changed"):
        seal(store, "laptop", request, iter(send(store, "s/", "s/f")), lambda answer: None, lambda checked: None)


def test_nothing_is_planted_behind_a_symlink(store: ClientStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    sealed(store, send(store, f"a -> {outside}"), 1)
    with pytest.raises(IntegrityError, match="does not lie in a directory"):
        sealed(store, send(store, "a/b"), 2)
    assert list(outside.iterdir()) == []
    assert len(store.generations()) == 1


@pytest.mark.parametrize("damage", ["delete", "directory", "tree"])
def test_what_the_base_has_lost_is_named_and_then_mended(store: ClientStore, damage: str) -> None:
    sealed(store, send(store, "s/", "s/d/", "s/d/f", "s/keep"), 4)
    [only] = store.generations()
    lost = store.tree(only) / ("s/d" if damage == "tree" else "s/d/f")
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    if damage == "directory":
        lost.mkdir()
    with pytest.raises(IntegrityError, match="has lost"):
        sealed(store, send(store, "s/keep", content="new"), 4)
    wanted = {os.fsdecode(path) for path in store.wanted()}
    assert wanted == ({"s/d", "s/d/f"} if damage == "tree" else {"s/d/f"})
    sealed(store, send(store, "s/", "s/d/", "s/d/f", "s/keep"), 4)
    newest = str(store.newest())
    verifier = verify.Verifier(store, "full", lambda tally: None)
    assert [found for found in verifier.generations(store.generations()) if found.generation == newest] == []


def test_what_the_base_has_lost_may_also_be_gone_at_the_source(store: ClientStore) -> None:
    sealed(store, send(store, "s/", "s/f", "s/keep"), 3)
    [only] = store.generations()
    (store.tree(only) / "s/f").unlink()
    sealed(store, [*send(store, "s/"), Change(b"s/f", None)], 2)
    assert content(store) == {"s/keep": "s/keep"}


def test_a_sealed_inode_is_in_no_delta(store: ClientStore) -> None:
    sealed(store, send(store, "s/", "s/f"), 2)
    assert not store.delta.exists()
    store.prepare()
    assert list(store.delta.iterdir()) == []
    assert not (store.incoming / "spent").exists()


def test_a_damaged_record_does_not_stop_the_next_backup(store: ClientStore) -> None:
    sealed(store, send(store, "s/", "s/f"), 2)
    sealed(store, send(store, "s/", "s/f", content="two"), 2)
    newest = store.newest()
    assert newest is not None
    store.record_path(newest).write_text("{")
    record = sealed(store, send(store, "s/", "s/f", content="three"), 2)
    assert record.generation.endswith("-000003")
    assert ("manifest", "") in problems(store)


@pytest.mark.parametrize("figure", ["entries", "files", "bytes"])
def test_a_count_that_rotted_in_the_base_s_record_goes_nowhere(store: ClientStore, figure: str) -> None:
    """Nothing changed, so nothing is counted but what the base's manifest holds."""
    sealed(store, send(store, "s/", "s/f"), 2)
    [only] = store.generations()
    path = store.record_path(only)
    table = json.loads(path.read_text())
    path.write_text(json.dumps(table | {figure: table[figure] + 1}))
    with pytest.raises(IntegrityError):
        sealed(store, [], 2)
    with pytest.raises(IntegrityError, match="or its record is damaged"):
        store.prove_base()
    assert store.generations() == [only]
    assert store.base() is None


def test_nobody_finds_a_generation_that_is_just_being_pruned(
    store: ClientStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for its lock between the look and the rename waits, and sees then that it is gone."""
    for number in range(2):
        sealed(store, send(store, "s/", "s/f", content=str(number)), 2)
    real, free = ClientStore.discard, []

    def discard(store: ClientStore, directory: Path) -> None:
        free.append(not lock.in_use(directory / "generation.json"))
        real(store, directory)

    monkeypatch.setattr(ClientStore, "discard", discard)
    assert len(prune.prune(store, Retention(keep_last=1, guard_days=0)).dropped) == 1
    assert free == [False]


def test_ten_stay_and_one_that_is_read_waits(store: ClientStore) -> None:
    for number in range(12):
        sealed(store, send(store, "s/", "s/f", content=str(number)), 2)
    oldest = store.generations()[1]  # the first of the day stays in any case
    with lock.shared(store.record_path(oldest)):
        done = prune.prune(store, Retention())
    assert done.in_use == (str(oldest),)
    assert len(done.dropped) == 1
    assert len(prune.prune(store, Retention()).dropped) == 1
    assert len(store.generations()) == 10
    assert problems(store) == []


def test_what_a_pruning_that_was_killed_left_goes_with_the_next_run(store: ClientStore) -> None:
    sealed(store, send(store, "s/", "s/f"), 2)
    half = store.trash / "20200101T000000Z-000001"
    (half / "tree/s").mkdir(parents=True)
    (half / "generation.json").touch()
    ahead.empty_trash(store)
    assert list(store.trash.iterdir()) == []


@pytest.mark.parametrize("path", ["s", "s/f"])
def test_what_was_not_stable_is_sealed_with_the_attributes_that_arrived(store: ClientStore, path: str) -> None:
    changes = send(store, "s/", "s/f")
    mode = 0o750 if path == "s" else 0o640
    (store.delta / path).chmod(mode)
    answers: list[bytes] = []
    request = Request("", "", 2, "now", ("/s",))
    unstable = [change._replace(unstable=change.path == path.encode()) for change in changes]
    record = seal(store, "laptop", request, iter(unstable), answers.append, lambda checked: None)
    [answer] = [answer for answer in answers if len(answer.split()) == 6]
    assert answer.split()[3:] == [b"%o" % mode, b"%d" % os.geteuid(), b"%d" % os.getegid()]
    entries = map(manifest.decode, manifest.read(store.manifest(store.find(record.generation))))
    assert [entry.mode for entry in entries if entry.path == path.encode()] == [mode]
    assert problems(store) == []


def test_a_stable_file_has_the_attributes_that_the_client_says(store: ClientStore) -> None:
    changes = send(store, "s/", "s/f")
    (store.delta / "s/f").chmod(0o640)
    with pytest.raises(IntegrityError, match="arrived as"):
        sealed(store, changes, 2)


def flip(path: Path) -> None:
    """Change one bit and nothing that a stat shows."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_each_kind_of_damage_is_found(store: ClientStore) -> None:
    sealed(store, send(store, "s/", "s/flip", "s/short", "s/gone", "s/touch", "s/link -> x", "s/kind"), 7)
    [only] = store.generations()
    tree = store.tree(only) / "s"
    times = tree.stat()
    flip(tree / "flip")
    short = (tree / "short").stat()
    (tree / "short").write_text("")
    os.utime(tree / "short", ns=(short.st_atime_ns, short.st_mtime_ns))
    (tree / "gone").unlink()
    os.utime(tree / "touch", ns=(5, 5))
    link = (tree / "link").lstat()
    (tree / "link").unlink()
    (tree / "link").symlink_to("y")
    os.utime(tree / "link", ns=(link.st_atime_ns, link.st_mtime_ns), follow_symlinks=False)
    (tree / "kind").unlink()
    (tree / "kind").mkdir()
    (tree / "more").write_text("")
    os.utime(tree, ns=(times.st_atime_ns, times.st_mtime_ns))
    found = problems(store)
    for expected in [
        ("content", "s/flip"),
        ("size", "s/short"),
        ("missing", "s/gone"),
        ("mtime", "s/touch"),
        ("content", "s/link"),
        ("kind", "s/kind"),
        ("added", "s/more"),
    ]:
        assert expected in found
    assert len(found) == 7
    assert {"s/flip", "s/gone", "s/kind"} <= {os.fsdecode(path) for path in store.wanted()}


def test_what_the_client_says_it_lacks_is_kept_in_bounds() -> None:
    table = {"base": "", "base_manifest_sha256": "", "entries": 1, "started": "now", "sources": ["/s"]}
    assert Request.from_table(table).not_in_backup == ()
    told = Request.from_table(table | {"not_in_backup": ["/x\nBcc: y\x1b[31m", "é" * 1000, *["z"] * 500]}).not_in_backup
    assert told[:2] == ("/x?Bcc: y?[31m", "é" * 300) and len(told) == 100
    with pytest.raises(UsageError):
        Request.from_table(table | {"not_in_backup": 7})


def test_a_record_keeps_what_its_backup_lacks(store: ClientStore, tmp_path: Path) -> None:
    changes = send(store, "s/", "s/f")
    request = Request("", "", 2, "now", ("/s",), ("/a", "/b"))
    record = seal(store, "laptop", request, iter(changes), lambda answer: None, lambda checked: None)
    assert record.not_in_backup == ("/a", "/b")
    record.write(tmp_path / "record")
    assert Record.read(tmp_path / "record") == record
    table = json.loads((tmp_path / "record").read_text())
    del table["not_in_backup"], table["anomaly"]  # as an earlier version wrote it
    assert Record.from_table(table) == replace(record, not_in_backup=(), anomaly="")


def test_a_file_with_more_names_than_the_file_system_has_for_two_trees(
    store: ClientStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ext4 has 65,000: a file with 33,000 names can't have them in the delta and in the new tree at once."""
    store.prepare()
    (store.delta / "s").mkdir(parents=True)
    for number in range(7):
        (store.delta / "s/0").touch() if not number else os.link(store.delta / "s/0", store.delta / f"s/{number}")
    link = os.link

    def few_names(name: bytes, *arguments: Any, **more: Any) -> None:
        if os.stat(name, dir_fd=more["src_dir_fd"]).st_nlink == 9:
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
        link(name, *arguments, **more)

    changes = [line(store, "s"), *(line(store, f"s/{number}") for number in range(7))]
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", few_names)
        record = sealed(store, changes, 8)
    tree = store.tree(store.generations()[-1])
    assert record.entries == 8
    assert len({(tree / f"s/{number}").stat().st_ino for number in range(7)}) == 1
