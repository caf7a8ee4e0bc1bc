"""The rsync at the server's end: asked for in one exact form only, built here, run where it reaches nothing else."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sedai.core import manifest, wire
from sedai.core.errors import UsageError
from sedai.core.wire import PARTIAL_DIRECTORY

# How rsync ends where it came to the end of its list; what it says of single files is for the client to judge.
ENDED = (0, 23, 24)
DELTA, BASE, TREE = "/delta", "/base", "/tree"

# The letters are rsync's short options in any order; behind "e." come the capabilities, which differ by version.
_SHORT = re.compile(r"-([A-Za-z]+)e\.([A-Za-z]{0,24})\Z")
_LETTERS = "lHogDtpAXIR"
_SPARSE = "S"
_RECURSIVE = "r"
_BELOW_DELTA = re.compile(rf"{DELTA}/(?:({wire.PLAIN_PATH})/)?\Z")
_BANDWIDTH = re.compile(r"--bwlimit=[0-9]{1,9}\Z")
_RECEIVE = (
    *("--log-format=%i", "--checksum-choice=xxh128", "--partial-dir", PARTIAL_DIRECTORY, "--numeric-ids"),
    *("--copy-dest", BASE, "--fake-super", "."),
)
_SEND = (
    *("--checksum-choice=xxh128", "--numeric-ids", "--files-from=-", "--from0", "--no-implied-dirs", "--fake-super"),
    ".",
)


@dataclass(frozen=True)
class Transfer:
    """What the client's rsync asks for. ``generation`` is empty for a push into the delta.

    ``recursive``: directories that are named come with all that is below them. ``top``: the directory of the delta, and of the
    base, into which is pushed; ``sparse``: zeros become holes there.
    """

    capabilities: str
    generation: str = ""
    recursive: bool = False
    top: bytes = b""
    sparse: bool = True


def parse(command: str) -> Transfer:
    """Compare ``command`` (SSH_ORIGINAL_COMMAND) with the forms that our client sends: a push, and two of a pull.

    Raises:
        UsageError: it is anything else.
    """
    refused = UsageError("This rsync command is not one that the gate carries out.")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise refused from error
    if words[:2] != ["rsync", "--server"]:
        raise refused
    words = words[2:]
    sending = words[:1] == ["--sender"]
    words = words[1:] if sending else words
    short = _SHORT.match(words[0]) if words else None
    recursive = sending and short is not None and _RECURSIVE in short[1]
    sparse = sending or (short is not None and _SPARSE in short[1])
    if short is None or sorted(short[1]) != sorted(_LETTERS + _SPARSE * sparse + _RECURSIVE * recursive):
        raise refused
    rest = tuple(word for word in words[1:] if not _BANDWIDTH.match(word))
    if not sending and rest[:-1] == _RECEIVE and (below := _BELOW_DELTA.match(rest[-1])):
        top = (below[1] or "").encode("ascii")
        if not top or manifest.is_safe(top):
            return Transfer(short[2], top=top, sparse=sparse)
    if sending and rest[:-1] == _SEND and rest[-1].startswith("/") and rest[-1].endswith("/") and rest[-1].strip("/"):
        return Transfer(short[2], rest[-1].strip("/"), recursive)
    raise refused


def receive_command(transfer: Transfer, base: Path | None, delta: Path) -> list[str]:
    """The receiver, with its own fixed options and the paths ``base``, if there is one, and ``delta`` as it sees them."""
    return [
        *("rsync", "--server", f"-{_LETTERS}{_SPARSE * transfer.sparse}e.{transfer.capabilities}", "--log-format=%i"),
        *("--checksum-choice=xxh128", "--partial-dir", PARTIAL_DIRECTORY, "--numeric-ids"),
        *(("--copy-dest", str(base)) if base else ()),
        *("--fake-super", ".", f"{delta}/"),
    ]


def send_command(transfer: Transfer, tree: Path) -> list[str]:
    """The sender of a restore, reading only ``tree``."""
    return [
        *(
            "rsync",
            "--server",
            "--sender",
            f"-{_LETTERS}{_SPARSE}{_RECURSIVE * transfer.recursive}e.{transfer.capabilities}",
        ),
        *("--checksum-choice=xxh128", "--numeric-ids", "--files-from=-", "--from0", "--no-implied-dirs"),
        *("--fake-super", ".", f"{tree}/"),
    ]


def sandboxed(command: Sequence[str], readable: dict[Path, str], writable: dict[Path, str]) -> list[str]:
    """``command`` in its own user, mount, pid and network namespaces, with the named directories and /usr only."""
    binds = [word for path, place in readable.items() for word in ("--ro-bind", str(path), place)]
    binds += [word for path, place in writable.items() for word in ("--bind", str(path), place)]
    return [
        # No user namespaces inside: in one of its own a process would have rights over much more of the kernel.
        *("bwrap", "--unshare-all", "--unshare-user", "--disable-userns"),
        *("--die-with-parent", "--new-session", "--clearenv"),
        *("--setenv", "PATH", "/usr/bin", "--setenv", "LANG", "C.UTF-8"),
        *("--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"),
        *("--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev"),
        *binds,
        *("--chdir", "/", "--", *command),
    ]
