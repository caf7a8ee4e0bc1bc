"""A signature is stored once, whole, and nothing is left beside it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from sealing import put, sealed

from sedai.core.errors import IntegrityError, UsageError
from sedai.core.generation import Generation
from sedai.server import signature
from sedai.server.store import ClientStore


def text(said: bytes) -> bytes:
    """What has the form of a signature, whoever made it."""
    content = b"SSHSIG\0\0\0\1\0\0\0\3key\0\0\0\x10sedai-generation\0\0\0\0\0\0\0\6sha512\0\0\0\1" + said
    return b"-----BEGIN SSH SIGNATURE-----\n" + base64.b64encode(content) + b"\n-----END SSH SIGNATURE-----\n"


@pytest.fixture
def store(tmp_path: Path) -> ClientStore:
    made = ClientStore(tmp_path / "laptop")
    sealed(made, put(made, {"s/a": b"a"}), 2)
    return made


def newest(store: ClientStore) -> Generation:
    found = store.newest()
    assert found is not None
    return found


def test_it_is_stored_as_it_came(store: ClientStore) -> None:
    generation = newest(store)
    (store.incoming / "signature").write_bytes(b"of a gate that was killed, and longer than this one" * 50)
    assert signature.keep(store, generation, text(b"1")).startswith("SHA256:")
    assert store.signature(generation).read_bytes() == text(b"1")
    assert store.signature(generation).stat().st_nlink == 1
    assert not (store.incoming / "signature").exists()
    signature.keep(store, generation, text(b"1"))


def test_another_one_never_takes_its_place(store: ClientStore) -> None:
    generation = newest(store)
    signature.keep(store, generation, text(b"1"))
    kept = store.signature(generation)
    before = kept.stat()
    with pytest.raises(UsageError, match="is signed already, and no signature is ever replaced"):
        signature.keep(store, generation, text(b"2"))
    after = kept.stat()  # its being read may move the atime
    assert (after.st_ino, after.st_mode, after.st_ctime_ns) == (before.st_ino, before.st_mode, before.st_ctime_ns)
    assert kept.read_bytes() == text(b"1")
    assert not (store.incoming / "signature").exists()


def test_what_is_none_is_not_stored(store: ClientStore) -> None:
    generation = newest(store)
    with pytest.raises(IntegrityError):
        signature.keep(store, generation, text(b"12"))
    assert sorted(path.name for path in store.directory(generation).iterdir()) == [
        "RESTORE.txt", "generation.json", "manifest", "tree"
    ]  # fmt: skip
