"""The one place where subprocesses are started."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from sedai.core.errors import ConfigError, ProcessError

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A small explicit environment: cron and an interactive shell behave alike."""
    base = {"PATH": _PATH, "LANG": "C.UTF-8", "HOME": os.path.expanduser("~")}
    for name in ("TERM", "SSH_AUTH_SOCK"):
        if name in os.environ:
            base[name] = os.environ[name]
    return base | dict(extra or {})


def _account(name: str) -> dict[str, Any]:
    """What Popen needs to start a program as another account of this machine, for which only root has the right.

    Raises:
        ConfigError: there is no such account.
    """
    if not name:
        return {}
    try:
        found = pwd.getpwnam(name)
    except KeyError as error:
        raise ConfigError(f"This machine has no account {name!r}.", "Name another one as run_as.") from error
    if found.pw_uid == os.geteuid():
        return {}
    return {
        "user": found.pw_uid,
        "group": found.pw_gid,
        "extra_groups": os.getgrouplist(name, found.pw_gid),
        "cwd": "/",
    }


def be_idle() -> None:
    """From here on this process, and what it starts, has the processor and the disk only where nobody else wants them."""
    os.nice(19)
    run(["ionice", "--class", "3", "--pid", str(os.getpid())], success=range(256))  # not every system lets it


def start(
    argv: Sequence[str | bytes],
    *,
    run_as: str = "",
    extra_environment: Mapping[str, str] | None = None,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    stdout: IO[bytes] | int = subprocess.DEVNULL,
    stderr: IO[bytes] | int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start ``argv`` and leave it running, as the account ``run_as`` where one is named.

    Raises:
        ConfigError: there is no such account.
        ProcessError: the program isn't there (status 127).
    """
    account = _account(run_as)
    home = {"HOME": pwd.getpwnam(run_as).pw_dir} if account else {}
    env = environment(home | dict(extra_environment or {}))
    try:
        return subprocess.Popen(list(argv), stdin=stdin, stdout=stdout, stderr=stderr, env=env, **account)
    except FileNotFoundError as error:
        name = argv[0].decode(errors="replace") if isinstance(argv[0], bytes) else argv[0]
        raise ProcessError(f"{name} is not installed.", 127, "") from error
    except PermissionError as error:
        raise ProcessError(
            f"{argv[0]!r} can't be started as {run_as or 'this account'}: {error.strerror}.", 126, ""
        ) from error


@dataclass(frozen=True)
class Result:
    """Exit status and output of a finished subprocess."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def error_text(self) -> str:
        """The last lines of stderr, for a message to a person."""
        return "\n".join(self.stderr.decode(errors="replace").strip().splitlines()[-8:])


def run(
    argv: Sequence[str | bytes],
    *,
    success: Collection[int] = (0,),
    stdin: bytes | IO[bytes] | int = subprocess.DEVNULL,
    stdout: IO[bytes] | None = None,
    run_as: str = "",
    extra_environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
    secrets: Collection[str] = (),
) -> Result:
    """Run ``argv`` to its end and return its output, which goes to ``stdout`` instead where that is given.

    ``success`` names the statuses that are not an error. ``secrets`` are masked in the text of an error.

    Raises:
        ConfigError: there is no account ``run_as``.
        ProcessError: another status, a timeout (status -1), or a program that isn't there (status 127).
    """
    words = [word.decode(errors="replace") if isinstance(word, bytes) else word for word in argv]
    shown = shlex.join(
        _mask(word, secrets) for word in words
    )  # masked first: quoting would hide a secret from the mask
    process = start(
        argv,
        run_as=run_as,
        extra_environment=extra_environment,
        stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            out, err = process.communicate(stdin if isinstance(stdin, bytes) else None, timeout)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise ProcessError(f"`{shown}` did not end within {timeout:.0f} s.", -1, "") from error
        except BaseException:  # an interrupted run leaves nothing running
            process.kill()
            raise
    result = Result(process.returncode, out or b"", err)
    if result.status not in success:
        detail = _mask(result.error_text, secrets)
        raise ProcessError(f"`{shown}` ended with status {result.status}: {detail}", result.status, detail)
    return result


def _mask(text: str, secrets: Collection[str]) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, "********")
    return text
