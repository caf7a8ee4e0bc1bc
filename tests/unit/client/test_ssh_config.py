"""The ssh of a run: its cipher goes by what this machine's processor can do."""

from __future__ import annotations

from pathlib import Path

import pytest

from sedai.client import connection
from sedai.client.config import Server

SERVER = Server(
    host="backup.example.com",
    port=22,
    account="sedai",
    identity_file=Path("/k"),
    known_hosts_file=Path("/h"),
    ssh_options=("Ciphers=chacha20-poly1305@openssh.com",),
)


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu aes avx\n", True),
        ("processor\t: 0\nFeatures\t: fp asimd aes pmull\n", True),
        ("processor\t: 0\nflags\t\t: fpu vaes avx\n", False),
        ("processor\t: 0\nmodel name\t: aes\nFeatures\t: fp asimd\n", False),
        ("", False),
        ("x" * connection._ENOUGH_OF_CPUINFO + "\nflags\t: aes\n", False),
    ],
)
def test_the_instructions_are_found_by_their_word(tmp_path: Path, cpuinfo: str, expected: bool) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(cpuinfo)
    assert connection.has_aes(path) is expected


def test_a_machine_that_tells_nothing_has_none(tmp_path: Path) -> None:
    assert not connection.has_aes(tmp_path / "cpuinfo")


@pytest.mark.parametrize("has", [True, False])
def test_aes_goes_first_where_it_is_fast_and_the_persons_own_wish_before_it(
    monkeypatch: pytest.MonkeyPatch, has: bool
) -> None:
    monkeypatch.setattr(connection, "has_aes", lambda: has)
    lines = connection.ssh_config(SERVER, Path("/s")).splitlines()
    ciphers = [line.split()[1] for line in lines if line.split()[0] == "Ciphers"]
    assert ciphers == ["chacha20-poly1305@openssh.com", *[connection._AES_FIRST] * has]
