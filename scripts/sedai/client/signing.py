"""Signing: the record of each generation that this client sealed, with its own SSH key.

Whoever rewrites a generation on the server, with its manifest and its record, can't make this signature.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from sedai.client import catalog, scratch
from sedai.client.config import Server
from sedai.client.connection import Connection
from sedai.client.scan import Problem
from sedai.client.state import State
from sedai.core import sshsig
from sedai.core.errors import IntegrityError, SedaiError, UsageError
from sedai.core.process import run

_KEYGEN = ("ssh-keygen", "-Y")
_NOT_THIS = 255


def sign(identity: Path, record: bytes) -> str:
    """The signature of ``record``, as text.

    Raises:
        ProcessError: ssh-keygen can't sign with the key ``identity``.
    """
    argv = [*_KEYGEN, "sign", "-q", "-f", str(identity), "-n", sshsig.NAMESPACE]
    return run(argv, stdin=record).stdout.decode("ascii")


def sign_pending(connection: Connection, state: State, identity: Path) -> Iterator[Problem]:
    """Sign what was sealed and is not signed yet, that of a run which was killed in between too.

    Yields what could not be signed; the next run tries it again.
    """
    for generation, record in state.unsigned():
        try:
            if _sign_one(connection, identity, generation, record):
                state.remember_signed(generation, record)
            else:
                state.forget_unsigned(generation)
        except SedaiError as error:
            yield Problem(
                "unsigned", b"", f"{generation} could not be signed: {error.message} The next backup tries again."
            )


def _sign_one(connection: Connection, identity: Path, generation: str, record: bytes) -> bool:
    """Let the server store the signature; False where the generation was pruned meanwhile."""
    try:
        connection.ask("sign", {"generation": generation, "signature": sign(identity, record)})
    except UsageError:
        if generation in {known["generation"] for known in catalog.generations(connection)}:
            raise
        return False
    return True


Verify = Callable[[bytes, bytes], str]


@contextlib.contextmanager
def verifier(client: str, server: Server) -> Iterator[Verify]:
    """A function of a record and its signature, which says why that is not one of this client; empty where it is.

    What counts are this machine's own key, and the keys of earlier machines of its name in ``allowed_signers_file``.

    Raises:
        ProcessError: this machine's key can't be read.
    """
    own = run(["ssh-keygen", "-y", "-f", str(server.identity_file)]).stdout.decode()
    earlier = server.allowed_signers_file
    others = earlier.read_text(encoding="utf-8") if earlier is not None and earlier.exists() else ""
    with scratch.directory() as directory:
        allowed, place = directory / "allowed_signers", directory / "signature"
        allowed.write_text(f"{client} {own.strip()}\n{others}", encoding="utf-8")

        def verify(record: bytes, signature: bytes) -> str:
            try:
                signer = sshsig.signer(signature)
            except IntegrityError:
                return "one that is damaged"
            place.write_bytes(signature)
            of_this_client = (*_KEYGEN, "verify", "-f", str(allowed), "-I", client)
            of_anybody = (*_KEYGEN, "check-novalidate")
            if _fits(of_this_client, place, record):
                return ""
            if _fits(of_anybody, place, record):
                return f"one by the key {signer}, which is not known here"
            return "one that does not fit the record"

        yield verify


def _fits(argv: tuple[str, ...], signature: Path, record: bytes) -> bool:
    words = [*argv, "-n", sshsig.NAMESPACE, "-s", str(signature)]
    return run(words, stdin=record, success=(0, _NOT_THIS)).status == 0
