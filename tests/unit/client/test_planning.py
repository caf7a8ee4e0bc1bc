"""The plan that is made before the server has said what the next generation is built on."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gate_pair import QUIET, Pair

from sedai.client import backup, planning
from sedai.client.config import ClientConfig, Server, Source
from sedai.client.connection import Connection
from sedai.client.planning import Base, Found
from sedai.client.stage import Staged
from sedai.client.state import State
from sedai.core import manifest
from sedai.core.errors import SedaiError, UnreachableError

FILES = 3000


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    pair = Pair(tmp_path, direct=True)
    for name in ("one", "two", "three"):
        write(pair, name)
    return pair


def write(pair: Pair, name: str, text: str = "") -> None:
    """Make a file of the source that is not so young that the next run would send it again."""
    pair.write(name, text)
    time.sleep(0.15)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Base]:
    """What each plan was made on."""
    bases: list[Base] = []
    real = planning.make

    def make(*arguments: Any) -> Found:
        bases.append(arguments[3])
        return real(*arguments)

    monkeypatch.setattr(planning, "make", make)
    return bases


def whole(pair: Pair) -> bool:
    """Whether the newest generation is the source, and all generations are what they were."""
    newest = pair.store.tree(pair.store.generations()[-1]) / str(pair.source)[1:]
    names = sorted(path.name for path in pair.source.iterdir())
    same = all((newest / name).read_bytes() == (pair.source / name).read_bytes() for name in names)
    return same and names == sorted(path.name for path in newest.iterdir()) and not pair.check("full", "all").findings


def test_it_is_made_once_where_the_server_has_what_this_machine_remembers(pair: Pair, made: list[Base]) -> None:
    assert pair.run().tally.new > 3
    write(pair, "one", "changed")
    outcome = pair.run()
    assert (outcome.tally.send_files, outcome.sent_files, outcome.problems) == (1, 1, [])
    assert [base.manifest for base in made] == [None, pair.state.base]
    assert made[1].entries == manifest.totals(pair.state.base).entries > 3
    assert whole(pair)


def test_it_is_made_anew_where_the_server_has_something_later(pair: Pair, made: list[Base]) -> None:
    pair.backup()
    earlier = pair.state.base.read_bytes()
    write(pair, "one", "changed")
    pair.backup()
    pair.state.base.write_bytes(earlier)
    made.clear()
    write(pair, "two", "changed")
    outcome = pair.run()
    # By the earlier base `one` would be new bytes; what the early look counted is in no count and in no finding.
    assert (outcome.tally.send_files, outcome.sent_files, outcome.problems) == (1, 1, [])
    assert len(made) == 2 and made[0].sha256 != made[1].sha256
    assert whole(pair)


def test_it_is_made_anew_where_the_server_has_nothing(pair: Pair, made: list[Base]) -> None:
    pair.backup()
    shutil.rmtree(pair.store.root)
    made.clear()
    outcome = pair.run()
    assert outcome.sent_files == 3
    assert [base.manifest for base in made] == [pair.state.base, None]
    assert whole(pair)


def test_it_waits_for_the_server_where_this_machine_remembers_nothing_whole(pair: Pair, made: list[Base]) -> None:
    pair.backup()
    made.clear()
    pair.state.base.write_bytes(pair.state.base.read_bytes()[:-20])
    assert pair.run().tally.unchanged > 3
    assert len(made) == 1
    assert whole(pair)


def test_it_is_made_anew_with_what_the_server_wants_again(pair: Pair, made: list[Base]) -> None:
    generation = pair.backup()
    pair.rot(generation, pair.source / "two")
    assert pair.check("full").findings
    made.clear()
    outcome = pair.run()
    assert [bool(base.wanted) for base in made] == [False, True]
    assert outcome.sent_files == 1
    assert not pair.check("full").findings


class Nobody:
    """A server that can't be reached, for a machine with some files."""

    def __init__(self, root: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.source = root / "source"
        self.source.mkdir()
        for number in range(FILES):
            (self.source / str(number)).touch()
        for name in ("key", "known_hosts"):
            (root / name).touch(0o600)
        server = replace(Server("127.0.0.1", root / "key", root / "known_hosts", root / "signers"), port=port)
        self.config = ClientConfig("laptop", root / "state", root / "client.log", server, (Source(self.source),))
        self.state = State(root / "state")
        self.state.prepare()


@pytest.fixture
def nobody(tmp_path: Path) -> Nobody:
    return Nobody(tmp_path)


def test_a_server_that_can_not_be_reached_ends_the_scan(nobody: Nobody, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    real = planning._Planning._glancing

    def slowly(self: Any, entries: Any) -> Iterator[Any]:
        for entry in real(self, entries):
            looked.append(1)
            if len(looked) == 1:
                time.sleep(2)  # as a scan of a large tree takes; ssh has given up by then
            yield entry

    monkeypatch.setattr(planning._Planning, "_glancing", slowly)
    with Connection(nobody.config.server) as connection, pytest.raises(UnreachableError, match="can't be reached"):
        backup.Run(nobody.config, nobody.state, connection, QUIET, Staged()).carry_out()
    assert len(looked) < FILES / 2


def test_whoever_asks_next_hears_that_it_can_not_be_reached(nobody: Nobody) -> None:
    with Connection(nobody.config.server) as connection:
        first = connection.start("begin", {})
        with pytest.raises(UnreachableError, match="can't be reached"):
            connection.ask("status", {})
        for _ in range(2):
            with pytest.raises(UnreachableError, match="can't be reached"):
                first.result()
        with pytest.raises(UnreachableError):
            connection.remote_shell  # noqa: B018


def test_a_connection_that_nobody_used_is_none(nobody: Nobody) -> None:
    with Connection(nobody.config.server):
        pass


def test_an_answer_that_nobody_waits_for_ends_with_the_connection(nobody: Nobody) -> None:
    with Connection(nobody.config.server) as connection:
        first = connection.start("begin", {})
    assert first._process.poll() is not None


def test_an_answer_that_was_broken_off_is_not_awaited_again(nobody: Nobody, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the connection is made: what a person hears is that, and no error of a file that is closed."""
    broken: list[str] = []

    def break_off(connection: Connection, process: subprocess.Popen[bytes], verb: str) -> None:
        broken.append(verb)
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
        raise KeyboardInterrupt

    def work() -> None:
        with Connection(nobody.config.server) as connection:
            connection.start("begin", {}).result()

    monkeypatch.setattr(Connection, "answer", break_off)
    with pytest.raises(KeyboardInterrupt):
        work()
    assert broken == ["begin"]


def test_a_scan_that_fails_is_a_run_that_the_server_knows_of(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.backup()
    (pair.store.root / "days.json").unlink()

    def fail(*ignored: object) -> None:
        raise SedaiError("One of the processes that share the work was ended.")

    monkeypatch.setattr(planning, "make", fail)
    with pytest.raises(SedaiError, match="share the work"):
        pair.run()
    assert (pair.store.root / "days.json").exists()
