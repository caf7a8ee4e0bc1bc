"""Signatures as ``ssh-keygen -Y sign`` writes them, read so strictly that no bit of the text can change unnoticed.

The format is OpenSSH's (``PROTOCOL.sshsig``): base64, between a line before and a line behind, of the six bytes
``SSHSIG``, the version 1 and five strings: public key, namespace, reserved, hash algorithm, signature.
"""

from __future__ import annotations

import base64
import hashlib
import struct

from sedai.core.errors import IntegrityError

# Nothing that the same key signs elsewhere can be taken for the signature of a generation.
NAMESPACE = "sedai-generation"
LONGEST = 8192
_BEGIN, _END = b"-----BEGIN SSH SIGNATURE-----\n", b"\n-----END SSH SIGNATURE-----\n"
_PREAMBLE = b"SSHSIG" + struct.pack(">I", 1)


def signer(text: bytes) -> str:
    """Whose key made this signature of a generation, as ``ssh-keygen -l`` names it; whether that is true is not looked at.

    Raises:
        IntegrityError: it is not the text of such a signature.
    """
    if len(text) > LONGEST:
        raise IntegrityError(f"This is no signature: it has more than {LONGEST} bytes.")
    try:
        public_key, namespace, reserved, _, _ = _strings(_unwrap(text))
    except ValueError as error:
        raise IntegrityError(f"This is no signature as ssh-keygen writes it: {text[:60]!r}") from error
    if namespace != NAMESPACE.encode() or reserved:
        raise IntegrityError(f"This is a signature for {namespace[:40]!r}, not for {NAMESPACE!r}.")
    return "SHA256:" + base64.b64encode(hashlib.sha256(public_key).digest()).decode().rstrip("=")


def _unwrap(text: bytes) -> bytes:
    if not text.startswith(_BEGIN) or not text.endswith(_END):
        raise ValueError("no armor")
    lines = text[len(_BEGIN) : -len(_END)].split(b"\n")
    width = len(lines[0])
    joined = b"".join(lines)
    content = base64.b64decode(joined, validate=True)
    # Lines of one width and the one spelling of its bytes: nothing in the text is without a meaning.
    if [joined[start : start + width] for start in range(0, len(joined), width or 1)] != lines:
        raise ValueError("odd lines")
    if base64.b64encode(content) != joined:
        raise ValueError("odd base64")
    return content


def _strings(content: bytes) -> list[bytes]:
    if not content.startswith(_PREAMBLE):
        raise ValueError("no preamble")
    found = []
    rest = content[len(_PREAMBLE) :]
    while rest:
        if len(rest) < 4:
            raise ValueError("cut")
        (length,) = struct.unpack(">I", rest[:4])
        if len(rest) < 4 + length:
            raise ValueError("cut")
        found.append(rest[4 : 4 + length])
        rest = rest[4 + length :]
    return found
