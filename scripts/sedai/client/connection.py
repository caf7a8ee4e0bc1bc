"""One SSH connection to the gate, shared by all verbs of a run."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from sedai.client import scratch
from sedai.client.config import Server
from sedai.core import wire
from sedai.core.errors import (
    LockedError,
    NoAnswerError,
    ProcessError,
    ProtocolError,
    SedaiError,
    ServerError,
    UnreachableError,
    UsageError,
)
from sedai.core.process import environment, run

HOST_ALIAS = "sedai-server"
SSH_FAILED = 255
# What ssh says where a machine is off, or nobody listens there.
_NO_ANSWER = re.compile(r"Connection refused|timed out|No route to host")

# A gate that says nothing for so long, asked something that it may have a question about, is told that nothing more comes.
_PATIENCE_SECONDS = 300

# An answer that is read in small pieces wakes ssh, and the gate behind it, for each of them.
_BUFFER_BYTES = 1 << 18

# Before what ssh would take first: with the instructions for AES a GiB costs a fifth less of both processors.
_AES_FIRST = "^aes256-gcm@openssh.com,aes128-gcm@openssh.com"
_CPUINFO = Path("/proc/cpuinfo")
# One processor, or a few, take no more of it; those of one machine are alike.
_ENOUGH_OF_CPUINFO = 1 << 13

# What the gate calls its refusals.
KINDS: dict[str, type[SedaiError]] = {"usage": UsageError, "locked": LockedError, "protocol": ProtocolError}


class Connection:
    """Asks the gate verbs over a master connection, which is opened for the first of them and ends with the context."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._held = contextlib.ExitStack()
        self._config = Path()
        self._is_open = False
        self._opening: Pending | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as held:
            directory = held.enter_context(scratch.directory())
            self._config = directory / "ssh_config"
            self._config.write_text(ssh_config(self._server, directory / "s"), encoding="utf-8")
            held.callback(self._close_master)
            self._held = held.pop_all()
        return self

    def open(self) -> None:
        """Open the master connection, unless it is; whatever goes through it does that.

        Raises:
            UnreachableError: SSH failed.
        """
        if self._opening is not None:
            with contextlib.suppress(SedaiError):  # who asked hears of it
                self._opening.result()
            self._is_open = not self._opening.is_unreachable
            self._opening = None
        if not self._is_open:
            self._open_master()
            self._is_open = True

    def _open_master(self) -> None:
        # The master outlives this call and keeps its stderr open, so it gets a file: a pipe would never end.
        complaint = self._config.with_name("stderr")
        with complaint.open("wb") as stderr:
            status = subprocess.run(
                [*self._ssh, "-f", "-N", "-M", HOST_ALIAS],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=environment(),
                check=False,
            ).returncode
        if status != 0:
            raise _unreachable(self._server, complaint.read_text(encoding="utf-8", errors="replace").strip())

    def _close_master(self) -> None:
        if self._opening is not None:
            self._opening.give_up()
        elif not self._is_open:
            return
        with contextlib.suppress(ProcessError):  # the master ends by itself after ControlPersist
            run([*self._ssh, "-O", "exit", HOST_ALIAS], success=range(256), timeout=10)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    @property
    def _ssh(self) -> list[str]:
        return ["ssh", "-F", str(self._config)]

    @property
    def remote_shell(self) -> str:
        """The value of rsync's ``-e``."""
        self.open()
        return shlex.join(self._ssh)

    def ask(self, verb: str, request: dict[str, Any], on_progress: Callable[[dict[str, Any]], None] | None = None,
            ) -> dict[str, Any]:  # fmt: skip
        """Ask the gate ``verb`` and return its result.

        Raises:
            UnreachableError: SSH failed.
            SedaiError: the gate refused, with its own words.
        """
        return self._only_result(verb, self.stream(verb, request, (), on_progress or _ignore))

    def answer(self, process: subprocess.Popen[bytes], verb: str) -> dict[str, Any]:
        """The result that a gate's process gives, as for :meth:`ask`."""
        return self._only_result(verb, self._answers(process, verb, _ignore))

    def _only_result(self, verb: str, lines: Iterable[bytes]) -> dict[str, Any]:
        for line in lines:
            raise ServerError(
                f"The server answered `{verb}` in an unknown form: {wire.text(line.strip()[:80])}",
                "Is there another program behind this account and key? Run `ansible-playbook site.yml`.",
            )
        return self.result

    def start(self, verb: str, request: dict[str, Any]) -> Pending:
        """Ask the gate ``verb``, and open the connection with it where it is not open; returns before there is an answer."""
        if self._opening is not None:
            self.open()
        # With a command the master goes on in the background, and lets go of the pipes.
        process = self._popen(verb, () if self._is_open else ("-M",), subprocess.PIPE)
        _feed(process, request, ())
        pending = Pending(self, verb, process)
        if not self._is_open:
            self._opening = pending
        return pending

    def _popen(self, verb: str, options: Iterable[str], stdin: int | IO[bytes]) -> subprocess.Popen[bytes]:
        argv = [*self._ssh, *options, HOST_ALIAS, verb]
        return subprocess.Popen(
            argv, bufsize=_BUFFER_BYTES, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
        )

    @contextlib.contextmanager
    def reading(self, verb: str, request: dict[str, Any], feed: Iterable[bytes]) -> Iterator[Answers]:
        """Ask ``verb`` with ``feed`` behind the request; the answer is not of lines alone, and is read by the caller.

        Raises:
            UnreachableError: SSH failed.
            SedaiError: the gate refused, with its own words; or it fell silent.
        """
        self.open()
        with tempfile.TemporaryFile(
            dir=self._config.parent
        ) as asked:  # a pipe would have to be fed while answers are read
            wire.write_object(asked, request | {"protocol": wire.PROTOCOL})
            asked.writelines(feed)
            asked.seek(0)
            process = self._popen(verb, (), asked)
        assert process.stdout is not None and process.stderr is not None
        try:
            with process.stdout:
                answers = Answers(process.stdout)
                yield answers
                answers.end()
        except EOFError as error:
            complaint = process.stderr.read().decode(errors="replace").strip()
            raise _broken(self._server, verb, process.wait(), complaint) from error
        finally:
            process.terminate()  # where it has not ended, nobody listens any more
            process.stderr.close()
            process.wait()

    def stream(
        self,
        verb: str,
        request: dict[str, Any],
        feed: Iterable[bytes],
        on_object: Callable[[dict[str, Any]], dict[str, Any] | None],
        *,
        talks: bool = False,
    ) -> Generator[bytes]:
        """Ask ``verb`` at once, with ``feed`` behind the request; returns the answer's raw lines (those not JSON objects).

        Objects other than the last go to ``on_object``; the last one's ``result`` is then in :attr:`result`. Where it
        ``talks``, what ``on_object`` returns is said to the gate.
        """
        self.open()
        process = self._popen(verb, (), subprocess.PIPE)
        _feed(process, request, feed, ends=not talks)
        # A gate of an earlier version, put in this one's place since the run began, reads to the end before it does anything.
        patience = threading.Timer(_PATIENCE_SECONDS, _hang_up, (process,)) if talks else None
        if patience:
            patience.daemon = True
            patience.start()
        return self._answers(process, verb, on_object, patience)

    def _answers(
        self,
        process: subprocess.Popen[bytes],
        verb: str,
        on_object: Callable[[dict[str, Any]], dict[str, Any] | None],
        patience: threading.Timer | None = None,
    ) -> Generator[bytes]:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self.result: dict[str, Any] = {}
        finished = False
        try:
            for line in process.stdout:
                if patience:
                    patience.cancel()
                if not line.startswith(b"{"):
                    yield line
                    continue
                answer = _object(line)
                if "result" in answer:
                    self.result = answer["result"]
                    finished = True
                elif (reply := on_object(answer)) is not None:
                    with contextlib.suppress(BrokenPipeError, ValueError):  # ended, or closed by us
                        wire.write_object(process.stdin, reply)
        finally:
            if patience:
                patience.cancel()
            _hang_up(process)
            process.stdout.close()
            complaint = process.stderr.read().decode(errors="replace").strip()
            process.stderr.close()
            status = process.wait()
        if not finished:
            raise _broken(self._server, verb, status, complaint)


class Pending:
    """The answer to come of a verb that was started."""

    def __init__(self, connection: Connection, verb: str, process: subprocess.Popen[bytes]) -> None:
        self._connection = connection
        self._verb = verb
        self._process = process
        self._found: dict[str, Any] | SedaiError | None = None

    def result(self) -> dict[str, Any]:
        """Wait for it.

        Raises:
            UnreachableError: SSH failed.
            SedaiError: the gate refused, with its own words.
        """
        if self._found is None:
            # Whatever breaks it off, there is no second time.
            self._found = SedaiError(f"The answer to `{self._verb}` was not heard to its end.")
            try:
                self._found = self._connection.answer(self._process, self._verb)
            except SedaiError as error:
                self._found = error
        if isinstance(self._found, SedaiError):
            raise self._found
        return self._found

    def look(self) -> None:
        """Raise what :meth:`result` would, where it is known already that it would."""
        if self._process.poll() is not None:
            self.result()

    @property
    def is_unreachable(self) -> bool:
        """Whether SSH failed, as is known with the result."""
        return isinstance(self._found, UnreachableError)

    def give_up(self) -> None:
        """Nobody waits for it any more."""
        if self._found is None:
            self._process.terminate()
            with contextlib.suppress(SedaiError):
                self.result()


def _feed(
    process: subprocess.Popen[bytes], request: dict[str, Any], feed: Iterable[bytes], *, ends: bool = True
) -> None:
    """Say the request and what follows it; nothing more comes then, where it ``ends``."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # the gate's answer says why it hung up
        wire.write_object(process.stdin, request | {"protocol": wire.PROTOCOL})
        process.stdin.writelines(feed)
        process.stdin.flush()
    if ends:
        _hang_up(process)


def _hang_up(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


class Answers:
    """What the gate says, part by part. Each method raises EOFError where it falls silent, or the refusal that it tells."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def line(self) -> bytes:
        """The next line, which is no object."""
        line = self._stream.readline(wire.LONGEST_LINE)
        if line.startswith(b"{"):
            _object(line)
        if line[-1:] != b"\n" or line.startswith(b"{"):
            raise EOFError
        return line

    def bytes(self, count: int) -> bytes:
        """So many bytes."""
        found = self._stream.read(count)
        if len(found) < count:
            raise EOFError
        return found

    def end(self) -> None:
        """Nothing comes any more but the result."""
        line = self._stream.readline(wire.LONGEST_LINE)
        if not line.startswith(b"{") or "result" not in _object(line):
            raise EOFError


def _object(line: bytes) -> dict[str, Any]:
    """One object of an answer.

    Raises:
        SedaiError: it is a refusal.
    """
    answer = wire.read_object(line)
    if "error" in answer:
        kind = KINDS.get(str(answer.get("kind")), ServerError)
        raise kind(str(answer["error"]), str(answer.get("hint", "")))
    return answer


def _ignore(answer: dict[str, Any]) -> None:
    """Progress that nobody looks at."""


def _unreachable(server: Server, complaint: str) -> UnreachableError:
    # By the same way: what a jump host has to say is told by hand alone, as ssh keeps it to itself for a master connection.
    way = "".join(f"-o {shlex.quote(option)} " for option in server.ssh_options)
    kind, question = UnreachableError, ""
    if _NO_ANSWER.search(complaint):
        kind, question = NoAnswerError, "Is the server switched on, and on the network?\n"
    return kind(
        f"The server can't be reached as {server.account}@{server.host} port {server.port}: "
        f"{complaint or 'the connection broke'}",
        f"{question}Try: ssh {way}-p {server.port} -i {server.identity_file} -o UserKnownHostsFile={server.known_hosts_file} "
        f"{server.account}@{server.host} status",
    )


def _broken(server: Server, verb: str, status: int, complaint: str) -> SedaiError:
    if status == SSH_FAILED:
        return _unreachable(server, complaint)
    return ServerError(f"The server ended `{verb}` without an answer (status {status}). {complaint}".strip())


def ssh_config(server: Server, socket: Path) -> str:
    """The ssh_config for one run: nothing of the user's own configuration, and no question ever asked."""
    options = {
        "HostName": server.host,
        "Port": str(server.port),
        "User": server.account,
        "IdentityFile": f'"{server.identity_file}"',
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": f'"{server.known_hosts_file}"',
        "GlobalKnownHostsFile": "none",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": "20",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "4",
        "ControlPath": f'"{socket}"',
        "ControlPersist": "60",
        "RequestTTY": "no",
        "LogLevel": "ERROR",
    }
    if has_aes():
        options["Ciphers"] = _AES_FIRST
    lines = [f"Host {HOST_ALIAS}"]
    # ssh takes the first value of an option: what the person configured goes before our own.
    lines += [f"  {option.replace('=', ' ', 1)}" for option in server.ssh_options]
    lines += [f"  {name} {value}" for name, value in options.items()]
    return "\n".join(lines) + "\n"


def has_aes(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether this machine's processor has instructions for AES: a word among its ``flags`` (x86) or ``Features`` (ARM)."""
    try:
        with cpuinfo.open("rb") as stream:
            found = stream.read(_ENOUGH_OF_CPUINFO)
    except OSError:
        return False
    return any(
        b"aes" in words.split()
        for name, _, words in (line.partition(b":") for line in found.splitlines())
        if name.strip() in (b"flags", b"Features")
    )
