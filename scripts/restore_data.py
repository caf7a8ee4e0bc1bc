#!/usr/bin/python3
"""Look into the generations on the server, and bring files and databases back from one of them."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sedai.client import archive, diff, find, restore_command, restore_database, states
from sedai.client.connection import Connection
from sedai.client.program import Context, exit_with, open_context, parser
from sedai.core.errors import ExitCode, SedaiError

EXAMPLES = """\
  restore_data.py list
  restore_data.py find 'notes*.txt'
  restore_data.py diff previous latest /home
  restore_data.py restore --to /root/restored /etc/ssh
  restore_data.py restore --keep-existing /home
  restore_data.py restore --at 2026-01-31 --dry-run /home/user/notes.txt
  restore_data.py restore --generation 20260101T031500Z-000042 --overwrite /home/user/notes.txt
  restore_data.py databases
  restore_data.py restore-db main/shop --as shop_restored
"""


class Verb(NamedTuple):
    """One thing that this program does."""

    name: str
    summary: str
    arguments: Callable[[argparse.ArgumentParser], None]
    carry_out: Callable[[argparse.Namespace, Context, Connection], ExitCode]


VERBS = (
    Verb(
        "list", "the generations, oldest first, with what is known of their state", states.arguments, states.carry_out
    ),
    Verb("find", "which generations hold which versions of a file", find.arguments, find.carry_out),
    Verb("diff", "what differs between two generations", diff.arguments, diff.carry_out),
    Verb("restore", "bring files or directories back", restore_command.arguments, restore_command.carry_out),
    Verb("databases", "the dumps of databases in a generation", archive.arguments, archive.carry_out),
    Verb("restore-db", "load a database again from its dump", restore_database.arguments, restore_database.carry_out),
)


def command_line() -> argparse.ArgumentParser:
    """What the program takes; its manual and completions are made of it too."""
    options = parser(__doc__, EXAMPLES)
    verbs = options.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in VERBS:
        made = verbs.add_parser(verb.name, help=verb.summary, description=verb.summary.capitalize() + ".")
        verb.arguments(made)
        made.set_defaults(carry_out=verb.carry_out)
    return options


def main() -> ExitCode:
    """Parse the command line and carry out the verb."""
    arguments = command_line().parse_args()
    context = open_context("restore", arguments.config)
    try:
        with Connection(context.config.server) as connection:
            code: ExitCode = arguments.carry_out(arguments, context, connection)
            return code
    except SedaiError as error:
        context.log.error("%s", error)
        raise


if __name__ == "__main__":
    exit_with(main)
