"""A generation that was rewritten on the server, however carefully, through the real gate and ssh-keygen."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gate_pair import QUIET, DirectConnection, Pair

from sedai.client import backup, connection, signing, tamper
from sedai.client.check import summary
from sedai.client.finding import Finding
from sedai.client.scan import Problem
from sedai.client.stage import Staged
from sedai.core import manifest, wire
from sedai.core.errors import IntegrityError, ServerError
from sedai.core.generation import Record
from sedai.server import signature
from sedai.server.asked import Asked
from sedai.server.gate import Gate
from sedai.server.stored import digest_open, sha256


class Rewriter:
    """Root on the server, who knows all of sedai."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair

    def directory(self, generation: str) -> Path:
        return self.pair.store.directory(self.pair.store.find(generation))

    def record(self, generation: str, **changes: Any) -> None:
        """Rewrite the record, in the very form in which it was written."""
        path = self.directory(generation) / "generation.json"
        replace(Record.read(path), **changes).write(path)

    def content(self, generation: str, text: str) -> None:
        """Put other bytes of the same length into a file, with the manifest and the record that fit."""
        stored = self.pair.stored(generation, self.pair.source / "letter")
        times = stored.stat()
        stored.write_text(text)
        os.utime(stored, ns=(times.st_atime_ns, times.st_mtime_ns))
        with stored.open("rb") as stream:
            found = digest_open(stream.fileno())
        path = self.directory(generation) / "manifest"
        lines = list(manifest.read(path))
        with manifest.Writer(path) as writer:
            for line in lines:
                entry = manifest.decode(line)
                if entry.path.endswith(b"/letter"):
                    entry = entry._replace(crc32=found.crc32, xxh128=found.xxh128)
                writer.add(manifest.encode(entry))
        beside = {name: sha256(path.with_name(name)) for name in ("manifest", "RESTORE.txt")}
        self.record(generation, manifest_sha256=writer.totals.sha256, stored_sha256=beside)

    def sign(self, generation: str, key: Path) -> None:
        """Sign the record as it is now."""
        record = self.directory(generation) / "generation.json"
        record.with_suffix(".json.sig").write_text(signing.sign(key, record.read_bytes()))

    def forget(self, *names: str) -> None:
        """The client lost this part of its memory."""
        for name in names:
            (self.pair.state.root / name).unlink()


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, list[str]]:
    """Three generations."""
    pair = Pair(tmp_path_factory.mktemp("pair"), direct=True)
    generations = []
    for text in ("one", "two", "six"):
        pair.write("letter", text)
        generations.append(pair.backup())
    return pair, generations


@pytest.fixture
def three(sealed: tuple[Pair, list[str]]) -> tuple[Rewriter, list[str]]:
    """The same for each test, which may harm them."""
    pair, generations = sealed
    kept = pair.root / "kept"
    if kept.exists():
        for name in ("store", "state"):
            shutil.rmtree(pair.root / name)
            shutil.copytree(kept / name, pair.root / name, symlinks=True)
    else:
        for name in ("store", "state"):
            shutil.copytree(pair.root / name, kept / name, symlinks=True)
    return Rewriter(pair), generations


def found(pair: Pair, generations: list[str], level: str = "quick", which: str = "all") -> list[tuple[str, int]]:
    """What the check finds: code and the number of the generation."""
    record = pair.check(level, which).record
    assert record["unsigned"] == []
    return [(finding["code"], generations.index(finding["generation"])) for finding in record["findings"]]


def test_what_was_not_touched_is_clean(three: tuple[Rewriter, list[str]]) -> None:
    root, generations = three
    assert found(root.pair, generations, "full") == []
    assert root.pair.state.unsigned() == []
    assert list(root.pair.state.signed()) == generations


REWRITES: dict[str, tuple[Callable[[Rewriter, list[str]], object], list[tuple[str, int]]]] = {
    "a file, with its manifest and record": (
        lambda root, names: root.content(names[0], "ONE"),
        [("tampered", 0), ("signature", 0), ("chain", 1)],
    ),
    "the newest one": (
        lambda root, names: root.content(names[2], "SIX"),
        [("tampered", 2), ("signature", 2)],
    ),
    "the chain after it too": (
        lambda root, names: [
            root.content(names[0], "ONE"),
            root.record(names[1], previous_manifest_sha256=Record.read(
                root.directory(names[0]) / "generation.json").manifest_sha256),
        ],
        [("tampered", 0), ("signature", 0), ("signature", 1)],
    ),
    "by somebody who has the client's key": (
        lambda root, names: [root.content(names[2], "SIX"), root.sign(names[2], root.pair.root / "key")],
        [("tampered", 2), ("tampered", 2)],
    ),
    "a record that says less is lacking, by somebody who has the key": (
        lambda root, names: [root.record(names[1], not_in_backup=("x",)), root.sign(names[1], root.pair.root / "key")],
        [("tampered", 1)],
    ),
    "only the time in the record": (
        lambda root, names: root.record(names[1], started="2020-01-01T00:00:00+00:00"),
        [("signature", 1)],
    ),
    "a blank in the record": (
        lambda root, names: (root.directory(names[1]) / "generation.json").write_text(
            (root.directory(names[1]) / "generation.json").read_text() + " "),
        [("signature", 1)],
    ),
    "no signature": (
        lambda root, names: (root.directory(names[1]) / "generation.json.sig").unlink(),
        [("signature", 1)],
    ),
    "another's signature": (
        lambda root, names: shutil.copy(root.directory(names[0]) / "generation.json.sig",
                                        root.directory(names[1]) / "generation.json.sig"),
        [("signature", 1)],
    ),
    "an older generation under this name": (
        lambda root, names: [
            shutil.rmtree(root.directory(names[2])),
            shutil.copytree(root.pair.store.generations_directory / names[1],
                            root.pair.store.generations_directory / names[2], symlinks=True),
        ],
        [("manifest", 2), ("tampered", 2), ("tampered", 2), ("tampered", 2)],
    ),
    "how to restore": (
        lambda root, names: (root.directory(names[1]) / "RESTORE.txt").write_text("run this\n"),
        [("beside", 1)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REWRITES)
def test_what_was_rewritten_is_found(three: tuple[Rewriter, list[str]], what: str) -> None:
    root, generations = three
    rewrite, expected = REWRITES[what]
    rewrite(root, generations)
    assert found(root.pair, generations) == expected


def test_all_that_are_listed_are_looked_at_whichever_is_checked(three: tuple[Rewriter, list[str]]) -> None:
    root, generations = three
    root.content(generations[0], "ONE")
    assert found(root.pair, generations, which="latest") == [("tampered", 0), ("signature", 0), ("chain", 1)]


def test_without_a_memory_the_signature_tells(three: tuple[Rewriter, list[str]]) -> None:
    root, generations = three
    root.forget("sealed.json", "signed.json")
    assert found(root.pair, generations) == []
    root.content(generations[2], "SIX")
    assert found(root.pair, generations) == [("signature", 2)]
    ended = root.pair.check()
    assert "a signature of this client for its record, found one that does not fit the record" in str(ended.findings)
    assert ended.last_good == ""


def test_an_earlier_machine_counts_if_its_key_is_known(three: tuple[Rewriter, list[str]], tmp_path: Path) -> None:
    root, generations = three
    other = Pair(tmp_path / "other")  # for its key
    root.forget("sealed.json", "signed.json")
    root.sign(generations[1], other.root / "key")
    assert found(root.pair, generations) == [("signature", 1)]
    [said] = root.pair.check().findings
    assert re.search(r"found one by the key SHA256:[A-Za-z0-9+/]{43}, which is not known here$", said)
    public = (other.root / "key.pub").read_text()
    signers = root.pair.root / "allowed_signers"
    signers.write_text(f'laptop namespaces="sedai-generation" {public}')
    assert found(root.pair, generations) == []
    signers.write_text(f'laptop namespaces="git" {public}')
    assert found(root.pair, generations) == [("signature", 1)]
    signers.unlink()


def test_generations_from_before_are_told_and_no_finding(three: tuple[Rewriter, list[str]]) -> None:
    root, generations = three
    root.forget("signed.json")
    for name in generations[:2]:
        (root.directory(name) / "generation.json.sig").unlink()
    ended = root.pair.check("full", "all")
    assert ended.findings == []
    assert ended.record["unsigned"] == generations[:2]
    assert "2 generations, sealed before this machine signed any" in summary(ended)


def test_restore_txt_tells_anybody_how_to_see_it(three: tuple[Rewriter, list[str]], tmp_path: Path) -> None:
    """The commands are run as they stand; only ssh is one that stays on this machine."""
    root, generations = three
    text = (root.directory(generations[1]) / "RESTORE.txt").read_text()
    [block] = [block for block in text.split("\n\n") if "ssh-keygen -Y verify" in block]
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text('#!/bin/sh\n[ "$1" = root@THIS-SERVER ] && shift && exec sh -c "$*"\n')
    (programs / "ssh").chmod(0o700)
    places = ("/tmp/generation.json", "/tmp/allowed_signers")
    assert [block.count(place) for place in places] == [5, 1]
    script = "set -e\n" + block.replace(places[0], f"{tmp_path}/generation.json").replace(
        places[1], f"{tmp_path}/allowed_signers"
    )
    (tmp_path / "allowed_signers").write_text("laptop " + (root.pair.root / "key.pub").read_text())

    def follow() -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
        return subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=False)

    done = follow()
    assert done.returncode == 0, done.stderr
    good, shown = done.stdout.splitlines()
    assert good.startswith('Good "sedai-generation" signature for laptop with ED25519 key')
    assert shown == f'"manifest_sha256": "{root.pair.state.sealed()[generations[1]]}'
    root.content(generations[1], "TWO")
    assert "Good" not in follow().stdout
    root.sign(generations[1], root.pair.root / "key")
    assert follow().returncode == 0
    # The record names the manifest before it too.
    shutil.copy(root.directory(generations[0]) / "manifest", root.directory(generations[1]) / "manifest")
    assert follow().returncode == 1


class TestSigning:
    """When a generation is signed."""

    @pytest.fixture
    def pair(self, tmp_path: Path) -> Pair:
        pair = Pair(tmp_path, direct=True)
        pair.write("letter", "one")
        return pair

    def signatures(self, pair: Pair) -> list[bool]:
        """Of each generation whether it is signed."""
        return [pair.store.signature(generation).exists() for generation in pair.store.generations()]

    def test_a_client_killed_before_it_signs_does_it_at_the_next_run(
        self, pair: Pair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed(*ignored: object) -> bool:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(signing, "_sign_one", killed)
            with pytest.raises(KeyboardInterrupt):
                pair.run()
        assert self.signatures(pair) == [False]
        assert len(pair.state.unsigned()) == 1
        pair.backup()
        assert self.signatures(pair) == [True, True]
        assert pair.state.unsigned() == []
        assert pair.check("full", "all").findings == []

    def test_a_client_killed_after_the_server_stored_it_signs_once_more(self, pair: Pair) -> None:
        generation = pair.backup()
        record = (pair.store.record_path(pair.store.find(generation))).read_text()
        (pair.state.root / "signed.json").unlink()
        pair.state.remember_unsigned(generation, record)
        pair.backup()
        assert pair.state.unsigned() == []
        assert pair.check("full", "all").findings == []

    def test_what_was_pruned_meanwhile_is_not_signed(self, pair: Pair) -> None:
        pair.state.remember_unsigned("20200101T000000Z-000000", "{}\n")
        pair.backup()
        assert pair.state.unsigned() == []

    def test_a_failure_is_a_finding_and_is_tried_again(self, pair: Pair) -> None:
        (pair.root / "key").rename(pair.root / "moved")
        problems = pair.run().problems
        assert [problem.code for problem in problems] == ["unsigned"]
        assert "could not be signed" in problems[0].detail and "The next backup tries again." in problems[0].detail
        (pair.root / "moved").rename(pair.root / "key")
        pair.backup()
        assert self.signatures(pair) == [True, True]

    def test_a_slot_that_somebody_else_filled_is_a_finding(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever has the key was faster: what is there stays, and a person hears of it."""
        with monkeypatch.context() as patched:
            patched.setattr(backup, "sign_pending", lambda *ignored: [])
            generation = pair.backup()
        Rewriter(pair).sign(generation, Pair(pair.root / "other").root / "key")
        problems = pair.run().problems
        assert [problem.code for problem in problems] == ["unsigned"]
        assert f"{generation} could not be signed: {generation} is signed already" in problems[0].detail
        assert [finding.split(":")[0] for finding in pair.check().findings] == ["signature"]


class TestWithinTheSeal:
    """The server asks for the signature of what it sealed just now, and needs no other gate for it."""

    @pytest.fixture
    def pair(self, tmp_path: Path) -> Pair:
        pair = Pair(tmp_path)
        pair.write("letter", "one")
        return pair

    def test_nothing_is_left_to_sign(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        def never(*ignored: object) -> bool:
            raise AssertionError("another gate was asked")

        monkeypatch.setattr(signing, "_sign_one", never)
        generation = pair.backup()
        assert pair.state.unsigned() == []
        assert list(pair.state.signed()) == [generation]
        assert pair.check("full", "all").findings == []

    def test_a_key_that_is_gone_is_told_once(self, pair: Pair) -> None:
        (pair.root / "key").rename(pair.root / "moved")
        [problem] = pair.run().problems
        assert problem.code == "unsigned" and "could not be signed" in problem.detail
        (pair.root / "moved").rename(pair.root / "key")
        pair.backup()
        assert pair.check("full", "all").findings == []
        assert len(pair.state.signed()) == 2

    def test_a_client_killed_while_it_signs_does_it_at_the_next_run(
        self, pair: Pair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed(*ignored: object) -> str:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(backup, "sign", killed)
            with pytest.raises(KeyboardInterrupt):
                pair.run()
        assert len(pair.state.unsigned()) == 1
        pair.backup()
        assert pair.state.unsigned() == []
        assert pair.check("full", "all").findings == []

    @pytest.mark.parametrize("reply", [
        b"", b"\n", b"nonsense\n", b"{}\n", b'{"signature": ""}\n', b'{"signature": 7}\n', b'{"signature": "nonsense"}\n',
        b'{"signature": "%s"}\n' % (b"x" * 100_000),
    ])  # fmt: skip
    def test_what_is_no_signature_is_not_kept_and_harms_nothing(self, tmp_path: Path, reply: bytes) -> None:
        pair = Pair(tmp_path, direct=True)
        pair.write("letter", "one")
        with pair.connect() as connection:
            assert isinstance(connection, DirectConnection)
            connection.reply = reply
            outcome = backup.Run(pair.config, pair.state, connection, QUIET, Staged()).carry_out()
        assert outcome.problems == []
        assert list(pair.state.signed()) == [outcome.record["generation"]]  # by the way that earlier versions know
        assert pair.check("full", "all").findings == []

    def test_a_disk_that_is_full_just_then_leaves_it_to_the_next_run_and_prunes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pair = Pair(tmp_path, keep_last=1, direct=True)
        pair.write("letter", "one")
        first = pair.backup()

        def full(*ignored: object) -> str:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patched, pair.connect() as connection:
            patched.setattr(signature, "keep", full)
            assert isinstance(connection, DirectConnection)
            connection.reply = b'{"signature": "x"}\n'
            outcome = backup.Run(pair.config, pair.state, connection, QUIET, Staged()).carry_out()
        assert outcome.pruned == [first]
        assert [problem.code for problem in outcome.problems] == ["unsigned"]
        assert list(pair.state.sealed())[-1] == outcome.record["generation"]
        pair.backup()
        assert pair.state.unsigned() == []

    @pytest.mark.parametrize("offered, times", [(False, 1), (True, 2)])
    def test_a_question_that_is_not_due_is_not_answered(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offered: bool, times: int
    ) -> None:
        pair = Pair(tmp_path, direct=True)
        pair.write("letter", "one")
        signatures: list[str] = []

        def ask(gate: Gate, record: Record) -> bool:
            for _ in range(times):
                wire.write_object(gate.answers, {"sign": record.text()})
            return True

        begin = Gate._begin
        monkeypatch.setattr(Gate, "_begin", lambda gate, asked: begin(gate, asked) | {"asks_for_signature": offered})
        monkeypatch.setattr(Gate, "_have_signed", ask)
        monkeypatch.setattr(Asked, "flag", lambda asked, name: name == "signs")
        monkeypatch.setattr(backup, "sign", lambda *given: signatures.append("x") or "x")
        with pytest.raises(IntegrityError, match="a signature that is not due"):
            pair.run()
        assert len(signatures) == times - 1

    def test_a_record_that_is_told_otherwise_afterwards_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pair = Pair(tmp_path, direct=True)
        pair.write("letter", "one")
        seal = Gate._seal

        def another(gate: Gate, asked: Asked) -> dict[str, Any]:
            result = seal(gate, asked)
            return result | {"record_text": result["record_text"].replace("}", " }")}

        monkeypatch.setattr(Gate, "_seal", another)
        with pytest.raises(IntegrityError, match="is not the one that this client signed"):
            pair.run()


# A server of the version before this one, as far as a client can see.
OLD_GATE = """
import sys
sys.path.insert(0, {scripts!r})
from sedai.core import wire
from sedai.core.errors import UsageError
from sedai.server import gate
new = gate.Gate
wire.until_end = lambda stream: stream
class Old(new):
    def _have_signed(self, record):
        return False
    def _sign(self, request):
        raise UsageError("The gate knows no 'sign'.")
    def _begin(self, request):
        answer = super()._begin(request)
        del answer["asks_for_signature"]
        return answer
    def _seal(self, request):
        answer = super()._seal(request)
        del answer["record_text"]
        return answer
    def _list(self, request):
        return super()._list(type(request)("list", {{}}))
gate.Gate = Old
import runpy
runpy.run_path({scripts!r} + "/sedai_gate.py", run_name="__main__")
"""


class TestHalfUpgraded:
    """One side knows signatures, the other does not."""

    @pytest.fixture
    def old_server(self, tmp_path: Path) -> Pair:
        pair = Pair(tmp_path)
        pair.write("letter", "one")
        self.new = (pair.root / "ssh").read_text()
        scripts = re.search(r"(\S+)/sedai_gate.py", self.new)
        assert scripts is not None
        (pair.root / "old_gate.py").write_text(OLD_GATE.format(scripts=scripts[1]))
        self.old = self.new.replace(scripts[0], f"{pair.root}/old_gate.py")
        (pair.root / "ssh").write_text(self.old)
        return pair

    def test_an_old_server(self, old_server: Pair) -> None:
        pair = old_server
        pair.backup()
        pair.backup()
        ended = pair.check("full", "all")
        assert (ended.findings, ended.record["unsigned"]) == ([], [])
        (pair.root / "ssh").write_text(self.new)
        pair.backup()
        ended = pair.check("full", "all")
        assert (ended.findings, len(ended.record["unsigned"])) == ([], 2)

    def test_a_server_that_has_forgotten_how(self, old_server: Pair) -> None:
        """Nobody takes signatures away from a client in silence."""
        pair = old_server
        (pair.root / "ssh").write_text(self.new)
        pair.backup()
        (pair.root / "ssh").write_text(self.old)
        [problem] = pair.run().problems
        assert problem.code == "unsigned" and "the server takes no signatures" in problem.detail
        assert pair.check("full", "all").findings == [
            "signature: the server: expected signatures, found a server that shows none (an earlier version of sedai?)"
        ]

    def test_a_server_that_forgets_in_the_middle_of_a_run(
        self, old_server: Pair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It reads until nothing more comes, and this client waits for a question: somebody has to give in."""
        pair = old_server
        (pair.root / "ssh").write_text(self.new)
        pair.backup()
        before_the_seal = self.new.replace("exec ", f'case "$1" in seal) exec {pair.root}/old "$@";; esac\nexec ')
        (pair.root / "ssh").write_text(before_the_seal)
        (pair.root / "old").write_text(self.old.replace("shift\n", ""))
        (pair.root / "old").chmod(0o700)
        monkeypatch.setattr(connection, "_PATIENCE_SECONDS", 1)
        [problem] = pair.run().problems
        assert problem.code == "unsigned"
        (pair.root / "ssh").write_text(self.new)
        assert pair.run().problems == []
        assert pair.check("full", "all").findings == []

    def test_an_old_client(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pair = Pair(tmp_path)
        pair.write("letter", "one")
        knows_no_question = property(lambda run: False, lambda run, offered: None)
        monkeypatch.setattr(backup.Run, "_asks_for_signature", knows_no_question, raising=False)
        monkeypatch.setattr(backup, "sign_pending", lambda *ignored: [])
        pair.backup()
        pair.backup()
        assert not any(pair.store.signature(generation).exists() for generation in pair.store.generations())
        assert pair.check("full", "all").findings == []


RECORD: dict[str, Any] = {"generation": "20260101T031500Z-000001", "entries": 3, "sources": ["/etc"], "client": "x"}


def test_a_record_is_signed_only_if_it_says_what_was_asked_for() -> None:
    assert backup._agreed(RECORD, {"entries": 3, "sources": ["/etc"]}) == "20260101T031500Z-000001"
    with pytest.raises(IntegrityError, match="entries 3, here 4; sources"):
        backup._agreed(RECORD, {"entries": 4, "sources": ["/home"]})
    for name in ("", "../../etc/passwd", None, "20260101T031500Z-000001/..", "latest"):
        with pytest.raises(IntegrityError, match="that it calls"):
            backup._agreed(RECORD | {"generation": name}, {})


def test_a_server_that_seals_something_else_gets_no_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(tmp_path)
    pair.write("letter", "one")

    def told_otherwise(record: dict[str, Any], expected: dict[str, Any]) -> str:
        return agreed(record | {"sources": ["/nothing"]}, expected)

    agreed = backup._agreed
    monkeypatch.setattr(backup, "_agreed", told_otherwise)
    with pytest.raises(IntegrityError, match="is not what this client had sealed: sources"):
        pair.run()
    assert pair.state.unsigned() == [] and pair.state.sealed() == {}


def test_answers_that_make_no_sense_are_none() -> None:
    assert tamper.shown([]) == []
    assert tamper.shown([{"generation": "x"}]) is None
    [shown] = tamper.shown([{"generation": "x", "record_bytes": None, "signature": None}]) or []
    memory = tamper.Memory({}, {"x": "5ha"})
    assert list(tamper.judge([shown], {}, memory, lambda record, signature: "")) == [
        Finding("signature", "x", "", "a signature of this client for its record", "none")
    ]


def test_a_connection_that_breaks_while_it_signs_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    pair.state.remember_unsigned("20260101T031500Z-000001", json.dumps(RECORD))

    def broken(*ignored: object) -> bool:
        raise ServerError("The server ended `sign` without an answer.")

    monkeypatch.setattr(signing, "_sign_one", broken)
    with pair.connect() as connection:
        problems = list(signing.sign_pending(connection, pair.state, pair.root / "key"))
    assert problems == [
        Problem("unsigned", b"", "20260101T031500Z-000001 could not be signed: The server ended `sign` without an answer. "
                                 "The next backup tries again.")
    ]  # fmt: skip


@pytest.mark.parametrize("how_many", [1, 2, 3])
def test_what_was_sealed_last_and_is_gone_is_told(tmp_path: Path, how_many: int) -> None:
    """A directory that was lost, another disk that is mounted: the next backup is whole, and would be all that is told."""
    pair = Pair(tmp_path, direct=True)
    pair.write("letter")
    names = [pair.backup() for _ in range(3)]
    for name in names[-how_many:]:
        shutil.rmtree(pair.store.directory(pair.store.find(name)))
    if how_many == len(names):
        shutil.rmtree(pair.store.root)
        pair.store.root.mkdir()
    [problem] = pair.run().problems
    assert problem.code == "gone"
    assert names[-1] in problem.detail and problem.detail.endswith(f"there are {len(names) - how_many}")
    assert pair.run().problems == []


def test_an_earlier_server_has_no_word_for_it(tmp_path: Path) -> None:
    pair = Pair(tmp_path, direct=True)
    pair.write("letter")
    names = [pair.backup() for _ in range(2)]
    shutil.rmtree(pair.store.directory(pair.store.find(names[-1])))
    shutil.rmtree(pair.store.root / "known")
    assert [str(one) for one in pair.check().findings] == [
        f"gone: {names[-1]}: expected the generation that was sealed last, found neither it nor a later one"
    ]
    pair.run()
    assert pair.check().findings == []


def test_what_is_no_base_any_more_and_is_there_is_not_gone(tmp_path: Path) -> None:
    pair = Pair(tmp_path, direct=True)
    pair.write("letter")
    pair.backup()
    pair.store.build_on_no_more(pair.store.find(pair.backup()))
    assert pair.run().problems == []


@pytest.mark.parametrize(
    ("sealed", "listed", "gone"),
    [
        ([], [], ""),
        (["20260101T000000Z-000003"], ["20260101T000000Z-000003"], ""),
        (["20260101T000000Z-000003"], ["20260102T000000Z-000004"], ""),  # another machine's, with a copy of this memory
        (["20260101T000000Z-000003"], ["20260105T000000Z-000002"], "20260101T000000Z-000003"),
        (["20260101T000000Z-000009", "20260102T000000Z-000001"], ["20260102T000000Z-000001"], ""),  # a new store
        (["20260101T000000Z-000003"], [], "20260101T000000Z-000003"),
        (["x"], ["y"], ""),
    ],
)
def test_what_counts_as_gone(sealed: list[str], listed: list[str], gone: str) -> None:
    assert tamper.gone(sealed, listed) == gone
