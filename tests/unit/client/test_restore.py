"""Restoring for real: from a store that the real gate sealed, by the real rsync, into real directories."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from gate_pair import QUIET, Pair

from sedai.client import canary, catalog, damage, placement, restore, room, send, unfinished
from sedai.client.connection import Connection
from sedai.client.restore import Restored
from sedai.client.unfinished import Memory, Progress
from sedai.core.errors import IntegrityError, LockedError, ProcessError, SedaiError, UsageError

BIG, ARRIVES = 12 << 20, 5 << 20
# rsync hands its remote shell pipes that do not block, which head and dd take for broken ones.
PASS = """import os, sys
os.set_blocking(1, True)
rest = int(sys.argv[1])
while rest > 0 and (data := os.read(0, 65536)):
    os.write(1, data)
    rest -= len(data)"""


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def below(to: Path, path: Path) -> Path:
    """Where ``path`` comes back."""
    return to / str(path)[1:]


def lstat(path: Path) -> tuple[int, int, int, int]:
    """What a restore has to bring back of an inode."""
    status = path.lstat()
    return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns


def test_everything_comes_back_below_to(pair: Pair, tmp_path: Path) -> None:
    file = pair.write("deep/er/file", "text")
    odd = pair.write("caf\udce9 \n x", "odd")
    (pair.source / "link").symlink_to("deep/er")
    os.link(file, pair.source / "again")
    os.mkfifo(pair.source / "fifo", 0o640)
    os.utime(file, ns=(1, -1_234_567_890_123_456_789))
    (pair.source / "empty").mkdir(mode=0o750)
    os.utime(pair.source / "deep", ns=(5, 7))
    pair.backup()
    to = tmp_path / "to"
    done = pair.restore(pair.source, to=to)
    assert (done.findings, done.entries, done.files, done.there) == ([], 9, 3, 0)
    for path in (pair.source, *pair.source.rglob("*")):
        assert lstat(below(to, path)) == lstat(path), path
    assert below(to, odd).read_text() == "odd"
    assert below(to, file).samefile(below(to, pair.source / "again"))
    assert os.readlink(below(to, pair.source / "link")) == "deep/er"
    assert not list((pair.state.root / "restores").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sets capabilities")
def test_attributes_come_back(tmp_path: Path) -> None:
    """Of all kinds, since the manifest has none of them: rsync alone answers for them, and the canary proves it."""
    cases = canary.wanted(0, 0)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:  # a filesystem that has them
        pair = Pair(Path(directory))
        root = os.fsencode(pair.source / "canary")
        assert canary.make(root, cases) == {}
        pair.backup()
        to = Path(directory) / "to"
        assert pair.restore(pair.source, to=to).findings == []
        back = os.fsencode(below(to, pair.source / "canary"))
        assert canary.shortfalls(cases, canary.describe(back)) == []
        assert os.getxattr(back + b"/capability", "security.capability")[4:8] == b"\0\4\0\0"


def test_the_root_stands_for_everything(pair: Pair, tmp_path: Path) -> None:
    file = pair.write("file")
    pair.backup()
    pair.restore(Path("/"), to=tmp_path / "to")
    assert below(tmp_path / "to", file).read_text() == "file"


class TestInPlace:
    """What is there already is never replaced unasked."""

    def test_only_what_is_lost_comes_back(self, pair: Pair) -> None:
        kept, lost = pair.write("dir/kept"), pair.write("dir/lost")
        pair.backup()
        before = kept.stat()
        lost.unlink()
        done = pair.restore(pair.source)
        assert lost.read_text() == "dir/lost"
        assert (done.findings, done.there, done.files) == ([], 1, 2)
        assert kept.stat().st_ino == before.st_ino and kept.stat().st_ctime_ns == before.st_ctime_ns

    def test_a_directory_that_is_there_keeps_mode_and_time(self, pair: Pair) -> None:
        lost = pair.write("dir/lost")
        pair.backup()
        lost.unlink()
        lost.parent.chmod(0o711)
        os.utime(lost.parent, ns=(3, 42))
        before = [lstat(path) for path in (lost.parent, pair.source)]
        assert pair.restore(lost.parent).findings == []
        assert [lstat(path) for path in (lost.parent, pair.source)] == before
        assert lost.exists()
        assert pair.restore(lost.parent, overwrite=True).findings == []
        assert lost.parent.stat().st_mode & 0o777 == 0o755

    @pytest.mark.parametrize("change", ["bytes", "mode", "time", "kind"])
    def test_something_else_is_refused_and_replaced_on_demand(self, pair: Pair, change: str) -> None:
        file, lost = pair.write("file", "old"), pair.write("lost")
        pair.backup()
        old = lstat(file)
        if change == "bytes":
            file.write_text("new")
            os.utime(file, ns=(0, old[3]))
        elif change == "mode":
            file.chmod(0o600)
        elif change == "time":
            os.utime(file, ns=(0, 0))
        else:
            file.unlink()
            file.symlink_to("x")
        changed = lstat(file)
        lost.unlink()
        with pytest.raises(UsageError, match=f"Nothing was restored: {file} exists already, and not as in this gen"):
            pair.restore(pair.source)
        assert lstat(file) == changed and not lost.exists()
        done = pair.restore(pair.source, overwrite=True)
        assert (done.findings, done.replaced) == ([], 1)
        assert lstat(file) == old and file.read_text() == "old"

    def test_a_lost_name_of_an_inode_is_linked_again(self, pair: Pair) -> None:
        first, second = pair.write("a"), pair.source / "b"
        os.link(first, second)
        pair.backup()
        inode = second.stat().st_ino
        first.unlink()
        assert pair.restore(pair.source).findings == []
        assert first.stat().st_ino == inode == second.stat().st_ino

    def test_two_files_that_were_one_are_made_one_on_demand(self, pair: Pair) -> None:
        first, second = pair.write("a"), pair.source / "b"
        os.link(first, second)
        pair.backup()
        second.unlink()
        shutil.copy2(first, second)
        with pytest.raises(UsageError, match="exists already"):
            pair.restore(pair.source)
        assert pair.restore(pair.source, overwrite=True).findings == []
        assert first.samefile(second)

    def test_what_appears_meanwhile_is_not_replaced(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        file = pair.write("file", "old")
        pair.backup()
        file.unlink()
        push = send.push

        def late(*arguments: object) -> None:
            file.write_text("mine")
            push(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(send, "push", late)
        done = pair.restore(pair.source)
        assert file.read_text() == "mine"
        assert any("does not have the bytes" in line for line in done.findings)


class TestKeepExisting:
    """What a new machine has in its places stays, whatever it is, and the rest comes back."""

    def test_the_home_of_a_person_who_logs_in_to_a_new_machine(self, pair: Pair, tmp_path: Path) -> None:
        profile, keys = pair.write("user/.bashrc", "old"), pair.write("user/.ssh/authorized_keys", "the old key")
        pair.write("user/notes/today", "text")
        (pair.source / "user/.ssh").chmod(0o700)
        pair.backup()
        shutil.copytree(pair.source, tmp_path / "old", symlinks=True)
        shutil.rmtree(pair.source)
        # As Debian makes it: the same profile with another time, and the key that lets this person in.
        profile.parent.mkdir(parents=True)
        profile.write_text("old")
        keys.parent.mkdir(mode=0o700)
        keys.write_text("the new key")
        before = [lstat(path) for path in (profile, keys, keys.parent)]

        would = pair.restore(pair.source, keep=True, dry_run=True)
        assert (would.refused, would.kept, would.replaced, would.files) == ([], 2, 0, 1)
        done = pair.restore(pair.source, keep=True)
        assert [line.split(" was there")[0] for line in done.findings] == [str(profile), str(keys)]
        assert done.findings == would.findings
        assert (done.kept, done.files, done.replaced) == (2, 1, 0)
        assert keys.read_text() == "the new key"
        assert [lstat(path) for path in (profile, keys, keys.parent)] == before
        assert (pair.source / "user/notes/today").read_text() == "text"
        assert not list((pair.state.root / "restores").iterdir())

    @pytest.mark.parametrize("there", ["file", "symlink"])
    def test_nothing_is_put_below_what_is_no_directory(self, pair: Pair, tmp_path: Path, there: str) -> None:
        pair.write("dir/sub/file")
        other = pair.write("other")
        pair.backup()
        shutil.rmtree(pair.source)
        pair.source.mkdir()
        (tmp_path / "elsewhere").mkdir()
        if there == "file":
            (pair.source / "dir").write_text("mine")
        else:
            (pair.source / "dir").symlink_to(tmp_path / "elsewhere")
        done = pair.restore(pair.source, keep=True)
        assert len(done.findings) == done.kept == 3
        assert other.exists()
        assert not list((tmp_path / "elsewhere").iterdir())
        assert (pair.source / "dir").is_symlink() or (pair.source / "dir").read_text() == "mine"

    def test_files_that_are_the_same_but_not_one_stay_two(self, pair: Pair) -> None:
        first, second, third = pair.write("a"), pair.source / "b", pair.source / "c"
        os.link(first, second)
        os.link(first, third)
        pair.backup()
        second.unlink()
        shutil.copy2(first, second)
        third.unlink()
        done = pair.restore(pair.source, keep=True)
        assert first.samefile(third) and not first.samefile(second)
        assert done.findings == [f"{second} is no longer one file with its other names"]

    def test_a_target_that_is_not_empty(self, pair: Pair, tmp_path: Path) -> None:
        file = pair.write("file", "old")
        pair.backup()
        to = tmp_path / "to"
        mine = below(to, file)
        mine.parent.mkdir(parents=True)
        mine.write_text("mine")
        mine.parent.chmod(0o711)
        assert pair.restore(file, to=to, keep=True).kept == 1
        assert (mine.read_text(), mine.parent.stat().st_mode & 0o777) == ("mine", 0o711)

    def test_many_are_counted(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        files = [pair.write(f"file{number}") for number in range(3)]
        pair.backup()
        for file in files:
            file.write_text("mine")
        monkeypatch.setattr(placement, "SHOWN", 2)
        monkeypatch.setattr(restore, "SHOWN", 2)
        done = pair.restore(pair.source, keep=True)
        assert len(done.findings) == 3 and done.findings[2].startswith("1 more entries were there")


class TestRoom:
    """A disk that is too small is told before anything is written."""

    @pytest.fixture
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A disk with 64 KiB free."""
        real = os.statvfs

        def statvfs(path: bytes) -> os.statvfs_result:
            found = list(real(path))
            found[1], found[4] = 4096, 16
            return os.statvfs_result(found)

        monkeypatch.setattr(room.os, "statvfs", statvfs)

    @pytest.mark.usefixtures("small")
    def test_too_little_is_refused(self, pair: Pair, tmp_path: Path) -> None:
        pair.write("big", "x" * 70_000)
        os.link(pair.source / "big", pair.source / "big again")
        small = pair.write("small")
        pair.backup()
        to = tmp_path / "to"
        with pytest.raises(
            UsageError, match=r"64\.0 KiB free, and what is missing needs 76\.0 KiB: nothing was restored"
        ):
            pair.restore(pair.source, to=to)
        assert not to.exists()
        assert "has 64.0 KiB free" in pair.restore(pair.source, to=to, dry_run=True).refused[0]
        assert pair.restore(small, to=tmp_path / "small").findings == []
        assert pair.restore(pair.source, to=to, ignore_space=True).findings == []
        shutil.rmtree(to)
        # What is there already needs no room.
        small.unlink()
        assert pair.restore(pair.source).findings == []

    def test_a_disk_that_is_full_meanwhile(self, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = pair.write("file")
        os.link(file, pair.source / "other name")  # which is rsync's
        generation = pair.backup()

        def full(argv: list[str], paths: object, sent: send.Sent, on_file: object, *more: object) -> None:
            sent.status = 11
            sent.complaints = ['rsync: [receiver] write failed on "x": No space left on device (28)']

        monkeypatch.setattr(send, "push", full)
        with pytest.raises(ProcessError) as broke:
            pair.restore(file, to=tmp_path / "to")
        assert "First make room" in broke.value.hint and f"--generation {generation}" in broke.value.hint


class TestTarget:
    """A target that can't be, in one sentence."""

    def test_not_empty(self, pair: Pair, tmp_path: Path) -> None:
        file = pair.write("file")
        pair.backup()
        (tmp_path / "to").mkdir()
        (tmp_path / "to" / "mine").touch()
        with pytest.raises(UsageError, match="to is not empty"):
            pair.restore(file, to=tmp_path / "to")
        assert pair.restore(file, to=tmp_path / "to", overwrite=True).findings == []
        assert (tmp_path / "to" / "mine").exists()

    @pytest.mark.parametrize(
        ("made", "to", "sentence"),
        [
            ("file", "file", "is not a directory"),
            ("file", "file/below/it", "can't be made: .*file is not a directory"),
            ("dangling", "dangling", "is not a directory"),
        ],
    )
    def test_impossible(self, pair: Pair, tmp_path: Path, made: str, to: str, sentence: str) -> None:
        file = pair.write("file")
        pair.backup()
        if made == "file":
            (tmp_path / made).touch()
        else:
            (tmp_path / made).symlink_to("nowhere")
        with pytest.raises(UsageError, match=sentence):
            pair.restore(file, to=tmp_path / to)

    def test_relative_paths_are_refused(self, pair: Pair) -> None:
        pair.write("file")
        pair.backup()
        with pytest.raises(UsageError, match="must be an absolute path"):
            pair.restore(Path("file"))


class TestUnknownPath:
    """A path that this generation has not."""

    def test_names_the_nearest_and_the_generations_that_have_it(self, pair: Pair, tmp_path: Path) -> None:
        gone, near = pair.write("notes.txt"), pair.write("notes.text")
        first = pair.backup()
        gone.unlink()
        pair.backup()
        with pytest.raises(UsageError) as refused:
            pair.restore(gone, to=tmp_path / "to")
        assert f"{gone} is not in" in refused.value.message
        assert first in refused.value.hint and f"Near names: {near}" in refused.value.hint
        assert not (tmp_path / "to").exists()

    def test_says_when_nobody_has_it(self, pair: Pair) -> None:
        pair.write("file")
        pair.backup()
        with pytest.raises(UsageError) as refused:
            pair.restore(pair.source / "nonsense")
        assert "no other generation" in refused.value.hint


class TestDamage:
    """Rotten bytes are refused before anything is written, and whoever has them whole is named."""

    def test_another_generation_with_the_same_bytes_is_named(self, pair: Pair, tmp_path: Path) -> None:
        file = pair.write("file", "same")
        first = pair.backup()
        os.utime(file)  # sent again: an inode of its own
        second = pair.backup()
        pair.rot(second, file)
        to = tmp_path / "to"
        with pytest.raises(IntegrityError) as refused:
            pair.restore(pair.source, to=to)
        assert f"{file}: content" in refused.value.message
        assert f"the same bytes are whole in {first}" in refused.value.message
        assert not to.exists()
        assert pair.restore(pair.source, generation=first, to=to).findings == []

    def test_a_generation_that_is_rotten_too_is_not_named(self, pair: Pair, tmp_path: Path) -> None:
        file, other = pair.write("file", "old"), pair.write("other")
        first = pair.backup()
        file.write_text("new")
        second = pair.backup()
        other.write_text("again")
        third = pair.backup()  # shares the inode of "new" with the second
        pair.rot(third, file)
        with pytest.raises(IntegrityError) as refused:
            pair.restore(file, to=tmp_path / "to")
        assert second not in refused.value.message
        assert "no other generation has these bytes" in refused.value.message
        assert f"is whole in {first}" in refused.value.message

    def test_nobody_has_it_whole(self, pair: Pair, tmp_path: Path) -> None:
        file = pair.write("file")
        only = pair.backup()
        pair.stored(only, file).unlink()
        with pytest.raises(IntegrityError, match=r"missing.*no other generation has it whole"):
            pair.restore(file, to=tmp_path / "to")

    def test_accepted_damage_restores_the_rest_and_is_reported(self, pair: Pair, tmp_path: Path) -> None:
        rotten, lost, whole = pair.write("rotten"), pair.write("lost"), pair.write("whole")
        only = pair.backup()
        pair.rot(only, rotten)
        pair.stored(only, lost).unlink()
        to = tmp_path / "to"
        done = pair.restore(pair.source, to=to, accept_damaged=True)
        assert below(to, whole).read_text() == "whole"
        assert below(to, rotten).read_text() == "sotten"
        assert not below(to, lost).exists()
        assert len(done.findings) == 2
        assert all(any(f"{path}: " in line for line in done.findings) for path in (rotten, lost))

    def test_what_is_not_asked_for_may_be_rotten(self, pair: Pair, tmp_path: Path) -> None:
        rotten, whole = pair.write("dir/rotten"), pair.write("dir/rotten too")
        only = pair.backup()
        pair.rot(only, rotten)
        assert pair.restore(whole, to=tmp_path / "to").findings == []
        # Nor does it matter where the right bytes are there already.
        whole.unlink()
        assert pair.restore(pair.source).findings == []

    @pytest.mark.parametrize("few", [1000, 0])
    def test_the_server_reads_what_is_sent_where_that_is_little(
        self, pair: Pair, few: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there, lost = pair.write("dir/there"), pair.write("dir/lost")
        pair.backup()
        lost.unlink()
        asked: list[bytes] = []
        read = damage.read

        def noted(*arguments: Any) -> dict[bytes, damage.Problem]:
            asked.extend(arguments[3])
            return read(*arguments)

        monkeypatch.setattr(damage, "read", noted)
        monkeypatch.setattr(restore, "_READ_BY_NAME", few)
        assert pair.restore(there.parent).findings == []
        assert asked == [os.fsencode(lost if few else lost.parent)[1:]]
        assert pair.restore(there.parent).there == 2
        assert len(asked) == 1

    def test_attributes_that_the_server_lost_come_from_the_manifest(self, pair: Pair, tmp_path: Path) -> None:
        file = pair.write("file")
        file.chmod(0o640)
        only = pair.backup()
        pair.stored(only, file).chmod(0o600)
        os.utime(pair.stored(only, file), ns=(1, 1))
        assert pair.restore(file, to=tmp_path / "to").findings == []
        assert lstat(below(tmp_path / "to", file)) == lstat(file)

    def test_a_manifest_that_was_rewritten_is_refused(self, pair: Pair, tmp_path: Path) -> None:
        file = pair.write("file")
        only = pair.backup()
        pair.state.remember_sealed(only, "0" * 64)
        with pytest.raises(IntegrityError, match="not the one that was sealed"):
            pair.restore(file, to=tmp_path / "to")


class TestDryRun:
    """Says everything and writes nothing."""

    def test_counts(self, pair: Pair) -> None:
        there, changed, lost = pair.write("there", "12"), pair.write("changed", "345"), pair.write("lost", "6789")
        pair.backup()
        changed.write_text("x")
        lost.unlink()
        done = pair.restore(pair.source, dry_run=True)
        assert (done.files, done.bytes, done.there, done.replaced, done.send_bytes) == (3, 9, 1, 1, 7)
        assert len(done.refused) == 1 and str(changed) in done.refused[0]
        assert not lost.exists() and changed.read_text() == "x" and there.exists()
        assert pair.restore(pair.source, dry_run=True, overwrite=True).refused == []

    def test_a_target_is_not_made(self, pair: Pair, tmp_path: Path) -> None:
        pair.write("file")
        pair.backup()
        done = pair.restore(pair.source, to=tmp_path / "to", dry_run=True)
        assert (done.refused, done.files) == ([], 1)
        assert not (tmp_path / "to").exists()
        (tmp_path / "to").mkdir()
        (tmp_path / "to" / "x").touch()
        assert "not empty" in pair.restore(pair.source, to=tmp_path / "to", dry_run=True).refused[0]

    def test_damage_is_told(self, pair: Pair, tmp_path: Path) -> None:
        file = pair.write("file")
        pair.rot(pair.backup(), file)
        assert f"{file}: content" in pair.restore(file, to=tmp_path / "to", dry_run=True).refused[0]


class TestResume:
    """A restore that broke off goes on where it was."""

    @pytest.fixture
    def big(self, pair: Pair) -> Path:
        big = pair.source / "big"
        big.write_bytes(os.urandom(BIG))
        pair.write("sub/first")
        os.link(pair.source / "sub" / "first", pair.source / "zz")
        (pair.source / "sub").chmod(0o750)
        os.utime(pair.source / "sub", ns=(1, 1))
        pair.backup()
        return big

    @staticmethod
    def broken(pair: Pair, to: Path | None, *, killed: bool = False) -> Path:
        """Restore over a line that breaks in the middle of the big file; returns the directory that it is in."""
        directory = below(to, pair.source) if to else pair.source
        stalled = "while [ -e /proc/$PPID/exe ]; do sleep 0.05; done"
        (pair.root / "cut").write_text(
            f"{sys.executable} -c '{PASS}' {ARRIVES}\n{stalled if killed else 'kill $$'}\n", encoding="ascii"
        )
        if killed:
            # Both processes at once: what the receiver was writing stays behind under its temporary name.
            script = (
                f"until [ -n \"$(find '{directory}' -maxdepth 1 -name '.big.*' -size +1024k 2>/dev/null)\" ]; do sleep 0.02; done; "
                f"rsync=$(pgrep -x -P {os.getpid()} rsync); "
                "kill -9 $(pgrep -x -P $rsync rsync) && { kill -9 $rsync 2>/dev/null; true; }"
            )
            killer = subprocess.Popen(["sh", "-c", script])
        try:
            with pytest.raises(ProcessError, match="broke off") as broke:
                pair.restore(pair.source, to=to)
            if killed:
                assert killer.wait(timeout=30) == 0
                assert list(directory.glob(".big.*"))
        finally:
            if killed:
                killer.kill()
                killer.wait()
        newest = pair.store.generations()[-1]
        assert f"Run the same command again, with --generation {newest}" in broke.value.hint
        (pair.root / "cut").unlink()
        return directory

    @pytest.mark.parametrize("in_place", [False, True])
    @pytest.mark.parametrize("killed", [False, True])
    def test_only_the_rest_is_sent_and_nothing_is_left(
        self, pair: Pair, big: Path, tmp_path: Path, in_place: bool, killed: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = tmp_path / "original"
        subprocess.run(["cp", "-a", pair.source, original], check=True)
        to = None if in_place else tmp_path / "to"
        if in_place:
            shutil.rmtree(pair.source)
        directory = self.broken(pair, to, killed=killed)
        assert not (directory / "big").exists()
        part = max(path.stat().st_size for path in directory.rglob("*big*"))
        assert part > 1 << 20

        read: list[int] = []
        push = send.push

        def measured(argv: list[str], paths: object, sent: send.Sent, on_file: object, *more: object) -> None:
            stats = tmp_path / "stats"
            push([*argv[:1], "--stats", f"--log-file={stats}", *argv[1:]], paths, sent, on_file, *more)  # type: ignore[arg-type]
            literal = next(line for line in stats.read_text().splitlines() if "Literal data" in line)
            read.append(int(literal.split("Literal data: ")[1].split()[0].replace(",", "")))

        monkeypatch.setattr(send, "push", measured)
        done: Restored = pair.restore(pair.source, to=to)
        assert done.findings == []
        assert read[0] <= BIG - part + (1 << 20)
        found = sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))
        assert found == ["big", "sub", "sub/first", "zz"]
        for name in [".", *found]:
            assert lstat(directory / name) == lstat(original / name), name
        assert (directory / "zz").samefile(directory / "sub/first")
        assert (directory / "big").read_bytes() == (original / "big").read_bytes()
        assert not list((pair.state.root / "restores").iterdir())
        if to:
            with pytest.raises(UsageError, match="not empty"):
                pair.restore(pair.source, to=to)

    def test_a_part_is_dropped_where_the_whole_came_another_way(self, pair: Pair, big: Path, tmp_path: Path) -> None:
        to = tmp_path / "to"
        directory = self.broken(pair, to)
        assert (directory / ".sedai-partial" / "big").exists()
        shutil.copy2(big, directory / "big")
        done = pair.restore(pair.source, to=to)
        assert (done.findings, done.there) == ([], 1)
        assert not (directory / ".sedai-partial").exists()
        assert lstat(directory) == lstat(pair.source)

    def test_another_restore_into_it_is_refused(self, pair: Pair, big: Path, tmp_path: Path) -> None:
        to = tmp_path / "to"
        self.broken(pair, to)
        with pytest.raises(UsageError, match="not empty"):
            pair.restore(pair.source / "sub", to=to)
        assert pair.restore(pair.source, to=to).findings == []

    @pytest.mark.parametrize("in_place", [False, True])
    def test_after_a_new_backup_it_is_told_which_generation_it_was(
        self, pair: Pair, big: Path, tmp_path: Path, in_place: bool
    ) -> None:
        to = None if in_place else tmp_path / "to"
        other = pair.write("other", "first")
        old = pair.backup()
        shutil.copytree(pair.source, tmp_path / "kept", symlinks=True)
        if in_place:
            shutil.rmtree(pair.source)
        directory = self.broken(pair, to)
        other.write_text("second")
        shutil.copy2(tmp_path / "kept/big", big)
        new = pair.backup()
        if in_place:
            other.write_text("third")
        for _ in range(2):
            with pytest.raises(UsageError) as refused:
                pair.restore(pair.source, to=to)
            assert f"add --generation {old} to go on with it" in refused.value.hint
        assert new != old and directory.exists()
        if not in_place:
            assert pair.restore(pair.source, to=to, generation=old).findings == []

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_what_the_comparison_would_have_mended_is_not_in_the_way(self, pair: Pair, big: Path) -> None:
        link, fifo = pair.source / "aa-link", pair.source / "aa-fifo"
        link.symlink_to("big")
        os.mkfifo(fifo)
        for path in (link, fifo):
            os.chown(path, 12345, 54321, follow_symlinks=False)
            os.utime(path, ns=(1, 1), follow_symlinks=False)
        (pair.source / "keeps it").touch()
        pair.backup()
        before = [lstat(path) for path in (link, fifo)]
        for path in (link, fifo, big):
            path.unlink()
        self.broken(pair, None)
        assert link.is_symlink() and lstat(link) != before[0]
        assert pair.restore(pair.source).findings == []
        assert [lstat(path) for path in (link, fifo)] == before

    def test_two_at_a_time_are_refused(self, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(unfinished, "_LOCK_WAIT_SECONDS", 0)
        file = pair.write("file")
        generation = pair.backup()
        memory = Memory(pair.state.root / "restores", generation, [os.fsencode(file)[1:]], os.fsencode(tmp_path / "to"))
        with memory.held(), pytest.raises(LockedError, match=f"pid {os.getpid()}"):
            pair.restore(file, to=tmp_path / "to")

    def test_what_a_killed_one_had_started_ends_first(self, pair: Pair, tmp_path: Path) -> None:
        """Two that write into one place at a time would each make a file of its own of a hard link."""
        file = pair.write("file")
        generation = pair.backup()
        memory = Memory(pair.state.root / "restores", generation, [os.fsencode(file)[1:]], os.fsencode(tmp_path / "to"))
        memory.remember(Progress(0.0))
        with memory.held() as lock:
            left = subprocess.Popen(["sleep", "1"], pass_fds=[lock])
        pair.restore(file, to=tmp_path / "to")
        assert left.poll() == 0, "it was still there"


def test_progress_is_remembered_byte_for_byte() -> None:
    progress = Progress(1.5, {b"a\xff/b\n", b""}, {b"\xe9": -5})
    assert Progress.read(progress.text()) == progress


def test_a_generation_that_was_pruned_is_named(tmp_path: Path) -> None:
    pair = Pair(tmp_path, keep_last=1)
    file = pair.write("file")
    first = pair.backup()
    with pair.connect() as connection:
        [record] = catalog.generations(connection)
        file.write_text("new")
        pair.backup()
        with pytest.raises(UsageError, match=f"There is no generation '{first}'"):
            restore.restore(connection, pair.state, record, [file], tmp_path / "to", reporter=QUIET)


@pytest.mark.parametrize(("by", "step"), [(send, "push"), (Connection, "reading")])
def test_a_generation_that_is_pruned_while_it_is_restored_is_named(
    tmp_path: Path, by: object, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair(tmp_path, keep_last=1)
    file = pair.write("file")
    if by is send:
        os.link(file, pair.source / "another name")  # which only rsync brings
    first = pair.backup()
    carry_out = getattr(by, step)

    def late(*arguments: object) -> object:
        monkeypatch.setattr(by, step, carry_out)
        file.write_text("new")
        pair.backup()
        return carry_out(*arguments)

    monkeypatch.setattr(by, step, late)
    with pytest.raises(SedaiError, match=f"{first} was pruned while it was restored"):
        pair.restore(file, to=tmp_path / "to")
