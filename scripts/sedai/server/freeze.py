"""A client whose generations must not be pruned until a person has looked; the mark lies where no client reaches it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from sedai.server.store import ClientStore


@dataclass(frozen=True)
class Freeze:
    """Since when, why, and at which generation if one was the reason."""

    since: str
    reason: str
    generation: str = ""

    def __str__(self) -> str:
        """In words, one sentence."""
        return f"frozen since {self.since}{f' at {self.generation}' if self.generation else ''}: {self.reason}"


def read(store: ClientStore) -> Freeze | None:
    """The freeze of ``store``, or None. A mark that can't be read holds too: what stops pruning is never guessed away."""
    try:
        table = json.loads(store.frozen.read_text(encoding="utf-8"))
        return Freeze(str(table["since"]), str(table["reason"]), str(table["generation"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        return Freeze("an unknown time", "the mark is there but can't be read")


def freeze(store: ClientStore, reason: str, generation: str = "") -> Freeze:
    """Stop pruning; an earlier freeze stays as it is."""
    present = read(store)
    if present is not None:
        return present
    made = Freeze(datetime.now(UTC).isoformat(timespec="seconds"), reason, generation)
    new = store.frozen.with_name("frozen.new")
    with new.open("w", encoding="utf-8") as stream:
        json.dump(asdict(made), stream, indent=1, ensure_ascii=False)
        stream.flush()
        os.fsync(stream.fileno())
    new.rename(store.frozen)
    return made


def release(store: ClientStore) -> Freeze | None:
    """Let pruning go on; what was frozen, or None where nothing was."""
    present = read(store)
    store.frozen.unlink(missing_ok=True)
    return present
