"""The log file: one line an event, UTC, the same form on every host. The journal, or the syslog, gets each line too."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import sys
import time
from pathlib import Path

from sedai.core.errors import ConfigError

# The disk is in trouble, not the configuration: what there is to tell is worth more than its line in the log.
_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_FORMAT = "%(asctime)s %(name)s[%(process)d] %(levelname)s %(message)s"

# Where journald or another syslog takes messages (syslog(3)), and under which identifier all programs are found there.
SYSLOG = "/dev/log"
_IDENTIFIER = "sedai"
_DAEMON = 3  # the facility, as in RFC 3164
_SEVERITIES = {logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class _OneLine(logging.Formatter):
    """Newlines in a message (a file name, a server's reply) never start a new log line."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", " | ")


class _Syslog(logging.Handler):
    """Tells the host's syslog, and never waits for one that is stuck: a backup is worth more than its lines there."""

    def __init__(self) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def emit(self, record: logging.LogRecord) -> None:
        priority = _DAEMON << 3 | _SEVERITIES.get(record.levelno, 5)
        line = f"<{priority}>{_IDENTIFIER}[{record.process}]: {self.format(record)}"
        with contextlib.suppress(OSError):
            self._socket.sendto(line.encode(errors="backslashreplace"), SYSLOG)

    def close(self) -> None:
        self._socket.close()
        super().close()


def open_log(name: str, path: Path, *, echo: bool = False) -> logging.Logger:
    """A logger that appends to ``path`` (made with mode 0600), tells the host's syslog and, with ``echo``, stderr.

    Where the disk can't take it, then or later, its lines are lost and nothing else is.

    Raises:
        ConfigError: the file can't be written.
    """
    logging.raiseExceptions = False
    logger = logging.getLogger(name)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for old in list(logger.handlers):
        logger.removeHandler(old)
        old.close()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        handlers: list[logging.Handler] = [logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")]
    except OSError as error:
        if error.errno not in _TROUBLE:
            raise ConfigError(
                f"The log file {path} can't be written: {error.strerror}.", "Set another log_file."
            ) from error
        handlers = [logging.NullHandler()]
    if echo:
        handlers.append(logging.StreamHandler(sys.stderr))
    for handler in handlers:
        handler.setFormatter(_OneLine(_FORMAT, "%Y-%m-%dT%H:%M:%SZ"))
        logger.addHandler(handler)
    syslog = _Syslog()
    syslog.setFormatter(_OneLine("%(name)s %(message)s"))
    logger.addHandler(syslog)
    return logger
