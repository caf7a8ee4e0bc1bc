"""What cron calls on the server: each verb says what it found, and a failure of the verb itself is mailed too."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from logging import Logger
from pathlib import Path

from sedai.core.counted import counted
from sedai.core.errors import ExitCode, LockedError, SedaiError
from sedai.core.log import open_log
from sedai.core.ping import FAIL, START, SUCCESS, ping
from sedai.core.progress import Reporter
from sedai.server import status, words
from sedai.server.config import ServerConfig
from sedai.server.judge import Finding, incident_key
from sedai.server.report import report
from sedai.server.scrub import scrub
from sedai.server.watch import Teller, watch


def carry_out(verb: str, config: ServerConfig) -> ExitCode:
    """Carry out ``verb``.

    Raises:
        SedaiError: it could not be done; that was mailed, unless another run of it is at it.
    """
    log = open_log("sedai-server", config.log_file)
    teller = Teller(config, log)
    ping_url = config.ping_url if verb == "watch" else ""
    ping(ping_url, START, log)
    try:
        code = VERBS[verb](config, log)
    except LockedError:
        raise
    except Exception as error:  # whatever it is, a person hears of it
        log.exception("%s failed", verb)
        ping(ping_url, FAIL, log)
        told = error.message if isinstance(error, SedaiError) else repr(error)
        _tell(config, teller, Finding(verb, figures={"error": told}))
        if isinstance(error, SedaiError):
            raise
        raise SedaiError(f"{verb} failed unexpectedly: {error!r}", f"See {config.log_file}.") from error
    ping(ping_url, SUCCESS, log)
    _tell_over(config, teller, verb, "")
    return code


def _tell_over(config: ServerConfig, teller: Teller, kind: str, client: str) -> None:
    """Tell that ``kind`` is over, unless that was told and nothing came since."""
    mark = _mark(config, incident_key(kind, client))
    if not mark.exists() and teller.end(kind, client):
        with contextlib.suppress(OSError):  # then the next one says it again, to no harm
            mark.touch(mode=0o600)


def _tell(config: ServerConfig, teller: Teller, finding: Finding) -> None:
    _mark(config, finding.key).unlink(missing_ok=True)
    teller.tell(finding)


def _mark(config: ServerConfig, key: str) -> Path:
    """A file that is there while the incident ``key`` is known to be over: taking it away needs no room on the disk."""
    return (config.watch.state_directory or config.store) / f"{key}.over"


def _watch(config: ServerConfig, log: Logger) -> ExitCode:
    outcome = watch(config, log)
    status.refresh(outcome.facts, config, log)
    for finding in outcome.findings:
        print(f"{finding.client or 'server'}: {words.title(finding.kind, config.language)}")
    if outcome.not_told:
        raise SedaiError("Some alerts were not taken; the next watch tries again:\n" + "\n".join(outcome.not_told))
    return ExitCode.FINDINGS if outcome.findings else ExitCode.CLEAN


def _scrub(config: ServerConfig, log: Logger) -> ExitCode:
    os.nice(19)
    outcome = scrub(config, log, Reporter(quiet=False))
    print(f"Read {counted(outcome.read_files, 'file')}, {words.size(outcome.read_bytes)}.")
    teller = Teller(config, log)
    for finding in outcome.findings:
        print(f"{finding.client}: {words.title(finding.kind, config.language)}\n{finding.figures['lines']}")
        _tell(config, teller, finding)
    for client in outcome.over:
        _tell_over(config, teller, "rot", client)
    if teller.failures:
        raise SedaiError("Some alerts were not taken:\n" + "\n".join(teller.failures))
    return ExitCode.FINDINGS if outcome.findings else ExitCode.CLEAN


def _report(config: ServerConfig, log: Logger) -> ExitCode:
    mail = report(config, log)
    print(f"{mail.subject}\n\n{mail.body}", end="")
    return ExitCode.CLEAN


VERBS: dict[str, Callable[[ServerConfig, Logger], ExitCode]] = {"report": _report, "scrub": _scrub, "watch": _watch}
