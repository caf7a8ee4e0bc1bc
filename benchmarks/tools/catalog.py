"""All tools by their names, in the order of the tables."""

from __future__ import annotations

from benchmarks.tools.borg import Borg
from benchmarks.tools.floors import Links, Pipe, Read, Removal, Walk
from benchmarks.tools.rdiff_backup import RdiffBackup
from benchmarks.tools.restic import Restic
from benchmarks.tools.rsnapshot import Rsnapshot
from benchmarks.tools.rsync import Rsync, RsyncAndSfv
from benchmarks.tools.sedai import Sedai
from benchmarks.tools.tool import Operation, Tool

OURS = Sedai.name
TOOLS: dict[str, type[Tool]] = {
    tool.name: tool
    for tool in (Sedai, Rsync, RsyncAndSfv, Rsnapshot, Restic, Borg, RdiffBackup, Walk, Links, Pipe, Read, Removal)
}
FLOORS = frozenset(name for name, tool in TOOLS.items() if tool.floor)
# Their first backup proves nothing, so it is not the same job as ours.
_UNPROVEN = frozenset({Rsync.name, Rsnapshot.name, RdiffBackup.name})


def peers(operation: Operation) -> frozenset[str]:
    """Whom ours is compared with: those that do the same job."""
    others = TOOLS.keys() - FLOORS - {OURS}
    return frozenset(others - _UNPROVEN if operation is Operation.FIRST else others)
