"""The generations that the server has: which one a person means, and its manifest, proven to be the one that was sealed."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from sedai.client import scratch
from sedai.client.connection import Connection
from sedai.client.state import State, fetch_manifest
from sedai.core import manifest
from sedai.core.errors import IntegrityError, UsageError
from sedai.core.generation import Generation

Record = dict[str, Any]


def generations(connection: Connection) -> list[Record]:
    """The records of all generations on the server, oldest first."""
    return list(connection.ask("list", {})["generations"])


def choose(records: Sequence[Record], name: str) -> Record:
    """The record of the generation ``name``; ``latest`` is the newest, ``previous`` the one before it.

    Raises:
        UsageError: there is none; the text names those there are.
    """
    _refuse_none(records)
    if name == "latest":
        return records[-1]
    if name == "previous":
        if len(records) < 2:
            raise UsageError(f"There is only one generation, {records[0]['generation']}, and none before it.")
        return records[-2]
    for record in records:
        if record["generation"] == name:
            return record
    known = ", ".join(str(record["generation"]) for record in records)
    raise UsageError(f"There is no generation {name!r}.", f"There are: {known}.")


def choose_at(records: Sequence[Record], moment: datetime) -> Record:
    """The record of the newest generation that was sealed at ``moment`` or before.

    Raises:
        UsageError: none is that old; the text names the oldest.
    """
    _refuse_none(records)
    old_enough = [record for record in records if sealed_at(record) <= moment]
    if not old_enough:
        raise UsageError(
            f"No generation is as old as {local(moment)}.",
            f"The oldest is {records[0]['generation']}, sealed {local(sealed_at(records[0]))}.",
        )
    return old_enough[-1]


def which_arguments(parser: argparse.ArgumentParser) -> None:
    """The options by which a person says which generation is meant; for :func:`pick`."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--generation", default="latest", metavar="ID", help="default: latest; also: previous")
    which.add_argument("--at", metavar="TIME", help="the newest one sealed by then: 2026-01-31, 2026-01-31T18:30")


def pick(options: argparse.Namespace, records: Sequence[Record]) -> Record:
    """The record of the generation that a person asked for; see :func:`choose` and :func:`choose_at`."""
    return choose_at(records, moment(options.at)) if options.at is not None else choose(records, options.generation)


def _refuse_none(records: Sequence[Record]) -> None:
    if not records:
        raise UsageError("There is no generation yet.", "Run backup_data.py first.")


def sealed_at(record: Record) -> datetime:
    """When a generation was sealed; where its record does not say, the time in its name."""
    with contextlib.suppress(KeyError, ValueError):
        moment = datetime.fromisoformat(str(record["sealed"]))
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    generation = Generation.parse(str(record["generation"]))
    return generation.time if generation else datetime.min.replace(tzinfo=UTC)


def moment(text: str) -> datetime:
    """The moment that ``text`` (ISO 8601) means: without an offset in local time, a bare date is the end of that day.

    Raises:
        UsageError: it is not such a text.
    """
    try:
        try:
            day = date.fromisoformat(text)
        except ValueError:
            return datetime.fromisoformat(text).astimezone()
        return datetime.combine(day + timedelta(days=1), time()).astimezone() - timedelta(microseconds=1)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"{text!r} is not a time.", "Write it like 2026-01-31, 2026-01-31T18:30 or 2026-01-31T18:30:00Z."
        ) from error


def local(moment: datetime) -> str:
    """A moment for people, in local time."""
    try:
        return f"{moment.astimezone():%Y-%m-%d %H:%M}"
    except (OverflowError, ValueError, OSError):
        return str(moment)


def trusted_digest(state: State, record: Record) -> str:
    """The manifest digest that this client saw sealed; on a machine that saw none, the server's word.

    Raises:
        IntegrityError: neither is known.
    """
    generation = str(record["generation"])
    sealed = state.sealed()
    if generation not in sealed and "manifest_sha256" not in record:
        raise IntegrityError(
            f"The record of {generation} is damaged: {record.get('error', '')}", "Restore from another generation."
        )
    return sealed[generation] if generation in sealed else str(record["manifest_sha256"])


@contextlib.contextmanager
def fetched(connection: Connection, state: State, record: Record) -> Iterator[Path]:
    """The generation's manifest, in a file that goes with the context.

    Raises:
        IntegrityError: it is not the one that was sealed.
    """
    # Not in the state directory: several may restore at a time.
    with scratch.directory() as directory:
        path = directory / "manifest"
        sha256 = trusted_digest(state, record)
        if not _is_at_hand(state, sha256, path):
            fetch_manifest(connection, str(record["generation"]), sha256, path)
        yield path


def _is_at_hand(state: State, sha256: str, copy: Path) -> bool:
    """Whether this client has the manifest itself, as the base of the next backup; ``copy`` is one then."""
    if sha256 not in list(state.sealed().values())[-1:]:
        return False
    with contextlib.suppress(OSError, IntegrityError):
        shutil.copyfile(state.base, copy)  # a backup may replace it meanwhile
        return manifest.sha256(copy) == sha256
    return False


def tree_path(path: Path) -> bytes:
    """``path``, as it was on the client, relative to a generation's tree; empty for ``/``.

    Raises:
        UsageError: it is not absolute.
    """
    if not path.is_absolute():
        raise UsageError(f"{path} must be an absolute path, as it was on the client.")
    return os.fsencode(os.path.normpath(path)).lstrip(b"/")
