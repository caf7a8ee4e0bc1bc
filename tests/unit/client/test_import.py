"""The snapshots of other programs become generations, on which the client's next backup is built."""

from __future__ import annotations

import os
import re
import signal
import stat as st
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from gate_pair import SCRIPTS, Pair
from old_backups import State, rsnapshot, rsync, time_backup

from sedai.client import catalog, check, states
from sedai.core import manifest
from sedai.core.errors import ExitCode, SedaiError, UsageError
from sedai.core.generation import Record
from sedai.core.log import open_log
from sedai.server import config as server_config
from sedai.server import importing
from sedai.server.import_plan import Wish

DAYS = [datetime(2026, 1, day, 3, 15, tzinfo=UTC) for day in (10, 11, 12)]
ODD = b"odd \xff\n\t\\ -name"


def first(source: Path) -> None:
    """Everything a tree can have."""
    (source / "letter").write_text("Dear Sir or Madam")
    (source / "letter").chmod(0o4640)
    os.chown(source / "letter", 1234, 4321)
    os.utime(source / "letter", ns=(1, 1_600_000_000_123_456_789))
    (source / "diary").write_text("Monday")
    (source / "deep/er").mkdir(parents=True)
    (source / "deep/er/one").write_text("one")
    (source / "deep/two").hardlink_to(source / "deep/er/one")
    (source / "deep").chmod(0o2750)
    (source / "link").symlink_to("../nowhere")
    os.chown(source / "link", 1234, 4321, follow_symlinks=False)
    os.mkfifo(source / "fifo", 0o620)
    os.mknod(source / "null", 0o666 | st.S_IFCHR, os.makedev(1, 3))
    (source / os.fsdecode(ODD)).write_text("odd")
    (source / "empty").touch()
    with (source / "sparse").open("wb") as file:
        file.truncate(8 << 20)
        file.seek(5 << 20)
        file.write(b"in the middle")
    os.utime(source / "deep", ns=(1, 1_500_000_000_000_000_001))


def second(source: Path) -> None:
    """One file changes, one directory becomes a file, one file goes."""
    (source / "diary").write_text("Tuesday")
    (source / "empty").unlink()
    (source / "new").mkdir()
    (source / "new/file").write_text("new")


def third(source: Path) -> None:
    (source / "new/file").unlink()
    (source / "new").rmdir()
    (source / "new").write_text("a file now")
    (source / "deep/two").rename(source / "deep/third")


STATES: list[State] = [first, second, third]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A client and a server that know of each other, and have no generation."""
    made = Pair(tmp_path, direct=True)
    made.store.root.mkdir(parents=True)
    return made


@pytest.fixture
def old(tmp_path: Path) -> Path:
    made = tmp_path / "old"
    made.mkdir()
    return made


def imported(pair: Pair, old: Path, **wish: object) -> tuple[ExitCode, list[str]]:
    """Import as the program does; the code and what was said."""
    said: list[str] = []
    settings = server_config.load(pair.root / "server.toml")
    code = importing.carry_out(settings, Wish("laptop", old, **wish), said.append,  # type: ignore[arg-type]
                               open_log("sedai-server", settings.log_file))  # fmt: skip
    return code, said


def records(pair: Pair) -> list[Record]:
    return [pair.store.record(generation) for generation in pair.store.generations()]


def differing(pair: Pair, number: int) -> set[str]:
    """The names of what a generation has otherwise than the one before, but for directories: rsync moves their times."""
    made = pair.store.generations()
    before, after = (set(manifest.read(pair.store.manifest(made[index]))) for index in (number - 1, number))
    return {Path(os.fsdecode(one.path)).name for one in map(manifest.decode, after - before) if one.kind != "d"}


def picture(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything of a tree that an import must not change, and a restore must bring back."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        stat = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        found[str(path.relative_to(root))] = (
            stat.st_mode,
            stat.st_uid,
            stat.st_gid,
            stat.st_mtime_ns,
            stat.st_rdev,
            content,
        )
    return found


def inodes(root: Path) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        stat = path.lstat()
        found[str(path)] = (stat.st_ino, stat.st_nlink, stat.st_ctime_ns, stat.st_atime_ns)
    return found


def test_import_then_backup_then_check(pair: Pair, old: Path) -> None:
    rsnapshot(old, pair.source, STATES, DAYS)
    pictures = [picture(old / f"daily.{number}/localhost{pair.source}") for number in (2, 1, 0)]
    for path in old.rglob("letter"):
        os.utime(path, ns=(1, path.stat().st_mtime_ns))
    before = inodes(old)

    code, said = imported(pair, old)

    assert code is ExitCode.CLEAN
    assert said[-1] == "laptop: imported 3 generations; 0 were there already."
    assert inodes(old) == before
    made = pair.store.generations()
    assert [generation.time for generation in made] == DAYS
    assert [(one.sealed, one.started) for one in records(pair)] == [(day.isoformat(), day.isoformat()) for day in DAYS]
    assert records(pair)[0].imported == f"daily.2 of {old}"
    assert [one.removed for one in records(pair)] == [0, 1, 2]
    assert [differing(pair, number) for number in (1, 2)] == [{"diary", "file"}, {"new", "third"}]

    for generation, picture_then in zip(made, pictures, strict=True):
        to = pair.root / "back" / str(generation)
        pair.restore(pair.source, generation=str(generation), to=to)
        assert picture(to / str(pair.source)[1:]) == picture_then
        deep = to / str(pair.source)[1:] / "deep"
        assert all(other.samefile(deep / "er/one") for other in deep.iterdir() if other.is_file())

    def stored(name: str, number: int) -> Path:
        return pair.stored(str(made[number]), pair.source / name)

    assert stored("letter", 0).samefile(stored("letter", 2))
    assert not stored("diary", 0).samefile(stored("diary", 1))
    assert stored("diary", 1).samefile(stored("diary", 2))
    assert stored("sparse", 0).stat().st_blocks < 4096

    (pair.source / "diary").write_text("Saturday")
    outcome = pair.run()
    assert not outcome.problems
    newest = str(outcome.record["generation"])
    assert outcome.record["previous"] == str(made[-1])
    assert outcome.record["new_bytes"] == len("Saturday") + len("one")  # which has several names
    assert pair.stored(newest, pair.source / "letter").samefile(stored("letter", 0))
    assert not pair.stored(newest, pair.source / "diary").samefile(stored("diary", 2))
    checked = pair.check("full", "all")
    assert checked.findings == []
    assert len(checked.record["checked"]) == 4
    assert checked.record["imported"] == [str(generation) for generation in made]
    assert checked.record["unsigned"] == []
    assert "3 generations, imported from another program and not signed" in check.summary(checked)
    with pair.connect() as connection:
        rows = states.rows(catalog.generations(connection), {})
    assert [row.endswith("  imported") for row in rows] == [True, True, True, False]


def test_dated_directories_without_their_place(pair: Pair, old: Path) -> None:
    time_backup(old, pair.source, STATES, DAYS)
    code, _ = imported(pair, old, below=str(pair.source))
    assert code is ExitCode.CLEAN
    assert [generation.time for generation in pair.store.generations()] == DAYS
    assert records(pair)[-1].sources == (f"/{str(pair.source).split('/')[1]}",)
    pair.backup()
    assert pair.stored("latest", pair.source / "letter").stat().st_nlink >= 4
    assert pair.check("full", "all").findings == []


def test_what_is_unfinished_or_has_no_place_is_left_out(pair: Pair, old: Path) -> None:
    time_backup(old, pair.source, STATES, DAYS)
    (old / "backup.inprogress").touch()
    (old / "2030-01-01-000000").mkdir()
    (old / "2030-01-01-000000").rename(old / "2026-01-09-000000")
    _, said = imported(pair, old, strip="deep")
    assert len(records(pair)) == 2
    left_out = [line for line in said if line.startswith("left out")]
    assert [line.rpartition(": ")[2] for line in left_out] == ["it has no deep", "it is not finished"]
    assert {path.name for path in pair.store.tree(pair.store.generations()[0]).iterdir()} == {"er", "two"}


def test_the_rule_of_what_is_kept_holds(tmp_path: Path, old: Path) -> None:
    pair = Pair(tmp_path, keep_last=2, direct=True)
    pair.store.root.mkdir(parents=True)
    rsnapshot(old, pair.source, STATES, DAYS)
    _, said = imported(pair, old)
    assert [generation.time for generation in pair.store.generations()] == DAYS[1:]
    assert [line for line in said if line.startswith("left out: daily.2 of")]
    pair.check("full", "all")


def test_again_it_changes_nothing_and_takes_what_has_come(pair: Pair, old: Path) -> None:
    rsnapshot(old, pair.source, STATES, DAYS)
    imported(pair, old)
    before = [str(generation) for generation in pair.store.generations()]
    code, said = imported(pair, old)
    assert (code, said[-1]) == (ExitCode.CLEAN, "laptop: imported 0 generations; 3 were there already.")
    assert [str(generation) for generation in pair.store.generations()] == before

    (pair.source / "diary").write_text("Sunday")
    rsync(pair.source, old / "hourly.0/localhost" / str(pair.source)[1:], old / f"daily.0/localhost{pair.source}")
    os.utime(old / "hourly.0", (DAYS[2].timestamp() + 7200,) * 2)
    imported(pair, old)
    assert len(pair.store.generations()) == 4
    assert records(pair)[-1].new_bytes == len("Sunday")


def test_the_store_of_a_client_that_backs_up_is_left_alone(pair: Pair, old: Path) -> None:
    pair.write("letter")
    pair.backup()
    rsnapshot(old, pair.source, [first], DAYS[:1])
    with pytest.raises(UsageError, match="generations of its own already"):
        imported(pair, old)


def test_a_dry_run_only_says_it(pair: Pair, old: Path) -> None:
    rsnapshot(old, pair.source, STATES, DAYS)
    before = sorted(pair.store.root.rglob("*"))
    code, said = imported(pair, old, dry_run=True)
    assert code is ExitCode.CLEAN
    assert [line.split()[2] for line in said if line.startswith("to import")] == ["daily.2", "daily.1", "daily.0"]
    assert "localhost/ is taken off the paths" in said[-2]
    assert sorted(pair.store.root.rglob("*")) == before


def test_too_little_room_is_said_beforehand(pair: Pair, old: Path) -> None:
    rsnapshot(old, pair.source, STATES, DAYS)
    settings = pair.root / "server.toml"
    settings.write_text(f"reserve_percent = 100\n{settings.read_text()}")
    with pytest.raises(SedaiError, match=r"not enough room: 8.* MiB are needed, 0 bytes are free"):
        imported(pair, old)
    assert pair.store.generations() == []


def test_killed_in_the_middle_it_goes_on(pair: Pair, old: Path) -> None:
    rsnapshot(old, pair.source, STATES, DAYS)
    program = [sys.executable, str(SCRIPTS / "sedai_server.py"), f"--config={pair.root}/server.toml", "import",
               "--client=laptop", f"--from={old}"]  # fmt: skip
    for word in ("imported daily.2", "imported daily.1"):
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout
            assert any(line.startswith(word) for line in running.stdout)
            running.send_signal(signal.SIGKILL)
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(pair.store.generations()) == 3
    pair.backup()
    assert pair.check("full", "all").findings == []


def test_what_was_copied_is_not_copied_again(pair: Pair, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rsnapshot(old, pair.source, STATES[:1], DAYS[:1])

    def stop(*ignored: object, **also: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(importing, "seal", stop)
        with pytest.raises(SedaiError, match="interrupted"):
            imported(pair, old)
    copied = (pair.store.delta / str(pair.source)[1:] / "letter").stat().st_ino
    imported(pair, old)
    assert pair.stored("latest", pair.source / "letter").stat().st_ino == copied
    pair.backup()
    assert pair.check("full", "all").findings == []


def test_a_file_that_cannot_be_read_is_named(pair: Pair, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rsnapshot(old, pair.source, STATES, DAYS)
    real = os.read
    bad = {path.stat().st_ino for path in old.rglob("diary")}

    def read(descriptor: int, count: int) -> bytes:
        if os.fstat(descriptor).st_ino in bad and not os.readlink(f"/proc/self/fd/{descriptor}").startswith(
            str(pair.store.root)
        ):
            raise OSError(5, "Input/output error")
        return real(descriptor, count)

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", read)
        code, said = imported(pair, old)
    assert code is ExitCode.FINDINGS
    assert any(line.endswith("/diary: Input/output error") for line in said)
    assert [record.not_in_backup for record in records(pair)] == [(f"{pair.source}/diary: Input/output error",)] * 3
    assert not pair.stored("latest", pair.source / "diary").exists()
    pair.backup()
    assert pair.check("full", "all").findings == []


def test_a_tree_that_rsync_stored_as_an_unprivileged_account_is_understood(pair: Pair, old: Path) -> None:
    first(pair.source)
    rsync(pair.source, old / "2026-01-10" / str(pair.source)[1:], None, "-M--fake-super")
    assert "user.rsync.%stat" in os.listxattr(old / "2026-01-10" / str(pair.source)[1:] / "fifo")
    imported(pair, old)
    pair.restore(pair.source, to=pair.root / "back")

    def without_times(root: Path) -> dict[str, tuple[object, ...]]:  # rsync keeps not all of them in such a tree
        return {name: (*known[:3], *known[4:]) for name, known in picture(root).items()}

    assert without_times(pair.root / "back" / str(pair.source)[1:]) == without_times(pair.source)


def test_no_symlink_of_the_old_tree_is_followed(pair: Pair, old: Path) -> None:
    secret = pair.root / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    (old / "2026-01-10").mkdir()
    (old / "2026-01-10/home").symlink_to(secret)
    imported(pair, old)
    assert pair.store.tree(pair.store.generations()[0]).joinpath("home").is_symlink()
    (old / "2026-01-11").symlink_to(secret)
    _, said = imported(pair, old)
    assert said[-1].startswith("laptop: imported 0")
    (old / "2026-01-12/home").mkdir(parents=True)
    (old / "2026-01-12/home/inner").symlink_to(secret)
    with pytest.raises(SedaiError, match="is no directory"):
        imported(pair, old, strip="home/inner")


@pytest.fixture
def stranger() -> int:
    """An account that the store belongs to, where the tests run as root."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a store to somebody else")
    return 54321


def test_root_reads_and_the_account_of_the_store_writes(pair: Pair, old: Path, stranger: int) -> None:
    rsnapshot(old, pair.source, STATES, DAYS)
    old.chmod(0o700)
    for path in (pair.root, *pair.root.parents):
        if str(path).startswith("/tmp/"):
            path.chmod(0o755)
    for path in (pair.root / "store", pair.store.root):
        os.chown(path, stranger, stranger)
    # The interpreter may lie where only root can read: what it would import late comes first.
    early = "import _strptime, encodings.ascii, runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    program = [sys.executable, "-c", early, str(SCRIPTS / "sedai_server.py"), f"--config={pair.root}/server.toml", "import",
               "--client=laptop", f"--from={old}"]  # fmt: skip
    (pair.root / "gate.log").touch()
    os.chown(pair.root / "gate.log", stranger, stranger)
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.lstat().st_uid for path in pair.store.root.rglob("*")} == {stranger}
    generation = pair.store.generations()[-1]
    assert pair.stored(str(generation), pair.source / "letter").read_text() == "Dear Sir or Madam"
    assert f"laptop: imported {generation}, daily.0 of {old}" in (pair.root / "gate.log").read_text()


def test_hours_between_days_are_kept_in_order(pair: Pair, old: Path) -> None:
    times = [DAYS[0] + timedelta(hours=hours) for hours in (0, 4, 8)]
    rsnapshot(old, pair.source, STATES, times)
    (old / "daily.0").rename(old / "hourly.0")
    (old / "daily.2").rename(old / "weekly.3")
    imported(pair, old)
    assert [generation.time for generation in pair.store.generations()] == times


MOVING = (SCRIPTS.parent / "docs/moving.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "told", [line for line in MOVING.splitlines() if " import --client" in line and "sudo " in line]
)
def test_the_handbook_s_commands_say_what_would_be_imported(told: str, pair: Pair, old: Path) -> None:
    if "--below /home" in told:
        time_backup(old, pair.source, STATES, DAYS)
        places = {"/mnt/backup": str(old), "--below /home": f"--below {pair.source}"}
    else:
        rsnapshot(old, pair.source, STATES, DAYS)
        places = {"/srv/rsnapshot": str(old)}
    if "--strip laptop.example.com" in told:
        for snapshot in old.iterdir():
            moment = snapshot.stat().st_mtime
            (snapshot / "localhost").rename(snapshot / "laptop.example.com")
            (snapshot / "desk.example.com").mkdir()
            os.utime(snapshot, (moment, moment))
    program = f"{sys.executable} {SCRIPTS}/sedai_server.py --config={pair.root}/server.toml"
    for there, here in (
        places | {"sudo TZ": "TZ", "sudo ": "", "/usr/local/lib/sedai/sedai_server.py": program}
    ).items():
        assert there in told or there.startswith("sudo ")
        told = told.replace(there, here)
    done = subprocess.run(told, shell=True, capture_output=True, text=True, check=False)  # noqa: S602  the page's words
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^to import: ", done.stdout, re.MULTILINE)) == len(STATES)
    assert pair.store.generations() == []


def test_the_handbook_s_comparison_shows_what_differs_and_nothing_else(pair: Pair, old: Path) -> None:
    rsnapshot(old, pair.source, STATES, DAYS)
    imported(pair, old)
    told = next(line for line in MOVING.splitlines() if line.startswith("sudo rsync")).removeprefix("sudo ")
    for there, here in (("/srv/rsnapshot/daily.0/localhost/etc/", f"{old}/daily.0/localhost{pair.source}/"),
                        ("/srv/sedai/laptop/latest/tree/etc/", f"{pair.store.root}/latest/tree{pair.source}/")):  # fmt: skip
        assert there in told
        told = told.replace(there, here)

    def differs() -> list[str]:
        done = subprocess.run(told, shell=True, capture_output=True, text=True, check=True)  # noqa: S602  the page's words
        # Of FIFOs and devices it says that it skips them.
        return [line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if not line.startswith("skipping")]

    assert differs() == []
    pair.rot("latest", pair.source / "letter")
    assert differs() == ["letter"]


def test_names_that_are_no_text_end_in_no_traceback(pair: Pair, tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"old \xff")
    first(pair.source)
    rsync(pair.source, place / os.fsdecode(b"\xfe 2026-01-10") / str(pair.source)[1:], None)
    program = [sys.executable, str(SCRIPTS / "sedai_server.py"), f"--config={pair.root}/server.toml", "import",
               "--client=laptop", "--from", str(place)]  # fmt: skip
    done = subprocess.run(
        program, capture_output=True, text=True, env={"PYTHONIOENCODING": "utf-8:strict"}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert records(pair)[0].imported == f"\\xfe 2026-01-10 of {tmp_path}/old \\xff"
    assert pair.check("full").record["imported"] == [str(pair.store.newest())]


def test_a_wrong_place_in_the_snapshots_is_refused(pair: Pair, old: Path) -> None:
    rsnapshot(old, pair.source, STATES, DAYS)
    (old / "daily.0/README").touch()  # a file at the top is no machine
    assert "localhost/ is taken off" in imported(pair, old, dry_run=True)[1][-2]
    with pytest.raises(UsageError, match=r"No snapshot in .* can be taken \(daily\.2: it has no lokalhost; daily\.1"):
        imported(pair, old, strip="lokalhost")


def test_it_says_how_far_it_is(pair: Pair, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rsnapshot(old, pair.source, STATES[:1], DAYS[:1])
    monkeypatch.setattr(importing, "_SPEAK_EVERY", 0.0)
    _, said = imported(pair, old)
    told = [line for line in said if line.startswith("copied so far")]
    assert told[-1].startswith(f"copied so far: {records(pair)[0].entries} entries, 8.0 MiB of about 8.")
    assert re.search(r" a second, 1 min left$", told[-1])
