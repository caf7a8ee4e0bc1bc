#!/usr/bin/python3
"""Send an alert mail; called by ``send_alert_email.sh``, which names the configuration."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from sedai import __version__
from sedai.core import output, toml
from sedai.core.errors import ConfigError, SedaiError, UsageError
from sedai.core.log import open_log
from sedai.mail.compose import one_line, text
from sedai.mail.deliver import Outcome, PostOffice
from sedai.mail.desk import Desk
from sedai.mail.fold import is_key
from sedai.mail.listing import incidents, listing
from sedai.mail.owner import become_owner
from sedai.mail.settings import MailSettings
from sedai.mail.spool import Spool

# sysexits.h: other programs know these from sendmail and msmtp.
DELIVERED = 0
USAGE = 64
NEITHER_SENT_NOR_STORED = 73
WAITS_IN_THE_SPOOL = 75
CONFIGURATION = 78

# Options that are no part of an alert.
_ALONE = ("--flush", "--list", "--incidents", "--help", "--version")
_OF_AN_INCIDENT = ("--incident", "--resolved")
OPTIONS = (*_ALONE, *_OF_AN_INCIDENT)
_LONGEST_BODY_BYTES = 1_000_000

HELP = """\
usage: send_alert_email.sh [--incident KEY | --resolved KEY] SUBJECT [BODY]
       send_alert_email.sh --list | --incidents | --flush | --help | --version

options:
  SUBJECT [BODY]   send a mail; without BODY it is read from stdin
  --incident KEY   the same, but of one incident only the first report is mailed at once; what follows is counted and told
                   once a day; KEY: up to 200 letters, digits and ._:@/-
  --resolved KEY   the incident is over: mail it, if it was reported
  --list           show the waiting mails and why they wait
  --incidents      show the incidents that are not over, as JSON, one a line
  --flush          try the waiting mails whose time has come (cron does it)
  --version        show the version
There is no --config: it is called with sudo by others, who must not bring their own.

examples:
  send_alert_email.sh "[TEST] Backup Alert Test" "This is a test."
  df -h | send_alert_email.sh "vps: the disk is nearly full"
  send_alert_email.sh --incident disk "vps: the disk is nearly full" "Make room."
  send_alert_email.sh --resolved disk "vps: the disk has room again" "Nothing to do."

exit codes:
  0   the provider took it, or it was told before
  64  wrong usage
  73  neither sent nor stored (the disk is full and the provider out of reach)
  75  it waits in the spool and is tried again
  78  wrong configuration"""


def main(arguments: list[str]) -> int:
    """Return the exit code; ``arguments`` are the configuration's path, then what the caller gave."""
    os.umask(0o077)
    # The configuration is no option: a caller under sudo must not be able to bring its own.
    config, *words = arguments or [""]
    if not config or words in (["--help"], ["-h"], ["--version"]):
        print(f"sedai {__version__}" if words == ["--version"] else HELP)
        return DELIVERED if words else USAGE
    try:
        become_owner(Path(config))
        settings = toml.load(MailSettings, Path(config))
        if words == ["--list"]:
            print(listing(Spool(settings.spool_directory)))
            return DELIVERED
        if words == ["--flush"]:
            office = PostOffice(settings, _open_log(settings))
            outcome = office.flush() + Desk(office).remind()
            return WAITS_IN_THE_SPOOL if outcome.waiting else DELIVERED
        if words == ["--incidents"]:
            print(incidents(Desk(PostOffice(settings, _open_log(settings))).incidents), end="")
            return DELIVERED
        verb, key, words = _incident(words)
        subject, body = _alert(words)
        office = PostOffice(settings, _open_log(settings))
        if verb == "--incident":
            return _report(Desk(office).report(key, subject, body))
        if verb == "--resolved":
            return _report(Desk(office).resolve(key, subject, body))
        return _report(office.submit(subject, body))
    except ConfigError as error:
        return _die(error, CONFIGURATION)
    except UsageError as error:
        return _die(error, USAGE)
    except SedaiError as error:
        return _die(error, NEITHER_SENT_NOR_STORED)


def _incident(words: list[str]) -> tuple[str, str, list[str]]:
    """``--incident`` or ``--resolved`` and its key, where the call begins so, and the words of the alert itself."""
    if not words or words[0] not in _OF_AN_INCIDENT:
        return "", "", words
    if len(words) < 3:
        raise UsageError(f"{words[0]} needs a KEY and a SUBJECT.", HELP)
    verb, key, *alert = words
    if not is_key(key):
        raise UsageError(f"{key!r} can't name an incident.", HELP)
    return verb, key, alert


def _alert(words: list[str]) -> tuple[str, str]:
    """Subject and body from the command line, the body from stdin where it isn't given."""
    if words and words[0] in _ALONE:
        raise UsageError(f"{words[0]} takes nothing else.", HELP)
    if len(words) not in (1, 2):
        raise UsageError(f"One or two arguments are needed, not {len(words)}.", HELP)
    subject = one_line(text(os.fsencode(words[0])))
    if not subject:
        raise UsageError("The subject is empty.", HELP)
    if len(words) == 1 and subject.startswith("--"):
        raise UsageError(f"{subject} is not an option.", HELP)
    data = os.fsencode(words[1]) if len(words) == 2 else sys.stdin.buffer.read(_LONGEST_BODY_BYTES + 1)
    if len(data) > _LONGEST_BODY_BYTES:
        data = data[:_LONGEST_BODY_BYTES] + b"\n[cut here: the text was longer than 1 MB]\n"
    return subject, text(data)


def _report(outcome: Outcome) -> int:
    if outcome.folded:
        print("Nothing to mail: it was told before, or is not open.")
    for recipient in outcome.delivered:
        print(f"The provider took the mail for {recipient}.")
    for recipient in outcome.waiting:
        print(f"The mail for {recipient} waits in the spool and is tried again by cron.", file=sys.stderr)
    for recipient in outcome.parked:
        print(f"The mail for {recipient} was given up; it is kept, and --list shows where.", file=sys.stderr)
    if outcome.refusal:
        print(f"Why: {outcome.refusal}", file=sys.stderr)
    return WAITS_IN_THE_SPOOL if outcome.waiting or outcome.parked else DELIVERED


def _open_log(settings: MailSettings) -> logging.Logger:
    try:
        return open_log("alert-mail", settings.log_file)
    except ConfigError as error:
        # An alert is worth more than its log line.
        print(error, file=sys.stderr)
        return logging.getLogger("alert-mail")


def _die(error: SedaiError, status: int) -> int:
    print(f"send_alert_email: {error}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(output.exit_code(lambda: main(sys.argv[1:])))
