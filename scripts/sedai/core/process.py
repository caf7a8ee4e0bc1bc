"""The one place where subprocesses are started."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sedai.core.errors import ProcessError

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A small explicit environment: cron and an interactive shell behave alike."""
    base = {"PATH": _PATH, "LANG": "C.UTF-8", "HOME": os.path.expanduser("~")}
    for name in ("TERM", "SSH_AUTH_SOCK"):
        if name in os.environ:
            base[name] = os.environ[name]
    return base | dict(extra or {})


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
    extra_environment: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    timeout: float | None = None,
    secrets: Collection[str] = (),
) -> Result:
    """Run ``argv`` to its end and return its output.

    ``success`` names the statuses that are not an error. ``secrets`` are masked in the text of an error.

    Raises:
        ProcessError: another status, a timeout (status -1), or a program that isn't there (status 127).
    """
    words = [word.decode(errors="replace") if isinstance(word, bytes) else word for word in argv]
    shown = _mask(shlex.join(words), secrets)
    try:
        done = subprocess.run(
            list(argv),
            capture_output=True,
            env=environment(extra_environment),
            cwd=cwd,
            timeout=timeout,
            check=False,
            input=stdin if isinstance(stdin, bytes) else None,
            stdin=None if isinstance(stdin, bytes) else stdin,
        )
    except FileNotFoundError as error:
        raise ProcessError(f"{words[0]} is not installed.", 127, "") from error
    except subprocess.TimeoutExpired as error:
        raise ProcessError(f"`{shown}` did not end within {timeout:.0f} s.", -1, "") from error
    result = Result(done.returncode, done.stdout, done.stderr)
    if result.status not in success:
        detail = _mask(result.error_text, secrets)
        raise ProcessError(f"`{shown}` ended with status {result.status}: {detail}", result.status, detail)
    return result


def _mask(text: str, secrets: Collection[str]) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, "********")
    return text
