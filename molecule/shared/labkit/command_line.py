"""The command line of lab.py."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from labkit import images, labs, mail
from labkit.labs import MAIL_HOST, Host, Lab
from labkit.system import LabError, scenario_lab


def main(arguments: Sequence[str]) -> int:
    """Run one command. Exit codes: 0 done, 2 usage, 3 not done (the reason on stderr)."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 3
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab.py", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("images", help="build the images that are missing")
    command.add_argument("image", nargs="*", help="only these (default: all)")
    command.set_defaults(run=_images)

    command = commands.add_parser("up", help="start a lab afresh")
    command.add_argument("lab")
    command.add_argument("--host", action="append", default=[], metavar="NAME=IMAGE[:USER]", help="repeatable")
    command.add_argument("--mail", action="store_true", help="with the mail provider")
    command.set_defaults(run=_up)

    command = commands.add_parser("down", help="remove labs and their state")
    command.add_argument("lab", nargs="*")
    command.add_argument("--all", action="store_true", help="every lab of this checkout")
    command.set_defaults(run=_down)

    command = commands.add_parser("name", help="print the lab name of a molecule scenario")
    command.add_argument("scenario")
    command.set_defaults(run=_name)

    command = commands.add_parser("mail", help="print a mailbox, newest message last")
    command.add_argument("lab")
    command.add_argument("--for", dest="local_part", default="user", metavar="LOCAL_PART")
    command.add_argument("--wait", type=int, metavar="N", help="wait up to 10 s until there are N messages")
    command.add_argument("--last", type=int, metavar="N", help="only the newest N")
    command.set_defaults(run=_mail)

    command = commands.add_parser("mail-clear", help="empty all mailboxes")
    command.add_argument("lab")
    command.set_defaults(run=_mail_clear)

    command = commands.add_parser("mail-password", help=f"set the password of {mail.ACCOUNT} at the provider")
    command.add_argument("lab")
    command.add_argument("password")
    command.set_defaults(run=_mail_password)
    return parser


def _images(options: argparse.Namespace) -> None:
    for name in images.build_missing(options.image or list(images.RECIPES)):
        print(f"built {images.recipe(name).reference}")


def _up(options: argparse.Namespace) -> None:
    hosts = [labs.parse_host(text) for text in options.host]
    if options.mail:
        hosts.append(Host(MAIL_HOST, "mail"))
    lab = Lab(options.lab)
    labs.up(lab, hosts)
    for host in hosts:
        print(lab.container(host.name))


def _down(options: argparse.Namespace) -> None:
    wanted = [Lab(name) for name in options.lab]
    if options.all:
        wanted += labs.own_labs()
    elif not wanted:
        raise LabError("which lab? Name it, or give --all for every one of this checkout")
    for lab in wanted:
        print(f"{lab.name}: {'removed' if labs.down(lab) else 'was not there'}")


def _name(options: argparse.Namespace) -> None:
    print(scenario_lab(options.scenario))


def _mail(options: argparse.Namespace) -> None:
    container = Lab(options.lab).container(MAIL_HOST)
    if options.wait is None:
        found = mail.messages(container, options.local_part)
    else:
        found = mail.wait_for_messages(container, options.wait, local_part=options.local_part)
    shown = found if options.last is None else found[-options.last :]
    print(("\n" + "-" * 72 + "\n").join(mail.text(message).rstrip() for message in shown))


def _mail_clear(options: argparse.Namespace) -> None:
    mail.clear(Lab(options.lab).container(MAIL_HOST))


def _mail_password(options: argparse.Namespace) -> None:
    mail.set_password(Lab(options.lab).container(MAIL_HOST), options.password)
