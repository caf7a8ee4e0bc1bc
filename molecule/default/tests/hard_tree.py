#!/usr/bin/python3
"""Makes a tree of everything that is hard to back up, and describes a tree down to the last bit that must come back.

Runs on the client: `hard_tree.py make DIR`, `hard_tree.py describe DIR`.
"""

import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator

NAMES = {
    "newline": b"line one\nline two",
    "only newline": b"\n",
    "not UTF-8": b"caf\xe9 \xff\xfe",
    "leading dash": b"--delete",
    "leading blanks and tabs": b" \t blank ",
    "backslash and rsync's own escapes": b"\\#012 \\n \\",
    "shell": b"$(reboot) `reboot` ; | & ' \" * ? [a] {b} ~ ! %",
    "Japanese": "世代 バックアップ".encode(),
    "rsync pattern": b"*[!x]?**",
    "carriage return and escape": b"\r\x1b[31m\x7f\x01",
    "255 bytes": b"x" * 251 + b".txt",
    "255 bytes in UTF-8": "あ".encode() * 85,
    "three dots": b"...",
    "colon and host": b"host:path",
}
BEFORE_1970 = -1_234_567_890_123_456_789
FAR_FUTURE = 4_102_444_800_000_000_001


def write(path: bytes, data: bytes) -> None:
    """Make a file."""
    with open(path, "wb") as stream:
        stream.write(data)


def make(root: bytes) -> None:
    """Make the tree; as root."""
    os.makedirs(root)
    os.chdir(root)
    for number, name in enumerate(NAMES.values()):
        write(name, b"content %d\n" % number)
        directory = b"dir-" + name[:200]
        os.mkdir(directory)
        write(directory + b"/" + name, b"content %d in a directory\n" % number)

    os.symlink(b"nowhere/\xff\n", b"dangling symlink")
    os.symlink(b"/etc/passwd", b"absolute symlink")
    os.symlink(b".", b"symlink to a directory")
    os.lchown(b"dangling symlink", 12345, 54321)
    os.utime(b"dangling symlink", ns=(0, 987_654_321), follow_symlinks=False)

    write(b"hard link", b"one inode\n")
    os.link(b"hard link", b"hard link again")
    os.mkdir(b"links")
    os.link(b"hard link", b"links/far away")

    os.mkfifo(b"fifo", 0o640)
    os.mknod(b"character device", 0o600 | stat.S_IFCHR, os.makedev(1, 7))
    os.mknod(b"block device", 0o660 | stat.S_IFBLK, os.makedev(7, 123))
    os.chown(b"block device", 0, 6)

    with open(b"sparse", "wb") as stream:
        stream.seek(32 << 20)
        stream.write(b"end")
    write(b"empty", b"")
    write(b"zeros", b"\0" * 100_000)
    os.mkdir(b"empty directory")

    for mode in (0o4755, 0o2755, 0o1777, 0o000, 0o7777, 0o444):
        name = b"mode %o" % mode
        write(name, name)
        os.chown(name, 4321, 8765)
        os.chmod(name, mode)
        os.mkdir(b"directory " + name)
        os.chmod(b"directory " + name, mode)
    os.mkdir(b"read-only directory")
    write(b"read-only directory/file", b"inside")
    os.chown(b"read-only directory", 1234, 4321)
    os.chmod(b"read-only directory", 0o500)

    write(b"xattr", b"x")
    os.setxattr(b"xattr", b"user.text", b"value")
    os.setxattr(b"xattr", b"user.bytes", b'\x00\xff\n="')
    os.setxattr(b"xattr", b"user.empty", b"")
    os.setxattr(b"empty directory", b"user.of a directory", b"1")
    write(b"acl", b"x")
    subprocess.run(["setfacl", "-m", "u:daemon:r,g:mail:rw", "acl"], check=True)
    os.mkdir(b"acl directory")
    subprocess.run(["setfacl", "-m", "d:u:daemon:rx,u:12345:rwx", "acl directory"], check=True)

    for name, moment in {b"before 1970": BEFORE_1970, b"far future": FAR_FUTURE, b"one nanosecond": 1}.items():
        write(name, b"time")
        os.utime(name, ns=(moment, moment))
        os.mkdir(b"directory " + name)
        os.utime(b"directory " + name, ns=(moment, moment))


def entries(root: bytes) -> Iterator[bytes]:
    """Relative paths of everything below and including the root."""
    yield b"."
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            yield os.path.relpath(os.path.join(directory, name), root)


def describe(root: bytes) -> dict[str, dict[str, object]]:
    """Escaped path -> everything that must come back."""
    seen: dict[tuple[int, int], str] = {}
    found = {}
    for relative in sorted(entries(root)):
        path = os.path.join(root, relative)
        status = os.lstat(path)
        name = relative.decode("ascii", "backslashreplace")
        entry: dict[str, object] = {
            "mode": oct(status.st_mode),
            "owner": [status.st_uid, status.st_gid],
            "mtime_ns": status.st_mtime_ns,
            "xattrs": {
                key: os.getxattr(path, key, follow_symlinks=False).hex()
                for key in os.listxattr(path, follow_symlinks=False)
            },
        }
        if stat.S_ISREG(status.st_mode):
            with open(path, "rb") as stream:
                entry["sha256"] = hashlib.sha256(stream.read()).hexdigest()
            entry["size"] = status.st_size
            entry["sparse"] = status.st_blocks * 512 < status.st_size // 2
            entry["same inode as"] = seen.setdefault((status.st_dev, status.st_ino), name)
        elif stat.S_ISLNK(status.st_mode):
            entry["target"] = os.readlink(path).decode("ascii", "backslashreplace")
        elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            entry["device"] = status.st_rdev
        found[name] = entry
    return found


def main() -> None:
    verb, directory = sys.argv[1], os.fsencode(sys.argv[2])
    if verb == "make":
        make(directory)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(directory + b"/socket")  # nobody can use it after a restore, so it is the one thing left out
    else:
        json.dump(describe(directory), sys.stdout)


if __name__ == "__main__":
    main()
