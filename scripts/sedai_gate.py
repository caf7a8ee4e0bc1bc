#!/usr/bin/python3
"""Forced command behind a client's SSH key; see sedai.server.gate."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sedai.core.errors import IntegrityError, SedaiError
from sedai.core.log import open_log
from sedai.server import config
from sedai.server.gate import Gate, original_command


def main() -> int:
    """Serve the one command that the client asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", required=True, help="whose key this is")
    parser.add_argument("--config", type=Path, help=f"default: {config.DEFAULT_PATH}")
    arguments = parser.parse_args()
    settings = config.load(arguments.config)
    log = open_log("sedai-gate", settings.log_file)
    gate = Gate(settings, arguments.client, sys.stdin.buffer, sys.stdout.buffer, log)
    command = original_command()
    try:
        return gate.serve(command)
    except SedaiError as error:
        log.error("%s: %s refused: %s", arguments.client, command[:80], error)
        gate.refuse(command, error)
        return error.exit_code
    except OSError as error:
        # A full or broken disk: the client must hear it in words, and the log has where.
        log.exception("%s: %s failed", arguments.client, command[:80])
        gate.refuse(command, IntegrityError(f"The server could not do it: {error}"))
        return IntegrityError.exit_code


if __name__ == "__main__":
    sys.exit(main())
