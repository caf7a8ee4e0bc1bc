#!/usr/bin/env python3
"""The lab: machines as containers, for the demo, the molecule scenarios and the tests.

Needs nothing but the standard library, podman, mmdebstrap and openssl, so that images can
be made while the Python environment is still being installed. Everything that makes or
removes an image, a network or a container goes through here.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from labkit.command_line import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
