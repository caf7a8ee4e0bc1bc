"""The canary on a real filesystem: all hard cases are there as root, each defect is named, and nothing is made twice."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat as st
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sedai.client import canary
from sedai.core.errors import IntegrityError

SCRIPTS = Path(canary.__file__).parents[2]
# Its library has to be loaded before the account changes: another account may not be allowed to read it.
ORDINARY = """
import json, os, sys
from pathlib import Path
from sedai.client import canary
staging = Path(sys.argv[1])
"\\n\\xff".encode("unicode_escape")
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
lines = canary.prepare(staging)
again = canary.prepare(staging)
kept = canary.compare(staging)
root = os.fsencode(staging / "canary")
unreadable = [name for top, _, names in os.walk(root) for name in names
              if not os.path.islink(os.path.join(top, name)) and not os.access(os.path.join(top, name), os.R_OK)]
print(json.dumps([lines, again, kept.unmade, kept.not_kept, len(unreadable)]))
"""


@pytest.fixture
def staging() -> Iterator[Path]:
    """A staging directory; on the filesystem of /var/tmp, where there is room for xattrs and ACLs."""
    directory = Path("/var/tmp") / f"sedai-test-canary-{os.getpid()}"
    directory.mkdir(mode=0o700)
    yield directory
    shutil.rmtree(directory)


def inodes(staging: Path) -> dict[bytes, tuple[int, int]]:
    """Inode and ctime of everything."""
    top = os.fsencode(staging)
    paths = [top, *(os.path.join(at, name) for at, below, files in os.walk(top) for name in below + files)]
    return {path: (os.lstat(path).st_ino, os.lstat(path).st_ctime_ns) for path in paths}


def test_root_makes_every_case(staging: Path) -> None:
    assert canary.prepare(staging) == []
    kept = canary.compare(staging)
    assert (kept.unmade, kept.not_kept) == ((), ())
    # Looked at without the module's own eyes.
    root = os.fsencode(staging / "canary")
    kinds = {st.S_IFMT(os.lstat(os.path.join(at, n)).st_mode) for at, below, f in os.walk(root) for n in below + f}
    assert kinds == {st.S_IFREG, st.S_IFDIR, st.S_IFLNK, st.S_IFIFO, st.S_IFCHR, st.S_IFBLK}
    names = os.listdir(root + b"/names")
    assert b"line one\nline two" in names
    assert max(map(len, names)) == 255
    assert any(name.decode("utf-8", "replace").count("\ufffd") for name in names)
    assert any(name.startswith(b"-") for name in names)
    assert os.lstat(root + b"/sparse").st_blocks * 512 < os.lstat(root + b"/sparse").st_size == 1 << 20
    assert os.lstat(root + b"/hard link").st_ino == os.lstat(root + b"/hard link again").st_ino
    assert st.S_IMODE(os.lstat(root + b"/setuid").st_mode) == 0o4755
    assert st.S_IMODE(os.lstat(root + b"/mode 000").st_mode) == 0
    assert (os.lstat(root + b"/foreign owner").st_uid, os.lstat(root + b"/foreign owner").st_gid) == (12345, 54321)
    assert os.lstat(root + b"/before 1970").st_mtime_ns == -1_234_567_890_123_456_789
    assert os.lstat(root + b"/future").st_mtime_ns == 4_102_444_800_000_000_001
    acl = os.getxattr(root + b"/access acl", "system.posix_acl_access")
    assert [*struct.iter_unpack("<HHI", acl[4:])][1:2] == [(2, 4, 12345)]
    acl = os.getxattr(root + b"/default acl", "system.posix_acl_default")
    assert [*struct.iter_unpack("<HHI", acl[4:])][1:2] == [(2, 5, 12345)]


def test_it_is_small(staging: Path) -> None:
    canary.prepare(staging)
    every = inodes(staging)
    assert 25 < len(every) < 60
    assert sum(os.lstat(path).st_blocks * 512 for path in every) < 200_000


def test_a_whole_one_is_left_alone(staging: Path) -> None:
    canary.prepare(staging)
    before = inodes(staging)
    assert canary.prepare(staging) == []
    assert inodes(staging) == before


def fill_hole(root: bytes) -> None:
    status = os.stat(root + b"/sparse")
    with open(root + b"/sparse", "r+b") as stream:
        stream.write(b"\0" * (status.st_size - 4))
    os.utime(root + b"/sparse", ns=(status.st_atime_ns, status.st_mtime_ns))


def break_link(root: bytes) -> None:
    def act() -> None:
        os.unlink(root + b"/hard link again")
        shutil.copy2(root + b"/hard link", root + b"/hard link again")

    keep_times(root, act)


def keep_times(directory: bytes, act: Callable[[], object]) -> None:
    """Do something in a directory; its modification time stays."""
    status = os.stat(directory)
    act()
    os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))


def other_symlink(root: bytes) -> None:
    def act() -> None:
        os.unlink(root + b"/symlink")
        os.symlink(b"elsewhere", root + b"/symlink")
        os.utime(root + b"/symlink", ns=(0, 1_000_000_000_123_456_789), follow_symlinks=False)

    keep_times(root, act)


def other_device(root: bytes) -> None:
    def act() -> None:
        os.unlink(root + b"/block device")
        os.mknod(root + b"/block device", st.S_IFBLK | 0o660, os.makedev(7, 124))
        os.chmod(root + b"/block device", 0o660)
        os.utime(root + b"/block device", ns=(0, 1_000_000_000_123_456_789))

    keep_times(root, act)


def fifo_as_file(root: bytes) -> None:
    def act() -> None:
        os.unlink(root + b"/fifo")
        Path(os.fsdecode(root + b"/fifo")).write_bytes(b"")

    keep_times(root, act)


def other_bytes(root: bytes) -> None:
    with open(root + b"/names/--delete", "r+b") as stream:
        stream.write(b"C")
    os.utime(root + b"/names/--delete", ns=(0, 1_000_000_000_123_456_789))


DEFECTS: dict[str, tuple[Callable[[bytes], object], list[str]]] = {
    "chmod": (
        lambda root: os.chmod(root + b"/setuid", 0o755),  # noqa: S103
        ["Setuid bits are not kept: setuid has mode 755, not 4755."],
    ),
    "sticky": (
        lambda root: os.chmod(root + b"/sticky", 0o777),  # noqa: S103
        ["Sticky bits are not kept: sticky has mode 777, not 1777."],
    ),
    "touch": (
        lambda root: os.utime(root + b"/before 1970", ns=(0, 0)),
        [("Modification times before 1970 are not kept: before 1970 has modification time 0.000000000, "
          "not -1234567890.123456789.")],
    ),
    "whole seconds": (
        lambda root: os.utime(root + b"/future", ns=(0, 4_102_444_800_000_000_000)),
        [("Modification times in the future are not kept: future has modification time 4102444800.000000000, "
          "not 4102444800.000000001.")],
    ),
    "owner": (
        lambda root: os.chown(root + b"/foreign owner", 0, 0),
        ["Foreign owners are not kept: foreign owner has owner 0:0, not 12345:54321."],
    ),
    "symlink's owner": (
        lambda root: os.lchown(root + b"/dangling", 1, 1),
        ["Symlinks that point nowhere are not kept: dangling has owner 1:1, not 0:0."],
    ),
    "xattr": (
        lambda root: os.removexattr(root + b"/xattr", "user.sedai.bytes"),
        ["Extended attributes are not kept: xattr has lost its user.sedai.bytes."],
    ),
    "xattr's value": (
        lambda root: os.setxattr(root + b"/xattr", "user.sedai.bytes", b"\0\xff\n"),
        ["Extended attributes are not kept: xattr has another user.sedai.bytes."],
    ),
    "default ACL": (
        lambda root: os.removexattr(root + b"/default acl", "system.posix_acl_default"),
        ["Default ACLs are not kept: default acl has lost its system.posix_acl_default."],
    ),
    "capability": (
        lambda root: os.chown(root + b"/capability", 0, 0),  # which is how the kernel takes it away
        ["File capabilities are not kept: capability has lost its security.capability."],
    ),
    "hole": (fill_hole, ["Holes in sparse files are not kept: sparse has no hole any more."]),
    "link": (break_link, ["Hard links are not kept: hard link again is a file of its own."]),
    "symlink": (
        other_symlink,
        ["Symlinks to names that are not UTF-8 are not kept: symlink points to elsewhere, not caf\\xe9/\\xff\\n."],
    ),
    "device": (other_device, ["Block devices are not kept: block device is device 7,124, not 7,123."]),
    "kind": (fifo_as_file, ["FIFOs are not kept: fifo is of kind f, not p."]),
    "content": (other_bytes, ["Names with a leading dash are not kept: names/--delete has other bytes."]),
    "name": (
        lambda root: keep_times(root + b"/names", lambda: os.rename(
            root + b"/names/line one\nline two", root + b"/names/line one line two")),
        ["Names with a newline are not kept: names/line one\\nline two is missing.",
         "The canary's entries are not kept: names/line one line two does not belong there."],
    ),
    "everything": (shutil.rmtree, ["Directories are not kept: its top is missing."]),
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_named_and_made_good(staging: Path, defect: str) -> None:
    canary.prepare(staging)
    damage, words = DEFECTS[defect]
    damage(os.fsencode(staging / "canary"))
    told = canary.compare(staging)
    assert told.unmade == ()
    assert list(told.not_kept[: len(words)]) == words
    assert len(told.not_kept) == len(words) or defect == "everything"
    assert canary.prepare(staging) == []
    assert canary.compare(staging).not_kept == ()


def test_every_case_is_told_where_nothing_came_back() -> None:
    cases = canary.wanted(0, 0)
    told = {shortfall.subject for shortfall in canary.shortfalls(cases, {})}
    assert told == {case.subject for case in cases}
    assert len(told) == 27


def test_an_ordinary_account_makes_what_it_can_and_can_read_all_of_it(staging: Path) -> None:
    shutil.chown(staging, 65534, 65534)
    done = subprocess.run(
        [sys.executable, "-c", ORDINARY, str(staging)],
        env={"PYTHONPATH": str(SCRIPTS), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines, again, unmade, not_kept, unreadable = json.loads(done.stdout)
    assert lines == [
        "File capabilities can't be made here (not root).",
        "Files of mode 000 can't be made here (not root).",
        "Foreign owners can't be made here (not root).",
        "Character devices can't be made here (not root).",
        "Block devices can't be made here (not root).",
    ]
    assert again == unmade == lines
    assert (not_kept, unreadable) == ([], 0)
    # What it could not make is not asked of a restore; what it made is.
    os.chmod(staging / "canary/setgid", 0o755)  # noqa: S103
    assert canary.compare(staging).not_kept == ("Setgid bits are not kept: setgid has mode 755, not 2755.",)


def test_another_account_makes_its_own(staging: Path) -> None:
    canary.prepare(staging)
    notes = json.loads((staging / "canary.json").read_text())
    (staging / "canary.json").write_text(json.dumps(notes | {"account": [65534, 65534]}))
    before = inodes(staging / "canary")
    assert canary.prepare(staging) == []
    assert inodes(staging / "canary") != before
    assert json.loads((staging / "canary.json").read_text()) == notes


def test_a_full_disk_fails_nothing_and_is_told(staging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary.prepare(staging)
    (staging / "canary/fifo").unlink()
    real = os.mkfifo

    def full(path: bytes, mode: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "mkfifo", full)
    assert canary.prepare(staging) == ["The fidelity canary could not be made: No space left on device."]
    with pytest.raises(IntegrityError, match=r"notes of the fidelity canary"):
        canary.compare(staging)
    monkeypatch.setattr(os, "mkfifo", real)
    assert canary.prepare(staging) == []


def test_a_filesystem_without_xattrs_and_with_whole_seconds_is_told(
    staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: bytes, name: str, value: bytes, *, follow_symlinks: bool) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    real = os.utime

    def whole_seconds(path: bytes, *, ns: tuple[int, int], follow_symlinks: bool) -> None:
        whole = max(ns[1] // 10**9, 0) * 10**9 if path.endswith(b"/before 1970") else ns[1]
        real(path, ns=(whole, whole), follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "setxattr", refused)
    monkeypatch.setattr(os, "utime", whole_seconds)
    lines = canary.prepare(staging)
    assert lines == [
        "Extended attributes can't be made here (Operation not supported).",
        "Access ACLs can't be made here (Operation not supported).",
        "Default ACLs can't be made here (Operation not supported).",
        "File capabilities can't be made here (Operation not supported).",
        (
            "Modification times before 1970 can't be made here "
            "(has modification time 0.000000000, not -1234567890.123456789)."
        ),
    ]
    before = inodes(staging)
    assert canary.prepare(staging) == lines
    assert inodes(staging) == before
    assert canary.compare(staging).not_kept == ()
