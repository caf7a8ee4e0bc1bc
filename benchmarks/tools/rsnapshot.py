"""rsnapshot: cp -al of the newest generation, then rsync in place into the copy."""

from __future__ import annotations

from pathlib import Path

from benchmarks.lab import ACCOUNT, HOST, remove
from benchmarks.measure import Command
from benchmarks.tools.tool import BACKUPS, Operation, Tool
from benchmarks.tools.versions import first_version

# Its fields are separated by tabs. --delete and the others are its defaults; ssh_args leads to the lab's sshd.
_CONFIG = """\
config_version	1.2
snapshot_root	{store}/
cmd_cp	/bin/cp
cmd_rm	/bin/rm
cmd_rsync	/usr/bin/rsync
cmd_ssh	/usr/bin/ssh
ssh_args	-F {ssh_config}
retain	alpha	1000
verbose	1
lockfile	{own}/pid
link_dest	0
backup	{account}@{host}:{source}/	data/
"""


class Rsnapshot(Tool):
    """It runs where the generations are and fetches, so the sides are exchanged: its store lies with the client.

    It has no check, and a restore is rsync's.
    """

    name = "rsnapshot"
    packages = ("rsnapshot", "rsync")
    operations = BACKUPS | {Operation.SPACE, Operation.PRUNE}

    @classmethod
    def version(cls) -> str:
        """Of rsnapshot."""
        return first_version("rsnapshot", "version")

    @property
    def store(self) -> Path:
        """Numbered directories, the newest is 0."""
        return self.lab.client / "rsnapshot-store"

    def fresh(self) -> None:
        """Remove all generations."""
        remove(self.store)
        own = self.lab.on_client("rsnapshot")
        names = {"account": ACCOUNT, "host": HOST, "source": self.source, "ssh_config": self.lab.ssh_config}
        (own / "config").write_text(_CONFIG.format(store=self.store, own=own, **names))

    def commands(self, operation: Operation, target: Path) -> list[Command]:
        """What cron starts; an old generation is removed as it does it itself."""
        if operation is Operation.PRUNE:
            oldest = max(self.store.iterdir(), key=lambda path: int(path.suffix[1:]))
            return [Command(("rm", "-rf", str(oldest)))]
        return [Command(("rsnapshot", "-c", f"{self.lab.client}/rsnapshot/config", "alpha"))]
