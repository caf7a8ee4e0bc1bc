"""What the client's programs have in common: configuration, log, run record, exit code, and the alert when it is due."""

from __future__ import annotations

import argparse
import errno
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from logging import Logger
from pathlib import Path
from typing import Any

from sedai import __version__
from sedai.client import config as configuration
from sedai.client import metrics as figures
from sedai.client import state_file
from sedai.client.alerts import Outbox
from sedai.client.config import ClientConfig
from sedai.client.messages import IS_IT_ON, Incident, compose, compose_over
from sedai.client.state import State
from sedai.core import metrics, output
from sedai.core.errors import ExitCode, LockedError, NoAnswerError, PausedError, SedaiError, StoppedError
from sedai.core.log import open_log
from sedai.core.ping import FAIL, START, SUCCESS, ping

EXIT_CODES = """\
exit codes:
  0  done and clean
  1  done, with findings; all of them are shown, logged and mailed
  2  usage or configuration
  3  not done
"""
_FULL = (errno.ENOSPC, errno.EDQUOT)
# What the name of an incident, which is also the name of a file, can't hold.
_NO_KEY = re.compile(r"[^a-z0-9._-]|^[._-]")


@dataclass
class Result:
    """How a program ended: ``findings`` are lines for people, ``record`` goes into the run record.

    ``last_good``: the newest generation known to be whole, where the program knows better than the run records.
    ``incident``: why the run counts as failed though its work was done; a key of the messages.
    ``notes``: what a report lists without being a finding. ``advice``: by language, what to do before the command is run
    again. ``idle``: nothing was done, so that nothing is over by it.
    """

    findings: Sequence[str] = ()
    record: dict[str, Any] = field(default_factory=dict)
    last_good: str | None = None
    incident: str = ""
    notes: Sequence[str] = ()
    advice: Mapping[str, str] = field(default_factory=dict)
    idle: bool = False


@dataclass(frozen=True)
class Context:
    """What a program's work is given."""

    config: ClientConfig
    state: State
    outbox: Outbox
    log: Logger


def parser(description: str, examples: str) -> argparse.ArgumentParser:
    """An argument parser with the options that all programs share."""
    made = argparse.ArgumentParser(
        description=description,
        epilog=f"examples:\n{examples}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--config", type=given_path, help=f"configuration file (default: {configuration.DEFAULT_PATH})")
    made.add_argument("--version", action="version", version=f"sedai {__version__}")
    return made


def positive(text: str) -> int:
    """A number of at least 1, from the command line."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError("must be a whole number of at least 1")
    return number


def given_path(text: str) -> Path:
    """A path from the command line. Nothing is none: a variable that is not set must not mean the current directory."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return Path(text)


def given(text: str) -> str:
    """A word from the command line that is not empty."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def open_context(name: str, config_path: Path | None) -> Context:
    """Read the configuration, open the log and the state.

    Raises:
        ConfigError: the configuration is not usable.
    """
    config = configuration.load(config_path)
    log = open_log(name, config.log_file)
    state = State(config.state_directory)
    state.prepare()
    return Context(config, state, Outbox(config.state_directory / "alerts", log), log)


def carry_out(
    name: str, context: Context, work: Callable[[], Result], command: str, *, key: str = ""
) -> tuple[ExitCode, Result]:
    """Do ``work``, log and record how it ended, and alert when it failed or found something.

    ``name`` is ``backup``, ``check`` or ``drill``; ``command`` is what an alert tells the person to run next. ``key`` names what is
    repeated (default: ``name``): alerts of one key are folded until a run of this key is clean, which is told too.
    """
    key = _NO_KEY.sub("x", (key or name).lower())[:100]
    ping_url = context.config.ping_url if name == "backup" else ""
    ping(ping_url, START, context.log)
    started = time.time()
    result = Result()
    try:
        result = work()
        code = ExitCode.FINDINGS if result.findings else ExitCode.CLEAN
        code = ExitCode.NOT_DONE if result.incident else code
        lines = list(result.findings)
    except SedaiError as error:
        code, lines = error.exit_code, str(error).splitlines()
        result.incident = f"{name}_paused" if isinstance(error, PausedError) else ""
        result.advice = IS_IT_ON if isinstance(error, NoAnswerError) else {}
        _complain(context.log, error)
    except Exception as error:  # whatever it is, a person hears of it
        code, lines = ExitCode.NOT_DONE, [f"Unexpected: {error!r}", *traceback.format_exc().splitlines()[-4:]]
        context.log.exception("%s failed", name)
        if isinstance(error, OSError) and error.errno in _FULL:
            full = SedaiError("A disk of this machine is full.", "Free some space on it, then run it again.")
            lines = [*str(full).splitlines(), *lines]
            print(full, file=sys.stderr)
        print(f"{name} failed unexpectedly: {error!r}\nThe log has more: {context.config.log_file}", file=sys.stderr)
    for line in result.findings:
        context.log.warning("%s: %s", name, line)
    ended = time.time()
    context.log.info("%s: exit %d after %.1f s", name, code, ended - started)
    record = {"program": name, "started": started, "ended": ended, "exit": int(code), "lines": lines[:50]}
    try:
        context.state.record_run(record | result.record)
    except (OSError, LockedError) as error:  # a full disk must not keep the alert back
        context.log.error("the run could not be recorded: %s", error)
    result.record.setdefault("lines", lines)
    if not result.idle:
        ping(ping_url, SUCCESS if code <= ExitCode.FINDINGS else FAIL, context.log)
    config = context.config
    last_good = _last_good(context.state) if result.last_good is None else result.last_good
    if code is not ExitCode.CLEAN:
        kind = f"{name}_findings" if code is ExitCode.FINDINGS else f"{name}_failed"
        advice = result.advice.get(config.language, "")
        incident = Incident(result.incident or kind, lines, last_good, command, result.notes, advice)
        alert = compose(incident, config.client, str(config.log_file), config.language)
        context.outbox.send(replace(alert, incident=key), config)
    elif result.idle:
        context.outbox.flush_alone(config)
    else:
        context.outbox.resolve(compose_over(name, key, config.client, last_good, config.language), config)
    _tell_monitoring(context)
    return code, result


def _tell_monitoring(context: Context) -> None:
    config, state = context.config, context.state
    if not config.metrics_file and not config.state_file:
        return
    try:
        runs = list(state.runs())
        waiting, set_aside = len(context.outbox.waiting()), len(context.outbox.set_aside())
        if config.state_file:
            content = state_file.table(config.client, time.time(), runs, waiting=waiting, set_aside=set_aside,
                                       paused=state.paused())  # fmt: skip
            state_file.write(config.state_file, content)
        if config.metrics_file:
            metrics.write(figures.samples(config.client, runs, waiting + set_aside), config.metrics_file)
    except (SedaiError, OSError, ImportError) as error:  # the run is none the worse for it
        context.log.warning("what is written for monitoring is not: %s", error)


def _complain(log: Logger, error: SedaiError) -> None:
    log.error("%s", error)
    print(error, file=sys.stderr)


def _last_good(state: State) -> str:
    try:
        clean = (run for run in state.runs() if run["program"] == "backup" and run["exit"] == ExitCode.CLEAN)
        runs = [run for run in clean if run.get("generation")]
    except OSError:
        return ""
    return str(runs[-1]["generation"]) if runs else ""


def exit_with(work: Callable[[], ExitCode]) -> None:
    """Run a program's main function and end the process; an error before the log is open goes to stderr alone."""
    signal.signal(signal.SIGTERM, _stopped)
    sys.exit(output.exit_code(lambda: _ended(work)))


def _ended(work: Callable[[], ExitCode]) -> ExitCode:
    try:
        return work()
    except SedaiError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted; nothing is lost, run it again.", file=sys.stderr)
        return ExitCode.NOT_DONE
    except Exception as error:
        if output.is_unread(error):
            raise
        print(f"Unexpected: {error!r}", file=sys.stderr)
        return ExitCode.NOT_DONE


def _stopped(number: int, frame: object) -> None:
    """SIGTERM (a shutdown) ends a run like any other failure: its closing commands run and a person hears of it."""
    raise StoppedError("The run was stopped by SIGTERM.", "Run it again: it goes on from what was sent.")
