"""Signatures: none is replaced, none is put where it does not belong, and nothing else is stored in their place."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from attack_lab import STORE, Server
from attacker import PROTOCOL, Attacker, refused

from sedai.core import sshsig, wire

pytestmark = pytest.mark.usefixtures("unharmed")

NAMES = [
    *("", ".", "..", "/", "*", "latest", "previous", "all", "tree", "{own}/", "{own}/.", "./{own}", "{own}/tree"),
    *("{own}/../{own}", "../generations/{own}", "../../beta/generations/{theirs}", "{theirs}", "/etc/passwd"),
    *(f"{STORE}/beta/generations/{{theirs}}", "{own}\n", "{own}\0", "\0", "{lower}", "{own} ", "-{own}", "x" * 70_000),
    *("../incoming", "../incoming/delta", "../incoming/delta/20260101T000000Z-000001", "20260101T000000Z-000001"),
    "\uff10" * 8 + "T\uff10\uff10\uff10\uff10\uff10\uff10Z-000001",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_other_name(attacker: Attacker, server: Server, oldest: str, theirs: str, name: str) -> None:
    asked = name.format(own=oldest, theirs=theirs, lower=oldest.lower())
    done = attacker.verb("sign", {"generation": asked, "signature": attacker.signature(b"mine")})
    refused(done)
    assert "Traceback" not in done.stderr.decode()
    assert server.root(f"find {STORE}/alpha/incoming /etc /tmp -name '*.sig' -o -name signature") == ""


@pytest.mark.parametrize("name", [None, 3, [], {}, ["{own}"], True, 1e300])
def test_no_name_that_is_none(attacker: Attacker, oldest: str, name: object) -> None:
    asked = [oldest] if isinstance(name, list) and name else name
    refused(attacker.verb("sign", {"generation": asked, "signature": attacker.signature(b"mine")}))


def armored(content: bytes) -> str:
    """Bytes in the form of a signature."""
    return f"-----BEGIN SSH SIGNATURE-----\n{base64.b64encode(content).decode()}\n-----END SSH SIGNATURE-----\n"


TEXTS: dict[str, Callable[[Attacker], object]] = {
    "a true one of something else": lambda attacker: attacker.signature(b"something else"),
    "a true one for another purpose": lambda attacker: attacker.signature(b"x", "file"),
    "nothing": lambda attacker: "",
    "null": lambda attacker: None,
    "a number": lambda attacker: 3,
    "a list": lambda attacker: [attacker.signature(b"x")],
    "a program": lambda attacker: "#!/bin/sh\nid\n",
    "a line of the authorized keys": lambda attacker: "ssh-ed25519 AAAA x\n",
    "with something before": lambda attacker: "#!/bin/sh\n" + attacker.signature(b"x"),
    "with something behind": lambda attacker: attacker.signature(b"x") + "id\n",
    "with CRLF": lambda attacker: attacker.signature(b"x").replace("\n", "\r\n"),
    "cut": lambda attacker: attacker.signature(b"x")[:-9],
    "an empty armor": lambda attacker: armored(b""),
    "an armor around anything": lambda attacker: armored(b"x" * 3000),
    "a length that lies": lambda attacker: armored(b"SSHSIG\0\0\0\1" + b"\xff" * 400),
    "of 9,000 bytes": lambda attacker: armored(b"SSHSIG\0\0\0\1" + b"x" * 9000),
    "of 2 MB": lambda attacker: "x" * 2_000_000,
    "of 3 MB, more than a line": lambda attacker: "x" * 3_000_000,
    "NUL": lambda attacker: "\0" * 100,
    "half a pair": lambda attacker: "\ud800",
}


@pytest.mark.parametrize("what", TEXTS)
def test_no_signature_is_replaced(attacker: Attacker, oldest: str, what: str) -> None:
    refused(attacker.verb("sign", {"generation": oldest, "signature": TEXTS[what](attacker)}))


@pytest.mark.parametrize("what", [what for what in TEXTS if not what.startswith("a true one of")])
def test_what_is_no_signature_is_not_stored(attacker: Attacker, what: str) -> None:
    unsigned = attacker.generations()[1]
    refused(attacker.verb("sign", {"generation": unsigned, "signature": TEXTS[what](attacker)}))


@pytest.mark.parametrize("what", [what for what in TEXTS if not what.startswith("a true one of")])
def test_what_is_no_signature_is_not_stored_within_a_seal_either(attacker: Attacker, what: str) -> None:
    """The gate asks for it when the generation is sealed, and goes on without where it gets none."""
    answer = json.dumps({"signature": TEXTS[what](attacker), "generation": "../../beta"}).encode() + b"\n"
    result = attacker.back_up({"docs/letter": what.encode()}, signed=answer)
    assert result["signed"] is False
    listed = attacker.result("list", {"signatures": True})["generations"]
    assert not any(one.get("signature") for one in listed if one["generation"] == result["record"]["generation"])


def test_a_signature_within_a_seal_is_for_that_generation_alone(attacker: Attacker, oldest: str) -> None:
    answer = {"signature": attacker.signature(b"something else"), "generation": oldest}
    result = attacker.back_up({"docs/letter": b"x"}, signed=json.dumps(answer).encode() + b"\n")
    assert result["signed"] is True
    refused(
        attacker.verb("sign", {"generation": result["record"]["generation"], "signature": attacker.signature(b"x")})
    )


def test_the_same_again_changes_nothing(attacker: Attacker, oldest: str) -> None:
    for _ in range(3):
        attacker.sign(oldest)


def test_what_follows_the_request_is_not_read(attacker: Attacker, oldest: str) -> None:
    signature = attacker.signature(b"x")
    refused(attacker.verb("sign", {"generation": oldest, "signature": signature}, signature.encode() * 1000))


def test_no_other_client_is_signed_for(attacker: Attacker, beta: Attacker, theirs: str) -> None:
    for request in ({"client": "beta"}, {"store": f"{STORE}/beta"}, {"root": f"{STORE}/beta"}):
        asked = {"generation": theirs, "signature": attacker.signature(b"x")} | request
        if theirs not in attacker.generations():
            refused(attacker.verb("sign", asked))
    assert len(beta.result("list", {"signatures": True})["generations"]) == 1


def test_the_first_of_many_at_once_stays(attacker: Attacker) -> None:
    """Twenty at once for a generation without one, of which at most one can be stored; and none is ever a part."""
    made = attacker.back_up({"docs/notes": b"to be signed\n"})["record"]["generation"]
    signatures = [attacker.signature(b"%d" % number) for number in range(20)]
    with ThreadPoolExecutor(5) as pool:
        requests = [{"generation": made, "signature": signature} for signature in signatures]
        done = list(pool.map(lambda request: attacker.verb("sign", request), requests))
    [stored] = [
        one["signature"]
        for one in attacker.result("list", {"signatures": True})["generations"]
        if one["generation"] == made
    ]
    winners = [signature for signature, answer in zip(signatures, done, strict=True) if answer.returncode == 0]
    assert [wire.unpack(stored).decode()] == winners
    assert sshsig.signer(wire.unpack(stored))


def test_a_request_that_never_ends(attacker: Attacker, oldest: str) -> None:
    request = PROTOCOL | {"generation": oldest, "signature": "x"}
    refused(attacker.ask("sign", json.dumps(request).encode()[:-1] + b" " * 5_000_000))
