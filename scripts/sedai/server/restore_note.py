"""RESTORE.txt: how to get files back with nothing but ssh and rsync."""

from __future__ import annotations

from pathlib import Path

from sedai.core.generation import Record

_TEXT = """\
Generation {generation} of {client}, sealed {sealed}
{files} files, {bytes} bytes, {entries} entries. Sources: {sources}

The files are in the directory tree/, under their full path, as plain files. To look at one:

    less tree/etc/hosts

To copy a directory to the machine that you are logged in to as root, with owners, modes, devices and extended attributes
(they are kept in the extended attribute user.rsync.%stat, because the account that owns the store is not root):

    rsync -aHAXS --numeric-ids -M--fake-super root@THIS-SERVER:{tree}/etc/ /tmp/restored/etc/

If you log in to the server as another user who may use sudo, add: --rsync-path="sudo rsync"
Without the last directory you get everything:

    rsync -aHAXS --numeric-ids -M--fake-super root@THIS-SERVER:{tree}/ /tmp/restored/

Plain `cp -r tree/... somewhere` works too; files then belong to you, and devices and FIFOs come out as empty files.

manifest (gzip) lists every entry: path, kind, size, mtime in ns, mode, uid, gid, links, inode, ctime, CRC32, XXH128.
Its SHA-256, uncompressed: {manifest_sha256}
"""


def text(record: Record, tree: Path) -> str:
    """The text of RESTORE.txt for the generation of ``record``, whose files will be at ``tree``."""
    values = {name: getattr(record, name) for name in ("generation", "client", "sealed", "files", "bytes", "entries",
                                                       "manifest_sha256")}  # fmt: skip
    return _TEXT.format(**values, sources=", ".join(record.sources), tree=tree)
