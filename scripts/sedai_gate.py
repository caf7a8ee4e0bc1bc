#!/usr/bin/python3
"""Forced command behind a client's SSH key: it serves the one verb that the client's programs ask for, and nothing else."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sedai import __version__
from sedai.core.errors import IntegrityError, SedaiError
from sedai.core.log import open_log
from sedai.server import config
from sedai.server.gate import Gate, original_command, refuse

EXAMPLES = """\
examples (sshd starts it, by the authorized_keys of the store's account, which site.yml writes; this is by hand, as that account):
  SSH_ORIGINAL_COMMAND=status sedai_gate.py --client laptop </dev/null     what it tells of itself
  SSH_ORIGINAL_COMMAND=list sedai_gate.py --client laptop </dev/null       the generations of this client

exit codes:
  0  served
  2  usage or configuration; also a verb that it does not know
  3  not done; of a transfer it is rsync's own, which is listed in rsync(1)
"""


def command_line() -> argparse.ArgumentParser:
    """What the program takes."""
    options = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--client", required=True, help="whose key this is")
    options.add_argument("--config", type=Path, help=f"default: {config.DEFAULT_PATH}")
    options.add_argument("--version", action="version", version=f"sedai {__version__}")
    return options


def main() -> int:
    """Serve the one command that the client asked for."""
    arguments = command_line().parse_args()
    command = original_command()
    try:
        settings = config.load(arguments.config)
        log = open_log("sedai-gate", settings.log_file)
        gate = Gate(settings, arguments.client, sys.stdin.buffer, sys.stdout.buffer, log)
        status = serve(gate, command)
        gate.look_ahead(command)
        return status
    except SedaiError as error:
        refuse(command, error, sys.stdout.buffer)
        return error.exit_code


def serve(gate: Gate, command: str) -> int:
    """Serve ``command``; whatever goes wrong is logged, and told in words."""
    try:
        return gate.serve(command)
    except SedaiError as error:
        gate.log.error("%s: %s refused: %s", gate.client, command[:80], error)
        raise
    except Exception as error:  # a full or broken disk, say: the client must hear it in words
        gate.log.exception("%s: %s failed", gate.client, command[:80])
        raise IntegrityError(f"The server could not do it: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
