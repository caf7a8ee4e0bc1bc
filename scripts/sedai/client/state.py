"""What the client remembers between runs: the last sealed manifest, digests of all that was sealed and signed, the run records."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sedai.client.connection import Connection
from sedai.core import lock, manifest
from sedai.core.errors import ConfigError, IntegrityError
from sedai.core.generation import Generation

_KEPT_RUNS = 1000


@dataclass(frozen=True)
class State:
    """The client's state directory."""

    root: Path

    def prepare(self) -> None:
        """Make the directory.

        Raises:
            ConfigError: it can't be made.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"The state_directory {self.root} can't be made: {error.strerror}.", "Set another state_directory."
            ) from error

    @property
    def run_lock(self) -> Path:
        """Held while a backup runs."""
        return self.root / "lock"

    @property
    def base(self) -> Path:
        """The manifest of the newest generation that this client knows."""
        return self.root / "base.manifest"

    @property
    def plan(self) -> Path:
        """The plan of the run in flight."""
        return self.root / "plan"

    @property
    def digests(self) -> Path:
        """What rsync told of each line of the plan."""
        return self.root / "digests"

    @property
    def changes(self) -> Path:
        """The changes of the run in flight, as they are sent to the seal."""
        return self.root / "changes"

    @property
    def rehash(self) -> Path:
        """Which files have rotted on this machine, and how far the reading of all has come."""
        return self.root / "rehash.json"

    @property
    def _sealed(self) -> Path:
        return self.root / "sealed.json"

    @property
    def _signed(self) -> Path:
        return self.root / "signed.json"

    @property
    def _unsigned(self) -> Path:
        """One file for each record that is to be signed, by the generation's name."""
        return self.root / "unsigned"

    @property
    def _paused(self) -> Path:
        return self.root / "paused"

    def paused(self) -> str | None:
        """Why backups are paused, in one line, or None while they are not. A mark that can't be read pauses too."""
        try:
            reason = self._paused.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = f"{self._paused} can't be read ({error.strerror})"
        return " ".join(reason.split()) or f"{self._paused} does not say why"

    def resume(self) -> None:
        """Take the mark away that pauses backups, if there is one."""
        self._paused.unlink(missing_ok=True)

    def sealed(self) -> dict[str, str]:
        """SHA-256 of each manifest that was sealed for this client, by generation."""
        return _read_digests(self._sealed)

    def remember_sealed(self, generation: str, sha256: str) -> None:
        """Note the manifest digest of a generation that was just sealed."""
        _add_digest(self._sealed, generation, sha256)

    def signed(self) -> dict[str, str]:
        """SHA-256 of each record that this client signed, by generation; the server has all these signatures."""
        return _read_digests(self._signed)

    def unsigned(self) -> list[tuple[str, bytes]]:
        """Generations that are sealed and not signed yet, oldest first, with their records as they are stored."""
        names = sorted(path.name for path in self._unsigned.iterdir()) if self._unsigned.is_dir() else []
        return [(name, (self._unsigned / name).read_bytes()) for name in names if Generation.parse(name)]

    def remember_unsigned(self, generation: str, record: str) -> None:
        """Keep the record of a generation that was just sealed until it is signed."""
        self._unsigned.mkdir(mode=0o700, exist_ok=True)
        # Under one name, whatever the generation: what a full disk cuts short is replaced by the next.
        write_atomically(self._unsigned / generation, record, by="new")

    def forget_unsigned(self, generation: str) -> None:
        """There is nothing to sign any more."""
        (self._unsigned / generation).unlink(missing_ok=True)

    def remember_signed(self, generation: str, record: bytes) -> None:
        """Note that the server has the signature of ``record``."""
        _add_digest(self._signed, generation, hashlib.sha256(record).hexdigest())
        self.forget_unsigned(generation)

    def base_for(self, connection: Connection, generation: str, sha256: str) -> Path:
        """A manifest of ``generation`` whose digest is ``sha256``: the one at hand, else the server's.

        Raises:
            IntegrityError: the server's manifest does not have the digest that the server names.
        """
        if self.base.exists():
            try:
                if manifest.sha256(self.base) == sha256:
                    return self.base
            except IntegrityError:
                pass  # a damaged copy is replaced by the server's
        fetch_manifest(connection, generation, sha256, self.base)
        return self.base

    def record_run(self, record: dict[str, Any]) -> None:
        """Append one run record (one JSON object a line), and keep the newest thousand."""
        path = self.root / "runs.jsonl"
        with lock.exclusive(self.root / "runs.lock", "Another recording", wait_seconds=10):
            lines = path.read_text(encoding="utf-8").splitlines()[-_KEPT_RUNS:] if path.exists() else []
            write_atomically(path, "\n".join([*lines, json.dumps(record, ensure_ascii=False)]) + "\n")

    def runs(self) -> Iterator[dict[str, Any]]:
        """The run records, oldest first; a damaged line is passed over."""
        path = self.root / "runs.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                yield json.loads(line)
            except ValueError:
                continue

    def not_in_backup(self) -> list[str]:
        """What the newest backup said that it lacks, one line each."""
        sealed = [run for run in self.runs() if run.get("program") == "backup" and run.get("generation")]
        return [str(line) for line in sealed[-1].get("not_in_backup", ())] if sealed else []

    def is_due(self, program: str, every_hours: float = 24.0) -> bool:
        """Whether the last run of ``program`` that was done, whatever it found, began longer ago than ``every_hours``."""
        done = (float(run["started"]) for run in self.runs() if run["program"] == program and run["exit"] <= 1)
        age = time.time() - max(done, default=0.0)
        return age < 0 or age > every_hours * 3600


def _read_digests(path: Path) -> dict[str, str]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): str(digest) for name, digest in value.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:
        raise IntegrityError(f"{path} is damaged: {error}", f"Move it away: mv {path} /tmp/") from error


def _add_digest(path: Path, generation: str, sha256: str) -> None:
    """Note one digest more, of which the newest thousand are kept.

    It comes last, though a store that was emptied may give a name twice within a second.
    """
    kept = dict(list(_read_digests(path).items())[-_KEPT_RUNS:])
    kept.pop(generation, None)
    write_atomically(path, json.dumps(kept | {generation: sha256}, indent=1) + "\n")


def fetch_manifest(connection: Connection, generation: str, sha256: str, path: Path) -> None:
    """Copy the manifest of ``generation`` from the server to ``path``, and check its digest.

    Raises:
        IntegrityError: its digest is not ``sha256``.
    """
    new = path.with_name(path.name + ".new")
    with new.open("wb") as stream:
        for line in connection.stream("manifest", {"generation": generation}, (), lambda answer: None):
            stream.write(base64.b64decode(line[1:]))
    found = manifest.sha256(new)
    if found != sha256:
        new.unlink()
        raise IntegrityError(f"The manifest of {generation} on the server is not the one that was sealed "
                             f"(SHA-256 {found}, expected {sha256}).")  # fmt: skip
    new.rename(path)


def write_atomically(path: Path, text: str, by: str = "") -> None:
    """Replace ``path`` so that a crash leaves the old or the new content, never a part; ``by``: the name of what may be left."""
    new = path.with_name(by or path.name + ".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    new.rename(path)
