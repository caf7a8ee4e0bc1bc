"""A plain file is known at one look; whatever is anything else is left to the close one, which waits for nobody."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from sealing import line, put

from sedai.core import manifest
from sedai.core.beneath import Beneath
from sedai.core.errors import IntegrityError
from sedai.server.arrived import Arrived, Plain
from sedai.server.store import ClientStore
from sedai.server.stored import STAT_ATTRIBUTE

NAME = "s/f"


@pytest.fixture
def store(tmp_path: Path) -> ClientStore:
    made = ClientStore(tmp_path / "laptop")
    put(made, {NAME: b"some bytes"})
    return made


def fields_of(store: ClientStore, name: str = NAME) -> list[bytes]:
    """The line that seals it, at its tabs."""
    return (line(store, name).line or b"").split(b"\t")


def plain(store: ClientStore, fields: list[bytes], name: str = NAME) -> Plain | None:
    with Beneath(store.delta) as delta:
        arrived = Arrived(delta, delta)
        descriptor = arrived.begin(os.fsencode(name), fields)
        if descriptor is None:
            return None
        try:
            return arrived.plain(descriptor, fields)
        finally:
            os.close(descriptor)


@pytest.mark.parametrize("size", [0, 10, 5 << 20])
@pytest.mark.parametrize("stored", [b"", b"100751 0,0 4242:4343", b"104755 0,0 0:0"])
def test_a_plain_file_is_what_a_close_look_finds(store: ClientStore, size: int, stored: bytes) -> None:
    """Setuid among what its attribute says is as it should be: that is how rsync stores it."""
    put(store, {NAME: os.urandom(size)})
    fields = fields_of(store)
    if stored:
        os.setxattr(store.delta / NAME, STAT_ATTRIBUTE, stored)
        mode, _, owner = stored.split()
        fields[manifest.MODE : manifest.NLINK] = [b"%o" % (int(mode, 8) & 0o7777), *owner.split(b":")]
    found = plain(store, fields)
    assert found is not None
    with Beneath(store.delta) as delta:
        checked = Arrived(delta, delta).check(manifest.decode(b"\t".join(fields)), unstable=False)
    assert (found.crc32, found.identity, found.read) == (checked.entry.crc32, checked.identity, checked.read)
    assert found.read == size


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (manifest.KIND, b"l"),
        (manifest.SIZE, b"9"),
        (manifest.SIZE, b"11"),
        (manifest.SIZE, b"010"),
        (manifest.MTIME, b"1"),
        (manifest.MODE, b"777"),
        (manifest.UID, b"4242"),
        (manifest.GID, b"4242"),
        (manifest.NLINK, b"2"),
        (manifest.INODE, b"x"),
        (manifest.INODE, b""),
        (manifest.INODE, b"-1"),
        (manifest.INODE, b"1" * 21),
        (manifest.CTIME, b"1.0"),
        (manifest.XXH128, b"0" * 32),
        (manifest.XXH128, b"-"),
        (manifest.TARGET, b"to\n"),
        (0, b"s/g"),
    ],
)
def test_a_line_that_says_anything_else_is_left_to_the_close_look(
    store: ClientStore, number: int, value: bytes
) -> None:
    fields = fields_of(store)
    assert plain(store, fields) is not None
    fields[number] = value
    assert plain(store, fields) is None


def test_so_is_a_line_of_another_form(store: ClientStore) -> None:
    fields = fields_of(store)
    for other in (fields[:-1], [*fields, b"\n"], [*fields[:-1], b""], fields[:1], []):
        assert plain(store, other) is None


@pytest.mark.parametrize("name", ["s/a\\b", "s/a\rb", "s/a\nb", "s/a\tb"])
def test_so_is_a_path_that_is_written_otherwise_in_a_line(store: ClientStore, name: str) -> None:
    put(store, {name: b"x"})
    fields = fields_of(store, name)
    assert plain(store, fields, name) is None
    assert plain(store, [os.fsencode(name), *fields[1:]], name) is None


def _nothing(place: Path) -> None:
    place.unlink()


def _symlink(place: Path) -> None:
    place.rename(place.with_name("moved"))
    place.symlink_to("moved")


def _fifo(place: Path) -> None:
    place.unlink()
    os.mkfifo(place, 0o600)


def _socket(place: Path) -> None:
    place.unlink()
    here = Path.cwd()
    os.chdir(place.parent)  # a socket's name must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(place.name)
    os.chdir(here)


def _directory(place: Path) -> None:
    place.unlink()
    place.mkdir()


def _second_name(place: Path) -> None:
    os.link(place, place.with_name("again"))


def _setuid(place: Path) -> None:
    place.chmod(0o4644)


def _unreadable(place: Path) -> None:
    place.chmod(0o044)


def _kind(place: Path) -> None:
    stat = place.stat()
    os.setxattr(place, STAT_ATTRIBUTE, b"120%o 0,0 %d:%d" % (stat.st_mode & 0o777, stat.st_uid, stat.st_gid))


def _damaged(place: Path) -> None:
    os.setxattr(place, STAT_ATTRIBUTE, b"damaged")


def _directory_is_symlink(place: Path) -> None:
    place.parent.rename(place.parent.with_name("moved"))
    place.parent.symlink_to("moved")


PLANTS: list[tuple[Callable[[Path], None], str]] = [
    (_nothing, "did not arrive"),
    (_symlink, "arrived as"),
    (_fifo, "arrived as something that rsync never stores"),
    (_socket, "arrived as something that rsync never stores"),
    (_directory, "arrived"),
    (_setuid, "arrived"),
    (_unreadable, "arrived"),
    (_kind, "arrived as"),
    (_damaged, "are damaged"),
    (_directory_is_symlink, "did not arrive"),
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("plant", "words"), PLANTS)
def test_what_is_no_plain_file_is_refused_by_the_close_look(
    store: ClientStore, plant: Callable[[Path], None], words: str
) -> None:
    fields = fields_of(store)
    plant(store.delta / NAME)
    assert plain(store, fields) is None
    with Beneath(store.delta) as delta, pytest.raises(IntegrityError, match=words):
        Arrived(delta, delta).check(manifest.decode(b"\t".join(fields)), unstable=False)


def test_a_file_with_a_second_name_is_left_to_the_close_look(store: ClientStore) -> None:
    """Whatever its line says."""
    fields = fields_of(store)
    _second_name(store.delta / NAME)
    assert plain(store, fields) is None


@pytest.mark.parametrize("bits", [0o4644, 0o2644, 0o1644, 0o044, 0o244, 0o444])
def test_so_are_bits_that_rsync_never_stores(store: ClientStore, bits: int) -> None:
    (store.delta / NAME).chmod(bits)
    assert plain(store, fields_of(store)) is None


def test_so_is_a_file_that_is_open_for_writing(store: ClientStore) -> None:
    fields = fields_of(store)
    with (store.delta / NAME).open("r+b"):
        assert plain(store, fields) is None
    assert plain(store, fields) is not None
