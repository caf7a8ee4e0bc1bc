"""The scan of real directories: order, excludes, caches, file systems, and what can't be read."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from sedai.client.config import Backup, ClientConfig, Server, Source
from sedai.client.scan import CACHE_TAG_SIGNATURE, Scan, _file_signature, signature
from sedai.core import manifest

SERVER = Server("vps.example.com", Path("/key"), Path("/known"))


def scan(
    tmp_path: Path,
    sources: list[Source],
    backup: Backup | None = None,
    had: Callable[[bytes], bool] = lambda path: False,
    staging: str = "",
) -> Scan:
    """A scan of ``sources``, which lie below ``tmp_path`` as if that were the root."""
    config = ClientConfig(
        "t",
        Path("/state"),
        Path("/log"),
        SERVER,
        tuple(sources),
        backup=backup or Backup(),
        staging_directory=Path(staging) if staging else None,
    )
    return Scan(config, had, os.fsencode(tmp_path) + b"/")


def make(root: Path, *names: str) -> None:
    """Files of these names; a name that ends in a slash is a directory."""
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)


def paths(scanned: Scan) -> list[str]:
    """What was found, in order."""
    return [os.fsdecode(item.path) for item in scanned.entries()]


def test_everything_is_found_in_manifest_order(tmp_path: Path) -> None:
    make(tmp_path, "s/b", "s/a/x", "s/a.txt", "s/a/", "s/-", "s/new\nline", "other/left out")
    found = paths(scan(tmp_path, [Source(Path("/s"))]))
    assert found == ["s", "s/-", "s/a", "s/a/x", "s/a.txt", "s/b", "s/new\nline"]
    assert found == sorted(found, key=lambda path: manifest.order(os.fsencode(path)))


def test_directories_above_a_source_are_kept_once(tmp_path: Path) -> None:
    make(tmp_path, "home/u/one/f", "home/u/two/g", "home/u/three")
    found = paths(scan(tmp_path, [Source(Path("/home/u/two")), Source(Path("/home/u/one"))]))
    assert found == ["home", "home/u", "home/u/one", "home/u/one/f", "home/u/two", "home/u/two/g"]


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        (["*.tmp"], ["s", "s/d", "s/d/keep", "s/keep"]),
        (["/a.tmp"], ["s", "s/d", "s/d/b.tmp", "s/d/keep", "s/keep"]),
        (["d/"], ["s", "s/a.tmp", "s/keep"]),
        (["*.tmp", "!b.tmp"], ["s", "s/d", "s/d/b.tmp", "s/d/keep", "s/keep"]),
        (["keep"], ["s", "s/a.tmp", "s/d", "s/d/b.tmp"]),
    ],
)
def test_excludes_are_gitignore_syntax(tmp_path: Path, patterns: list[str], left: list[str]) -> None:
    make(tmp_path, "s/a.tmp", "s/keep", "s/d/b.tmp", "s/d/keep")
    assert paths(scan(tmp_path, [Source(Path("/s"), exclude=tuple(patterns))])) == left
    assert paths(scan(tmp_path, [Source(Path("/s"))], Backup(exclude=tuple(patterns)))) == left


def test_a_tagged_cache_is_kept_empty(tmp_path: Path) -> None:
    make(tmp_path, "s/cache/big", "s/cache/CACHEDIR.TAG", "s/not/CACHEDIR.TAG", "s/not/file")
    (tmp_path / "s/cache/CACHEDIR.TAG").write_bytes(CACHE_TAG_SIGNATURE + b"\n")
    found = paths(scan(tmp_path, [Source(Path("/s"))]))
    assert found == ["s", "s/cache", "s/not", "s/not/CACHEDIR.TAG", "s/not/file"]


@pytest.mark.parametrize("stay", [True, False])
def test_another_file_system_is_entered_only_when_wanted(stay: bool) -> None:
    assert os.path.ismount("/dev/pts"), "every Linux has this mount point"
    found = paths(scan(Path("/"), [Source(Path("/dev"), one_filesystem=stay)]))
    assert "dev/pts" in found
    assert ("dev/pts/ptmx" in found) is not stay


def test_a_missing_source_keeps_what_the_base_has(tmp_path: Path) -> None:
    scanned = scan(tmp_path, [Source(Path("/gone"))])
    [item] = scanned.entries()
    assert (item.path, item.signature) == (b"gone", b"")
    assert [problem.code for problem in scanned.problems] == ["source_missing"]


@pytest.mark.parametrize(("had", "codes"), [(True, ["source_empty"]), (False, [])])
def test_a_source_that_became_empty_is_not_believed(tmp_path: Path, had: bool, codes: list[str]) -> None:
    make(tmp_path, "mnt/")
    scanned = scan(tmp_path, [Source(Path("/mnt"))], had=lambda path: had)
    [item] = scanned.entries()
    assert bool(item.signature) is not had
    assert [problem.code for problem in scanned.problems] == codes


def test_a_symlink_as_source_is_refused_aloud(tmp_path: Path) -> None:
    make(tmp_path, "real/f")
    (tmp_path / "link").symlink_to("real")
    scanned = scan(tmp_path, [Source(Path("/link"))])
    assert paths(scanned) == ["link"]
    assert [problem.code for problem in scanned.problems] == ["source_is_symlink"]


def test_one_file_can_be_a_source(tmp_path: Path) -> None:
    make(tmp_path, "d/f", "d/g")
    assert paths(scan(tmp_path, [Source(Path("/d/f"))])) == ["d", "d/f"]


def test_sockets_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, "s/f")
    os.mknod(tmp_path / "s" / "socket", 0o140644)
    assert paths(scan(tmp_path, [Source(Path("/s"))])) == ["s", "s/f"]


def test_a_file_has_one_signature_whoever_makes_it(tmp_path: Path) -> None:
    """A file that gets a second name and loses it again is the same as before."""
    for number, (name, mode) in enumerate(((b"plain", 0o644), (b"odd\tname\n", 0o4751), (b"caf\xe9", 0))):
        place = os.fsencode(tmp_path) + b"/" + name
        with open(place, "wb") as stream:
            stream.write(bytes(number))
        os.chmod(place, mode)
        os.utime(place, ns=(1, -number))
        stat = os.lstat(place)
        assert _file_signature(name, stat) == signature(name, stat)


def test_any_change_changes_the_signature(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("a")
    before = signature(b"f", path.lstat())
    os.chmod(path, 0o600)
    assert signature(b"f", path.lstat()) != before
    stat = path.lstat()
    path.write_text("b")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.lstat().st_mtime_ns == stat.st_mtime_ns
    assert signature(b"f", path.lstat()) != signature(b"f", stat), "ctime tells what mtime hides"


def test_a_missing_parent_keeps_what_the_base_has(tmp_path: Path) -> None:
    make(tmp_path, "media/other")
    scanned = scan(tmp_path, [Source(Path("/media/usb/photos")), Source(Path("/media/other"))])
    assert [(item.path, bool(item.signature)) for item in scanned.entries()] == [
        (b"media", True),
        (b"media/other", True),
        (b"media/usb", False),
    ]
    assert [(problem.code, problem.path) for problem in scanned.problems] == [("source_missing", b"media/usb/photos")]


def test_a_parent_that_is_a_symlink_is_refused_with_the_real_name(tmp_path: Path) -> None:
    make(tmp_path, "real/d/f")
    (tmp_path / "link").symlink_to("real")
    scanned = scan(tmp_path, [Source(Path("/link/d"))])
    assert [item.signature for item in scanned.entries()] == [b""]
    [problem] = scanned.problems
    assert problem.code == "source_is_symlink"
    assert "real/d" in problem.detail


def test_a_newline_in_a_name_neither_hides_nor_shows_it(tmp_path: Path) -> None:
    make(tmp_path, "s/a.tmp\n", "s/d\nx/a.tmp", "s/d\nx/keep")
    found = paths(scan(tmp_path, [Source(Path("/s"), exclude=("*.tmp",))]))
    assert found == ["s", "s/a.tmp\n", "s/d\nx", "s/d\nx/keep"]


@pytest.mark.parametrize("source", ["/s", "/lib"], ids=["beside a source", "in a source"])
def test_the_staging_directory_is_scanned_whatever_is_excluded(tmp_path: Path, source: str) -> None:
    make(tmp_path, "s/a.dump", "s/b", "lib/own/db/a.dump", "lib/own/db/CACHEDIR.TAG", "lib/x.dump", "lib/zone/y")
    (tmp_path / "lib/own/db/CACHEDIR.TAG").write_bytes(CACHE_TAG_SIGNATURE)
    scanned = scan(tmp_path, [Source(Path(source))], Backup(exclude=("*.dump", "own/", "zone/")), staging="/lib/own")
    found = paths(scanned)
    assert [path for path in found if path.startswith("lib/own")] == [
        "lib/own",
        "lib/own/db",
        "lib/own/db/CACHEDIR.TAG",
        "lib/own/db/a.dump",
    ]
    assert "s/a.dump" not in found and "lib/x.dump" not in found and "lib/zone" not in found
    assert scanned.problems == []
    assert found == sorted(found, key=lambda path: manifest.order(os.fsencode(path)))


def test_live_database_files_are_told_unless_they_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, "s/pg/PG_VERSION", "s/pg/global/1", "s/pg/base/5/PG_VERSION", "s/my/ibdata1", "s/out/ibdata1")
    make(tmp_path, "s/redis/appendonlydir/x", "s/app.db", "s/app.db-wal", "own/db/x.sqlite", "own/db/x.sqlite-wal")
    for name in ("s/app.db", "own/db/x.sqlite"):
        (tmp_path / name).write_bytes(b"SQLite format 3\0")
    scanned = scan(tmp_path, [Source(Path("/s"))], Backup(exclude=("out",)), staging="/own")
    assert "s/pg/base/5/PG_VERSION" in paths(scanned), "they are backed up all the same"
    assert sorted((found.kind, found.path) for found in scanned.live) == [
        ("MariaDB/MySQL", b"s/my"),
        ("PostgreSQL", b"s/pg"),
        ("Redis", b"s/redis"),
        ("SQLite", b"s/app.db"),
    ]


def test_a_database_that_is_a_source_without_its_log_is_told(tmp_path: Path) -> None:
    make(tmp_path, "d/app.db", "d/app.db-wal")
    (tmp_path / "d/app.db").write_bytes(b"SQLite format 3\0")
    scanned = scan(tmp_path, [Source(Path("/d/app.db"))])
    assert paths(scanned) == ["d", "d/app.db"]
    assert [tuple(found) for found in scanned.live] == [("SQLite", b"d/app.db")]


@pytest.mark.parametrize("stay", [True, False])
def test_a_file_system_that_is_not_entered_is_told(stay: bool) -> None:
    scanned = scan(Path("/"), [Source(Path("/dev"), one_filesystem=stay)])
    paths(scanned)
    assert (b"dev/pts" in scanned.not_entered) is stay
    assert not any(path.startswith(b"dev/pts/") for path in scanned.not_entered)


def test_a_directory_is_partial_when_its_name_alone_would_send_too_much(tmp_path: Path) -> None:
    make(tmp_path, "s/whole/a", "s/empty/", "s/linked/a", "s/linked/below/b", "s/socket/", "s/cache/x", "other/")
    os.link(tmp_path / "s/linked/a", tmp_path / "other/a")
    (tmp_path / "s/cache/CACHEDIR.TAG").write_bytes(CACHE_TAG_SIGNATURE)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s/socket/s"))
        scanned = scan(tmp_path, [Source(Path("/s"))])
        list(scanned.entries())
    assert scanned.partial == {b"s/linked", b"s/socket", b"s/cache"}


def test_nothing_is_sent_whole_where_something_may_have_to_be_left_out(tmp_path: Path) -> None:
    make(tmp_path, "u/s/a", "u/s/d/", "t/a")
    scanned = scan(tmp_path, [Source(Path("/u/s"), ("*.tmp",)), Source(Path("/t"))])
    list(scanned.entries())
    assert scanned.partial == {b"u", b"u/s", b"u/s/d"}
