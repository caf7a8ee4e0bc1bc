"""Problems of a backup in words for people, and which of them mean that something is not in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sedai.client import live
from sedai.client.live import Live
from sedai.client.scan import Problem
from sedai.core import wire

# Its detail is the kind of database.
LIVE = "live_database"
_WORDS = {
    "unreadable": "could not be read; the generation keeps the last version that could, if there is one",
    "restless": "did not hold still while it was backed up; the generation keeps the last version that did, if there is one",
    "source_missing": "is missing; the generation keeps what it held last",
    "source_empty": "is empty now; the generation keeps what it held last",
    "source_is_symlink": "is a symbolic link; its target is not backed up",
    "not_mounted": "is not mounted, so what belongs there is not in this backup",
    "rotten": "has other bytes now, though its times say that nobody wrote to it: it has rotted on this machine, or a program "
    "changes it behind the file system. The generation keeps the bytes that were backed up; bring them back with "
    "`restore_data.py restore --overwrite`, or, where the present ones are right, `touch` the file",
    "lost": "is not in the new generation: the server has lost it, and it can't be sent again; older generations may have it",
    LIVE: "holds files that a database server may be writing, and no dump of it is configured; their copy may "
    "be of no use. Add it to backup_client_databases, exclude it, or name it in backup_client_accept_live",
}


def describe(problem: Problem) -> str:
    """One line about ``problem`` for people."""
    path = f"/{wire.text(problem.path)}" if problem.path else ""
    if problem.code in _WORDS:
        return f"{path} {_WORDS[problem.code]} ({problem.detail})."
    return f"{path} {problem.code}: {problem.detail}".strip()


def lines(problems: Iterable[Problem]) -> list[str]:
    """One line about each of ``problems``; an open browser has many SQLite files, which are told together."""
    told, open_files = [], []
    for problem in problems:
        if problem.code == LIVE and problem.detail == live.SQLITE:
            open_files.append(problem.path)
        else:
            told.append(describe(problem))
    return [*told, _open_files(open_files)] if open_files else told


def _open_files(paths: Sequence[bytes]) -> str:
    if len(paths) == 1:
        return f"The SQLite file {live.names(paths)} was open while it was copied; the copy may not open."
    return (
        f"{len(paths):,} SQLite files were open while they were copied; the copies may not open: {live.names(paths)}."
    )


def not_in_backup(problems: Iterable[Problem], left_out: Sequence[str]) -> list[str]:
    """What is not in a backup as a person may believe, one line each; ``left_out``: what is not by their own word.

    What was copied while it was open is in it, and is told as such.
    """
    told = list(problems)
    missing = [
        describe(problem)
        for problem in told
        if problem.code != LIVE and (problem.code in _WORDS or problem.code == "database")
    ]
    return [
        *missing, *live.told(Live(problem.detail, problem.path) for problem in told if problem.code == LIVE), *left_out
    ]  # fmt: skip
