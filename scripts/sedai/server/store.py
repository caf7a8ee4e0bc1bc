"""Where a client's generations lie, and nothing else."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sedai.core import manifest, wire
from sedai.core.errors import IntegrityError, UsageError
from sedai.core.generation import Generation, Record
from sedai.server import removal

# What lies beside a generation's tree, its record and the signature of that apart.
MANIFEST, NOTE = "manifest", "RESTORE.txt"


@dataclass(frozen=True)
class ClientStore:
    """The directory of one client below the store."""

    root: Path

    @property
    def generations_directory(self) -> Path:
        """Sealed generations, one directory each."""
        return self.root / "generations"

    @property
    def incoming(self) -> Path:
        """The run in flight; nothing in it is ever listed."""
        return self.root / "incoming"

    @property
    def delta(self) -> Path:
        """What the client sends: fresh inodes only."""
        return self.incoming / "delta"

    def transfer_mark(self) -> Path:
        """There from the beginning of this process's transfer on until it came to its end, or the next run has begun."""
        return self.incoming / f"broken-off-{os.getpid()}"

    def broken_off(self) -> list[Path]:
        """The marks of transfers that are under way; where there are none, of those that broke off."""
        return list(self.incoming.glob("broken-off*"))

    @property
    def begun(self) -> str:
        """By what the run that is in flight is told from those before it; empty where none has begun."""
        try:
            return str((self.incoming / "clock_skew").stat().st_mtime_ns)  # written at each beginning
        except OSError:
            return ""

    @property
    def trash(self) -> Path:
        """Where what is dropped goes first. It is always there: on a full disk none could be made, and pruning makes room."""
        return self.root / "trash"

    @property
    def frozen(self) -> Path:
        """There while nothing may be pruned."""
        return self.root / "frozen"

    @property
    def checked(self) -> Path:
        """Its mtime tells when the client last had its generations checked, or when it first began a backup."""
        return self.root / "checked"

    @property
    def alerts_stuck(self) -> Path:
        """For how many seconds the client's alerts had not been getting through when its last run began."""
        return self.incoming / "alerts_stuck"

    @property
    def lock(self) -> Path:
        """Held by whatever changes anything of this client."""
        return self.root / "lock"

    @property
    def receiver_locks(self) -> list[Path]:
        """Each held by one receiver, beside the lock that they hold together: so many there may be."""
        return [self.root / f"receiver-{number}.lock" for number in range(wire.MOST_RECEIVERS)]

    @property
    def farms(self) -> Path:
        """The farm that waits for the next run, in a directory that is named after its base."""
        return self.root / "farms"

    @property
    def farm_lock(self) -> Path:
        """Held by whoever lays or takes the farm."""
        return self.root / "farms.lock"

    @property
    def trash_lock(self) -> Path:
        """Held by whoever empties the trash."""
        return self.root / "trash.lock"

    def prepare(self) -> None:
        """Make the directories that a run needs, and drop what a seal that broke off has left; the lock is held.

        What was sent stays in the delta, unless it is part of a generation already.
        """
        for leftover in ("staging", "spent", "trash"):  # the last one of an earlier version
            self.discard(self.incoming / leftover)
        for directory in (self.generations_directory, self.delta, self.trash):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def discard(self, directory: Path) -> None:
        """Put ``directory``, if it exists, into the trash: that takes no time, however much lies in it."""
        self.trash.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            directory.rename(self.trash / f"{directory.name}-{os.urandom(8).hex()}")

    def has_trash(self) -> bool:
        """Whether anything was dropped that was not removed yet."""
        return self.trash.is_dir() and any(self.trash.iterdir())

    def empty_trash(self, gone: removal.Gone = removal.ignore) -> None:
        """Remove what was put into the trash, and tell ``gone`` on the way; :attr:`trash_lock` is held."""
        if self.trash.exists():
            for dropped in self.trash.iterdir():
                if dropped.is_dir() and not dropped.is_symlink():
                    removal.remove(dropped, gone)
                else:  # nothing that was dropped; but it takes room
                    dropped.unlink()

    def drop_farms(self, besides: Generation | None = None) -> None:
        """Put the farms of all generations but ``besides`` into the trash; :attr:`farm_lock` is held."""
        if self.farms.exists():
            for directory in self.farms.iterdir():
                if directory.name != str(besides):
                    self.discard(directory)

    def empty_delta(self) -> None:
        """Drop what was sent; the lock is held."""
        if self.delta.exists():
            removal.remove(self.delta)
        self.delta.mkdir(mode=0o700)

    def generations(self) -> list[Generation]:
        """The sealed generations, oldest first."""
        if not self.generations_directory.is_dir():
            return []
        found = (Generation.parse(entry.name) for entry in self.generations_directory.iterdir())
        return sorted(generation for generation in found if generation is not None)

    def newest(self) -> Generation | None:
        """The newest sealed generation."""
        found = self.generations()
        return found[-1] if found else None

    def base(self) -> Generation | None:
        """What the next generation is built on: the newest whose record can be read, and whose manifest nobody found damaged."""
        unfit = self._read_unfit()
        for generation in reversed(self.generations()):
            try:
                self.record(generation)
            except IntegrityError:
                continue  # the check names it
            if str(generation) not in unfit:
                return generation
        return None

    @property
    def _unfit(self) -> Path:
        return self.root / "unfit"

    def _read_unfit(self) -> set[str]:
        try:
            return set(self._unfit.read_text(encoding="utf-8", errors="replace").splitlines())
        except FileNotFoundError:
            return set()

    def build_on_no_more(self, generation: Generation) -> None:
        """Its manifest is damaged: it stays as it is, and the next generation is built on the one before it."""
        known = {str(other) for other in self.generations()}
        names = sorted({*self._read_unfit(), str(generation)} & known)
        self._replace(self._unfit, "".join(f"{name}\n" for name in names).encode())

    def prove_base(self) -> None:
        """Read the manifest of the base, and hold what its record says of it against it.

        Raises:
            IntegrityError: one of them is damaged; the next run gets another base.
        """
        base = self.base()
        if base is None:
            return
        try:
            manifest.prove(self.manifest(base), self.record(base).totals)
        except (IntegrityError, ValueError) as error:
            self.build_on_no_more(base)
            raise IntegrityError(
                f"The manifest of the newest generation, {base}, or its record is damaged.",
                "Run the backup again: it is built on the generation before. check_backup_integrity.py --all names what is lost.",
            ) from error

    def find(self, name: str) -> Generation:
        """The sealed generation ``name``, or the newest for ``latest``.

        Raises:
            UsageError: there is none of this name; the text names those there are.
        """
        found = self.generations()
        if name == "latest" and found:
            return found[-1]
        generation = Generation.parse(name)
        if generation is not None and str(generation) in map(str, found):
            return generation
        known = f"There are: {', '.join(map(str, found))}." if found else "There is none yet."
        raise UsageError(f"There is no generation {name!r}.", known)

    def directory(self, generation: Generation) -> Path:
        """The directory of a sealed generation."""
        return self.generations_directory / str(generation)

    def tree(self, generation: Generation) -> Path:
        """Its files."""
        return self.directory(generation) / "tree"

    def manifest(self, generation: Generation) -> Path:
        """Its manifest."""
        return self.directory(generation) / MANIFEST

    def record_path(self, generation: Generation) -> Path:
        """Its record; also the file whose flock keeps it from being pruned."""
        return self.directory(generation) / "generation.json"

    def record(self, generation: Generation) -> Record:
        """Its record, read.

        Raises:
            IntegrityError: it is missing or damaged, or that of another generation.
        """
        record = Record.read(self.record_path(generation))
        if record.generation != str(generation):
            raise IntegrityError(f"The record of {generation} is that of {record.generation[:80]!r}.")
        return record

    def signature(self, generation: Generation) -> Path:
        """The client's signature of its record, once there is one."""
        return self.directory(generation) / "generation.json.sig"

    @property
    def _wanted(self) -> Path:
        return self.root / "wanted"

    def want_again(self, paths: Iterable[bytes]) -> None:
        """Remember ``paths`` of the newest generation that are missing or rotten: the next run sends them again."""
        wanted = self.wanted() | set(paths)
        if wanted:
            self._replace(self._wanted, b"".join(manifest.escape(path) + b"\n" for path in sorted(wanted)))

    def wanted(self) -> set[bytes]:
        """The paths that the next run is to send again."""
        try:
            return {manifest.unescape(line) for line in self._wanted.read_bytes().splitlines()}
        except FileNotFoundError:
            return set()

    def wanted_no_more(self, mended: set[bytes]) -> None:
        """A seal replaced or removed the paths ``mended``; what else is wanted stays so."""
        remaining = self.wanted() - mended
        self._wanted.unlink(missing_ok=True)
        self.want_again(remaining)

    @staticmethod
    def _replace(path: Path, content: bytes) -> None:
        """Write ``path`` so that whoever is killed leaves the old or the new content, never a part."""
        new = path.with_name(f"{path.name}.new")
        new.write_bytes(content)
        new.rename(path)
