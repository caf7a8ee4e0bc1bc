"""The dumps of a generation: which there are, and one of them brought back."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sedai.client import catalog, restore, throwaway
from sedai.client.config import ClientConfig
from sedai.client.connection import Connection
from sedai.client.databases import notes as noted
from sedai.client.databases import staging
from sedai.client.databases.notes import Notes
from sedai.client.program import Context
from sedai.client.state import State
from sedai.core import manifest
from sedai.core.errors import ExitCode, SedaiError, UsageError
from sedai.core.progress import Reporter, size


@dataclass(frozen=True)
class Archive:
    """The dumps of one generation, reached over an open connection; ``directory`` takes what is brought back."""

    connection: Connection
    config: ClientConfig
    state: State
    record: dict[str, Any]
    reporter: Reporter
    directory: Path

    @property
    def _place(self) -> Path:
        if self.config.staging_directory is None:
            raise UsageError("No staging_directory is configured, so no generation has dumps.")
        return self.config.staging_directory / staging.DIRECTORY

    def notes(self) -> list[Notes]:
        """The notes of all dumps of the generation, by name.

        Raises:
            UsageError: it has none.
        """
        found = self._bring([Path(os.fsdecode(b"/" + path)) for path in self._listed()], "notes")
        return sorted((Notes.read(path) for path in found), key=lambda notes: notes.name)

    def _listed(self) -> list[bytes]:
        """The paths of all notes in the generation's manifest."""
        generation = str(self.record["generation"])
        place = os.fsencode(self._place)[1:]
        with catalog.fetched(self.connection, self.state, self.record) as lines:
            paths = map(manifest.line_path, manifest.read(lines))
            found = [path for path in paths if path.startswith(place + b"/") and path.endswith(noted.SUFFIX.encode())]
        if not found:
            raise self._without_dumps(generation)
        return found

    def _without_dumps(self, generation: str) -> UsageError:
        if not self.config.databases:
            return UsageError(
                f"No database is configured (backup_client_databases), and the generation {generation} has no dumps.",
                "Name the database in inventory/mine/group_vars/backup_clients/own.yml, run `ansible-playbook site.yml`, then "
                "backup_data.py. If an earlier generation has it, name that with --generation; a database's files come back "
                "as they were copied with `restore`.",
            )
        hint = "Name another one with --generation."
        if len(catalog.generations(self.connection)) == 1:
            hint = "There is no other one yet: backup_data.py makes one with dumps, or says why it can't."
        return UsageError(f"The generation {generation} has no dumps of databases.", hint)

    def dump(self, notes: Notes) -> Path:
        """The dump of ``notes``, brought back and compared with its digest.

        Raises:
            SedaiError: it does not fit here, or did not come back whole.
        """
        found = os.statvfs(self.directory)
        free = found.f_bavail * found.f_frsize
        if free < notes.bytes:
            raise SedaiError(
                f"{self.directory} has {size(free)} free, the dump of {notes.name} has {size(notes.bytes)}.",
                "Make room there, or set another drill directory (backup_client_drill_directory).",
            )
        (path,) = self._bring([self._place / notes.entry / notes.file], f"{notes.entry}-{noted.stem(notes.database)}")
        return path

    def _bring(self, paths: Sequence[Path], name: str) -> list[Path]:
        """``paths`` of the generation, brought back below the new directory ``name``; where they are now."""
        target = self.directory / name
        done = restore.restore(self.connection, self.state, self.record, paths, target, reporter=self.reporter)
        if done.findings:
            raise SedaiError(f"It did not come back whole: {'; '.join(done.findings[:3])}")
        return [target / path.relative_to("/") for path in paths]


@contextlib.contextmanager
def archive(
    connection: Connection, config: ClientConfig, state: State, record: dict[str, Any], reporter: Reporter
) -> Iterator[Archive]:
    """The dumps of the generation of ``record``; what was brought back is gone afterwards."""
    with throwaway.directory(config.drill.directory) as place:
        yield Archive(connection, config, state, record, reporter, throwaway.private(place / "dumps"))


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``databases``."""
    catalog.which_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the notes as JSON")


def carry_out(options: argparse.Namespace, context: Context, connection: Connection) -> ExitCode:
    """Print the dumps of a generation, one a line."""
    record = catalog.pick(options, catalog.generations(connection))
    with archive(connection, context.config, context.state, record, Reporter(quiet=True)) as dumps:
        notes = dumps.notes()
    if options.json:
        print(json.dumps([asdict(each) | {"name": each.name} for each in notes], ensure_ascii=False))
        return ExitCode.CLEAN
    width = max(len(each.name) for each in notes)
    print(f"In {record['generation']}:")
    for each in notes:
        stale = f"  STALE since {each.stale_since}: {each.stale_error}" if each.stale_since else ""
        print(f"{each.name:{width}}  {each.dumped}  {len(each.tables):>5} tables  {each.rows:>12,} rows  "
              f"{size(each.bytes):>10}{stale}")  # fmt: skip
    return ExitCode.CLEAN
