"""The fidelity canary: a small tree of everything that is hard to bring back, which goes with each backup.

What is wanted is a constant; what this machine can't make of it is noted beside the tree, so that a restore can tell
what was never there from what did not come back.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat as st
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from sedai.client import throwaway
from sedai.client.scan import signature, target
from sedai.client.state import write_atomically
from sedai.core import manifest, walk, wire
from sedai.core.errors import IntegrityError

DIRECTORY = "canary"
NOTES = "canary.json"

_SPARSE_BYTES = 1 << 20
_SCHEMA = 1
_BASE_TIME = 1_000_000_000_123_456_789
_BEFORE_1970 = -1_234_567_890_123_456_789
_YEAR_2100 = 4_102_444_800_000_000_001
_FOREIGN = (12345, 54321)

_ACCESS_ACL, _DEFAULT_ACL = "system.posix_acl_access", "system.posix_acl_default"
_CAPABILITY = "security.capability"
# Labels (the rest of security.*) belong to the machine's own policy; trusted.* no container may set.
_COMPARED_XATTRS = ("user.", "system.posix_acl_", _CAPABILITY)

# What a system or a filesystem says where it can't do something at all; anything else (a full disk) may pass.
_CANNOT = frozenset({errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EILSEQ,
                     errno.ENAMETOOLONG, errno.EOVERFLOW, errno.ERANGE})  # fmt: skip


@dataclass(frozen=True)
class Traits:
    """What one path is, as far as it has to come back.

    ``kind``: as in a manifest. ``size``, ``sha256``: of a file's content. ``sparse``: whether it has a hole.
    ``same_as``: the first path of the same inode, itself where it has one name. ``target``: of a symlink, or a device's
    numbers. ``xattrs``: values by name, access and default ACL among them.
    """

    kind: str
    mode: int
    owner: tuple[int, int]
    mtime_ns: int = _BASE_TIME
    size: int = 0
    sha256: str = ""
    sparse: bool = False
    same_as: bytes = b""
    target: bytes = b""
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """Something hard. ``subject``: its name for people, in the plural; ``things``: what it is shown by, by path.

    ``content``: of the files. ``only_root``: another account could make it but not read it.
    """

    subject: str
    things: Mapping[bytes, Traits]
    content: bytes = b""
    only_root: bool = False


@dataclass(frozen=True)
class Shortfall:
    """One trait of one case that is not as wanted; ``path`` is in the canary, ``detail`` for people."""

    subject: str
    path: str
    trait: str
    detail: str

    @property
    def unmade(self) -> str:
        """In words, where this machine could not make it."""
        return f"{self.subject} can't be made here ({self.detail})."

    @property
    def not_kept(self) -> str:
        """In words, where it did not come back."""
        return f"{self.subject} are not kept: {self.path} {self.detail}."


def acl(*entries: tuple[int, int, int]) -> bytes:
    """An ACL as the kernel takes it (``linux/posix_acl_xattr.h``): entries of tag, permissions and id."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER, _NO_ID = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0xFFFFFFFF
_FILE_ACL = acl((_USER_OBJ, 6, _NO_ID), (_USER, 4, _FOREIGN[0]), (_GROUP_OBJ, 4, _NO_ID), (_GROUP, 6, _FOREIGN[1]),
                (_MASK, 6, _NO_ID), (_OTHER, 0, _NO_ID))  # fmt: skip
_DIRECTORY_ACL = acl((_USER_OBJ, 7, _NO_ID), (_USER, 5, _FOREIGN[0]), (_GROUP_OBJ, 5, _NO_ID), (_MASK, 5, _NO_ID),
                     (_OTHER, 0, _NO_ID))  # fmt: skip

# struct vfs_cap_data of linux/capability.h, revision 2, effective: permitted is CAP_NET_BIND_SERVICE.
_MAY_BIND = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)

_NAMES = {
    "Names with a newline": b"line one\nline two",
    "Names that are not UTF-8": b"caf\xe9 \xff\xfe",
    "Names with a leading dash": b"--delete",
    "Names with a backslash": b"\\#012 \\n \\",
    "Japanese names": "世代 バックアップ".encode(),
    "Names of 255 bytes": b"x" * 251 + b".txt",
}


def wanted(uid: int, gid: int) -> tuple[Case, ...]:
    """The canary of the account ``uid`` and group ``gid``; a directory stands before what is in it."""
    own = (uid, gid)

    def file(path: bytes, content: bytes = b"canary\n", mode: int = 0o644, *, owner: tuple[int, int] = own,
             mtime_ns: int = _BASE_TIME, xattrs: Mapping[str, bytes] | None = None) -> dict[bytes, Traits]:  # fmt: skip
        digest = hashlib.sha256(content).hexdigest()
        return {path: Traits("f", mode, owner, mtime_ns, len(content), digest, same_as=path, xattrs=xattrs or {})}

    def case(subject: str, things: dict[bytes, Traits]) -> Case:
        return Case(subject, things, b"canary\n")

    sparse = b"\0" * (_SPARSE_BYTES - 4) + b"end\n"
    [(_, with_hole)] = file(b"sparse", sparse).items()
    [(_, linked)] = file(b"hard link").items()
    return (
        case("Directories", {b"": Traits("d", 0o700, own), b"names": Traits("d", 0o755, own)}),
        *(case(subject, file(b"names/" + name)) for subject, name in _NAMES.items()),
        Case("Empty files", file(b"empty file", b"")),
        case("Empty directories", {b"empty directory": Traits("d", 0o750, own)}),
        Case("Holes in sparse files", {b"sparse": replace(with_hole, sparse=True)}, sparse),
        case(
            "Extended attributes",
            file(b"xattr", xattrs={"user.sedai.text": b"value", "user.sedai.bytes": b'\0\xff\n="'}),
        ),
        case("Access ACLs", file(b"access acl", mode=0o660, xattrs={_ACCESS_ACL: _FILE_ACL})),
        case("Default ACLs", {b"default acl": Traits("d", 0o750, own, xattrs={_DEFAULT_ACL: _DIRECTORY_ACL})}),
        case("File capabilities", file(b"capability", mode=0o755, xattrs={_CAPABILITY: _MAY_BIND})),
        case("Hard links", {b"hard link": linked, b"hard link again": linked}),
        case("Symlinks that point nowhere", {b"dangling": Traits("l", 0, own, target=b"nowhere/at all")}),
        case("Symlinks to names that are not UTF-8", {b"symlink": Traits("l", 0, own, target=b"caf\xe9/\xff\n")}),
        case("Setuid bits", file(b"setuid", mode=0o4755)),
        case("Setgid bits", file(b"setgid", mode=0o2755)),
        case("Sticky bits", {b"sticky": Traits("d", 0o1777, own)}),
        Case("Files of mode 000", file(b"mode 000", mode=0), b"canary\n", only_root=True),
        case("Foreign owners", file(b"foreign owner", owner=_FOREIGN)),
        case("FIFOs", {b"fifo": Traits("p", 0o640, own)}),
        case("Character devices", {b"character device": Traits("c", 0o600, own, target=b"1,7")}),
        case("Block devices", {b"block device": Traits("b", 0o660, own, target=b"7,123")}),
        case("Modification times in the future", file(b"future", mtime_ns=_YEAR_2100)),
        case("Modification times before 1970", file(b"before 1970", mtime_ns=_BEFORE_1970)),
    )


def describe(root: bytes) -> dict[bytes, Traits]:
    """What is at and below ``root``, by path (the root's own is empty); nothing where it is not there.

    Raises:
        OSError: a directory or a file in it can't be read.
    """
    found: dict[bytes, Traits] = {}
    names: dict[tuple[int, int], bytes] = {}

    def failed(path: bytes, error: OSError) -> None:
        raise error

    try:
        status = os.lstat(root)
    except FileNotFoundError:
        return {}
    found[b""] = _look(root, b"", status, names)
    if st.S_ISDIR(status.st_mode):
        for path, status in walk.walk(root, b"", walk.everything, failed):
            found[path] = _look(root + b"/" + path, path, status, names)
    return found


def _look(real: bytes, path: bytes, status: os.stat_result, names: dict[tuple[int, int], bytes]) -> Traits:
    line = signature(b"x", status)
    kind = manifest.decode(line + b"-\t-\t\n").kind if line else "s"
    traits = Traits(kind, st.S_IMODE(status.st_mode) if kind != "l" else 0, (status.st_uid, status.st_gid),
                    status.st_mtime_ns, target=target(real, status), xattrs=_xattrs(real))  # fmt: skip
    if kind != "f":
        return traits
    first = names.setdefault((status.st_dev, status.st_ino), path)
    with open(real, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    sparse = status.st_blocks * 512 < status.st_size // 2
    return replace(traits, size=status.st_size, sha256=digest, sparse=sparse, same_as=first)


def _xattrs(real: bytes) -> dict[str, bytes]:
    try:
        names = os.listxattr(real, follow_symlinks=False)
        return {name: os.getxattr(real, name, follow_symlinks=False)
                for name in sorted(names) if name.startswith(_COMPARED_XATTRS)}  # fmt: skip
    except OSError as error:
        if error.errno in _CANNOT:
            return {}
        raise


def shortfalls(cases: tuple[Case, ...], found: Mapping[bytes, Traits]) -> list[Shortfall]:
    """Everything in ``found`` that is not as ``cases`` want it, and what is there though nobody wants it."""
    told = []
    known = set()
    for case in cases:
        for path, traits in case.things.items():
            known.add(path)
            shown = _shown(path)
            there = found.get(path)
            differences = _differences(traits, there) if there else [("there", "is missing")]
            told += [Shortfall(case.subject, shown, trait, detail) for trait, detail in differences]
    told += [Shortfall("The canary's entries", wire.text(path), "extra", "does not belong there")
             for path in sorted(found) if path not in known]  # fmt: skip
    return told


def _differences(want: Traits, found: Traits) -> Iterator[tuple[str, str]]:
    """Trait and detail of each difference."""
    if found.kind != want.kind:
        yield "kind", f"is of kind {found.kind}, not {want.kind}"
        return
    if (found.size, found.sha256) != (want.size, want.sha256):
        yield "content", "has other bytes"
    elif want.sparse and not found.sparse:
        yield "sparse", "has no hole any more"
    if found.same_as != want.same_as:
        yield "same_as", "is a file of its own"
    if found.target != want.target:
        words = "points to" if want.kind == "l" else "is device"
        yield "target", f"{words} {wire.text(found.target)}, not {wire.text(want.target)}"
    if found.mode != want.mode:
        yield "mode", f"has mode {found.mode:o}, not {want.mode:o}"
    if found.owner != want.owner:
        yield "owner", "has owner {}:{}, not {}:{}".format(*found.owner, *want.owner)
    if found.mtime_ns != want.mtime_ns:
        yield "mtime", f"has modification time {_seconds(found.mtime_ns)}, not {_seconds(want.mtime_ns)}"
    yield from _xattr_differences(want.xattrs, found.xattrs)


def _xattr_differences(want: Mapping[str, bytes], found: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    for name in sorted({*want, *found}):
        if name not in found:
            yield name, f"has lost its {name}"
        elif name not in want:
            yield name, f"has a {name} that nobody gave it"
        elif found[name] != want[name]:
            yield name, f"has another {name}"


def _seconds(time_ns: int) -> str:
    whole, rest = divmod(abs(time_ns), 10**9)
    return f"{'-' if time_ns < 0 else ''}{whole}.{rest:09d}"


def prepare(staging_directory: Path) -> list[str]:
    """Make the canary below ``staging_directory`` unless it is there and whole; never fails.

    Returns, in words, what this machine can't make, or why there is no canary.
    """
    try:
        return _lines(shortfall.unmade for shortfall in _made(staging_directory))
    except OSError as error:
        with contextlib.suppress(OSError):
            (staging_directory / NOTES).unlink(missing_ok=True)
        return [f"The fidelity canary could not be made: {error.strerror or error}."]


def _made(staging_directory: Path) -> list[Shortfall]:
    account = (os.geteuid(), os.getegid())
    root = os.fsencode(staging_directory / DIRECTORY)
    notes = staging_directory / NOTES
    cases = wanted(*account)
    try:
        noted, lacking = _read(notes)
        if noted == account and _keys(shortfalls(cases, describe(root))) == _keys(lacking):
            return lacking
    except (IntegrityError, OSError):
        pass  # not there, or damaged: made anew
    notes.unlink(missing_ok=True)
    throwaway.remove(root)
    reasons = make(root, cases)
    lacking = [replace(found, detail=reasons.get(found.path, found.detail))
               for found in shortfalls(cases, describe(root))]  # fmt: skip
    write_atomically(notes, _text(account, lacking))
    return lacking


def make(root: bytes, cases: Iterable[Case]) -> dict[str, str]:
    """Make ``cases`` as far as this machine can; returns why not, by path.

    Raises:
        OSError: something that another time may pass, such as a full disk.
    """
    privileged = os.geteuid() == 0
    reasons: dict[str, str] = {}
    directories: dict[bytes, Traits] = {}
    for case in cases:
        for path, traits in case.things.items():
            if case.only_root and not privileged:
                reasons[_shown(path)] = "not root"
                continue
            for step in _steps(root, path, traits, case.content):
                _attempt(path, step, reasons, privileged)
                if not os.path.lexists(_real(root, path)):
                    break
            if traits.kind == "d":
                directories[path] = traits
    for path, traits in reversed(directories.items()):  # what is made in a directory touches it
        _attempt(path, partial(_set_time, _real(root, path), traits), reasons, privileged)
    return reasons


def _attempt(path: bytes, step: Callable[[], object], reasons: dict[str, str], privileged: bool) -> None:
    """Carry out ``step`` on ``path``; note why where it can't be done here."""
    try:
        step()
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        denied = error.errno in (errno.EPERM, errno.EACCES) and not privileged
        reasons[_shown(path)] = "not root" if denied else error.strerror or str(error)


def _steps(root: bytes, path: bytes, traits: Traits, content: bytes) -> Iterator[Callable[[], object]]:
    """What makes one path, in an order in which no step undoes an earlier one."""
    real = _real(root, path)
    yield partial(_create, root, path, traits, content)
    yield partial(os.chown, real, *traits.owner, follow_symlinks=False)
    if traits.kind != "l":
        yield partial(os.chmod, real, traits.mode)
    for name, value in traits.xattrs.items():
        yield partial(os.setxattr, real, name, value, follow_symlinks=False)
    yield partial(_set_time, real, traits)


def _create(root: bytes, path: bytes, traits: Traits, content: bytes) -> None:
    real = _real(root, path)
    if traits.kind == "d":
        os.mkdir(real, 0o700)
    elif traits.kind == "l":
        os.symlink(traits.target, real)
    elif traits.kind == "p":
        os.mkfifo(real, 0o600)
    elif traits.kind in "cb":
        major, minor = map(int, traits.target.split(b","))
        os.mknod(real, 0o600 | (st.S_IFCHR if traits.kind == "c" else st.S_IFBLK), os.makedev(major, minor))
    elif traits.same_as != path:
        os.link(_real(root, traits.same_as), real)
    else:
        with open(os.open(real, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            if traits.sparse:
                hole = len(content) - len(content.lstrip(b"\0"))
                stream.seek(hole)
                content = content[hole:]
            stream.write(content)


def _set_time(real: bytes, traits: Traits) -> None:
    os.utime(real, ns=(traits.mtime_ns, traits.mtime_ns), follow_symlinks=False)


def _real(root: bytes, path: bytes) -> bytes:
    return root + b"/" + path if path else root


def _shown(path: bytes) -> str:
    return wire.text(path) or "its top"


def _keys(told: Iterable[Shortfall]) -> set[tuple[str, str]]:
    return {(shortfall.path, shortfall.trait) for shortfall in told}


def _text(account: tuple[int, int], lacking: Iterable[Shortfall]) -> str:
    table = {"schema": _SCHEMA, "account": account, "lacking": [asdict(shortfall) for shortfall in lacking]}
    return json.dumps(table, indent=1, ensure_ascii=False) + "\n"


def _read(notes: Path) -> tuple[tuple[int, int], list[Shortfall]]:
    """For which account a canary was made, and what it lacks.

    Raises:
        IntegrityError: the notes are missing, damaged, or those of another version.
    """
    try:
        table = json.loads(notes.read_text(encoding="utf-8"))
        uid, gid = table["account"]
        if table["schema"] != _SCHEMA:
            raise ValueError(f"schema {table['schema']} is not known")
        return (int(uid), int(gid)), [Shortfall(**item) for item in table["lacking"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise IntegrityError(f"The notes of the fidelity canary can't be read: {error}") from error


@dataclass(frozen=True)
class Kept:
    """How a canary came back, in words: what the machine could not make, and what did not come back as it was made."""

    unmade: tuple[str, ...]
    not_kept: tuple[str, ...]


def compare(staging_directory: Path) -> Kept:
    """Compare the canary that was restored below ``staging_directory`` with what it was when it was backed up.

    Raises:
        IntegrityError: its notes are missing or damaged.
        OSError: it can't be read.
    """
    account, lacking = _read(staging_directory / NOTES)
    known = _keys(lacking)
    found = shortfalls(wanted(*account), describe(os.fsencode(staging_directory / DIRECTORY)))
    return Kept(
        tuple(_lines(shortfall.unmade for shortfall in lacking)),
        tuple(_lines(shortfall.not_kept for shortfall in found if (shortfall.path, shortfall.trait) not in known)),
    )


def _lines(told: Iterable[str]) -> list[str]:
    """Each line once: two traits of a thing may have one reason."""
    return list(dict.fromkeys(told))
