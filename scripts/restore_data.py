#!/usr/bin/python3
"""List the generations on the server, and bring files back from one of them."""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sedai.client import restore
from sedai.client.connection import Connection
from sedai.client.program import Context, exit_with, open_context, parser
from sedai.client.progress import Reporter, size
from sedai.core.errors import ExitCode, SedaiError

EXAMPLES = """\
  restore_data.py list
  restore_data.py restore --to /tmp/restored /etc/ssh
  restore_data.py restore --generation 20260101T031500Z-000042 --overwrite /home/user/notes.txt
"""


def main() -> ExitCode:
    """Parse the command line, list or restore."""
    options = parser(__doc__, EXAMPLES)
    verbs = options.add_subparsers(dest="verb", required=True)
    listing = verbs.add_parser("list", help="the generations, oldest first")
    listing.add_argument("--json", action="store_true", help="print the records as JSON")
    back = verbs.add_parser("restore", help="bring files or directories back")
    back.add_argument("--generation", default="latest", metavar="ID", help="default: the newest")
    back.add_argument(
        "--to", type=Path, metavar="DIR", help="restore below DIR, under the full path; default: in place"
    )
    back.add_argument("--overwrite", action="store_true", help="replace what is there")
    back.add_argument("--quiet", action="store_true", help="no output unless something is wrong")
    back.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="absolute, as it was on this machine")
    arguments = options.parse_args()
    context = open_context("restore", arguments.config)
    try:
        return carry_out(arguments, context)
    except SedaiError as error:
        context.log.error("%s", error)
        raise


def carry_out(arguments: argparse.Namespace, context: Context) -> ExitCode:
    """List, or restore and say how it went."""
    with Connection(context.config.server) as connection:
        records = restore.generations(connection)
        if arguments.verb == "list":
            return show(records, as_json=arguments.json)
        done = restore.restore(
            connection,
            context.state,
            restore.choose(records, arguments.generation),
            arguments.paths,
            arguments.to,
            overwrite=arguments.overwrite,
            reporter=Reporter(quiet=arguments.quiet),
        )
    for line in done.findings:
        context.log.warning("%s", line)
        print(f"FINDING: {line}", file=sys.stderr)
    text = f"Restored {done.entries} entries ({done.files} files, {size(done.bytes)}) from {done.generation}"
    context.log.info("%s, %d findings", text, len(done.findings))
    if not arguments.quiet:
        print(f"{text}; {'each compared with its digest.' if not done.findings else f'{len(done.findings)} findings.'}")
    return ExitCode.FINDINGS if done.findings else ExitCode.CLEAN


def show(records: list[dict[str, object]], *, as_json: bool) -> ExitCode:
    """Print the generations, one a line."""
    if as_json:
        print(json.dumps(records, ensure_ascii=False))
        return ExitCode.CLEAN
    for record in records:
        if "error" in record:
            print(f"{record['generation']}  DAMAGED: {record['error']}")
            continue
        total, new = size(int(str(record["bytes"]))), size(int(str(record["new_bytes"])))
        print(
            f"{record['generation']}  {record['files']:>9} files  {total:>10}  new {new:>10}  sealed {record['sealed']}"
        )
    if not records:
        print("There is no generation yet.")
    return ExitCode.CLEAN


if __name__ == "__main__":
    exit_with(main)
