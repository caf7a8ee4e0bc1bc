"""The log file: one line an event, UTC, the same form on every host."""

from __future__ import annotations

import errno
import logging
import sys
import time
from pathlib import Path

from sedai.core.errors import ConfigError

# The disk is in trouble, not the configuration: what there is to tell is worth more than its line in the log.
_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_FORMAT = "%(asctime)s %(name)s[%(process)d] %(levelname)s %(message)s"


class _OneLine(logging.Formatter):
    """Newlines in a message (a file name, a server's reply) never start a new log line."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", " | ")


def open_log(name: str, path: Path, *, echo: bool = False) -> logging.Logger:
    """A logger that appends to ``path`` (made with mode 0600) and, with ``echo``, to stderr.

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
    return logger
