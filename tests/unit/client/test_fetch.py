"""What a restore brings without rsync: as it was, never taken for whole before it is, and nowhere but where it should be."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import stat as st
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gate_pair import Pair

from sedai.client import send, target, unfinished
from sedai.client.comparison import Comparison
from sedai.client.connection import Answers
from sedai.core import wire
from sedai.core.errors import ProcessError, SedaiError, ServerError, UsageError
from sedai.core.manifest import Entry

# acl(5) as the kernel has it in an attribute: the owner, user 1234, the group, the mask and others, each with what it may.
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, may, who)
    for tag, may, who in (
        (1, 6, 0xFFFFFFFF),
        (2, 4, 1234),
        (4, 4, 0xFFFFFFFF),
        (16, 4, 0xFFFFFFFF),
        (32, 4, 0xFFFFFFFF),
    )
)


def attributes(path: Path) -> dict[str, bytes]:
    """The extended ones, ACLs among them."""
    return {name: os.getxattr(path, name) for name in os.listxattr(path) if not name.startswith("security.")}


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What rsync is given, by name."""
    names: list[str] = []
    push = send.push

    def noted(argv: list[str], paths: Iterator[bytes], *more: object, **others: object) -> None:
        some = list(paths)
        names.extend(os.fsdecode(os.path.basename(path)) for path in some)
        push(argv, iter(some), *more, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(send, "push", noted)
    return names


def below(pair: Pair, to: Path) -> Path:
    """Where the source is, restored to ``to``."""
    return to / str(pair.source)[1:]


def test_rsync_is_left_what_only_it_can_bring(pair: Pair, tmp_path: Path, asked: list[str]) -> None:
    for name in (
        "small",
        "empty",
        "with attributes",
        "with acl",
        "linked",
        "large",
        "odd\tname\nof \\ a file",
        "Größe",
    ):
        pair.write(f"dir/{name}")
    (pair.source / "dir/empty").write_bytes(b"")
    (pair.source / "dir/large").write_bytes(bytes(range(256)) * (wire.READ_MOST_BYTES // 256) + b"x")
    os.link(pair.source / "dir/linked", pair.source / "dir/linked too")
    os.symlink("nowhere", pair.source / "dir/symlink")
    os.setxattr(pair.source / "dir/with attributes", "user.mine", b"1")
    (pair.source / "plain").mkdir()
    for name in ("attributed", "with default"):
        (pair.source / name).mkdir()
        pair.write(f"{name}/in it")
    os.setxattr(pair.source / "attributed", "user.mine", b"2")
    os.setxattr(pair.source / "dir/with acl", "system.posix_acl_access", ACL)
    os.setxattr(pair.source / "with default", "system.posix_acl_default", ACL)
    (pair.source / "dir/small").chmod(0o4751)
    os.utime(pair.source / "dir/small", ns=(1, 1_234_567_891))
    pair.backup()
    asked.clear()
    assert pair.restore(pair.source, to=tmp_path / "to").findings == []
    left = {"with attributes", "with acl", "linked", "linked too", "large", "attributed", "with default"}
    above = {"dir"} if "dir" in asked else set()
    assert set(asked) == left | above
    found = below(pair, tmp_path / "to")
    assert (found / "dir/small").stat().st_mode & 0o7777 == 0o4751
    assert os.getxattr(found / "dir/with attributes", "user.mine") == b"1"
    assert os.getxattr(found / "attributed", "user.mine") == b"2"
    for name in ("dir/with acl", "with default", "with default/in it", "dir/small"):
        assert attributes(pair.source / name) == attributes(found / name), name
    difference = ["diff", "--recursive", "--brief", "--no-dereference", pair.source, found]
    assert subprocess.run(difference, capture_output=True, text=True, check=True).stdout == ""


def test_what_is_made_has_nothing_from_the_directory_it_is_made_in(pair: Pair, tmp_path: Path) -> None:
    pair.write("dir/below/file")
    pair.backup()
    shutil.rmtree(pair.source / "dir")
    os.setxattr(pair.source, "system.posix_acl_default", ACL)
    pair.source.chmod(0o2755)
    assert pair.restore(pair.source / "dir").findings == []
    for name in ("dir", "dir/below", "dir/below/file"):
        assert attributes(pair.source / name) == {}, name
        assert (pair.source / name).stat().st_mode & 0o7000 == 0, name


def test_files_straight_below_a_target_with_a_default_acl(pair: Pair, tmp_path: Path) -> None:
    """Nothing of it is theirs."""
    pair.write("file")
    pair.backup()
    to = tmp_path / "to"
    to.mkdir()
    os.setxattr(to, "system.posix_acl_default", ACL)
    assert pair.restore(pair.source / "file", to=to).findings == []
    assert attributes(below(pair, to) / "file") == {}


def test_wrong_bytes_are_never_written(pair: Pair, tmp_path: Path, asked: list[str]) -> None:
    """What the person wants to have damaged too is brought by rsync, and named."""
    file = pair.write("dir/file")
    pair.write("dir/other")
    generation = pair.backup()
    pair.rot(generation, file)
    asked.clear()
    found = pair.restore(pair.source, to=tmp_path / "to", accept_damaged=True).findings
    assert any("dir/file" in words for words in found)
    assert "other" not in asked
    assert "file" in asked


def test_a_server_that_says_more_or_less_than_it_should(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.write("dir/file")
    pair.backup()
    line = Answers.line
    for lie in (b"999999999999\n", b"-1\n", b"nonsense\n", b"3\n"):
        monkeypatch.setattr(
            Answers, "line", lambda self, lie=lie: lie if line(self) not in (b"/\n", b"-\n") else b"/\n"
        )
        with pytest.raises((ProcessError, ServerError), match=r"broke off|unknown form"):
            pair.restore(pair.source, to=tmp_path / "to")
    monkeypatch.setattr(Answers, "line", line)
    assert pair.restore(pair.source, to=tmp_path / "to").findings == []


@pytest.mark.parametrize("said", [b"", b"3\nab", b'{"error": "The disk is on fire.", "hint": "Run."}\n', b"12"])
def test_an_answer_that_ends_early(said: bytes) -> None:
    def read(answers: Answers) -> None:
        answers.bytes(int(answers.line()))

    with pytest.raises((EOFError, ServerError)):
        read(Answers(io.BytesIO(said)))


def test_a_symlink_put_in_the_way_is_not_followed(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may write to the directory above swaps a new one for a symlink: what is behind it gets nothing."""
    pair.write("dir/first")
    pair.write("dir/second")
    pair.backup()
    (tmp_path / "elsewhere").mkdir()
    place = below(pair, tmp_path / "to") / "dir"
    read = Answers.bytes
    seen: list[int] = []

    def swapped(self: Answers, count: int) -> bytes:
        if not seen:
            place.rename(tmp_path / "taken away")
            place.symlink_to(tmp_path / "elsewhere")
        seen.append(count)
        return read(self, count)

    monkeypatch.setattr(Answers, "bytes", swapped)
    found = pair.restore(pair.source, to=tmp_path / "to").findings
    assert len(seen) == 2
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert found


@pytest.mark.parametrize("owner", [0, 1234])
@pytest.mark.parametrize("moment", ["open", "write", "utime", "fchmod"])
def test_a_restore_that_is_killed_goes_on(pair: Pair, tmp_path: Path, moment: str, owner: int) -> None:
    """At each step of a file: what is not whole is known as that, made anew, and never taken for the person's own."""
    for number in range(5):
        pair.write(f"dir/file{number}")
    (pair.source / "dir/file3").chmod(0o444)
    os.chown(pair.source / "dir/file3", owner, owner)
    pair.backup()
    to = tmp_path / "to"
    child = os.fork()
    if child == 0:
        step = getattr(os, moment)
        done = 0

        def killed(*arguments: object, **more: object) -> object:
            nonlocal done
            result = step(*arguments, **more)
            ours = moment != "open" or (len(arguments) > 2 and arguments[2] == unfinished.MODE)
            done += ours and (moment != "write" or arguments[1] == b"dir/file3")
            if done == (1 if moment == "write" else 4):
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(os, moment, killed)
        try:
            pair.restore(pair.source, to=to)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    left = below(pair, to) / "dir/file3"
    mode = st.S_IMODE(left.stat().st_mode)
    assert mode == (0o444 if moment == "fchmod" else unfinished.MODE)
    done = pair.restore(pair.source, to=to)
    assert (done.findings, done.refused) == ([], [])
    assert left.read_text() == "dir/file3"
    assert st.S_IMODE(left.stat().st_mode) == 0o444


def test_what_the_person_has_written_since_is_not_taken_for_a_part(pair: Pair, tmp_path: Path) -> None:
    """After a restore that broke off: a file of the person's own in a new directory stays, and is told of."""
    pair.write("dir/file")
    pair.write("dir/other")
    pair.backup()
    to = tmp_path / "to"
    _break_off(pair, to)
    mine = below(pair, to) / "dir/file"
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.unlink(missing_ok=True)
    mine.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        pair.restore(pair.source, to=to)
    assert mine.read_text() == "mine"


def _break_off(pair: Pair, to: Path) -> None:
    """Let the server fall silent in the middle."""
    line = Answers.line
    said = 0

    def silent(self: Answers) -> bytes:
        nonlocal said
        said += 1
        if said > 3:
            raise EOFError
        return line(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Answers, "line", silent)
        with pytest.raises(ProcessError, match="broke off") as broke:
            pair.restore(pair.source, to=to)
    assert "--generation" in broke.value.hint


def test_a_disk_that_is_full(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.write("dir/file")
    pair.write("dir/other")
    pair.backup()
    write = os.write

    def full(descriptor: int, content: bytes) -> int:
        if content == b"dir/other":
            raise OSError(28, "No space left on device")
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ProcessError, match="dir/other: No space left") as broke:
        pair.restore(pair.source, to=tmp_path / "to")
    assert broke.value.hint.startswith("The disk is full. First make room on it.")
    assert not (below(pair, tmp_path / "to") / "dir/other").exists()
    monkeypatch.setattr(os, "write", write)
    assert pair.restore(pair.source, to=tmp_path / "to").findings == []


def test_nobody_else_enters_what_is_not_whole_yet(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.write("private/file")
    (pair.source / "private").chmod(0o755)
    pair.backup()
    modes: list[int] = []
    read: Callable[[Answers, int], bytes] = Answers.bytes
    place = below(pair, tmp_path / "to")

    def noted(self: Answers, count: int) -> bytes:
        modes.extend(st.S_IMODE((place / name).stat().st_mode) for name in (".", "private"))
        return read(self, count)

    monkeypatch.setattr(Answers, "bytes", noted)
    assert pair.restore(pair.source, to=tmp_path / "to").findings == []
    assert modes == [0o700, 0o700]
    assert st.S_IMODE((place / "private").stat().st_mode) == 0o755


def test_a_target_may_be_a_symlink(pair: Pair, tmp_path: Path, asked: list[str]) -> None:
    pair.write("dir/file")
    pair.backup()
    asked.clear()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "to").symlink_to("elsewhere")
    assert pair.restore(pair.source, to=tmp_path / "to").findings == []
    assert (below(pair, tmp_path / "elsewhere") / "dir/file").read_text() == "dir/file"
    assert asked == []


@pytest.mark.parametrize("whole", [True, False])
def test_in_a_directory_that_gives_its_group_on_each_entry_has_its_own(
    pair: Pair, tmp_path: Path, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restored by an ordinary account, that nobody else's group may read."""
    pair.write("dir/below/file")
    (pair.source / "dir/symlink").symlink_to("x")
    pair.backup()
    to = tmp_path / "shared" / "to"
    to.mkdir(parents=True)
    for directory in (to.parent, to):
        os.chown(directory, 0, 1234)
        directory.chmod(0o2775)
    monkeypatch.setattr(target, "privileged", lambda: False)
    assert pair.restore(pair.source, to=to / "new" if whole else to).findings == []
    place = below(pair, to / "new" if whole else to)
    assert {(path.lstat().st_gid, path.lstat().st_mode & 0o2000) for path in [place, *place.rglob("*")]} == {(0, 0)}


def test_nothing_behind_a_symlink_is_given_away(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root restores for somebody into his own directory, who swaps what was made there before it is compared."""
    for name in ("x/etc/passwd", "x/etc/other"):
        pair.write(name)
    for name in ("x", "x/etc", "x/etc/passwd", "x/etc/other"):
        os.chown(pair.source / name, 1234, 1234)
    pair.backup()
    outside = tmp_path / "outside"
    (outside / "etc").mkdir(parents=True, mode=0o700)
    (outside / "etc/passwd").write_text("root's")
    (outside / "etc/passwd").chmod(0o600)
    shutil.rmtree(pair.source / "x")
    carry_out = Comparison.carry_out

    def swapped(self: Comparison, *arguments: object) -> None:
        (pair.source / "x").rename(tmp_path / "taken")
        (pair.source / "x").symlink_to(outside)
        carry_out(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Comparison, "carry_out", swapped)
    findings = pair.restore(pair.source / "x").findings
    assert any("did not come back" in line for line in findings)
    for path in (outside, outside / "etc", outside / "etc/passwd"):
        assert (path.stat().st_uid, path.stat().st_gid) == (0, 0), path
    assert (outside / "etc/passwd").stat().st_mode & 0o777 == 0o600


def test_a_directory_gets_its_owner_when_all_in_it_has_its_own(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.write("x/y/z/file")
    for name in ("x", "x/y", "x/y/z"):
        os.chown(pair.source / name, 1234, 1234)
    pair.backup()
    order: list[str] = []
    mend = target.mend

    def noted(path: bytes, status: os.stat_result, entry: Entry) -> os.stat_result:
        if entry.kind == "d":
            order.append(os.path.basename(os.fsdecode(entry.path)))
        return mend(path, status, entry)

    monkeypatch.setattr(target, "mend", noted)
    assert pair.restore(pair.source, to=tmp_path / "to").findings == []
    assert order[:3] == ["z", "y", "x"]


def test_holes_are_holes_again(pair: Pair, tmp_path: Path) -> None:
    with (pair.source / "sparse").open("wb") as stream:
        stream.truncate(200_000)
        stream.seek(100_000)
        stream.write(b"x")
    pair.backup()
    assert pair.restore(pair.source, to=tmp_path / "to").findings == []
    assert (below(pair, tmp_path / "to") / "sparse").stat().st_blocks <= (pair.source / "sparse").stat().st_blocks


def test_a_store_that_has_a_file_for_a_directory_and_the_reverse(pair: Pair, tmp_path: Path) -> None:
    """Whatever is answered is taken whole: the next answer is that to the next question."""
    pair.write("a/file")
    (pair.source / "b").mkdir()
    pair.write("c/file")
    generation = pair.backup()
    tree = pair.stored(generation, pair.source)
    (tree / "b").rmdir()
    (tree / "b").write_text("3\n/\n")
    (tree / "a/file").unlink()
    (tree / "a/file").mkdir()
    with contextlib.suppress(SedaiError):
        pair.restore(pair.source, to=tmp_path / "to", accept_damaged=True)
    assert (below(pair, tmp_path / "to") / "c/file").read_text() == "c/file"
