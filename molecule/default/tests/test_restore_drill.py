"""The restore drill between real hosts. It runs after the end-to-end tests, which count generations from the first."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PROGRAMS, STORE, Client, wait_for
from testinfra.host import Host

PROJECT = Path(__file__).parents[3]
NewMail = Callable[[str], str]
ALL_FILES = ("--files", "100000")
RUNNING = "pgrep -f '[r]estore_drill.py'"
STATE = "/root/.local/state/sedai"
# A machine that runs other tests, too, may need as many seconds to get to the transfer.
PATIENCE = 120.0


def drill(client: Client, *arguments: str, expect: int = 0) -> dict[str, Any]:
    """Drill and return the run record."""
    output = client.program("restore_drill.py", "--json", *arguments, expect=expect)
    record: dict[str, Any] = json.loads(output.splitlines()[0])
    return record


def left(client: Client) -> list[str]:
    """What a drill left on the client: directories, and programs that work in them."""
    found = client.host.run("ls -d /var/tmp/sedai-drill-* 2>/dev/null; pgrep -ax rsync").stdout.split("\n")
    return [line for line in found if line]


@pytest.fixture
def backup(client: Client, data: str, hard_tree: str) -> dict[str, Any]:
    """A backup of everything there is now."""
    assert client.host.run(RUNNING).rc == 1, "a drill of an earlier test still runs"
    return client.backup()


@contextlib.contextmanager
def changed(server: Host, path: str, there: str, back: str) -> Iterator[None]:
    """Python statements that change a stored file, its times kept, and others that make it good again."""

    def run(statements: str) -> None:
        script = (
            f"import os; path = {path!r}; times = os.stat(path); {statements}; "
            "os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))"
        )
        server.run_expect([0], f"python3 -c {shlex.quote(script)}")

    run(there)
    try:
        yield
    finally:
        run(back)


@contextlib.contextmanager
def held(client: Client, server: Host, *arguments: str) -> Iterator[int]:
    """A drill in the middle of its transfer, held there by the server; its process."""
    # The first rsync that the server starts is stopped as soon as it is there.
    server.run_expect(
        [0], f"nohup timeout {PATIENCE} sh -c 'until pkill -STOP -x rsync; do sleep 0.005; done' >/dev/null 2>&1 &"
    )
    words = shlex.join([f"{PROGRAMS}/restore_drill.py", *ALL_FILES, *arguments])
    client.host.run_expect(
        [0], f"rm -f /root/drill.rc; (nohup {words} >/root/drill.out 2>&1; echo $? >/root/drill.rc) >/dev/null 2>&1 &"
    )
    try:
        wait_for("the server to hold it", lambda: "T" in server.run("ps -C rsync -o state=").stdout, PATIENCE)
        wait_for("the transfer", lambda: client.host.run("pgrep -x rsync").rc == 0)
        yield int(client.host.check_output("pgrep -of '[p]ython3 .*restore_drill.py'"))
    finally:
        server.run("pkill -CONT -x rsync")
        wait_for("the end of the drill", lambda: client.host.run(RUNNING).rc == 1, PATIENCE)
        wait_for("the end of the server's rsync", lambda: server.run("pgrep -x rsync").rc == 1)


def ended(client: Client) -> int:
    """The exit code of the drill that was held."""

    def code() -> str:
        written: str = client.host.run("cat /root/drill.rc").stdout
        return written.strip()

    return int(wait_for("its exit code", code, PATIENCE))


def test_everything_comes_back_and_nothing_is_left(client: Client, backup: dict[str, Any]) -> None:
    record = drill(client, *ALL_FILES)
    # All but the staging directory's, which are the canary's.
    canary = int(client.host.check_output("find /var/lib/sedai-client -type f -printf . | wc -c"))
    assert canary > 15
    assert record["files"] == backup["files"] - canary
    assert record["generation"] == backup["generation"]
    assert record["canary"] == {"unmade": [], "not_kept": []}
    assert record["remarks"] == []
    assert record["minutes"] > 0
    assert left(client) == []
    last = json.loads(client.host.check_output(f"tail -1 {STATE}/runs.jsonl"))
    assert (last["program"], last["exit"], last["seed"]) == ("drill", 0, record["seed"])


def test_the_sample_can_be_drawn_again(client: Client, backup: dict[str, Any]) -> None:
    one, again, other = (drill(client, "--files", "20", "--seed", seed) for seed in ("5", "5", "6"))
    assert one["files"] == other["files"] == 20
    assert one["bytes"] == again["bytes"] != other["bytes"]
    words = client.program("restore_drill.py", "--files", "20", "--seed", "5")
    assert "everything came back as it was." in words
    assert f"The same again: restore_drill.py --generation {backup['generation']} --seed 5 --files 20\n" in words


def test_a_rotten_file_is_found_and_mailed(
    client: Client, server: Host, data: str, backup: dict[str, Any], new_mail: NewMail
) -> None:
    stored = f"{STORE}/{backup['generation']}/tree{data}/7"
    flip = "f = open(path, 'r+b'); f.seek(3); b = f.read(1)[0]; f.seek(3); f.write(bytes([b ^ 1])); f.close()"
    with changed(server, stored, flip, flip):
        # Nothing but its bytes is different.
        assert client.check()["findings"] == []
        record = drill(client, *ALL_FILES, expect=1)
        assert any(f"{data}/7" in line for line in record["lines"])
        text = new_mail("restore drill found")
        assert f"{data}/7" in text
        assert "did not come back as it was" in text
    assert left(client) == []
    assert drill(client, *ALL_FILES)["canary"]["not_kept"] == []


def test_a_canary_that_lost_something_on_the_server_is_found_and_mailed(
    client: Client, server: Host, backup: dict[str, Any], new_mail: NewMail
) -> None:
    stored = f"{STORE}/{backup['generation']}/tree/var/lib/sedai-client/canary/xattr"
    lose = "os.removexattr(path, 'user.sedai.text')"
    with changed(server, stored, lose, "os.setxattr(path, 'user.sedai.text', b'value')"):
        record = drill(client, "--files", "1", expect=1)
        assert record["canary"]["not_kept"] == ["Extended attributes are not kept: xattr has lost its user.sedai.text."]
        assert "xattr has lost its user.sedai.text" in new_mail("restore drill found")
    assert drill(client, "--files", "1")["canary"]["not_kept"] == []


def test_a_second_one_says_who_drills(client: Client, server: Host, backup: dict[str, Any], new_mail: NewMail) -> None:
    with held(client, server) as process:
        assert f"pid {process} " in client.program("restore_drill.py", expect=3)
        assert f"pid {process} " in new_mail("restore drill could not run")
        assert client.program("restore_drill.py", "--catch-up") == ""
    drill(client, "--files", "1")  # it is over, so that the next one is mailed at once


def test_sigterm_leaves_nothing_and_is_mailed(
    client: Client, server: Host, backup: dict[str, Any], new_mail: NewMail
) -> None:
    with held(client, server) as process:
        assert len(left(client)) >= 2  # the directory, and rsync
        client.host.run_expect([0], f"kill -TERM {process}")
        assert ended(client) == 3
        assert left(client) == []
    assert "stopped by SIGTERM" in client.host.file("/root/drill.out").content_string
    assert "stopped by SIGTERM" in new_mail("restore drill could not run")


def test_the_next_drill_clears_away_what_a_killed_one_left(
    client: Client, server: Host, backup: dict[str, Any]
) -> None:
    with held(client, server) as process:
        client.host.run_expect([0], f"kill -KILL {process}")
        assert ended(client) == 137
        directory = next(line for line in left(client) if line.startswith("/"))
        assert client.host.file(f"{directory}/files").is_directory
        record = drill(client, "--files", "1")
        assert record["remarks"] == [f"{directory} was left by a drill that was killed; it is removed."]
        assert left(client) == []


def test_a_backup_at_the_same_time_is_not_disturbed_nor_disturbs(
    client: Client, server: Host, data: str, backup: dict[str, Any]
) -> None:
    while len(client.generations()) < 10:
        client.host.run_expect([0], f"date +%N > {data}/counter")
        client.backup()
    # The one that the next backup prunes: the first of the day stays.
    oldest = client.generations()[1]
    with held(client, server, "--generation", oldest):
        client.host.run_expect([0], f"date +%N > {data}/counter")
        record = client.backup()
        assert client.generations()[-1] == record["generation"]
        assert record["pruned"] == []
        server.run_expect([0], "pkill -CONT -x rsync")
        assert ended(client) == 0
    assert "everything came back as it was" in client.host.file("/root/drill.out").content_string
    client.host.run_expect([0], f"date +%N > {data}/counter")
    assert oldest in client.backup()["pruned"]


def test_what_was_done_this_month_is_not_caught_up(client: Client, backup: dict[str, Any]) -> None:
    drill(client, "--files", "1")
    records = client.host.file(f"{STATE}/runs.jsonl").content_string
    assert client.program("restore_drill.py", "--catch-up") == ""
    assert client.host.file(f"{STATE}/runs.jsonl").content_string == records


def test_the_playbook_shows_how_it_went(client: Client, backup: dict[str, Any]) -> None:
    done = subprocess.run(
        [
            *(Path(sys.executable).parent / "ansible-playbook", "-i", PROJECT / "molecule/default/inventory"),
            "playbooks/restore_drill.yml",
        ],
        cwd=PROJECT,
        env=os.environ | {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything came back as it was" in done.stdout
    assert "changed=0" in done.stdout
