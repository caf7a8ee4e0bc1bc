"""Stage: what sedai itself puts into each backup, made ready in the staging directory before the scan."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from sedai.client import canary
from sedai.client.config import ClientConfig
from sedai.client.databases import servers, staging
from sedai.client.databases.notes import Notes
from sedai.client.scan import Problem
from sedai.core.progress import Reporter


@dataclass
class Staged:
    """What was made ready.

    ``notes`` of each dump. ``live``: the servers' own files, which the dumps stand for. ``left_out``: databases of these
    servers that are not dumped, in words. ``gone``: dumps that need not be in the generation (see
    :class:`~databases.staging.Report`). ``unmade``: what of the fidelity canary this machine can't make,
    in words.
    """

    problems: list[Problem] = field(default_factory=list)
    notes: list[Notes] = field(default_factory=list)
    live: list[Path] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    gone: set[Path] = field(default_factory=set)
    unmade: list[str] = field(default_factory=list)


def look(config: ClientConfig) -> Staged:
    """What a dry run needs to know: where the servers' own files lie; nothing is dumped or written."""
    report = staging.look(config.databases, servers.connect)
    return Staged(live=report.live, left_out=report.left_out)


def stage(config: ClientConfig, reporter: Reporter) -> Staged:
    """Make the canary, dump the databases. Never fails: what goes wrong is a problem, and the files are backed up all the same."""
    staged = Staged()
    directory = config.staging_directory
    if directory is None:
        return staged
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        staged.problems.append(Problem("staging", os.fsencode(directory)[1:], f"can't be made: {error.strerror}"))
        return staged
    staged.unmade = canary.prepare(directory)
    report = staging.dump_all(directory, config.databases, servers.connect, reporter)
    staged.problems += [Problem("database", b"", f"{name} {text}") for name, text in report.problems]
    staged.notes, staged.live = report.notes, report.live
    staged.left_out, staged.gone = report.left_out, report.gone
    return staged
