"""A peer that speaks rsync's protocol and lies in it: names that lead out, things in the way, bytes at random.

A real rsync sends; what stands between it and ssh changes its bytes on the way. Names keep their length, so that the
protocol stays whole and the receiver really gets to see them. rsync sends of a name only what differs from the one before.
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from attack_lab import STORE, Server
from attacker import CAPABILITIES, PUSH, Attacker

pytestmark = pytest.mark.usefixtures("unharmed")

# Two peers whose lists differ wait for each other: once the lie is told and nothing comes any more, that is the end.
_FORWARD = r"""
import os, random, select, subprocess, sys

def note(path, count):
    # rsync may end, and the count be read, at any moment: it is never seen half written
    open(path + ".new", "w").write(str(count))
    os.replace(path + ".new", path)

def forward(ssh_words, change, told):
    ssh = subprocess.Popen(ssh_words, stdin=subprocess.PIPE)
    os.close(1)  # only ssh has it now, and so its end is seen
    try:
        while True:
            if not select.select([0], [], [], 0.4)[0]:
                if told():
                    break
                continue
            chunk = os.read(0, 1 << 16)
            if not chunk:
                break
            ssh.stdin.write(change(chunk))
            ssh.stdin.flush()
        ssh.stdin.close()
    except BrokenPipeError:
        pass
    try:
        ssh.wait(2)
    except subprocess.TimeoutExpired:
        ssh.kill()
    sys.exit(ssh.wait())
"""
# usage: old new count-file ssh...; the words are hexadecimal
_REPLACE = (
    _FORWARD
    + r"""
old, new = map(bytes.fromhex, sys.argv[1:3])
count = 0

def change(chunk):
    global count
    count += chunk.count(old)
    note(sys.argv[3], count)
    return chunk.replace(old, new)

forward(sys.argv[4:], change, lambda: count)
"""
)
# usage: seed count-file ssh...; after the versions were exchanged one byte in fifty is another
_SPOIL = (
    _FORWARD
    + r"""
chance = random.Random(int(sys.argv[1]))
seen = 0

def change(chunk):
    global seen
    spoiled = bytearray(chunk)
    for place in range(len(spoiled)):
        if seen + place > 40 and chance.random() < 0.02:
            spoiled[place] = chance.randrange(256)
    seen += len(chunk)
    note(sys.argv[2], seen)
    return spoiled

forward(sys.argv[3:], change, lambda: seen > 40)
"""
)


def rewritten(attacker: Attacker, tmp_path: Path, old: bytes, new: bytes) -> int:
    """Send what is at the source with ``old`` replaced by ``new`` on the way; rsync's status. It must have been there."""
    assert len(old) == len(new)
    count = tmp_path / "count"
    done = attacker.push(through=_REPLACE, words=[old.hex(), new.hex(), str(count)])
    assert int(count.read_text()) > 0, done.stderr
    return done.returncode


def arrived(server: Server) -> str:
    """What is in the delta now, and what kinds of things."""
    return server.root(f"find {STORE}/alpha/incoming/delta -printf '%P %y\\n'")


NAMES = {
    "above": ({"aa/planted": b"x"}, b"aa", b".."),
    "far above": ({"aaaaaaaa/planted": b"x"}, b"aaaaaaaa", b"../../.."),
    "above, within": ({"docs/aa/planted": b"x"}, b"/aa", b"/.."),
    "far above, within": ({"docs/aaaaaaaa/planted": b"x"}, b"/aaaaaaaa", b"/../../.."),
    "absolute": ({"atmp/planted": b"x"}, b"atmp", b"/tmp"),
    "the base": ({"abase/planted": b"x"}, b"abase", b"/base"),
    "the base by the way of above": ({"aaaaaaa/planted": b"x"}, b"aaaaaaa", b"../base"),
    "a file above": ({"aaaplanted": b"x"}, b"aaaplanted", b"../planted"),
    "a file in the base": ({"aaaaaaaadocs": b"x"}, b"aaaaaaaadocs", b"../base/docs"),
    "through proc": ({"aaaaaaaaaaaaaa/x": b"x"}, b"aaaaaaaaaaaaaa", b"/proc/self/cwd"),
    "through a descriptor": ({"aaaaaaaaaaaaaaa/x": b"x"}, b"aaaaaaaaaaaaaaa", b"/proc/self/fd/0"),
    "usr": ({"aaaa/planted": b"x"}, b"aaaa", b"/usr"),
    "nothing": ({"a/planted": b"x"}, b"\x01a", b"\x00a"),
    "dots": ({"a/planted": b"x"}, b"\x01a", b"\x01."),
    "NUL in a name": ({"aaa/planted": b"x"}, b"aaa", b"a\0a"),
    "a newline in a name": ({"aaa/planted": b"x"}, b"aaa", b"a\na"),
}


@pytest.mark.parametrize("what", NAMES)
def test_a_name_leads_nowhere(attacker: Attacker, server: Server, tmp_path: Path, what: str) -> None:
    files, old, new = NAMES[what]
    attacker.put(files)
    rewritten(attacker, tmp_path, old, new)
    places = server.root(
        f"find / -xdev \\( -path /proc -o -path '{STORE}/alpha/incoming/delta' \\) -prune -o -name 'planted*' -print"
    )
    assert places == ""


def _symlink(place: Path) -> None:
    place.symlink_to("/base/docs")


def _symlink_above(place: Path) -> None:
    place.symlink_to("..")


def _fifo(place: Path) -> None:
    os.mkfifo(place)


def _file(place: Path) -> None:
    place.write_bytes(b"in the way")


def _socket(place: Path) -> None:
    here = Path.cwd()
    os.chdir(place.parent)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(place.name)
    os.chdir(here)


@pytest.mark.parametrize("first", [_symlink, _symlink_above, _fifo, _file, _socket])
@pytest.mark.parametrize("same_list", [True, False])
def test_a_file_below_what_is_no_directory(
    attacker: Attacker, server: Server, tmp_path: Path, first: Callable[[Path], None], same_list: bool
) -> None:
    """First something that is no directory, then a file below its name, in one list or in two transfers."""
    attacker.put({"docs/bbb/letter": b"planted\n"} if same_list else {})
    (attacker.root / "docs").mkdir(exist_ok=True)
    first(attacker.root / "docs/aaa")
    if not same_list:
        attacker.push()
        attacker.put({"docs/bbb/letter": b"planted\n"})
    rewritten(attacker, tmp_path, b"bbb", b"aaa")
    assert "planted" not in server.root(f"cat {STORE}/alpha/generations/*/tree/docs/letter")


def test_a_device_is_no_device(attacker: Attacker, server: Server) -> None:
    attacker.put({"docs/x": b""})
    device = attacker.root / "docs/disk"
    try:
        os.mknod(device, stat.S_IFBLK | 0o600, os.makedev(8, 0))
    except PermissionError:
        _fifo(device)
    assert attacker.push().returncode == 0
    assert "docs/disk f\n" in arrived(server)


def test_a_symlink_is_no_symlink(attacker: Attacker, server: Server) -> None:
    attacker.put({"docs/x": b""})
    (attacker.root / "docs/out").symlink_to("/base")
    assert attacker.push().returncode == 0
    assert "docs/out f\n" in arrived(server)


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o1777, 0o6777, 0o000])
def test_no_bit_is_stored_as_it_is(attacker: Attacker, server: Server, mode: int) -> None:
    """And what the honest client has with such a mode is sealed as ever."""
    attacker.put({"docs/x": b"x", "docs/d/y": b"y"})
    (attacker.root / "docs/x").chmod(mode)
    (attacker.root / "docs/d").chmod(mode | 0o700)
    assert attacker.push().returncode == 0
    found = server.root(f"find {STORE}/alpha/incoming/delta/docs -perm /7000")
    assert found == ""


@pytest.mark.parametrize("seed", range(8))
def test_bytes_at_random(attacker: Attacker, tmp_path: Path, seed: int) -> None:
    attacker.put({f"docs/{number}/{number}": os.urandom(300) for number in range(20)})
    count = tmp_path / "count"
    done = attacker.push(through=_SPOIL, words=[str(seed), str(count)])
    # Only a receiver that answered gets more than the versions.
    assert int(count.read_text()) > 40, done.stderr


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"\0" * 10_000,
        b"\xff" * 10_000,
        b"\x1f\0\0\0" + b"\xff\xff\xff\x07" * 1000,
        b"\x20\0\0\0" + b"\0\0\0\x07" * 1000,
        b"\x1e\0\0\0" + b"\xff\xff\xff\x7f" * 1000,
        b"@RSYNCD: 31.0\n\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("capabilities", [CAPABILITIES, ""])
def test_no_protocol_at_all(attacker: Attacker, stream: bytes, capabilities: str) -> None:
    done = subprocess.run(
        [*attacker.ssh_words, "server", PUSH.replace(CAPABILITIES, capabilities)],
        input=stream,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
