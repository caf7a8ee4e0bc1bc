"""The server looks after its backups by itself, from cron, and what it finds reaches the alert command."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Callable

import pytest
from conftest import Play
from testinfra.host import Host

Ask = Callable[..., subprocess.CompletedProcess[str]]
STATE = "/var/lib/sedai/watch"
CRON = "/etc/cron.d/sedai-server"


def cron_line(server: Host, verb: str) -> str:
    """The command behind a verb's line, as cron gives it to a shell."""
    [line] = [line for line in server.file(CRON).content_string.splitlines() if f" {verb} " in line]
    match = re.fullmatch(r"(\S+ ){5}sedai (.*)", line)
    assert match is not None
    return match[2]


def run(server: Host, verb: str) -> None:
    """Run a cron line in an environment as bare as cron's."""
    bare = f"env -i HOME=/var/lib/sedai PATH=/usr/sbin:/usr/bin:/sbin:/bin /bin/sh -c {shlex.quote(cron_line(server, verb))}"
    server.run_expect([0], f"cd / && runuser -u sedai -- {bare}")


def watch_ran(alpha: Ask) -> float:
    answer: dict[str, float] = json.loads(alpha("status").stdout)["result"]
    return answer["watch_ran"]


def test_provisioning_has_watched_once(alpha: Ask) -> None:
    assert 0 <= time.time() - watch_ran(alpha) < 3600


def test_a_client_that_never_came_is_mailed(server: Host) -> None:
    server.run_expect([0], "rm -f /tmp/alert:*")
    run(server, "watch")
    assert server.run("ls /tmp/alert:*").rc != 0
    server.run_expect([0], f"sed -i -E 's/(\"alpha\": )[0-9.]+/\\11000.0/' {STATE}/watch.json")
    run(server, "watch")
    mail = server.file("/tmp/alert: [sedai] alpha: URGENT: there is no backup").content_string
    assert "Nothing of this machine is backed up." in mail
    assert "backup_data.py" in mail
    assert not server.file("/tmp/alert: [sedai] beta.example: URGENT: there is no backup").exists


@pytest.mark.parametrize("user", ["nobody", "admin"])
def test_nobody_else_can_say_that_the_watch_ran(server: Host, user: str) -> None:
    server.run_expect([1, 2], f"runuser -u {user} -- sh -c 'touch {STATE}/x'")
    server.run_expect([1, 2], f"runuser -u {user} -- sh -c 'echo >>{STATE}/watch.json'")
    assert server.file(STATE).mode == 0o700


def test_the_scrub_runs_at_idle_priority(server: Host) -> None:
    assert cron_line(server, "scrub").startswith("nice -n 19 ionice -c 3 ")
    run(server, "scrub")
    assert "sedai-server scrub: Read 0 files" in server.run("journalctl -q -t sedai").stdout
    assert server.file(f"{STATE}/scrub.json").user == "sedai"


def test_the_weekly_report_comes_when_all_is_well(server: Host) -> None:
    run(server, "report")
    [mail] = server.check_output("ls /tmp/alert:*weekly*").splitlines()
    body = server.file(mail).content_string
    assert "alpha: no generation" in body
    assert "Disk of /srv/sedai:" in body


def test_an_error_of_the_program_is_in_the_journal(server: Host) -> None:
    server.run_expect([0], "mv /etc/sedai/server.toml /etc/sedai/away.toml")
    try:
        run(server, "watch")
    finally:
        server.run_expect([0], "mv /etc/sedai/away.toml /etc/sedai/server.toml")
    said = server.run("journalctl -q -t sedai").stdout
    assert re.search(r"sedai-server watch: .*server\.toml is not there", said)


def test_cron_runs_it(server: Host, play: Play, alpha: Ask) -> None:
    """Nobody calls the watch here but cron."""
    try:
        play({"backup_server_watch_schedule": "* * * * *"})
        before = watch_ran(alpha)
        deadline = time.monotonic() + 80
        while watch_ran(alpha) == before:
            assert time.monotonic() < deadline, "cron did not run the watch"
            time.sleep(1)
    finally:
        play({})
