"""RESTORE.txt: how to get files back with nothing but ssh and rsync."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from sedai.core import manifest
from sedai.core.generation import Record

# Each indented block is one command; a test takes them from here and runs them.
_TEXT = r"""Generation {generation} of {client}, sealed {sealed}
{files} files, {bytes} bytes, {entries} entries. Sources: {sources}

The files are plain files below this directory, under their full path:

    {tree}

Getting them back needs only ssh and rsync. All commands but the two on the server are for the machine that the files come
to; run them there as root. Put this server's name or address in the place of THIS-SERVER; change nothing else.

WITHOUT ROOT'S LOGIN on this server, as somebody who may use sudo there: rsync and ssh have no terminal on which sudo could
ask for a password. So allow two programs without one for as long as it takes, on this server, with your name for NAME:

    echo 'NAME ALL=(root) NOPASSWD: /usr/bin/rsync, /usr/bin/gzip, /usr/bin/cat' |
        sudo install -m 0440 /dev/stdin /etc/sudoers.d/zz-restore

In the commands below then write NAME for root, add --rsync-path="sudo rsync" to rsync's options, and sudo before gzip and cat.
Whoever may do this can do everything on this server: WHEN ALL IS BACK take it away, on this server:

    sudo rm /etc/sudoers.d/zz-restore

-M--fake-super is needed: owner, mode and devices that the account of the store could not make are kept in the extended
attribute user.rsync.%stat. A plain `cp -r` out of the tree gives the bytes too, but not these.

ONE FILE, with the directories above it, below /root/restored (not /tmp, which may be in memory and is gone after a boot):

    rsync -aHAXSR --numeric-ids -M--fake-super {file} /root/restored/

ONE DIRECTORY with everything in it:

    rsync -aHAXSR --numeric-ids -M--fake-super {directory} /root/restored/

EVERYTHING, where `df -h /root` shows room for it (else name a directory on another disk, here and below). Do not give / for
/root/restored/: the old /etc (disks, network, accounts) would replace that of a new machine, which may not boot again.

    rsync -aHAXS --numeric-ids -M--fake-super {everything} /root/restored/

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
        ' /root/restored

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
        ' /root/restored

Then put the files in their places one by one, for example `cp -a /root/restored/home/. /home/`. Files belong to numbers;
whose number it was is told by /root/restored/etc/passwd and /root/restored/etc/group, if /etc was backed up. A database's own
files are of no use there: they were copied while the server wrote to them.

DATABASES were dumped into ordinary files in databases/ of the client's staging directory (/var/lib/sedai-client unless it was
set otherwise), with notes beside each dump (.json). Bring that directory back with the commands above, install the server,
then load each dump with the command of its kind; the name of another dump takes the place of the one shown here.

PostgreSQL's accounts come first. Errors about those that exist already do not matter:

    runuser -u postgres -- psql -X --quiet --dbname=postgres < {postgresql_globals}

PostgreSQL's databases (.dump) come back under their own names, each with its owner and settings (where this system lacks the
locale: `createdb --owner=OWNER NAME`, then the command with --dbname=NAME instead of --create --dbname=postgres):

    runuser -u postgres -- pg_restore --create --exit-on-error --dbname=postgres < {postgresql}.dump

MariaDB's or MySQL's accounts come first. Errors about those that exist already do not matter:

    mariadb --force < {mariadb_globals}

MariaDB's or MySQL's databases (.sql) are made under the name and with the character set that are in the notes:

    {{ python3 -c 'if True:
        import json, sys
        notes = json.load(open(sys.argv[1]))
        name = "`" + notes["database"].replace("`", "``") + "`"
        print("CREATE DATABASE", name, "CHARACTER SET", notes["settings"]["character_set"], "COLLATE",
              notes["settings"]["collation"], ";\nUSE", name, ";")
        ' {mariadb}.json; cat {mariadb}.sql; }} | mariadb --default-character-set=utf8mb4

SQLite's (.sqlite) are the database file itself. Stop the program that uses it, and move away what is in its place, together
with the files of the same name that end in -wal, -shm and -journal; this puts the dump there:

    python3 -c 'if True:
        import json, os, shutil, sys
        notes = json.load(open(sys.argv[1]))
        was = notes["settings"]
        dump = os.path.join(os.path.dirname(sys.argv[1]), notes["file"])
        with open(dump, "rb") as source, open(was["path"], "xb") as target:
            os.chmod(target.fileno(), int(was["mode"], 8))
            os.chown(target.fileno(), int(was["uid"]), int(was["gid"]))
            shutil.copyfileobj(source, target)
        print(was["path"])
        ' {sqlite}.json

WHO MADE IT. If there is a file generation.json.sig beside this one, the client signed generation.json and so the manifest's
digest, and nobody can have rewritten them since then without its key. To see that, you need its public key, from anywhere
but this server: on the client it is in ~/.config/sedai/allowed_signers. Copy that file to /tmp/allowed_signers, or write
one line into it: the client's name ({client}), a blank, and the key (ssh-ed25519 AAAA...). Then:

    ssh root@THIS-SERVER cat {record} >/tmp/generation.json
    ssh root@THIS-SERVER cat {signature} >/tmp/generation.json.sig
    ssh-keygen -Y verify -f /tmp/allowed_signers -I {client} -n sedai-generation -s /tmp/generation.json.sig \
        </tmp/generation.json
    ssh root@THIS-SERVER gzip -dc {manifest} | sha256sum | cut -c1-64 | \
        sed 's/^/"manifest_sha256": "/' | grep -of- /tmp/generation.json

The third command must say: Good "sedai-generation" signature. The last one prints the digest of the manifest if it is the
one that was signed, and nothing if it is not.

The manifest has one line for each entry: path, kind, size, mtime in ns, mode, uid, gid, links, inode, ctime, CRC32, XXH128,
target; a tab between two, and in names \\, \t, \n, \r for what would break the line. Its SHA-256, uncompressed:
{manifest_sha256}
"""

# An example is a name that no shell and no rsync would take for something else.
_PLAIN = re.compile(rb"[A-Za-z0-9._][A-Za-z0-9._/@-]*\Z")
_USUAL = b"etc/hosts"
_DUMP = re.compile(r"(?P<entry>.+/databases/[a-z0-9_-]+)/(?P<name>[^/@]+)\.(?P<kind>dump|sql|sqlite)\Z")
# Where there is none of a kind; and where the accounts are that belong to it.
_USUAL_DUMPS = {
    "dump": "var/lib/sedai-client/databases/main/shop",
    "sql": "var/lib/sedai-client/databases/wiki/wiki",
    "sqlite": "var/lib/sedai-client/databases/notes/notes",
}
_RESTORED = "/root/restored"


class Examples:
    """What a note can name as examples, gathered while the manifest goes by: a file, and the first dump of each kind."""

    def __init__(self) -> None:
        self._first, self._usual = b"", False
        self._dumps: dict[str, list[str]] = {kind: [] for kind in _USUAL_DUMPS}
        self._notes: set[str] = set()
        self._globals: set[str] = set()

    def see(self, block: bytes) -> None:
        """Look at some lines of the manifest."""
        if self._first and b"/databases/" not in block and _USUAL not in block:
            return  # nothing in it could be an example
        for line in manifest.lines_of(block):
            path, kind = line.split(b"\t", 2)[:2]
            if kind != b"f" or b"/" not in path or not _PLAIN.match(path):
                continue
            self._usual = self._usual or path == _USUAL
            self._first = self._first or path
            if b"/databases/" in path:
                self._see_dump(path.decode())

    def _see_dump(self, name: str) -> None:
        if name.endswith(".json"):
            self._notes.add(name.removesuffix(".json"))
        elif name.endswith("/@globals.sql"):
            self._globals.add(name.rpartition("/")[0])
        elif dump := _DUMP.match(name):
            self._dumps[dump["kind"]].append(f"{dump['entry']}/{dump['name']}")

    @property
    def file(self) -> str:
        """A file of the generation in a directory: the usual one if it is there, else the first of a plain name."""
        return (_USUAL if self._usual or not self._first else self._first).decode()

    @property
    def dumps(self) -> dict[str, str]:
        """The first dump of each kind that has notes beside it, without its ending; before others one with accounts."""
        return {
            kind: min((name for name in named if name in self._notes), default=_USUAL_DUMPS[kind],
                      key=lambda name: name.rpartition("/")[0] not in self._globals)
            for kind, named in self._dumps.items()
        }  # fmt: skip


def text(record: Record, tree: Path, examples: Examples) -> str:
    """The text of RESTORE.txt for the generation of ``record``, whose files will be at ``tree``."""
    example, dumps = examples.file, examples.dumps
    values = {name: getattr(record, name) for name in ("generation", "client", "sealed", "files", "bytes", "entries",
                                                       "manifest_sha256")}  # fmt: skip
    remote = f"root@THIS-SERVER:{tree}/./"
    return _TEXT.format(
        **values,
        sources=", ".join(record.sources),
        tree=tree,
        manifest=_remote(tree.with_name("manifest")),
        record=_remote(tree.with_name("generation.json")),
        signature=_remote(tree.with_name("generation.json.sig")),
        file=shlex.quote(remote + example),
        directory=shlex.quote(remote + example.rpartition("/")[0]),
        everything=shlex.quote(f"root@THIS-SERVER:{tree}/"),
        postgresql=f"{_RESTORED}/{dumps['dump']}",
        postgresql_globals=f"{_RESTORED}/{dumps['dump'].rpartition('/')[0]}/@globals.sql",
        mariadb=f"{_RESTORED}/{dumps['sql']}",
        mariadb_globals=f"{_RESTORED}/{dumps['sql'].rpartition('/')[0]}/@globals.sql",
        sqlite=f"{_RESTORED}/{dumps['sqlite']}",
    )


def _remote(path: Path) -> str:
    """A word of a command for ssh, which goes through two shells."""
    return shlex.quote(shlex.quote(str(path)))
