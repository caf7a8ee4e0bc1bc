"""Who sends: always the account that the configuration belongs to, so that cron can read what was spooled."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from sedai.core.errors import ConfigError


def become_owner(config: Path) -> None:
    """Go on as the account that ``config`` belongs to; to be called before anything is written.

    Only root can change accounts (``sudo send_alert_email.sh``). A missing file is left for its reader to report.

    Raises:
        ConfigError: this process runs as a third account, or the owner is no account of this host.
    """
    owner = _owner(config)
    if owner in (None, os.geteuid()):
        return
    try:
        account = pwd.getpwuid(owner)
    except KeyError:
        raise ConfigError(f"{config} belongs to the user number {owner}, which is no account of this host.") from None
    if os.geteuid() != 0:
        raise ConfigError(
            f"{config} belongs to {account.pw_name}, and only {account.pw_name} may send with it.",
            f"Call it as that account: `sudo -u {account.pw_name} -- …`.",
        )
    os.initgroups(account.pw_name, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ["HOME"] = account.pw_dir  # msmtp's `~`


def _owner(path: Path) -> int | None:
    """Owner of ``path``, or of the directory that hides it from us; ``None`` when there is no such file."""
    for candidate in (path, *path.parents):
        try:
            return candidate.stat().st_uid
        except PermissionError:
            continue
        except OSError:
            return None
    return None
