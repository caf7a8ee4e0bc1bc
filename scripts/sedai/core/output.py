"""What a program prints, where perhaps nobody reads it to the end (`| head`)."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from typing import TextIO

from sedai.core.errors import ExitCode

# As the shell tells of a program that the signal has ended: none of our own exit codes would be true.
UNREAD = 128 + signal.SIGPIPE


def exit_code(work: Callable[[], int]) -> int:
    """The exit code of ``work``, or :data:`UNREAD` where nobody reads on; that is no error, and nothing is said of it."""
    try:
        try:
            return work()
        finally:
            _flush()  # here, and not by the interpreter at its end, which could only complain
    except BrokenPipeError as error:
        if not is_unread(error):
            raise
        _forget()
        return UNREAD
    except _UnwrittenError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"What there is to read could not be written: {error.__cause__}", file=sys.stderr)
        return ExitCode.NOT_DONE


class _UnwrittenError(Exception):
    """What was printed found no place, as on a full disk."""


def _flush() -> None:
    try:
        print(end="", flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _UnwrittenError from error


def is_unread(error: Exception) -> bool:
    """Whether ``error`` says that nobody reads what is printed; it may be about another pipe, which must be told."""
    return isinstance(error, BrokenPipeError) and _has_no_reader(sys.stdout)


def _has_no_reader(stream: TextIO | None) -> bool:
    if stream is None:  # it was closed before this program began
        return False
    poll = select.poll()
    poll.register(stream, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))  # poll(2): the read end of the pipe is closed


def _forget() -> None:
    """What is still buffered goes nowhere, as docs.python.org/3/library/signal.html#note-on-sigpipe has it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(_has_no_reader, (sys.stdout, sys.stderr)):
        os.dup2(nowhere, stream.fileno())
