"""Send: one rsync carries what the plan names into the delta, and tells the XXH128 of every byte it read."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from sedai.core.process import environment
from sedai.core.wire import PARTIAL_DIRECTORY

OUT_FORMAT = "%i|%C|%l|%n"
# Without the names: a restore compares everything with the manifest, and remembers nothing.
PULL_FORMAT = "%i|%C|%l|"

# rsync passes over names that begin with one of these, among those that end with NUL too.
_COMMENT = (b"#", b";")

_END_SECONDS = 10.0
# Where not one byte moves for so long, nothing will any more. A server that is busy with a large file moves some.
_STALLED_SECONDS = 3600.0
_LOOK_SECONDS = 5.0
_JOIN_SECONDS = 0.5
# Where this program is killed, its rsync ends too, tidily: it would hold the server's lock as long as it has to send.
_WITH_US = ("setpriv", "--pdeathsig", "TERM", "--")

# Nothing is missing by that: the shared connection is gone, or the server takes no second session in it, and ssh makes one of its
# own; or rsync found that what it put together is not what was sent (of a part that a full disk has left, say), and sends it whole.
# Where that fails too it says ERROR.
_NO_LOSS = re.compile(
    r"Control socket connect\(|mux_client_request_session: session request failed|"
    r"WARNING: .* failed verification -- update .* \(will try again\)\.\Z"
)
_ESCAPED = re.compile(rb"\\#([0-7]{3})")


@dataclass
class Sent:
    """What one or more rsync runs said: ``digests`` by path (XXH128, hexadecimal), their complaints and last status."""

    digests: dict[bytes, bytes] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    status: int = 0


class Running:
    """The runs of rsync that are under way, of all threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._over = False

    @contextlib.contextmanager
    def holding(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """``process`` is one of them."""
        with self._guard:
            self._processes.add(process)
            over = self._over
        if over:
            process.kill()  # it has nothing yet
        try:
            yield
        finally:
            with self._guard:
                self._processes.remove(process)

    @property
    def over(self) -> bool:
        """Whether they are to end."""
        return self._over

    def end(self) -> None:
        """Have all of them end, and whoever begins from now on; rsync keeps the part of a file that it has."""
        with self._guard:
            self._over = True
            processes = list(self._processes)
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + _END_SECONDS
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()


def push_arguments(
    remote_shell: str, destination: str, bandwidth_limit_kib: int, top: str = "", *, sparse: bool = True
) -> list[str]:
    """The rsync command of a backup; the gate accepts the server side of exactly this one.

    ``top``: the directory in which it begins, with a slash behind it. ``sparse``: zeros become holes, for which the receiver
    writes in pieces of 1,024 bytes (``SPARSE_WRITE_SIZE`` in rsync's fileio.c) whether there are any or not.
    """
    limit = [f"--bwlimit={bandwidth_limit_kib}"] if bandwidth_limit_kib else []
    return [
        "rsync",
        "-aHAXS" if sparse else "-aHAX",
        "--numeric-ids",
        "--ignore-times",
        "-M--fake-super",
        "--checksum-choice=xxh128",
        "--copy-dest=/base",
        f"--partial-dir={PARTIAL_DIRECTORY}",
        "--files-from=-",
        "-0",
        f"--out-format={OUT_FORMAT}",
        *limit,
        "-e",
        remote_shell,
        f"/{top}",
        f"{destination}{top}",
    ]


def pull_arguments(
    remote_shell: str,
    source: str,
    destination: str,
    *,
    recursive: bool = False,
    ignore_existing: bool = False,
    keep_parts: bool = True,
) -> list[str]:
    """The rsync command of a restore, without the names of what it brings.

    ``recursive``: a directory that is named stands for all that is below it. ``ignore_existing``: what appeared since the look
    at the place is not replaced. ``keep_parts``: what arrived of a file when the line broke is kept beside its place.
    """
    return [
        "rsync",
        "-aHAXS",
        *(["--recursive"] if recursive else []),
        "--numeric-ids",
        "--ignore-times",
        "-M--fake-super",
        "--checksum-choice=xxh128",
        "--no-implied-dirs",
        *([f"--partial-dir={PARTIAL_DIRECTORY}"] if keep_parts else []),
        "--files-from=-",
        "-0",
        f"--out-format={PULL_FORMAT}",
        *(["--ignore-existing"] if ignore_existing else []),
        "-e",
        remote_shell,
        source,
        destination,
    ]


def is_barred(complaints: Iterable[str]) -> bool:
    """Whether something in the delta stood in the way: rsync replaces no directory that is not empty by something else."""
    return any("could not make way for" in line for line in complaints)


def parse_line(line: bytes) -> tuple[bytes, bytes, int] | None:
    """``(path, digest, size)`` of one line of rsync's output; None for lines that name no file. Digest may be empty."""
    fields = line.rstrip(b"\n").split(b"|", 3)
    if len(fields) != 4 or len(fields[0]) != 11:
        return None
    name = unescape_name(fields[3])
    digest = fields[1].strip()
    return name.rstrip(b"/"), digest, int(fields[2]) if fields[2].isdigit() else 0


def unescape_name(name: bytes) -> bytes:
    """A file name as rsync prints it (``\\#ooo`` for bytes that are not printable), back to its bytes."""
    return _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), name)


def push(
    argv: list[str],
    paths: Iterable[bytes],
    sent: Sent,
    on_file: Callable[[int], None],
    locks: Collection[int] = (),
    top: bytes = b"",
    running: Running | None = None,
) -> None:
    """Run rsync over ``paths`` (relative to its source); what it says goes to ``sent``, each file's size to ``on_file``.

    ``top``: what stands before the paths in ``sent``. ``locks``: descriptors of locks that are held until rsync has ended too,
    though this program is killed. ``running``: by what another thread can end it.

    The exit status is judged by the caller, path by path: 23 and 24 mean only that not every path was sent.
    """
    process = subprocess.Popen(
        [*_WITH_US, *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        pass_fds=tuple(locks),
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    errors: list[bytes] = []
    failures: list[Exception] = []
    readers = [
        threading.Thread(target=_feed, args=(process.stdin, paths, failures), daemon=True),
        threading.Thread(target=_collect, args=(process.stderr, errors), daemon=True),
    ]
    running = running or Running()
    over = threading.Event()
    minder = threading.Thread(target=_mind, args=(process, over, errors), daemon=True)
    for thread in (*readers, minder):
        thread.start()
    held = contextlib.ExitStack()
    try:
        held.enter_context(running.holding(process))
        for line in process.stdout:
            parsed = parse_line(line)
            if parsed is None:
                continue
            path, digest, size = parsed
            if digest:
                sent.digests[top + path] = digest
                on_file(size)
        _join(readers, running)
        sent.status = process.wait()
    finally:
        held.close()
        over.set()
        _end(process)
    if failures:
        raise failures[0]
    complaints = (line.decode(errors="replace").rstrip() for line in errors)
    sent.complaints = [line for line in complaints if not _NO_LOSS.match(line)]


def _join(readers: Iterable[threading.Thread], running: Running) -> None:
    """Wait for ``readers``, but not where rsync was ended: a server that hangs may keep one of them, as :func:`_end` has it."""
    for reader in readers:
        reader.join(_JOIN_SECONDS)
        while reader.is_alive() and not running.over:
            reader.join(_JOIN_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End rsync where it still runs; never waits for a server that hangs.

    The SSH master holds the other end of stderr as long as such a server does not answer, so whoever reads closes it.
    """
    if process.poll() is None:
        process.terminate()  # rsync keeps the part of a file that it has
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert process.stdout is not None
    process.stdout.close()


def _mind(process: subprocess.Popen[bytes], over: threading.Event, errors: list[bytes]) -> None:
    """End rsync where nothing moves any more, until it is ``over``.

    Where the server's side died while this one had much to read and to write, rsync waits until somebody takes what it writes,
    and the SSH master until rsync takes what came: neither notices the other.
    """
    moved, since = _moved(process.pid), time.monotonic()
    while not over.wait(min(_LOOK_SECONDS, _STALLED_SECONDS)):
        before, moved = moved, _moved(process.pid)
        if moved != before:
            since = time.monotonic()
        elif time.monotonic() - since >= _STALLED_SECONDS:
            errors.append(b"Nothing moved for %d minutes: rsync was ended.\n" % (_STALLED_SECONDS // 60))
            process.terminate()
            if not over.wait(_END_SECONDS):
                process.kill()
            return


def _moved(pid: int) -> bytes:
    """What rsync's processes have read and written, as the kernel counts it; something new where that can't be told."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        return b"".join(Path(f"/proc/{each}/io").read_bytes() for each in (pid, *children))
    except OSError:
        return str(time.monotonic_ns()).encode()


def _collect(stream: IO[bytes], lines: list[bytes]) -> None:
    with stream:
        lines.extend(stream)


def _feed(stream: IO[bytes], paths: Iterable[bytes], failures: list[Exception]) -> None:
    """Write ``paths``; the stream is closed whatever happens, or rsync would wait for ever."""
    try:
        for path in paths:
            stream.write((b"./" + path if path.startswith(_COMMENT) else path) + b"\0")
    except BrokenPipeError:
        pass  # rsync ended early; its status and complaints tell why
    except Exception as error:
        failures.append(error)
    finally:
        with contextlib.suppress(OSError):
            stream.close()
