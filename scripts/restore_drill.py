#!/usr/bin/python3
"""Try a restore: bring files and databases back into a throw-away place, compare them, and leave nothing behind."""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sedai.client import drill
from sedai.client.drill import Wishes
from sedai.client.program import carry_out, exit_with, open_context, parser, positive
from sedai.core.errors import ExitCode

EXAMPLES = """\
  restore_drill.py                              a sample of the newest generation's files, and all its databases
  restore_drill.py --files 5000                 more files
  restore_drill.py --database main/shop         of the databases only this one; twice for two
  restore_drill.py --generation 20260101T031500Z-000042 --seed 7     the same sample again
"""


def command_line() -> argparse.ArgumentParser:
    """What the program takes; its manual and completions are made of it too."""
    options = parser(__doc__, EXAMPLES)
    options.add_argument("--generation", default="latest", metavar="ID", help="default: the newest")
    options.add_argument("--files", type=positive, metavar="N", help="how many files (default: as configured)")
    options.add_argument("--seed", type=int, metavar="N", help="draw the same sample as the drill that named this seed")
    options.add_argument("--database", action="append", default=[], metavar="NAME", help="load only this one")
    options.add_argument("--json", action="store_true", help="print the result as JSON")
    options.add_argument("--quiet", action="store_true", help="no output unless something is wrong")
    options.add_argument("--catch-up", action="store_true", help="only if the last drill is older than a month")
    return options


def main() -> ExitCode:
    """Parse the command line, try a restore, say how it went."""
    arguments = command_line().parse_args()
    context = open_context("drill", arguments.config)
    state = context.state
    if arguments.catch_up and (not state.is_due("drill", drill.EVERY_HOURS) or drill.in_use(state)):
        return ExitCode.CLEAN
    wishes = Wishes(arguments.generation, arguments.seed, arguments.files, tuple(arguments.database))
    code, result = carry_out(
        "drill",
        context,
        lambda: drill.drill(context, wishes, quiet=arguments.quiet or arguments.json),
        f"{Path(sys.argv[0]).with_name('check_backup_integrity.py')} --level full\n{sys.argv[0]}",
    )
    if arguments.json:
        print(json.dumps({"exit": int(code), **result.record}, ensure_ascii=False))
    elif result.findings or not arguments.quiet:
        print(drill.summary(result), end="")
    return code


if __name__ == "__main__":
    exit_with(main)
