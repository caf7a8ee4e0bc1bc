"""``restore_data.py restore``: what a person asks for, and how it went in words."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from sedai.client import catalog
from sedai.client.catalog import generations
from sedai.client.connection import Connection
from sedai.client.placement import Existing
from sedai.client.program import Context, given_path
from sedai.client.restore import Restored, restore
from sedai.client.target import privileged
from sedai.core.counted import counted
from sedai.core.errors import ExitCode
from sedai.core.progress import Reporter, size


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``restore``."""
    catalog.which_arguments(parser)
    parser.add_argument(
        "--to", type=given_path, metavar="DIR", help="restore below DIR, under the full path; default: in place"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--keep-existing", action="store_true", help="leave what is there and differs, list it, and restore the rest"
    )
    existing.add_argument("--overwrite", action="store_true", help="replace what is there and differs")
    parser.add_argument("--accept-damaged", action="store_true", help="restore what there is of damaged files, too")
    parser.add_argument(
        "--ignore-space",
        action="store_true",
        help="begin where the disk seems too small, too: files with holes need less",
    )
    parser.add_argument("--quiet", action="store_true", help="no output unless something is wrong")
    parser.add_argument("paths", nargs="+", type=given_path, metavar="PATH", help="absolute, as it was on this machine")


def carry_out(options: argparse.Namespace, context: Context, connection: Connection) -> ExitCode:
    """Restore, and say how it went."""
    record = catalog.pick(options, generations(connection))
    done = restore(
        connection,
        context.state,
        record,
        options.paths,
        options.to,
        reporter=Reporter(quiet=options.quiet),
        existing=_existing(options),
        dry_run=options.dry_run,
        accept_damaged=options.accept_damaged,
        ignore_space=options.ignore_space,
    )
    sealed = f"sealed {catalog.local(catalog.sealed_at(record))}"
    if options.dry_run:
        print("\n".join(_would(done, sealed)))
        return ExitCode.FINDINGS if done.refused or done.findings else ExitCode.CLEAN
    for line in done.findings:
        context.log.warning("%s", line)
        print(f"FINDING: {line}", file=sys.stderr)
    files = f"{counted(done.files, 'file')}, {size(done.bytes)}"
    text = f"Restored {counted(done.entries, 'entry')} ({files}) from {done.generation}, {sealed}"
    context.log.info("%s, %d findings", text, len(done.findings))
    if not options.quiet:
        there = f" {counted(done.there, 'file')} there already;" if done.there else ""
        print(f"{text};{there} {_verified(done)}")
        if not privileged():
            print(
                "Only root brings back capabilities and other attributes of the system: they are left out and not listed."
            )
    return ExitCode.FINDINGS if done.findings else ExitCode.CLEAN


def _existing(options: argparse.Namespace) -> Existing:
    if options.overwrite:
        return Existing.REPLACE
    return Existing.KEEP if options.keep_existing else Existing.REFUSE


def _verified(done: Restored) -> str:
    return "each compared with its digest." if not done.findings else f"{counted(len(done.findings), 'finding')}."


def _would(done: Restored, sealed: str) -> Iterator[str]:
    """A dry run for people."""
    yield f"{done.generation}, {sealed}. Nothing was written; a restore of these paths:"
    yield f"  has {counted(done.entries, 'entry')}, {counted(done.files, 'file')} with {size(done.bytes)}"
    yield f"  brings back {counted(done.files - done.there, 'file')} with {size(done.send_bytes)}"
    yield f"  finds {counted(done.there, 'file')} there already with the same bytes"
    if done.kept:
        yield f"  keeps what is there and different: {counted(done.kept, 'entry')}"
    else:
        yield f"  replaces what is different: {counted(done.replaced, 'entry')}" + (
            " (only with --overwrite)" if done.replaced else ""
        )
    for line in done.findings:
        yield f"FINDING: {line}"
    for refusal in done.refused:
        yield f"REFUSED: {refusal}"
