"""One exception tree; an entry script maps it to an exit code exactly once."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """Exit codes of all programs."""

    CLEAN = 0
    FINDINGS = 1
    USAGE = 2
    NOT_DONE = 3


class SedaiError(Exception):
    """The work was not done. ``hint`` says what the person can do about it."""

    exit_code = ExitCode.NOT_DONE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(SedaiError):
    """What the person asked for or configured can't be carried out as it stands."""

    exit_code = ExitCode.USAGE


class ConfigError(UsageError):
    """The configuration file is missing, malformed or contradicts itself."""


class StoppedError(SedaiError):
    """The run was told to stop (SIGTERM): no part of it may go on."""


class PausedError(UsageError):
    """Backups of this machine are paused until a person resumes them."""


class LockedError(SedaiError):
    """Another run holds the lock."""


class ProcessError(SedaiError):
    """A subprocess ended with a status that is not a success."""

    def __init__(self, message: str, status: int, stderr: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.status = status
        self.stderr = stderr

    def __reduce__(self) -> tuple[type[ProcessError], tuple[str, int, str, str]]:
        """Comes out of a worker as it was raised there."""
        return type(self), (self.message, self.status, self.stderr, self.hint)


class ServerError(SedaiError):
    """The server was reached and refused, with its own words."""


class UnreachableError(SedaiError):
    """The server could not be reached or did not let us in."""


class NoAnswerError(UnreachableError):
    """Nothing answers where the server should be: it may be off."""


class ProtocolError(SedaiError):
    """Client and server are of versions that don't understand each other, as in the middle of an upgrade."""

    exit_code = ExitCode.USAGE


class CutShortError(SedaiError):
    """The other side went away in the middle of what it had to say."""


class IntegrityError(SedaiError):
    """Bytes, counts or attributes are not what they must be."""
