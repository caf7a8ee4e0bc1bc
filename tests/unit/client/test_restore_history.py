"""Find and diff: pure on manifest lines, and once through the real gate."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pytest
from gate_pair import Pair
from hypothesis import given
from hypothesis import strategies as st

from sedai.client import catalog, diff, find
from sedai.client.alerts import Outbox
from sedai.client.connection import Connection
from sedai.client.diff import Difference
from sedai.client.find import Match, Version
from sedai.client.nearest import nearest
from sedai.client.program import Context
from sedai.core import manifest
from sedai.core.errors import ExitCode, UsageError
from sedai.core.log import open_log
from sedai.core.manifest import Entry

FILE = Entry(b"a", "f", 5, 7, 0o644, 1, 2, 1, 10, 20, b"c" * 8, b"d" * 32, b"")


def run(verb: Any, pair: Pair, **options: Any) -> ExitCode:
    """Carry out a verb as restore_data.py does."""
    log = open_log("restore", pair.config.log_file)
    context = Context(pair.config, pair.state, Outbox(pair.state.root / "alerts", log), log)
    with pair.connect() as connection:
        code: ExitCode = verb.carry_out(argparse.Namespace(**({"json": False} | options)), context, connection)
        return code


class TestVersions:
    """One version for each content, with the generations that hold it."""

    def test_grouping(self) -> None:
        changed = FILE._replace(xxh128=b"e" * 32)
        other = FILE._replace(path=b"0", inode=3, mode=0o600)
        directory = FILE._replace(path=b"d", kind="d", size=0, xxh128=b"-")
        matches = [
            *(Match("g1", FILE), Match("g1", directory)),
            *(Match("g2", other), Match("g2", changed), Match("g2", directory._replace(mtime_ns=8))),
            *(Match("g3", FILE._replace(inode=99, ctime_ns=99)), Match("g3", other)),
        ]
        assert [(version.path, version.content, version.generations) for version in find.versions(matches)] == [
            (b"0", FILE.xxh128, ("g2", "g3")),
            (b"a", FILE.xxh128, ("g1", "g3")),
            (b"a", changed.xxh128, ("g2",)),
            (b"d", b"", ("g1", "g2")),
        ]

    def test_rows_and_table(self) -> None:
        file = Version(b"x\n\xff", "f", 2048, 0, b"d" * 32, ("g1", "g2"))
        link = Version(b"l", "l", 3, 0, b"x\n", ("g1",))
        rows = list(find.rows([file, link, Version(b"d", "d", 0, 0, b"", ("g1",))]))
        assert rows[0] == "/x\\n\\xff"
        assert "2.0 KiB" in rows[1] and "d" * 32 in rows[1] and rows[1].endswith("in g1 to g2 (2 generations)")
        assert "-> x\\n  in g1" in rows[3]
        assert rows[5] == "  directory  in g1"
        assert find.table(file)["xxh128"] == "d" * 32 and find.table(link)["target"] == "x\\n"
        assert json.dumps(find.table(file))


names = st.lists(st.sampled_from([b"a", b"b", b"a.b", b"A\n"]), min_size=1, max_size=3).map(b"/".join)
trees = st.dictionaries(names, st.sampled_from([FILE, FILE._replace(mode=0o600), FILE._replace(size=6)]))


def lines(tree: dict[bytes, Entry]) -> list[bytes]:
    """A manifest's lines; that parents are missing does not matter here."""
    return [manifest.encode(tree[path]._replace(path=path)) for path in sorted(tree, key=manifest.order)]


@given(trees, trees)
def test_differences_are_those_of_the_two_sets(old: dict[bytes, Entry], new: dict[bytes, Entry]) -> None:
    found = list(diff.differences(iter(lines(old)), iter(lines(new))))
    assert [difference.path for difference in found] == sorted(
        (difference.path for difference in found), key=manifest.order
    )
    assert {d.path for d in found if d.mark == "+"} == new.keys() - old.keys()
    assert {d.path for d in found if d.mark == "-"} == old.keys() - new.keys()
    assert {d.path for d in found if d.mark == "*"} == {
        path for path in old.keys() & new.keys() if old[path] != new[path]
    }


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"xxh128": b"e" * 32}, ("content",)),
        ({"size": 6, "mtime_ns": 8}, ("content", "time")),
        ({"mode": 0o600}, ("mode",)),
        ({"gid": 9}, ("owner",)),
        ({"kind": "d", "xxh128": b"-"}, ("kind f to d",)),
        ({"inode": 11, "ctime_ns": 21, "nlink": 2}, None),
    ],
)
def test_what_changed(change: dict[str, Any], what: tuple[str, ...] | None) -> None:
    new = FILE._replace(**change)
    expected = [Difference("*", b"a", new.kind, what)] if what else []
    assert list(diff.differences(iter([manifest.encode(FILE)]), iter([manifest.encode(new)]))) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (b"etc/ssh/sshd_conf", [b"etc/ssh/sshd_config", b"etc/ssh/ssh_config"]),
        (b"ect/hosts", [b"etc/hosts", b"srv/hosts"]),
        (b"srv/host", [b"srv/hosts", b"etc/hosts"]),
        (b"quite different", []),
        (b"caf\xe9", [b"srv/caff\xe9"]),
        (b"tax", [b"home/Tax 2025.txt", b"home/awx"]),
        (b"ta", []),
        ("税".encode(), ["home/確定申告と税金.txt".encode()]),
    ],
)
def test_nearest_names(wanted: bytes, expected: list[bytes]) -> None:
    there = [
        b"etc",
        b"etc/hosts",
        b"etc/ssh",
        b"etc/ssh/ssh_config",
        b"etc/ssh/sshd_config",
        b"srv/caff\xe9",
        b"srv/hosts",
        b"home/awx",
        b"home/Tax 2025.txt",
        "home/確定申告と税金.txt".encode(),
    ]
    assert nearest(wanted, there)[: len(expected)] == expected
    assert bool(nearest(wanted, there)) == bool(expected)


class TestThroughTheGate:
    """What a person sees."""

    @pytest.fixture
    def pair(self, tmp_path: Path) -> Pair:
        pair = Pair(tmp_path)
        pair.write("notes.txt", "one")
        pair.write("dir/other")
        self.generations = [pair.backup()]
        pair.write("notes.txt", "twoo")
        pair.write("dir/new\nline")
        (pair.source / "dir" / "other").unlink()
        self.generations += [pair.backup(), pair.backup()]
        return pair

    @pytest.mark.parametrize("pattern", ["notes.txt", "n?tes*", "{source}/notes.txt", "*/source/n*", "[mn]otes.txt"])
    def test_find(self, pair: Pair, capsys: pytest.CaptureFixture[str], pattern: str) -> None:
        assert run(find, pair, pattern=pattern.format(source=pair.source)) is ExitCode.CLEAN
        path, old, new = capsys.readouterr().out.splitlines()
        first, second, third = self.generations
        assert path == f"{pair.source}/notes.txt"
        assert old.endswith(f"in {first}") and new.endswith(f"in {second} to {third} (2 generations)")

    def test_find_for_programs(self, pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(find, pair, pattern="new*", json=True) is ExitCode.CLEAN
        [version] = json.loads(capsys.readouterr().out)
        assert version["generations"] == self.generations[1:]
        assert version["path"].endswith("dir/new\\nline")

    def test_nothing_fits(self, pair: Pair) -> None:
        with pytest.raises(UsageError) as refused:
            run(find, pair, pattern="note.text")
        assert "fits 'note.text'" in refused.value.message
        assert f"{pair.source}/notes.txt" in refused.value.hint
        with pytest.raises(UsageError, match="from the first / on"):
            run(find, pair, pattern="source/notes.txt")
        with pytest.raises(UsageError, match="1 to 4096 bytes"):
            run(find, pair, pattern="x" * 4097)

    @pytest.mark.parametrize("pattern", ["otes", "{source}/otes", "otes*"])
    def test_part_of_a_name_is_shown_how(self, pair: Pair, pattern: str) -> None:
        with pytest.raises(UsageError) as refused:
            run(find, pair, pattern=pattern.format(source=pair.source))
        assert refused.value.hint == (
            f"Part of a name? Try: restore_data.py find '*otes*'. Near names: {pair.source}/notes.txt."
        )

    @pytest.mark.parametrize("pattern", ["OTES", "zebra"])
    def test_what_would_find_nothing_is_not_named(self, pair: Pair, pattern: str) -> None:
        with pytest.raises(UsageError) as refused:
            run(find, pair, pattern=pattern)
        assert "Part of a name?" not in refused.value.hint

    def test_a_manifest_that_can_not_be_read_is_named(self, pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
        pair.store.manifest(pair.store.find(self.generations[0])).write_bytes(b"")
        assert run(find, pair, pattern="notes.txt") is ExitCode.FINDINGS
        assert f"FINDING: {self.generations[0]} could not be searched" in capsys.readouterr().out

    def test_an_older_server_is_told_as_such(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuses(*ignored: object) -> object:
            raise UsageError("The gate knows no 'find'.", "It knows: begin, seal.")
            yield

        monkeypatch.setattr(Connection, "stream", refuses)
        with pytest.raises(UsageError, match="older version") as refused:
            run(find, pair, pattern="x")
        assert "site.yml" in refused.value.hint

    def test_diff(self, pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
        first, second, third = self.generations
        assert run(diff, pair, old=first, new="previous", paths=[pair.source]) is ExitCode.CLEAN
        source = pair.source
        assert capsys.readouterr().out.splitlines() == [
            f"* {source}/dir/  (time)",
            f"+ {source}/dir/new\\nline",
            f"- {source}/dir/other",
            f"* {source}/notes.txt  (content, time)",
            f"{first} to {second}: 1 added, 1 removed, 2 changed",
        ]
        assert run(diff, pair, old="previous", new="latest", paths=[pair.source]) is ExitCode.CLEAN
        assert capsys.readouterr().out == f"{second} to {third}: 0 added, 0 removed, 0 changed\n"

    def test_diff_of_a_path(self, pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
        first = self.generations[0]
        assert (
            run(diff, pair, old=first, new="latest", paths=[pair.source / "dir" / "other"], json=True) is ExitCode.CLEAN
        )
        change, counts = map(json.loads, capsys.readouterr().out.splitlines())
        assert (change["change"], change["path"]) == ("removed", f"{pair.source}/dir/other")
        assert (counts["from"], counts["removed"], counts["added"]) == (first, 1, 0)

    def test_diff_of_a_path_that_is_nowhere(self, pair: Pair) -> None:
        with pytest.raises(UsageError, match="in neither") as refused:
            run(diff, pair, old=self.generations[0], new="latest", paths=[pair.source / "notes.tx"])
        assert os.fspath(pair.source / "notes.txt") in refused.value.hint


def test_a_manifest_that_is_at_hand_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is proven like the server's, and where it is damaged the server's is taken."""
    pair = Pair(tmp_path)
    file = pair.write("file", "old")
    older = pair.backup()
    file.write_text("new")
    pair.backup()
    fetched: list[str] = []
    fetch = catalog.fetch_manifest

    def noted(connection: Connection, generation: str, *more: Any) -> None:
        fetched.append(generation)
        fetch(connection, generation, *more)

    monkeypatch.setattr(catalog, "fetch_manifest", noted)
    restored = [
        (
            tmp_path / f"to{number}" / str(file)[1:],
            pair.restore(file, to=tmp_path / f"to{number}", generation=generation),
        )
        for number, generation in enumerate(("latest", str(older)))
    ]
    assert [place.read_text() for place, _ in restored] == ["new", "old"]
    assert fetched == [str(older)]
    damaged = bytearray(pair.state.base.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    pair.state.base.write_bytes(damaged)
    assert pair.restore(file, to=tmp_path / "again").findings == []
    assert len(fetched) == 2
