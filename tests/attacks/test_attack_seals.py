"""Seals that lie, seals at the wrong moment, seals without end, and garbage without end."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from attack_lab import STORE, Server
from attacker import PROTOCOL, PUSH, Attacker, Done, refused

from sedai.core import wire
from sedai.core.wire import Change

pytestmark = pytest.mark.usefixtures("unharmed")

FILES = {"docs/letter": b"dear all\n", "docs/notes": b"third\n", "docs/tool": b"#!/bin/sh\n"}
ENTRIES = 4


def raw(line: bytes) -> Callable[[Attacker], bytes]:
    """These bytes instead of the honest changes."""
    return lambda attacker: line


def lying(path: bytes, **lies: Any) -> Callable[[Attacker], bytes]:
    """The honest changes, one of them with lies."""

    def changes(attacker: Attacker) -> bytes:
        return b"".join(
            wire.encode_change(attacker.change(each, **(lies if each == path else {}))) for each in attacker.paths()
        )

    return changes


def named(name: bytes) -> Callable[[Attacker], bytes]:
    """A true file of the delta under a name that leads elsewhere, raw as on the wire."""

    def changes(attacker: Attacker) -> bytes:
        honest = wire.encode_change(attacker.change(b"docs/notes"))
        return honest.replace(b"docs/notes", name, 1)

    return changes


def removing(path: bytes) -> Callable[[Attacker], bytes]:
    """A removal after the honest changes."""
    return lambda attacker: wire.encode_change(Change(path, None))


DAMAGED, EARLY, ABSENT = "The list of changes is damaged at", "The list of changes ended early", "did not arrive"
# Each with the words in which it is refused.
LIES: dict[str, tuple[Callable[[Attacker], bytes], str]] = {
    "a name above": (named(b"../notes"), DAMAGED),
    "a name far above": (named(b"../../../beta/generations/x"), DAMAGED),
    "a name above in the middle": (named(b"docs/../../notes"), DAMAGED),
    "an absolute name": (named(b"/etc/passwd"), DAMAGED),
    "a name with an empty part": (named(b"docs//notes"), DAMAGED),
    "a name with a dot": (named(b"./notes"), DAMAGED),
    "an empty name": (named(b""), DAMAGED),
    "a name with NUL": (named(b"docs/no\0tes"), DAMAGED),
    "a name below a file": (named(b"docs/letter/notes"), f"docs/letter/notes {ABSENT}"),
    "a name below nothing": (named(b"other/notes"), f"other/notes {ABSENT}"),
    "a name that is escaped twice": (named(b"docs\\\\n"), f" {ABSENT}"),
    "a tab in a name": (named(b"docs/a\tb"), "A manifest line is damaged"),
    "a name of 60,000 bytes": (named(b"x" * 60_000), "File name too long"),
    "a line of a megabyte": (raw(b"+" + b"x" * (1 << 20) + b"\n"), EARLY),
    "another mark": (raw(b"*docs/notes\n"), DAMAGED),
    "a removal above": (raw(b"-../../x\n"), DAMAGED),
    "a removal of the root": (raw(b"-/\n"), DAMAGED),
    "a removal of a dot": (raw(b"-.\n"), DAMAGED),
    "a removal of nothing": (raw(b"-\n"), DAMAGED),
    "a removal of what is not there": (removing(b"docs/none"), "which the base does not have"),
    "a removal of a directory only": (removing(b"docs"), "does not lie in a directory"),
    "another size": (lying(b"docs/notes", size=1), "arrived with 6 bytes, "),
    "a negative size": (lying(b"docs/notes", size=-1), "arrived with 6 bytes, "),
    "another digest": (lying(b"docs/notes", xxh128=b"0" * 32), "arrived with 6 bytes and XXH128"),
    "no digest": (lying(b"docs/notes", xxh128=b"-"), "arrived with 6 bytes and XXH128"),
    "another time": (lying(b"docs/notes", mtime_ns=1), "arrived with mtime"),
    "a time beyond all": (lying(b"docs/notes", mtime_ns=10**30), "arrived with mtime"),
    "another mode": (lying(b"docs/notes", mode=0o4755), "the client has ('f', 2541, "),
    "another owner": (lying(b"docs/notes", uid=4242), ", 4242, "),
    "a file said to be a directory": (lying(b"docs/notes", xxh128=b"-", kind="d"), "arrived as ('f', "),
    "a file said to be a symlink": (
        lying(b"docs/notes", xxh128=b"-", kind="l", target=b"/etc/passwd"),
        "arrived as ('f', ",
    ),
    "a file said to be a device": (lying(b"docs/notes", xxh128=b"-", kind="b", target=b"8,0"), "arrived as ('f', "),
    "a file said to be a FIFO": (lying(b"docs/notes", xxh128=b"-", kind="p"), "arrived as ('f', "),
    "a directory said to be a file": (lying(b"docs", kind="f"), "arrived as ('d', "),
    "a directory said to be a symlink": (lying(b"docs", kind="l", target=b"/etc"), "arrived as ('d', "),
    "a FIFO with a digest": (lying(b"docs/notes", kind="p"), "is no file, so it has no digests"),
    "a file with a target": (lying(b"docs/notes", target=b"/etc/passwd"), "so it has no target"),
    "twice the same": (lambda attacker: wire.encode_change(attacker.change(b"docs")) * 2, "out of order"),
    "out of order": (
        lambda attacker: b"".join(
            wire.encode_change(attacker.change(path)) for path in (b"docs/notes", b"docs/letter")
        ),
        "out of order",
    ),
    "cut in a line": (lambda attacker: attacker.changes()[:-5], EARLY),
    "no line end": (raw(b"+docs"), EARLY),
    "NUL bytes": (raw(b"\0" * 1000 + b"\n"), DAMAGED),
    "JSON": (raw(b'{"result":{}}\n'), DAMAGED),
    "a manifest": (raw(b"#sedai-manifest 1\n"), DAMAGED),
}


@pytest.fixture(scope="module")
def _base(attacker: Attacker) -> None:
    """The lies are told of a change of these."""
    attacker.back_up(FILES)


@pytest.fixture
def sent(_base: None, attacker: Attacker) -> list[str]:
    """The same files anew are in the delta; the generations before that."""
    generations = attacker.generations()
    attacker.put(FILES)
    assert attacker.push().returncode == 0
    return generations


def test_honest_changes_are_sealed(attacker: Attacker, sent: list[str]) -> None:
    """Without this the lies would prove nothing."""
    done = attacker.seal(attacker.changes(), ENTRIES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert attacker.generations()[-1] not in sent


@pytest.mark.parametrize("lie", LIES)
def test_changes_that_lie(attacker: Attacker, sent: list[str], lie: str) -> None:
    changes, words = LIES[lie]
    done = attacker.seal(changes(attacker), ENTRIES)
    refused(done, words)
    assert "Traceback" not in done.stderr.decode()
    assert attacker.generations() == sent


COUNTS, NO_COUNT, OTHER_BASE = "The counts differ", "must be a whole number", "The newest generation changed"


@pytest.mark.parametrize(
    "lies, words",
    [
        *(({"entries": count}, COUNTS) for count in (0, 3, 5, 10**30)),
        *(({"entries": count}, NO_COUNT) for count in (-1, "4 x", None)),
        *(({"base": base}, OTHER_BASE) for base in ("", "../../beta", "latest", "{oldest}", "x" * 10_000)),
        ({"base_manifest_sha256": "0" * 64}, OTHER_BASE),
        ({"base_manifest_sha256": ""}, OTHER_BASE),
        ({"sources": None}, "must be a list of texts"),
    ],
)
def test_a_request_that_lies(attacker: Attacker, sent: list[str], lies: dict[str, Any], words: str) -> None:
    asked = {key: sent[0] if value == "{oldest}" else value for key, value in lies.items()}
    refused(attacker.seal(attacker.changes(), ENTRIES, asked), words)
    assert attacker.generations() == sent


class Sending:
    """A transfer that has begun and does not end."""

    def __init__(self, attacker: Attacker) -> None:
        self._process = subprocess.Popen(
            [*attacker.ssh_words, "server", PUSH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert len(self._process.stdout.read(4)) == 4  # the receiver is there and has said its version

    def __enter__(self) -> None:
        pass

    def __exit__(self, *ignored: object) -> None:
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
        self._process.kill()
        self._process.wait()


def test_nothing_else_while_two_send(attacker: Attacker) -> None:
    """As many as one run has; a key can't have a server work for any number."""
    attacker.put(FILES)
    generations = attacker.generations()
    changes = attacker.changes() + wire.CHANGES_END
    attempts: dict[str, Callable[[], Done]] = {
        "seal": lambda: attacker.verb("seal", _request(attacker), changes),
        "begin": lambda: attacker.verb("begin", {"time": time.time()}),
        "send": lambda: attacker.ask(PUSH),
    }
    with Sending(attacker), Sending(attacker), ThreadPoolExecutor() as pool:
        for done in [pool.submit(attempt) for attempt in attempts.values()]:
            refused(done.result(), "already running")
    assert attacker.generations() == generations


def test_a_seal_that_never_ends_its_request(attacker: Attacker) -> None:
    generations = attacker.generations()
    base = attacker.result("begin", {"time": time.time()})
    request = PROTOCOL | {key: base[key] for key in ("base", "base_manifest_sha256")} | {"entries": 4, "started": "",
                                                                                          "sources": []}  # fmt: skip
    process = subprocess.Popen([*attacker.ssh_words, "server", "seal"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    time.sleep(1)
    process.kill()
    process.communicate()
    assert attacker.generations() == generations


def test_what_seals_without_end_push_out(attacker: Attacker) -> None:
    """The first of each day stays; one that was made later on the same day goes. (Of many days: test_generation.py.)"""
    for number in range(2):  # whatever was made today before, the second is not the first of its day
        attacker.back_up({"docs/notes": b"honest %d\n" % number})
    before = attacker.generations()
    firsts = [name for place, name in enumerate(before) if name[:8] not in {other[:8] for other in before[:place]}]
    assert firsts[:2] == before[:2] and before[-1] not in firsts
    for number in range(10):
        attacker.back_up({"docs/notes": b"garbage %d\n" % number})
        assert attacker.seal(b"", 2).returncode == 0  # and one with nothing new
    found = attacker.generations()
    assert [name for name in found if name in before] == firsts
    assert len(found) == 10


@pytest.mark.parametrize("seconds", [-86400.0, 86400.0, 1e18, -1e18])
def test_a_wrong_clock_prunes_nothing_out(attacker: Attacker, seconds: float) -> None:
    protected = attacker.generations()[:2]
    attacker.result("begin", {"time": time.time() + seconds})
    for _ in range(2):
        assert attacker.verb("seal", _request(attacker), wire.CHANGES_END).returncode == 0
    assert attacker.generations()[:2] == protected


def _request(attacker: Attacker) -> dict[str, Any]:
    newest = attacker.result("list")["generations"][-1]
    return {
        "base": newest["generation"],
        "base_manifest_sha256": newest["manifest_sha256"],
        "entries": newest["entries"],
        "started": "",
        "sources": [],
    }


def test_a_stopped_pruning_is_no_way_to_fill_the_disk(attacker: Attacker, server: Server) -> None:
    """With a clock that is said to be wrong nothing is pruned: after twice ten generations one an hour is taken."""
    attacker.result("begin", {"time": time.time() + 86400})
    for _ in range(15):
        done = attacker.verb("seal", _request(attacker), wire.CHANGES_END)
        if done.returncode != 0:
            break
    refused(done, "one an hour is taken")
    assert len(attacker.generations()) == 21
    refused(attacker.verb("begin", {"time": time.time()}), "one an hour is taken")
    server.root("runuser -u sedai -- python3 /usr/local/lib/sedai/sedai_server.py prune")
    assert len(attacker.generations()) == 10
    attacker.result("begin", {"time": time.time()})


def test_a_wiped_source_freezes_and_only_the_server_releases(attacker: Attacker, server: Server) -> None:
    attacker.back_up({f"docs/{number:02}": b"%d\n" % number for number in range(30)})
    answer = attacker.back_up({"docs/00": b"0\n"})
    assert "29 of 30 files were removed" in answer["not_pruned"]
    assert "sedai_server.py release --client alpha" in answer["not_pruned"]
    for verb in ("release", "freeze", "prune"):
        refused(attacker.verb(verb, {"client": "alpha"}))
    assert server.root(f"cat {STORE}/alpha/frozen").count("29 of 30") == 1
    server.root("runuser -u sedai -- python3 /usr/local/lib/sedai/sedai_server.py release --client alpha")


def fill(server: Server, client: str, mebibytes: int) -> None:
    """Use up some of a client's quota."""
    server.root(f"runuser -u sedai -- fallocate -l {mebibytes}M {STORE}/{client}/incoming/delta/filler")


def test_garbage_ends_at_the_quota_while_it_is_sent(gamma: Attacker, server: Server) -> None:
    gamma.put({f"garbage/{number}": b"\xa5" * (1 << 20) for number in range(64)})
    gamma.result("begin", {"time": time.time()})
    fill(server, "gamma", 1000)
    done = gamma.push(through=SLOWLY)
    refused(done, "The quota of 1 GiB is used up")
    assert server.root(f"ls -A {STORE}/gamma/incoming/delta") == ""
    gamma.back_up({"secret/list": b"of gamma\n"})  # the honest client is not kept out


def test_one_file_beyond_the_quota(gamma: Attacker, server: Server) -> None:
    gamma.put({"garbage": b""})
    with (gamma.root / "garbage").open("wb") as stream:
        stream.truncate(100 << 20)  # a sparse file costs the sender nothing, and it would cost the receiver nothing
        stream.seek((100 << 20) - 1)
        stream.write(b"x")
    gamma.result("begin", {"time": time.time()})
    fill(server, "gamma", 1000)
    refused(gamma.push(), "File too large")
    assert int(server.root(f"du -sm {STORE}/gamma | cut -f1")) < 1100
    gamma.back_up({"secret/list": b"of gamma\n"})


def test_an_endless_list_of_changes(gamma: Attacker, server: Server) -> None:
    base = gamma.result("begin", {"time": time.time()})
    request = PROTOCOL | {key: base[key] for key in ("base", "base_manifest_sha256")} | {"entries": 4, "started": "",
                                                                                          "sources": []}  # fmt: skip
    fill(server, "gamma", 1010)
    done = gamma.ask("seal", json.dumps(request).encode() + b"\n" + b"+x" * (1 << 24))
    refused(done)
    assert server.root(f"ls {STORE}/gamma/incoming").count("changes") == 0
    gamma.back_up({"secret/list": b"of gamma\n"})


def test_a_full_quota_is_said_before_anything_is_sent(gamma: Attacker, server: Server) -> None:
    filler, usage = f"{STORE}/gamma/generations/.filler", f"{STORE}/gamma/usage"
    # What the last seal left running measures too, and would note its figure after this one was taken away.
    server.root("while pgrep -x -u sedai sedai-ahead >/dev/null; do sleep 0.1; done")
    server.root(f"fallocate -l 1100M {filler}; rm -f {usage}")
    try:
        refused(gamma.verb("begin", {"time": time.time()}), "The quota of 1 GiB is used up")
        refused(gamma.push(), "The quota of 1 GiB is used up")
    finally:
        server.root(f"rm -f {filler} {usage}")


# Stands between rsync and ssh, and lets eight MiB a second through: what takes long can be seen to be ended.
SLOWLY = """
import os, subprocess, sys, threading, time
ssh = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
os.close(1)

def copy():
    try:
        while chunk := os.read(0, 1 << 17):
            ssh.stdin.write(chunk)
            ssh.stdin.flush()
            time.sleep(1 / 64)
        ssh.stdin.close()
    except BrokenPipeError:
        pass

threading.Thread(target=copy, daemon=True).start()
os._exit(ssh.wait())
"""
