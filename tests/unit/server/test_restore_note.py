"""RESTORE.txt names a file that is there, in commands that no shell takes for something else."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

import pytest

from sedai.core.generation import Record
from sedai.server import restore_note
from sedai.server.restore_note import Examples


def note(tree: str, paths: Iterable[bytes] = ()) -> str:
    """The text for a generation at ``tree`` that has files at ``paths``."""
    examples = Examples()
    for path in paths:
        examples.see(path + b"\tf\t1\n")
    return restore_note.text(RECORD, Path(tree), examples)


RECORD = Record("G", "c", "t0", "t1", 3, 2, 1, 0, 0, 0, "5ha", "", "", "1", ("/etc",))


@pytest.mark.parametrize(
    ("paths", "file"),
    [
        ([b"a/x", b"etc/hosts", b"z/y"], "etc/hosts"),
        ([b"top", b"a b/x", b"-a/x", b"a/$x", b"a/caf\xe9", b"home/x.txt", b"srv/y"], "home/x.txt"),
        ([b"a/\\n"], "etc/hosts"),
    ],
)
def test_the_example_is_a_plain_name_of_this_generation(paths: list[bytes], file: str) -> None:
    text = note("/srv/s/c/generations/G/tree", paths)
    assert f"root@THIS-SERVER:/srv/s/c/generations/G/tree/./{file} /root/restored/" in text
    assert f"/./{file.rpartition('/')[0]} /root/restored/" in text
    assert text.endswith("5ha\n")


def test_a_store_with_a_blank_in_its_name_is_quoted() -> None:
    text = note("/srv/my store/tree")
    commands = [line for line in text.splitlines() if line.startswith("    rsync")]
    assert len(commands) == 3
    assert all(len(shlex.split(command)) == 6 for command in commands)
    command = next(line for line in text.splitlines() if line.startswith("    ssh")).partition(" |")[0]
    assert shlex.split(" ".join(shlex.split(command)[2:])) == ["gzip", "-dc", "/srv/my store/manifest"]


def test_the_commands_for_databases_name_dumps_of_this_generation() -> None:
    staging = b"srv/staging/databases"
    dumps = [
        *(
            "far/other.dump",
            "far/other.json",
            "main/@globals.sql",
            "main/a%20b.dump",
            "main/a%20b.json",
            "main/shop.dump",
            "main/shop.json",
        ),
        *("wiki/@globals.sql", "wiki/pages.sql", "wiki/pages.json"),
    ]
    names = [b"home/databases/x/mine.sql", *(staging + b"/" + name.encode() for name in dumps)]
    text = note("/srv/s/tree", names)
    there = "/root/restored/srv/staging/databases"
    assert f"< {there}/main/shop.dump\n" in text and f"< {there}/main/@globals.sql\n" in text
    assert f"cat {there}/wiki/pages.sql;" in text and f"< {there}/wiki/@globals.sql\n" in text
    assert "/root/restored/var/lib/sedai-client/databases/notes/notes.json" in text
    assert "/tmp/restored" not in text
