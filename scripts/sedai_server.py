#!/usr/bin/python3
"""Look after the store on the server: how it is, the watch, what is kept and why, pruning by hand, and imports."""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sedai import __version__
from sedai.core import lock, output
from sedai.core.errors import ConfigError, ExitCode, SedaiError
from sedai.core.log import open_log
from sedai.core.progress import Reporter
from sedai.server import ahead, config, freeze, housekeeping, importing, prune, snapshots, status
from sedai.server.import_plan import Wish
from sedai.server.rights import become_owner
from sedai.server.store import ClientStore

EXAMPLES = """\
examples (as root or as the store's account):
  sedai_server.py status                          what is wrong, what is kept, the room left; also --json, --html FILE
  sedai_server.py prune --explain                 why each generation of each client is kept or goes
  sedai_server.py prune --client laptop           prune now, by the configured rule
  sedai_server.py watch                           look for backups that are late, small or odd, and mail it (cron does it)
  sedai_server.py scrub                           read this night's share of all stored files anew (cron does it)
  sedai_server.py report                          mail how the backups are, also when all is well (cron does it weekly)
  sedai_server.py freeze --client laptop --reason "…"   prune nothing of this client until it is released
  sedai_server.py release --client laptop         let pruning go on, after a look at what stopped it
  sedai_server.py import --client laptop --from /srv/rsnapshot --dry-run   what would be taken over of another program
  sedai_server.py import --client laptop --from /srv/rsnapshot             make generations of its snapshots

exit codes:
  0  done and clean
  1  done, with findings
  2  usage or configuration
  3  not done
"""


def command_line() -> argparse.ArgumentParser:
    """What the program takes; its manual and completions are made of it too."""
    options = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--config", type=Path, help=f"default: {config.DEFAULT_PATH}")
    options.add_argument("--version", action="version", version=f"sedai {__version__}")
    verbs = options.add_subparsers(dest="verb", required=True)
    looking = verbs.add_parser(
        "status", help="what is wrong, what is kept, the room left; 1 where something needs a look"
    )
    form = looking.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print everything as one JSON object")
    form.add_argument("--html", type=Path, metavar="FILE", help="write it as one page that needs nothing else")
    pruning = verbs.add_parser("prune", help="drop the generations that the retention rule does not keep")
    pruning.add_argument("--client", help="only this client (default: all)")
    pruning.add_argument("--explain", action="store_true", help="change nothing; say why each is kept or goes")
    for verb, words in (
        ("freeze", "prune nothing of a client until it is released"),
        ("release", "let pruning go on"),
    ):
        holding = verbs.add_parser(verb, help=words)
        holding.add_argument("--client", required=True)
        holding.add_argument("--reason", default="by hand", help="shown wherever pruning is said to stand still")
    verbs.add_parser("watch", help="look for backups that are late, small or odd, and mail what is found")
    verbs.add_parser(
        "scrub", help="read a share of all stored files anew, compare it with all manifests, and mail what is rotten"
    )
    verbs.add_parser("report", help="mail how the backups are, also when all is well")
    moving = verbs.add_parser(
        "import", help="make generations of the snapshots of rsnapshot, rsync-time-backup, or any dated directories"
    )
    moving.add_argument("--client", required=True, help="whose they become; it must have no generation of its own yet")
    moving.add_argument("--from", required=True, type=Path, metavar="DIR", dest="directory",
                        help="the directory of the snapshots, which is only read")  # fmt: skip
    moving.add_argument("--layout", choices=("auto", *snapshots.LAYOUTS), default="auto",
                        help="rsnapshot: daily.0, hourly.3; dated: names with a date, in local time (default: auto)")  # fmt: skip
    moving.add_argument("--strip", metavar="PATH",
                        help="what of each snapshot is the client's root (default: rsnapshot's machine name)")  # fmt: skip
    moving.add_argument("--below", metavar="PATH", default="",
                        help="where on the client the files were, if the snapshots do not say it: /home")  # fmt: skip
    moving.add_argument("--dry-run", action="store_true", help="change nothing; say what would be done")
    return options


def main() -> ExitCode:
    """Parse the command line and carry out one verb."""
    arguments = command_line().parse_args()
    settings = config.load(arguments.config)
    if arguments.verb == "status":  # as whoever calls: the page is written where root may write
        # and root must not be the one who makes the log
        return status.carry_out(
            settings, logging.getLogger("sedai-server"), as_json=arguments.json, html=arguments.html
        )
    # What is imported may be anybody's, and root reads it; all else is done as the store's account.
    become_owner(settings.store, settings.watch.state_directory, for_good=arguments.verb != "import")
    if arguments.verb in housekeeping.VERBS:
        return housekeeping.carry_out(arguments.verb, settings)
    if not settings.store.is_dir():
        raise ConfigError(f"The store {settings.store} is not there.", "Is its disk mounted?")
    if arguments.verb in ("freeze", "release"):
        return hold(settings, arguments.client, arguments.reason if arguments.verb == "freeze" else None)
    if arguments.verb == "import":
        names = ("client", "directory", "layout", "strip", "below", "dry_run")
        wish = Wish(**{name: getattr(arguments, name) for name in names})
        return importing.carry_out(settings, wish, say, open_log("sedai-server", settings.log_file))
    return tidy(settings, arguments.client, explain=arguments.explain)


def say(line: str) -> None:
    """Print a line at once, whatever names are in it."""
    print(line.encode("utf-8", "backslashreplace").decode(), flush=True)


def tidy(settings: config.ServerConfig, only: str | None, *, explain: bool) -> ExitCode:
    """Prune the generations of the client ``only``, or of all, or explain what would go."""
    for client in sorted(settings.clients) if only is None else [only]:
        rule = settings.retention_for(client)
        store = ClientStore(settings.store / client)
        if explain:
            print(f"{client}: {freeze.read(store) or rule}")
            for verdict in prune.explain(store, rule):
                why = ", ".join(verdict.reasons) or "goes: neither the first of a guarded day nor among the newest"
                print(f"{client}  {verdict.generation}  {why}")
            continue
        if not store.root.is_dir():
            print(f"{client}: no backup was made yet")
            continue
        with lock.exclusive(store.lock, f"A backup of {client}"):
            done = prune.prune(store, rule)
        empty_trash(store, client, done.entries)
        if done.frozen:
            print(f"{client}: nothing dropped, {done.frozen}")
            continue
        print(f"{client}: dropped {len(done.dropped)}, kept {len(store.generations())}")
    return ExitCode.CLEAN


def empty_trash(store: ClientStore, client: str, entries: int) -> None:
    """Remove what was dropped of ``client``, about so many ``entries``; somebody may be looking."""
    done = 0
    with Reporter(quiet=False).steps(f"removing ({client})", entries) as show:

        def gone(count: int) -> None:
            nonlocal done
            done += count
            show(done)

        ahead.empty_trash(store, gone)


def hold(settings: config.ServerConfig, client: str, reason: str | None) -> ExitCode:
    """Freeze ``client`` for ``reason``, or release it."""
    settings.retention_for(client)
    store = ClientStore(settings.store / client)
    if reason is None:
        was = freeze.release(store)
        print(f"{client}: released; it was {was}" if was else f"{client}: was not frozen")
    else:
        print(f"{client}: {freeze.freeze(store, reason)}")
    return ExitCode.CLEAN


def ended() -> ExitCode:
    """How it ended; what went wrong is told."""
    try:
        return main()
    except SedaiError as failure:
        print(failure, file=sys.stderr)
        return failure.exit_code
    except OSError as failure:  # a full or broken disk, say
        if output.is_unread(failure):
            raise
        print(f"It could not be done: {failure}", file=sys.stderr)
        return ExitCode.NOT_DONE


if __name__ == "__main__":
    sys.exit(output.exit_code(ended))
