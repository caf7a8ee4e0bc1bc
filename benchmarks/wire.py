"""Bytes over the wire, counted by the kernel: two nftables counters on the port of the loopback sshd."""

from __future__ import annotations

import json
import subprocess
from typing import NamedTuple

from benchmarks.packages import UnavailableError

_TABLE = "sedai_bench"
_RULES = """\
table inet {table} {{
    counter sent {{ }}
    counter received {{ }}
    chain output {{
        type filter hook output priority 0
        oif lo tcp dport {port} counter name sent
        oif lo tcp sport {port} counter name received
    }}
}}
"""


class Bytes(NamedTuple):
    """IP packets from the client to the server and back, with their headers."""

    sent: int
    received: int


class Wire:
    """Counts while the context is open.

    Raises:
        UnavailableError: the kernel or our rights have no nftables.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    def __enter__(self) -> Wire:
        self._remove()  # what a run that was killed left
        _nft("-f", "-", stdin=_RULES.format(table=_TABLE, port=self._port))
        return self

    def __exit__(self, *error: object) -> None:
        self._remove()

    def _remove(self) -> None:
        _nft("delete", "table", "inet", _TABLE, check=False)

    def count(self) -> Bytes:
        """What was counted so far."""
        listed = json.loads(_nft("--json", "list", "counters", "table", "inet", _TABLE))["nftables"]
        counted = {item["counter"]["name"]: int(item["counter"]["bytes"]) for item in listed if "counter" in item}
        return Bytes(counted["sent"], counted["received"])


def _nft(*arguments: str, stdin: str = "", check: bool = True) -> str:
    done = subprocess.run(["nft", *arguments], input=stdin, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise UnavailableError(f"nft can't count the bytes: {done.stderr.strip()}")
    return done.stdout
