#!/usr/bin/python3
"""Check the generations on the server: CRC32, file count, timestamps, freshness."""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sedai.client.check import check, summary
from sedai.client.program import carry_out, exit_with, open_context, parser
from sedai.core.errors import ExitCode

EXAMPLES = """\
  check_backup_integrity.py                       the newest generation: names, counts, sizes, times
  check_backup_integrity.py --level full --all    every byte of every generation, each stored file read once
  check_backup_integrity.py --generation 20260101T031500Z-000042
"""


def command_line() -> argparse.ArgumentParser:
    """What the program takes; its manual and completions are made of it too."""
    options = parser(__doc__, EXAMPLES)
    options.add_argument("--level", choices=("quick", "full"), default="quick", help="full reads every byte")
    which = options.add_mutually_exclusive_group()
    which.add_argument("--generation", default="latest", metavar="ID", help="the one to check (default: the newest)")
    which.add_argument("--all", action="store_true", help="check all generations")
    options.add_argument("--json", action="store_true", help="print the result as JSON")
    options.add_argument("--quiet", action="store_true", help="no output unless something is wrong")
    options.add_argument("--catch-up", action="store_true", help="only if the last check is older than a day")
    return options


def main() -> ExitCode:
    """Parse the command line, check, say what was found."""
    arguments = command_line().parse_args()
    context = open_context("check", arguments.config)
    if arguments.catch_up and not context.state.is_due("check"):
        return ExitCode.CLEAN
    generation = "all" if arguments.all else arguments.generation
    quiet = arguments.quiet or arguments.json
    code, result = carry_out(
        "check",
        context,
        lambda: check(context, arguments.level, generation, quiet=quiet),
        f"{Path(sys.argv[0]).with_name('backup_data.py')}\n{sys.argv[0]} --level full --all",
        # A quick check that is clean says nothing of what a full one found.
        key=f"check-{arguments.level}-{generation}",
    )
    if arguments.json:
        print(json.dumps({"exit": int(code), **result.record}, ensure_ascii=False))
    elif result.findings or not arguments.quiet:
        print(summary(result), end="")
    return code


if __name__ == "__main__":
    exit_with(main)
