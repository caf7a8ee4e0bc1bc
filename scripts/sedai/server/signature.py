"""The client's signature of a generation's record: stored beside it once, and never replaced.

It is read for its form only. Whether it is true matters to those who check a generation, and they don't ask the server.
"""

from __future__ import annotations

import os

from sedai.core import sshsig
from sedai.core.errors import UsageError
from sedai.core.generation import Generation
from sedai.server.store import ClientStore


def keep(store: ClientStore, generation: Generation, text: bytes) -> str:
    """Store the signature ``text`` of ``generation``; the same once more is no error. The caller holds the store's lock.

    Returns:
        The fingerprint of the key that made it.

    Raises:
        IntegrityError: it is no signature.
        UsageError: the generation has another one.
    """
    signer = sshsig.signer(text)
    place = store.signature(generation)
    new = store.incoming / "signature"
    try:
        with new.open("wb") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(new, place)  # whole at once, and never over another
    except FileExistsError as error:
        if place.read_bytes() != text:
            raise UsageError(
                f"{generation} is signed already, and no signature is ever replaced.",
                "Run check_backup_integrity.py: it says whether the one that is there is right.",
            ) from error
    finally:
        new.unlink(missing_ok=True)
    directory = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)  # the client believes from now on that it is there
    finally:
        os.close(directory)
    return signer
