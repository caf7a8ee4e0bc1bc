"""The restore drill: files, canary and databases of a generation come back into a throw-away place, and are compared."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sedai.client import canary, catalog, drill_databases, restore, sample, target, throwaway
from sedai.client.check import lacking
from sedai.client.config import ClientConfig, Database
from sedai.client.connection import Connection
from sedai.client.databases import scratch
from sedai.client.databases.notes import GLOBALS
from sedai.client.databases.staging import DIRECTORY as DUMPS
from sedai.client.program import Context, Result
from sedai.client.state import State, fetch_manifest
from sedai.core import lock, manifest
from sedai.core.counted import counted
from sedai.core.errors import SedaiError, StoppedError, UnreachableError
from sedai.core.manifest import Entry
from sedai.core.progress import Reporter, size

EVERY_HOURS = 31 * 24.0

_SPARE_BYTES = 64 << 20
# An empty server's own files: MariaDB's logs are the largest.
_SERVER_BYTES = 256 << 20


@dataclass(frozen=True)
class Wishes:
    """What a person asked for. ``files``: how many, where not as configured; ``databases``: which, where not all."""

    generation: str = "latest"
    seed: int | None = None
    files: int | None = None
    databases: tuple[str, ...] = ()


@dataclass
class Survey:
    """What of a generation is drilled: files, the canary with its notes, and the dumps by entry of the configuration."""

    sample: list[Entry] = field(default_factory=list)
    canary: list[Entry] = field(default_factory=list)
    dumps: dict[str, list[Entry]] = field(default_factory=dict)


def survey(entries: Iterator[Entry], staged: bytes, files: int, most_bytes: int, seed: int) -> Survey:
    """Look through a manifest once. ``staged``: the staging directory below the root of the tree, or nothing."""
    found = Survey()
    dumps, tree = staged + b"/" + DUMPS.encode(), staged + b"/" + canary.DIRECTORY.encode()
    notes = staged + b"/" + canary.NOTES.encode()

    def others() -> Iterator[Entry]:
        for entry in entries:
            if not staged or not manifest.at_or_below(entry.path, staged):
                if entry.kind == "f":
                    yield entry
            elif manifest.at_or_below(entry.path, tree) or entry.path == notes:
                found.canary.append(entry)
            elif entry.kind == "f" and manifest.at_or_below(entry.path, dumps):
                name, _, rest = entry.path[len(dumps) + 1 :].partition(b"/")
                if rest:
                    found.dumps.setdefault(os.fsdecode(name), []).append(entry)

    found.sample = sample.draw(others(), files, most_bytes, seed)
    return found


def in_use(state: State) -> bool:
    """Whether a drill of this machine is running."""
    return _lock(state).exists() and lock.in_use(_lock(state))


def _lock(state: State) -> Path:
    return state.root / "drill.lock"


def drill(
    context: Context, wishes: Wishes, *, quiet: bool = False, server: drill_databases.Server = scratch.server
) -> Result:
    """Carry out one drill.

    Raises:
        LockedError: another drill runs.
        SedaiError: nothing could be tried.
    """
    started = time.monotonic()
    reporter = Reporter(quiet=quiet)
    parent = context.config.drill.directory
    with lock.exclusive(_lock(context.state), "A restore drill of this machine"):
        leftovers = throwaway.clear_leftovers(parent)
        with (throwaway.directory(parent) as place, throwaway.temporary_files(place / "t"),
              Connection(context.config.server) as connection):  # fmt: skip
            context.outbox.flush(connection)
            run = _Run(context, connection, reporter, place, wishes, server)
            run.report.remarks += leftovers
            run.carry_out()
    result = run.result(time.monotonic() - started)
    for line in result.record["remarks"]:
        context.log.info("drill: %s", line)
    return result


class _Run:
    """One drill, in the throw-away directory ``place``."""

    def __init__(self, context: Context, connection: Connection, reporter: Reporter, place: Path, wishes: Wishes,
                 server: drill_databases.Server) -> None:  # fmt: skip
        self._config: ClientConfig = context.config
        self._lacking = context.state.not_in_backup()
        self._connection = connection
        self._reporter = reporter
        self._place = place
        self._wishes = wishes
        self._server = server
        self._most_files = wishes.files or context.config.drill.files
        self._seed = secrets.randbits(32) if wishes.seed is None else wishes.seed
        self._record = catalog.choose(catalog.generations(connection), wishes.generation)
        self._generation = str(self._record["generation"])
        self._manifest_sha256 = catalog.trusted_digest(context.state, self._record)
        # A state of the drill's own: a person may be restoring at the same time.
        self._state = State(throwaway.private(place / "state"))
        self._state.remember_sealed(self._generation, self._manifest_sha256)
        self.report = drill_databases.Report()
        self._files = restore.Restored(self._generation)
        self._kept = canary.Kept((), ())
        self._seconds: dict[str, float] = {}

    def carry_out(self) -> None:
        """Bring back and compare each part; what fails is a finding, and the others go on."""
        self._reporter.say(f"Drill of {self._generation}, seed {self._seed}")
        path = self._place / "manifest"
        fetch_manifest(self._connection, self._generation, self._manifest_sha256, path)
        settings = self._config.drill
        found = survey(map(manifest.decode, manifest.read(path)), self._config.staged,
                       self._most_files, settings.bytes, self._seed)  # fmt: skip
        path.unlink()
        configured = {entry.name: entry for entry in self._config.databases}
        entries = drill_databases.choose(found.dumps, configured, self._wishes.databases, self.report)
        self._part("files", "files", partial(self._bring_back_files, found.sample))
        self._part("canary", "canary", partial(self._bring_back_canary, found.canary))
        for name in entries:
            self._part("databases", name, partial(self._load, configured[name], found.dumps[name]))

    def _part(self, name: str, what: str, work: Callable[[], None]) -> None:
        started = time.monotonic()
        try:
            work()
        except (StoppedError, UnreachableError):
            raise
        except (SedaiError, OSError) as error:
            self.report.findings.append(f"{what}: {' '.join(str(error).split())}")
        self._seconds[name] = round(self._seconds.get(name, 0.0) + time.monotonic() - started, 2)

    def _bring_back_files(self, chosen: Sequence[Entry]) -> None:
        if not chosen:
            self.report.remarks.append("There is no file in this generation that is small enough for the drill.")
            return
        self._refuse_without_space(sum(entry.size for entry in chosen))
        with self._restored([_path(entry) for entry in chosen], "files") as back:
            self._files = back.done
        self.report.findings += back.findings
        self._reporter.say(
            f"files: {self._files.files:,} ({size(self._files.bytes)}), {counted(len(back.findings), 'finding')}"
        )

    def _bring_back_canary(self, entries: Sequence[Entry]) -> None:
        staging = self._config.staging_directory
        if staging is None:
            return
        paths = [staging / canary.DIRECTORY, staging / canary.NOTES]
        if not {*paths} <= {_path(entry) for entry in entries}:
            self.report.findings.append("The fidelity canary is not in this generation; the next backup makes it.")
            return
        self._refuse_without_space(sum(entry.size for entry in entries))
        with self._restored(paths, "canary") as back:
            self._kept = canary.compare(back.at(staging))
        # The canary's own words say the same, better.
        self.report.findings += self._kept.not_kept or back.findings
        lost = len(self._kept.not_kept)
        self._reporter.say(f"canary: {f'not as it was: {lost}' if lost else 'all hard cases are as they were'}")

    def _load(self, entry: Database, dumps: Sequence[Entry]) -> None:
        staging = self._config.staging_directory
        assert staging is not None  # without one there are no dumps
        wanted = 2 * sum(dump.size for dump in dumps) + (0 if entry.kind == "sqlite" else _SERVER_BYTES)
        self._refuse_without_space(wanted)
        directory = staging / DUMPS / entry.name
        before = len(self.report.loaded)
        with self._restored([directory], "dumps") as back:
            self.report.findings += back.findings
            drill_databases.load_all(
                back.at(directory),
                self._place,
                self._wishes.databases,
                self._server,
                self.report,
                back.findings,
                self._reporter,
            )
        for loaded in self.report.loaded[before:]:
            self._reporter.say(f"database {loaded.name}: {counted(loaded.tables, 'table')}, {counted(loaded.rows, 'row')}, "
                               f"{loaded.seconds:.1f} s{'' if loaded.ok else '; NOT AS IT WAS'}")  # fmt: skip

    def _refuse_without_space(self, wanted: int) -> None:
        found = os.statvfs(self._place)
        free = found.f_bavail * found.f_frsize
        if free < wanted + _SPARE_BYTES:
            raise SedaiError(f"not brought back: {self._config.drill.directory} has {size(free)} free, and this needs "
                             f"{size(wanted + _SPARE_BYTES)}.", "Make room, or set another directory for the drill."
                             )  # fmt: skip

    @contextlib.contextmanager
    def _restored(self, paths: Sequence[Path], name: str) -> Iterator[Back]:
        """``paths`` in a directory of their own while the context lasts."""
        directory = throwaway.private(self._place / name)
        try:
            # What is damaged is told with the rest, and keeps nothing else from coming back.
            done = restore.restore(self._connection, self._state, self._record, paths, directory,
                                   reporter=self._reporter, accept_damaged=True)  # fmt: skip
            # People know a file by the path that it has on this machine.
            lines = [line.replace(str(directory), "") for line in done.findings]
            beyond = [line for line in lines if not target.privileged() and target.only_root(line)]
            self.report.remarks += [f"This account can't do it: {line}" for line in beyond]
            yield Back(directory, done, [line for line in lines if line not in beyond])
        finally:
            with throwaway.undisturbed():
                throwaway.remove(os.fsencode(directory))

    def result(self, seconds: float) -> Result:
        """What a person, the run record and the mail are told."""
        record = {
            "generation": self._generation,
            "seed": self._seed,
            "most_files": self._most_files,
            "files": self._files.files,
            "bytes": self._files.bytes,
            "databases": [loaded.record for loaded in self.report.loaded],
            "canary": {"unmade": list(self._kept.unmade), "not_kept": list(self._kept.not_kept)},
            "remarks": self.report.remarks,
            "seconds": self._seconds | {"all": round(seconds, 2)},
            "minutes": round(seconds / 60, 2),
        }
        return Result(self.report.findings, record, notes=self._lacking)


@dataclass(frozen=True)
class Back:
    """What a restore brought back: where it lies, and what is not as the manifest says."""

    directory: Path
    done: restore.Restored
    findings: list[str]

    def at(self, path: Path) -> Path:
        """Where ``path`` came back."""
        return self.directory / path.relative_to("/")


def _path(entry: Entry) -> Path:
    return Path("/" + os.fsdecode(entry.path))


def summary(result: Result) -> str:
    """What a person reads at the end of a drill."""
    record = result.record
    if "seed" not in record:
        return ""
    databases = [database for database in record["databases"] if not database["name"].endswith(f"/{GLOBALS}")]
    parts = [f"{counted(record['files'], 'file')} ({size(record['bytes'])})"]
    if databases:
        tables, rows = (sum(database[key] for database in databases) for key in ("tables", "rows"))
        parts.append(f"{counted(len(databases), 'database')} ({counted(tables, 'table')}, {counted(rows, 'row')})")
    problems = len(result.findings)
    end = counted(problems, "problem") if problems else "everything came back as it was"
    lines = [f"PROBLEM {line}" for line in result.findings]
    lines += [f"Note: {line}" for line in record["remarks"]]
    lines += lacking(result.notes)
    lines += [f"This machine can't have it: {line}" for line in record["canary"]["unmade"]]
    lines.append(f"Restored {', '.join(parts)} in {_duration(record['seconds']['all'])}; {end}.")
    sample = f"--generation {record['generation']} --seed {record['seed']} --files {record['most_files']}"
    lines.append(f"The same again: restore_drill.py {sample}")
    return "\n".join(lines) + "\n"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} seconds" if seconds < 6 else f"{seconds / 60:.1f} minutes"
