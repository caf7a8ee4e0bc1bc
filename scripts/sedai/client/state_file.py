"""How this machine's backups are, as one JSON file for programs that watch: what is known here; the server is not asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sedai import __version__
from sedai.client.runs import last_runs
from sedai.client.state import write_atomically

# Anybody may read it: who watches is rarely who backs up.
_MODE = 0o644


def table(
    client: str, now: float, runs: Sequence[Mapping[str, Any]], *, waiting: int, set_aside: int, paused: str | None
) -> dict[str, Any]:
    """What goes into the file; its schema is ``client_state``.

    ``runs``: the run records, oldest first; ``waiting`` and ``set_aside``: alerts that the server has not taken yet, and will
    not take; ``paused``: why backups are held. Times are in seconds since the epoch.
    """
    sealed = [str(run["generation"]) for run in runs if run.get("program") == "backup" and run.get("generation")]
    return {
        "schema": 1,
        "sedai_version": __version__,
        "client": client,
        "written": now,
        "newest": sealed[-1] if sealed else "",
        "runs": {name: asdict(run) for name, run in last_runs(runs).items()},
        "alerts_waiting": waiting,
        "alerts_set_aside": set_aside,
        "paused": paused or "",
    }


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Replace ``path`` by ``content``, so that whoever reads finds one of them whole.

    Raises:
        OSError: it can't be written.
    """
    write_atomically(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    path.chmod(_MODE)
