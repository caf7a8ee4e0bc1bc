"""The snapshots of another program on the server become generations, by the playbook that a person calls."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from conftest import PROJECT, Play
from testinfra.host import Host

OLD = "/srv/rsnapshot"
STORE = "/srv/sedai/beta.example"
PLAYBOOK = PROJECT / "playbooks/import.yml"
WISH = {"client": "beta.example", "directory": OLD}


@pytest.fixture(scope="module", autouse=True)
def old(server: Host) -> Iterator[None]:
    """Two snapshots that only root can read, with a file in common."""
    server.check_output(
        f"mkdir -p {OLD}/daily.1/localhost/etc && cd {OLD}/daily.1/localhost/etc && echo one >letter && echo two >diary && "
        f"chown 1234:4321 letter && chmod 0640 letter && mkfifo fifo && cp -al {OLD}/daily.1 {OLD}/daily.0 && "
        f"cd {OLD}/daily.0/localhost/etc && rm diary && echo three >diary && chmod 0700 {OLD} && "
        f"touch -d '2 days ago' {OLD}/daily.1 && touch -d '1 day ago' {OLD}/daily.0"
    )
    yield
    server.check_output(f"rm -rf {OLD} {STORE} && install -d -o sedai -g sedai -m 0700 {STORE}")


def counts(output: str) -> dict[str, int]:
    """The figures of Ansible's recap."""
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", output)}


def generations(server: Host) -> list[str]:
    return str(server.run(f"ls {STORE}/generations").stdout).split()


def test_check_mode_says_what_would_be_done(server: Host, play: Play) -> None:
    output = play(WISH, 0, PLAYBOOK, "--check")
    assert "to import: daily.1 of" in output and "to import: daily.0 of" in output
    assert counts(output)["changed"] == 0
    assert generations(server) == []


def test_where_the_files_were_can_be_said(server: Host, play: Play) -> None:
    server.check_output(
        "mkdir -p /mnt/backup/2026-01-10-031500/user && echo one >/mnt/backup/2026-01-10-031500/user/letter"
    )
    output = play(WISH | {"directory": "/mnt/backup", "below": "/home"}, 0, PLAYBOOK, "--check")
    server.check_output("rm -r /mnt/backup")
    assert "to import: 2026-01-10-031500 of" in output and "/home is put before them" in output


def test_they_become_generations(server: Host, play: Play) -> None:
    before = server.check_output(f"find {OLD} -printf '%p %i %m %U %G %T@ %A@ %C@\n' | sort")
    output = play(WISH, 0, PLAYBOOK)
    assert "imported daily.1 as" in output and counts(output)["changed"] == 1
    older, newer = generations(server)
    assert server.check_output(f"find {STORE} ! -user sedai") == ""
    trees = [f"{STORE}/generations/{name}/tree/etc" for name in (older, newer)]
    assert server.check_output(f"stat -c %i {trees[0]}/letter") == server.check_output(f"stat -c %i {trees[1]}/letter")
    assert server.check_output(f"cat {trees[0]}/diary {trees[1]}/diary").split() == ["two", "three"]
    assert "100640 0,0 1234:4321" in server.check_output(
        f'python3 -c \'import os; print(os.getxattr("{trees[1]}/letter", "user.rsync.%stat").decode())\''
    )
    assert server.check_output(f"find {OLD} -printf '%p %i %m %U %G %T@ %A@ %C@\n' | sort") == before
    assert counts(play(WISH, 0, PLAYBOOK))["changed"] == 0
    assert generations(server) == [older, newer]


@pytest.mark.parametrize(
    "wish, words",
    [
        ({"client": "gamma", "directory": OLD}, "one of its clients (alpha, beta.example)"),
        ({"client": "beta.example", "directory": "rsnapshot"}, "the directory of the snapshots"),
        ({"client": "beta.example", "directory": "/etc"}, "There is no snapshot in /etc"),
    ],
)
def test_what_can_t_be_done_is_said(play: Play, wish: dict[str, str], words: str) -> None:
    assert words in " ".join(play(wish, 2, PLAYBOOK).split())
