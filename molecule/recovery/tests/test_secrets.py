"""The passwords, of the mail account and of the databases, are where they are used and nowhere else in the whole lab."""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import CONFIGURATION, LAB, PROJECT, SCENARIO, Machine

from labkit import mail

SMTP = "rotated-83-somebody"
DATABASES = ("anybody-7391",)  # part of each password, that no quoting changes
PLACES = "/etc /home /opt /root /run /srv /tmp /usr/local /var"
ALLOWED = {
    "client": {
        f"{CONFIGURATION}/databases/tcp",
        f"{CONFIGURATION}/databases/vaulted",
        "/root/.my.cnf",
        "/root/.pgpass",
    },
    "server": {"/home/admin/.msmtprc"},
}


@dataclass(frozen=True)
class Seen:
    """What could be seen meanwhile: the playbook's words with ``--diff``, all command lines and environments."""

    playbook: str
    processes: str


def disguises(password: str) -> list[str]:
    """The forms in which a password could be seen."""
    plain = password.encode()
    # Wherever it begins in what was encoded: the characters at either end hang on what stands beside it.
    anywhere = (base64.b64encode(bytes(before) + plain).decode()[4 if before else 0 : -4] for before in range(3))
    return [password, base64.b64encode(plain).decode(), *anywhere]


@contextmanager
def watched(seen: set[bytes]) -> Iterator[None]:
    """Collect every command line and environment of this machine, those in the containers too."""
    stop = threading.Event()
    looks: Counter[str] = Counter()

    def look() -> None:
        while not stop.wait(0.001):
            running = [name for name in os.listdir("/proc") if name.isdigit()]
            for process in running:
                # Its command line is another after exec, so it is looked at for a while; then there is time for those that are new.
                if looks[process] < 200:
                    looks[process] += 1
                    for name in ("cmdline", "environ"):
                        with suppress(OSError):
                            seen.add(Path("/proc", process, name).read_bytes())
            for gone in looks.keys() - set(running):
                del looks[gone]

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def site(*arguments: str) -> str:
    """Run site.yml; returns its output."""
    program = Path(sys.executable).parent / "ansible-playbook"
    done = subprocess.run(
        [program, "-i", SCENARIO / "inventory", "site.yml", *arguments],
        cwd=PROJECT,
        env=os.environ | {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def seen(client: Machine, server: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """The password of the mail account is rotated, everything runs once, and an alert goes out."""
    provider = f"sedai-{LAB}-mail"
    secret = tmp_path_factory.mktemp("secret") / "vars.json"
    secret.write_text(json.dumps({"msmtp_password": SMTP}))
    processes: set[bytes] = set()
    mail.set_password(provider, SMTP)
    try:
        with watched(processes):
            said = site("--diff", "-vv", "--extra-vars", f"@{secret}")
            for _ in range(10):  # a dump of a small database is soon over
                client.backup()
                if all(any(dump in seen for seen in processes) for dump in (b"pg_dump", b"mariadb-dump")):
                    break
            client.program("check_backup_integrity.py", "--level", "full")
            client.program("restore_drill.py", "--files", "1", "--database", "tcp")
            server.run("/usr/local/lib/sedai/sedai_server.py watch; /usr/local/lib/sedai/sedai_server.py report")
            server.run("runuser -u admin -- /home/admin/scripts/send_alert_email.sh subject body")
        yield Seen(said, b"\n".join(processes).replace(b"\0", b" ").decode(errors="replace"))
    finally:
        mail.set_password(provider, mail.FIRST_PASSWORD)
        site("--limit", "server")


def test_the_rotation_was_seen(seen: Seen, server: Machine) -> None:
    assert SMTP in server.read("/home/admin/.msmtprc").decode()
    assert "changed=1" in seen.playbook or "changed=2" in seen.playbook
    for program in ("ansible-playbook", "backup_data.py", "pg_dump", "mariadb-dump", "msmtp", "sedai_server.py"):
        assert program in seen.processes, "the watching missed it"


@pytest.mark.parametrize("password", [SMTP, *DATABASES])
def test_no_process_and_no_playbook_shows_it(seen: Seen, password: str) -> None:
    for form in disguises(password):
        assert form not in seen.processes
        assert form not in seen.playbook


@pytest.mark.parametrize("password", [SMTP, mail.FIRST_PASSWORD, *DATABASES])
def test_no_file_of_a_host_has_it_but_those_that_are_for_it(
    seen: Seen, client: Machine, server: Machine, password: str
) -> None:
    forms = " ".join(f"-e {shlex.quote(form)}" for form in disguises(password))
    for machine in (client, server):
        listed = machine.run(f"grep -rlaF --devices=skip {forms} {PLACES} 2>/dev/null || true").split()
        assert set(listed) <= ALLOWED[machine.name]
        assert machine.run(f"journalctl --no-pager --output=cat | grep -cF {forms} || true").strip() == "0"
    wanted = {SMTP: (server, "/home/admin/.msmtprc"), DATABASES[0]: (client, f"{CONFIGURATION}/databases/tcp")}
    if password in wanted:  # what is not found where it is would not be found elsewhere
        machine, path = wanted[password]
        assert machine.run(f"grep -laF {forms} {path}").split() == [path]


# Of the checkout, the files that are for a password.
IN_CHECKOUT = {
    SMTP: {"tests/test_secrets.py"},
    DATABASES[0]: {
        "inventory/group_vars/backup_clients.yml",
        "prepare.yml",
        "tests/test_databases.py",
        "tests/test_secrets.py",
    },
}


@pytest.mark.parametrize("password", IN_CHECKOUT, ids=["mail", "databases"])
def test_nothing_of_it_stays_where_the_playbook_ran(seen: Seen, password: str) -> None:
    forms = [option for form in disguises(password) for option in ("-e", form)]
    # Of the home what was written since the lab began: all of it would take minutes.
    since = PROJECT / ".lab" / LAB / "ssh_config"
    elsewhere = [
        "-not",
        "-path",
        f"{PROJECT}/*",
        "-type",
        "f",
        "-newer",
        since,
        "-exec",
        "grep",
        "-laF",
        *forms,
        "{}",
        "+",
    ]
    searches = (
        ["grep", "-rlaF", "--devices=skip", "--exclude-dir=.venv", *forms, PROJECT],
        ["find", Path.home(), "-xdev", *elsewhere],
    )
    found = {
        line
        for search in searches
        for line in subprocess.run(search, capture_output=True, text=True, check=False).stdout.splitlines()
        if not line.endswith(".pyc")
    }
    # What is not found where it is would not be found elsewhere: the two sets are the same.
    assert found == {str(SCENARIO / name) for name in IN_CHECKOUT[password]}
