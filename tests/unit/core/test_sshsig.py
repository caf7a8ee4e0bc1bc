"""Signatures are read to the last bit, and nothing else is taken for one."""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path

import pytest

from sedai.core import sshsig
from sedai.core.errors import IntegrityError


def made(directory: Path, kind: str, namespace: str = sshsig.NAMESPACE) -> tuple[bytes, str]:
    """A true signature, and the fingerprint of the key that made it."""
    key = directory / f"key-{kind}"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key], check=True)
    signed = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-q", "-f", key, "-n", namespace], input=b"record", capture_output=True, check=True
    )
    shown = subprocess.run(["ssh-keygen", "-l", "-f", key], capture_output=True, text=True, check=True)
    return signed.stdout, shown.stdout.split()[1]


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_a_true_one_tells_its_key(tmp_path: Path, kind: str) -> None:
    text, fingerprint = made(tmp_path, kind)
    assert sshsig.signer(text) == fingerprint


def test_one_for_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="for b'git', not for 'sedai-generation'"):
        sshsig.signer(made(tmp_path, "ed25519", "git")[0])


def test_no_part_of_the_text_is_without_a_meaning(tmp_path: Path) -> None:
    """A changed bit is refused, or it changes what the base64 says: then the signature is not true any more."""
    text, _ = made(tmp_path, "ed25519")
    content = base64.b64decode(b"".join(text.splitlines()[1:-1]))
    read = 0
    for position in range(len(text)):
        for bit in range(8):
            changed = text[:position] + bytes([text[position] ^ 1 << bit]) + text[position + 1 :]
            try:
                sshsig.signer(changed)
            except IntegrityError:
                continue
            read += 1
            assert base64.b64decode(b"".join(changed.splitlines()[1:-1])) != content
    assert read


BLOB = b"SSHSIG\0\0\0\1" + b"\0\0\0\3key" + b"\0\0\0\x10sedai-generation" + b"\0\0\0\0" + b"\0\0\0\0" * 2


def armored(content: bytes, width: int = 70) -> bytes:
    encoded = base64.b64encode(content)
    lines = b"".join(encoded[start : start + width] + b"\n" for start in range(0, len(encoded), width))
    return b"-----BEGIN SSH SIGNATURE-----\n" + lines + b"-----END SSH SIGNATURE-----\n"


def test_other_widths_are_read() -> None:
    assert re.fullmatch("SHA256:[A-Za-z0-9+/]{43}", sshsig.signer(armored(BLOB)))
    assert sshsig.signer(armored(BLOB, 4)) == sshsig.signer(armored(BLOB, 1000))


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"\n", b"x" * 9000, b"-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n"),
        *(b"-----BEGIN SSH SIGNATURE-----\n\n-----END SSH SIGNATURE-----\n", armored(b""), armored(b"SSHSIG\0\0\0\1")),
        *(armored(BLOB)[:-1], armored(BLOB) + b"\n", b" " + armored(BLOB), armored(BLOB).replace(b"\n", b"\r\n")),
        *(armored(BLOB + b"\0"), armored(BLOB + b"\0\0\0\1"), armored(BLOB[:-4]), armored(BLOB + b"\0\0\0\0")),
        armored(BLOB.replace(b"SSHSIG", b"SSHSIH")),
        armored(BLOB.replace(b"\0\0\0\1\0", b"\0\0\0\2\0", 1)),
        armored(b"SSHSIG\0\0\0\1" + b"\xff\xff\xff\xffkey"),
        armored(BLOB.replace(b"generation\0\0\0\0", b"generation\0\0\0\1x")),
        armored(BLOB * 400),
    ],
)
def test_what_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(IntegrityError):
        sshsig.signer(text)
