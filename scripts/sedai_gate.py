#!/usr/bin/python3
"""Forced command behind a client's SSH key; see sedai.server.gate."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sedai.core.errors import IntegrityError, SedaiError
from sedai.core.log import open_log
from sedai.server import config
from sedai.server.gate import Gate, original_command, refuse


def main() -> int:
    """Serve the one command that the client asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", required=True, help="whose key this is")
    parser.add_argument("--config", type=Path, help=f"default: {config.DEFAULT_PATH}")
    arguments = parser.parse_args()
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
