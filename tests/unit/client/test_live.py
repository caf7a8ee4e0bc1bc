"""Live database files in the sources, and mounts that are not there: each mark, and what is no mark."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sedai.client import live
from sedai.client.live import Live, missing_mounts, recognise, sort_out

SQLITE = b"SQLite format 3\0" + b"x" * 100


def look(root: Path, name: str) -> Live | None:
    """What the file ``name`` below ``root`` (as the root of the tree) says."""
    path = os.fsencode(name)
    return recognise(path, os.path.basename(path), os.fsencode(root) + b"/" + path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ibdata1", "MariaDB/MySQL"),
        ("WiredTiger.wt", "MongoDB"),
        ("dump.rdb", "Redis"),
        ("appendonly.aof", "Redis"),
        ("appendonlydir", "Redis"),
    ],
)
def test_each_mark_names_the_directory_it_lies_in(name: str, kind: str, tmp_path: Path) -> None:
    assert look(tmp_path, f"var/lib/x/{name}") == Live(kind, b"var/lib/x")
    assert look(tmp_path, f"var/lib/x/{name}.old") is None and look(tmp_path, f"var/lib/x/my{name}") is None


def test_a_cluster_is_told_once_though_each_database_has_the_mark_too(tmp_path: Path) -> None:
    for directory in ("main/global", "main/base/1", "main/base/5"):
        (tmp_path / directory).mkdir(parents=True)
    assert look(tmp_path, "main/PG_VERSION") == Live("PostgreSQL", b"main")
    assert look(tmp_path, "main/base/1/PG_VERSION") is None and look(tmp_path, "main/base/5/PG_VERSION") is None


@pytest.mark.parametrize(
    ("name", "content", "seen"),
    [
        ("app.sqlite", SQLITE, True),
        ("app.db", SQLITE, True),
        ("no ending", SQLITE, True),
        ("notes", b"text", False),
        ("empty", b"", False),
        ("missing", None, False),
    ],
)
def test_a_log_beside_a_database_says_that_it_is_live(
    name: str, content: bytes | None, seen: bool, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert look(tmp_path, f"{name}-wal") == (Live("SQLite", os.fsencode(name)) if seen else None)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    for name in ("pipe-wal", "directory-wal", "-wal"):
        assert look(tmp_path, name) is None


def test_dumped_ones_are_not_told_and_accepted_ones_apart(tmp_path: Path) -> None:
    found = [
        Live("PostgreSQL", b"var/lib/postgresql/15/main"),
        Live("PostgreSQL", b"var/lib/postgresql/16/main"),
        Live("Redis", b"srv/redis"),
        Live("Redis", b"srv/redis"),
        Live("SQLite", b"home/u/app.db"),
        Live("Redis", b"srv/redis-old"),
    ]
    dumped = [Path("/var/lib/postgresql/15/main/"), Path("/home/u/app.db")]
    open_ones, accepted = sort_out(found, dumped, (Path("/srv/redis"),))
    assert open_ones == [found[1], found[5]]
    assert accepted == [found[2]]
    assert sort_out(found, [], (Path("/"),))[0] == []


def test_a_dumped_directory_is_known_by_both_its_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for name in ("real", "link"):
        found = [Live("MariaDB/MySQL", os.fsencode(tmp_path / name)[1:])]
        assert sort_out(found, [tmp_path / "link"], ()) == ([], [])
    assert sort_out([Live("Redis", b"x\xff\n")], [], (Path(os.fsdecode(b"/x\xff\n")),))[0] == []


FSTAB = r"""
# /home/commented /home/commented ext4 defaults 0 0
UUID=1 / ext4 errors=remount-ro 0 1
UUID=2 none swap sw 0 0
UUID=3 swap swap defaults 0 0
UUID=4 /home/photos ext4 defaults 0 2
UUID=5 /home/with\040space\011and\134 ext4 nofail,rw 0 2
UUID=6 /home/cdrom iso9660 ro,noauto 0 0
UUID=7 /homestead ext4 defaults 0 2
UUID=8 /elsewhere ext4 defaults 0 2
UUID=9 /home ext4 defaults 0 2
UUID=10 /mnt/disk ext4 defaults 0 2
too few
"""


def test_mounts_of_the_sources_that_are_not_there() -> None:
    sources = (Path("/home"), Path("/mnt/disk/photos"))
    assert missing_mounts(FSTAB, sources) == [
        Path("/home/photos"),
        Path("/home/with space\tand\\"),
        Path("/home"),
        Path("/mnt/disk"),
    ]
    assert missing_mounts("", sources) == []


def test_what_is_mounted_is_not_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert os.path.ismount("/proc")
    assert missing_mounts("proc /proc proc defaults 0 0\n", (Path("/proc"),)) == []
    (tmp_path / "bound here").mkdir()
    (tmp_path / "link").symlink_to("bound here")
    fstab = f"/a {tmp_path}/bound\\040here none bind 0 0\n/a {tmp_path}/link none bind 0 0\n"
    assert len(missing_mounts(fstab, (tmp_path,))) == 2
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"36 35 8:1 /a {tmp_path}/bound\\040here rw,relatime shared:1 - ext4 /dev/sda1 rw\n")
    monkeypatch.setattr(live, "_MOUNTS", mounts)
    assert missing_mounts(fstab, (tmp_path,)) == [], "bound on one file system: ismount does not see it"
