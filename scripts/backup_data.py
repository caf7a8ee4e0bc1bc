#!/usr/bin/python3
"""Back up this machine's sources to the server as a new generation."""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sedai.client.program import Result, carry_out, exit_with, open_context, parser, positive
from sedai.client.run_backup import back_up, summary
from sedai.core.errors import ExitCode, LockedError

EXAMPLES = """\
  backup_data.py                back up now
  backup_data.py --dry-run      show what would be sent, change nothing
  backup_data.py --resume       end a pause (of a machine that took another's place), then back up
  backup_data.py --forget main/shop
                                back up; a database that is not here any more need not be in it
  backup_data.py --rehash       back up, then read all that did not change again: has it rotted on this machine?
  backup_data.py --rehash 30    the same for a thirtieth, the next one each time
  backup_data.py --quiet        say nothing unless something is wrong (for cron)
"""


def command_line() -> argparse.ArgumentParser:
    """What the program takes; its manual and completions are made of it too."""
    options = parser(__doc__, EXAMPLES)
    how = options.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="plan only; nothing is sent")
    how.add_argument("--resume", action="store_true", help="end a pause first")
    options.add_argument(
        "--forget",
        action="append",
        default=[],
        metavar="NAME",
        help="a database that is gone for good: server/database",
    )
    options.add_argument(
        "--rehash",
        nargs="?",
        type=positive,
        const=1,
        default=0,
        metavar="SHARES",
        help="then read unchanged files again: all, or one of so many shares",
    )
    options.add_argument("--json", action="store_true", help="print the run record as JSON")
    options.add_argument("--quiet", action="store_true", help="no output unless something is wrong")
    options.add_argument("--catch-up", action="store_true", help="only if the last backup is older than a day")
    return options


def main() -> ExitCode:
    """Parse the command line, back up, say how it went."""
    arguments = command_line().parse_args()
    context = open_context("backup", arguments.config)
    if arguments.catch_up and not context.state.is_due("backup"):
        return ExitCode.CLEAN
    if arguments.dry_run:
        quiet = arguments.quiet or arguments.json
        result = back_up(context, dry_run=True, quiet=quiet, forget=arguments.forget, shares=arguments.rehash)
        code = ExitCode.FINDINGS if result.findings else ExitCode.CLEAN
        result.record["lines"] = result.findings
    else:
        quiet = arguments.quiet or arguments.json

        def work() -> Result:
            try:
                return back_up(
                    context, quiet=quiet, resume=arguments.resume, forget=arguments.forget, shares=arguments.rehash
                )
            except LockedError:
                if arguments.catch_up:
                    return Result(idle=True)  # what was missed is being caught up already
                raise

        command = sys.argv[0]
        if context.state.paused() is not None and not arguments.resume:
            command = f"{Path(command).with_name('restore_data.py')} list\n{command} --resume"
        code, result = carry_out("backup", context, work, command)
    if arguments.json:
        print(json.dumps({"exit": int(code), **result.record}, ensure_ascii=False))
    elif result.findings or not arguments.quiet:
        print(summary(result), end="")
    return code


if __name__ == "__main__":
    exit_with(main)
