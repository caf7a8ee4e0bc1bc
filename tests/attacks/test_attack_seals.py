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


LIES: dict[str, Callable[[Attacker], bytes]] = {
    "a name above": named(b"../notes"),
    "a name far above": named(b"../../../beta/generations/x"),
    "a name above in the middle": named(b"docs/../../notes"),
    "an absolute name": named(b"/etc/passwd"),
    "a name with an empty part": named(b"docs//notes"),
    "a name with a dot": named(b"./notes"),
    "an empty name": named(b""),
    "a name with NUL": named(b"docs/no\0tes"),
    "a name below a file": named(b"docs/letter/notes"),
    "a name below nothing": named(b"other/notes"),
    "a name that is escaped twice": named(b"docs\\\\n"),
    "a tab in a name": named(b"docs/a\tb"),
    "a name of 60,000 bytes": named(b"x" * 60_000),
    "a line of a megabyte": raw(b"+" + b"x" * (1 << 20) + b"\n"),
    "another mark": raw(b"*docs/notes\n"),
    "a removal above": raw(b"-../../x\n"),
    "a removal of the root": raw(b"-/\n"),
    "a removal of a dot": raw(b"-.\n"),
    "a removal of nothing": raw(b"-\n"),
    "a removal of what is not there": removing(b"docs/none"),
    "a removal of a directory only": removing(b"docs"),
    "another size": lying(b"docs/notes", size=1),
    "a negative size": lying(b"docs/notes", size=-1),
    "another digest": lying(b"docs/notes", xxh128=b"0" * 32),
    "no digest": lying(b"docs/notes", xxh128=b"-"),
    "another time": lying(b"docs/notes", mtime_ns=1),
    "a time beyond all": lying(b"docs/notes", mtime_ns=10**30),
    "another mode": lying(b"docs/notes", mode=0o4755),
    "another owner": lying(b"docs/notes", uid=4242),
    "a file said to be a directory": lying(b"docs/notes", kind="d"),
    "a file said to be a symlink": lying(b"docs/notes", kind="l", target=b"/etc/passwd"),
    "a file said to be a device": lying(b"docs/notes", kind="b", target=b"8,0"),
    "a file said to be a FIFO": lying(b"docs/notes", kind="p"),
    "a directory said to be a file": lying(b"docs", kind="f"),
    "a directory said to be a symlink": lying(b"docs", kind="l", target=b"/etc"),
    "twice the same": lambda attacker: wire.encode_change(attacker.change(b"docs")) * 2,
    "out of order": lambda attacker: b"".join(
        wire.encode_change(attacker.change(path)) for path in (b"docs/notes", b"docs/letter")
    ),
    "cut in a line": lambda attacker: attacker.changes()[:-5],
    "no line end": raw(b"+docs"),
    "NUL bytes": raw(b"\0" * 1000 + b"\n"),
    "JSON": raw(b'{"result":{}}\n'),
    "a manifest": raw(b"#sedai-manifest 1\n"),
}


@pytest.mark.parametrize("lie", LIES)
def test_changes_that_lie(attacker: Attacker, lie: str) -> None:
    generations = attacker.generations()
    attacker.put(FILES)
    assert attacker.push().returncode == 0
    done = attacker.seal(LIES[lie](attacker), ENTRIES)
    refused(done)
    assert "Traceback" not in done.stderr.decode()
    assert attacker.generations() == generations


@pytest.mark.parametrize(
    "lies",
    [
        *({"entries": count} for count in (0, -1, 3, 5, 10**30, "4 x", None)),
        *({"base": base} for base in ("", "../../beta", "latest", "{oldest}", "x" * 10_000)),
        {"base_manifest_sha256": "0" * 64},
        {"base_manifest_sha256": ""},
        {"sources": None},
    ],
)
def test_a_request_that_lies(attacker: Attacker, lies: dict[str, Any]) -> None:
    generations = attacker.generations()
    attacker.put(FILES)
    assert attacker.push().returncode == 0
    asked = {key: generations[0] if value == "{oldest}" else value for key, value in lies.items()}
    refused(attacker.seal(attacker.changes(), ENTRIES, asked))
    assert attacker.generations() == generations


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


def test_nothing_else_while_somebody_sends(attacker: Attacker) -> None:
    attacker.put(FILES)
    generations = attacker.generations()
    changes = attacker.changes() + wire.CHANGES_END
    attempts: dict[str, Callable[[], Done]] = {
        "seal": lambda: attacker.verb("seal", _request(attacker), changes),
        "begin": lambda: attacker.verb("begin", {"time": time.time()}),
        "send": lambda: attacker.ask(PUSH),
    }
    with Sending(attacker), ThreadPoolExecutor() as pool:
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


def test_seals_without_end_push_nothing_out(attacker: Attacker) -> None:
    protected = attacker.generations()[:2]
    for number in range(10):
        attacker.back_up({"docs/notes": b"garbage %d\n" % number})
        assert attacker.seal(b"", 2).returncode == 0  # and one with nothing new
    found = attacker.generations()
    assert found[:2] == protected
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
