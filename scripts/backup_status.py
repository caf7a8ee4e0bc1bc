#!/usr/bin/python3
"""How the backups of this machine are: what needs a look, the generations, the last and next runs, the room left."""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sedai.client.program import exit_with, given_path, open_context, parser
from sedai.client.status import attention, gather
from sedai.core.errors import ExitCode

EXAMPLES = """\
  backup_status.py                    at a glance
  backup_status.py --json             for programs; monitoring needs only the exit code
  backup_status.py --html page.html   a page for a browser: the calendar of runs, sizes over time, all generations
"""


def command_line() -> argparse.ArgumentParser:
    """What the program takes; its manual and completions are made of it too."""
    options = parser(__doc__, EXAMPLES)
    form = options.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print everything as one JSON object")
    form.add_argument("--html", type=given_path, metavar="FILE", help="write it as one page that needs nothing else")
    return options


def main() -> ExitCode:
    """Parse the command line, look, say what there is: 1 where something needs a look, 3 where the server can't be asked."""
    arguments = command_line().parse_args()
    context = open_context("status", arguments.config)
    status = gather(context)
    scripts = Path(sys.argv[0]).parent
    if arguments.json:
        print(json.dumps(status.table(), ensure_ascii=False))
    elif arguments.html:
        from sedai.client.status_page import build
        from sedai.core.page import write

        write(build(status, list(context.state.runs()), scripts), arguments.html)
    else:
        from sedai.client.status_table import show
        from sedai.core.terminal import Terminal

        show(status, Terminal(width=None if sys.stdout.isatty() else 120), scripts)
    if status.error:
        return ExitCode.NOT_DONE
    return ExitCode.FINDINGS if attention(status) else ExitCode.CLEAN


if __name__ == "__main__":
    exit_with(main)
