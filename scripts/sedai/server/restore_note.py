"""RESTORE.txt: how to get files back with nothing but ssh and rsync."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from sedai.core.generation import Record

# Each indented block is one command; a test takes them from here and runs them.
_TEXT = r"""Generation {generation} of {client}, sealed {sealed}
{files} files, {bytes} bytes, {entries} entries. Sources: {sources}

The files are plain files below this directory, under their full path:

    {tree}

Getting them back needs only ssh and rsync. All commands are for the machine that the files come to; run them there as
root. Put this server's name or address in the place of THIS-SERVER; change nothing else. (Where you can't log in to the
server as root but as somebody who may use sudo: write that name for root, add --rsync-path="sudo rsync" to rsync's
options, and sudo before gzip.)

-M--fake-super is needed: owner, mode and devices that the account of the store could not make are kept in the extended
attribute user.rsync.%stat. A plain `cp -r` out of the tree gives the bytes too, but not these.

ONE FILE, with the directories above it, below /tmp/restored:

    rsync -aHAXSR --numeric-ids -M--fake-super {file} /tmp/restored/

ONE DIRECTORY with everything in it:

    rsync -aHAXSR --numeric-ids -M--fake-super {directory} /tmp/restored/

EVERYTHING. With / for /tmp/restored/ it goes to where it was, and replaces what is there:

    rsync -aHAXS --numeric-ids -M--fake-super {everything} /tmp/restored/

DATABASES. Their dumps are ordinary files as well, in the directory databases/ of the client's staging directory
(/var/lib/sedai-client unless it was set otherwise): .dump is for pg_restore, .sql for psql or mariadb, SQLite is a
database file as it was. Restore them like any directory, then load them.

THEN, as root, what rsync does not bring back: owners of symbolic links, times of devices and FIFOs.

    ssh root@THIS-SERVER gzip -dc {manifest} | python3 -c 'if True:
        import os, re, sys
        os.chdir(sys.argv[1])
        for line in sys.stdin.buffer:
            field = line.rstrip(b"\n").split(b"\t")
            if len(field) == 13 and field[1] in b"lpcb":
                path = re.sub(rb"\\(.)", lambda m: dict(t=b"\t", n=b"\n", r=b"\r").get(m[1].decode(), m[1]), field[0])
                if os.path.lexists(path):
                    if field[1] == b"l":
                        os.lchown(path, int(field[5]), int(field[6]))
                    os.utime(path, ns=(int(field[3]), int(field[3])), follow_symlinks=False)
        ' /tmp/restored

LAST, compare every file that came back with its CRC32 in the manifest:

    ssh root@THIS-SERVER gzip -dc {manifest} | python3 -c 'if True:
        import os, re, sys, zlib
        os.chdir(sys.argv[1])
        same = different = 0
        for line in sys.stdin.buffer:
            field = line.rstrip(b"\n").split(b"\t")
            if len(field) == 13 and field[1] == b"f":
                path = re.sub(rb"\\(.)", lambda m: dict(t=b"\t", n=b"\n", r=b"\r").get(m[1].decode(), m[1]), field[0])
                if os.path.lexists(path):
                    with open(path, "rb") as file:
                        crc32 = 0
                        while data := file.read(1 << 20):
                            crc32 = zlib.crc32(data, crc32)
                    if b"%08x" % crc32 == field[10]:
                        same += 1
                    else:
                        different += 1
                        print("DIFFERENT:", path)
        print(same, "files are as they were,", different, "are different.")
        sys.exit(different > 0)
        ' /tmp/restored

The manifest has one line for each entry: path, kind, size, mtime in ns, mode, uid, gid, links, inode, ctime, CRC32, XXH128,
target; a tab between two, and in names \\, \t, \n, \r for what would break the line. Its SHA-256, uncompressed:
{manifest_sha256}
"""

# An example is a name that no shell and no rsync would take for something else.
_PLAIN = re.compile(rb"[A-Za-z0-9._][A-Za-z0-9._/-]*\Z")
_USUAL = b"etc/hosts"


def text(record: Record, tree: Path, lines: Iterable[bytes]) -> str:
    """The text of RESTORE.txt for the generation of ``record``, whose files will be at ``tree``; ``lines``: its manifest."""
    example = _example(lines)
    values = {name: getattr(record, name) for name in ("generation", "client", "sealed", "files", "bytes", "entries",
                                                       "manifest_sha256")}  # fmt: skip
    remote = f"root@THIS-SERVER:{tree}/./"
    return _TEXT.format(
        **values,
        sources=", ".join(record.sources),
        tree=tree,
        manifest=shlex.quote(shlex.quote(str(tree.with_name("manifest")))),  # for two shells
        file=shlex.quote(remote + example),
        directory=shlex.quote(remote + example.rpartition("/")[0]),
        everything=shlex.quote(f"root@THIS-SERVER:{tree}/"),
    )


def _example(lines: Iterable[bytes]) -> str:
    """A file of the generation in a directory; the usual one if it is there, else the first of a plain name."""
    first = b""
    for line in lines:
        path, kind = line.split(b"\t", 2)[:2]
        if kind == b"f" and b"/" in path and _PLAIN.match(path):
            if path == _USUAL:
                return path.decode()
            first = first or path
    return (first or _USUAL).decode()
