"""A mail in the spool is whole, private, and delivered by one at a time."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sedai.mail.spool import DamagedMailError, Envelope, Letter, Spool, read

LETTER = Letter(Envelope("person@example.com", created=1_800_000_000.5), b"Subject: x\n\nbody \xff\x00\n")


def added(spool: Spool, letter: Letter = LETTER) -> Path:
    with spool.add(letter) as held:
        return held.path


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a" / "mail")
    path = added(spool)
    assert read(path) == LETTER
    with spool.hold(path) as held:
        assert held is not None
        assert held.letter == LETTER
    assert spool.waiting() == [path]


def test_only_the_owner_can_look(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "mail")
    path = added(spool)
    for place, mode in ((path, 0o600), (spool.queue, 0o700)):
        assert stat.S_IMODE(place.stat().st_mode) == mode


def test_oldest_first(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    paths = [added(spool, Letter(Envelope("a@example.com", created=moment), b"")) for moment in (30.0, 4.0, 200.0)]
    assert spool.waiting() == [paths[1], paths[0], paths[2]]


def test_a_mail_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with spool.add(LETTER) as fresh, spool.hold(fresh.path) as second:
        assert second is None
    with spool.hold(fresh.path) as first:
        assert first is not None
        with spool.hold(fresh.path) as second:
            assert second is None


def test_a_mail_that_is_gone_is_not_held(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    path = added(spool)
    path.unlink()
    with spool.hold(path) as held:
        assert held is None


def test_postponing_replaces_the_envelope_and_keeps_the_mail(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    path = added(spool)
    later = Envelope("person@example.com", 1_800_000_000.5, 3, 1_800_000_240.0, 75, "no route")
    with spool.hold(path) as held:
        assert held is not None
        spool.postpone(held, later)
    assert read(path) == Letter(later, LETTER.message)
    assert os.listdir(spool.queue) == [path.name]


def test_parked_mails_are_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    path = added(spool)
    spool.park(path)
    assert spool.waiting() == []
    assert [read(parked) for parked in spool.given_up()] == [LETTER]


@pytest.mark.parametrize("data", [b"", b"not json\nx", b'{"recipient": "a@example.com"}\n', b"[]\n", b'{"odd": 1}\n'])
def test_a_damaged_file_is_named(tmp_path: Path, data: bytes) -> None:
    spool = Spool(tmp_path)
    path = added(spool)
    path.write_bytes(data)
    with pytest.raises(DamagedMailError, match=path.name):
        read(path)
    with pytest.raises(DamagedMailError, match=path.name), spool.hold(path):
        pass


def test_a_link_in_the_queue_is_not_followed(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    path = added(spool)
    link = path.with_name("0.mail")
    link.symlink_to(path)
    with pytest.raises(OSError, match="symbolic link"), spool.hold(link):
        pass


def test_nothing_is_left_when_storing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), spool.add(LETTER):
        pass
    assert os.listdir(spool.queue) == []
