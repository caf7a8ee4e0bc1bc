"""What the watch and the scrub remember, each in a file that is replaced as a whole."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sedai.core.errors import ConfigError


@dataclass(frozen=True)
class Open:
    """Something that was reported and is not over: see ``judge.Finding``."""

    kind: str
    client: str
    since: float


@dataclass(frozen=True)
class Notes:
    """When the watch last ran to its end, since when it knows each client, and what it has reported, by incident key.

    ``is_new``: there was nothing to read, or it could not be read.
    """

    ran: float = 0.0
    known_since: dict[str, float] = field(default_factory=dict)
    open: dict[str, Open] = field(default_factory=dict)
    is_new: bool = False


def directory(state_directory: Path | None) -> Path:
    """The directory of the notes.

    Raises:
        ConfigError: the configuration names none.
    """
    if state_directory is None:
        raise ConfigError("The configuration names no [watch] state_directory.", "Run `ansible-playbook site.yml`.")
    return state_directory


def read_notes(state_directory: Path) -> Notes:
    """The notes of the watch; new ones where they are missing or damaged."""
    table = read_json(state_directory / "watch.json")
    try:
        return Notes(
            float(table["ran"]),
            {str(name): float(since) for name, since in table["known_since"].items()},
            {str(key): Open(**value) for key, value in table["open"].items()},
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return Notes(is_new=True)


def write_notes(state_directory: Path, notes: Notes) -> None:
    """Keep ``notes``.

    Raises:
        OSError: they can't be kept.
    """
    table = asdict(notes)
    del table["is_new"]
    write_json(state_directory / "watch.json", table)


def read_json(path: Path) -> Any:
    """What the JSON file ``path`` holds; None where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_json(path: Path, value: Any) -> None:
    """Replace the file ``path`` so that a crash leaves the old or the new content, never a part.

    Raises:
        OSError: it can't be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as stream:
        stream.write(json.dumps(value, indent=1) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    new.rename(path)
