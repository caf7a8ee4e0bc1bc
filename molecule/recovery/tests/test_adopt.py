"""Everything on a new machine: the client is lost, another one takes its place, and everything comes back on it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import CONFIGURATION, PAGE, PROGRAMS, PROJECT, SCENARIO, STATE, STORE, Machine, Mailbox, wait_for

from labkit.system import podman

# Another client, which can't be reached while this one is replaced.
ELSEWHERE = "elsewhere"
KEYS = "/var/lib/sedai/.ssh/authorized_keys"
LOG = "/root/project/logs/sedai.log"
# What is brought back by name, with the server's own name of it.
DATABASES = {
    "main/shop": ("postgresql", "shop"),
    "main/emptyish": ("postgresql", "emptyish"),
    "wiki/wiki": ("mariadb", "wiki"),
    "wiki/small": ("mariadb", "small"),
    "notes": ("sqlite", "/srv/data/notes.sqlite"),
}
QUESTIONS = {
    "main/shop": """SELECT md5(string_agg(k::text, '|' ORDER BY "Kunden-Nr")), md5(string_agg(md5(lo_get(photo)), '|'))
                    FROM "Kunden ""A-Z\""" k""",
    "main/emptyish": "SELECT tableowner FROM pg_tables WHERE tablename = 'Empty'",
    "wiki/wiki": "SELECT MD5(GROUP_CONCAT(title, body, HEX(IFNULL(image, 'none')) ORDER BY id)) FROM pages WHERE id <= 4",
    "wiki/small": "SELECT SUM(n) FROM t",
    "notes": """SELECT count(*), sum(length(data)), max(text) FROM "the ""notes"" メモ\"""",
}

Adopt = Callable[..., str]


def ask(machine: Machine, name: str) -> str:
    """The answer of a database to its question."""
    kind, database = DATABASES[name]
    if kind == "sqlite":
        return machine.run(f"sqlite3 {database} {shlex.quote(QUESTIONS[name])}")
    asked = machine.postgresql if kind == "postgresql" else machine.mariadb
    return asked(database, QUESTIONS[name])


def tree(machine: Machine) -> str:
    """All files that are no database: type, mode, owner, time, name; then their digests."""
    found = "find /srv/data ! -name 'notes.sqlite*'"
    listed = machine.run(f"{found} -printf '%y %m %U:%G %T@ %p\\n' | sort")
    return listed + machine.run(f"{found} -type f -exec sha256sum {{}} + | sort")


@dataclass(frozen=True)
class Lost:
    """What the client was."""

    generations: list[str]
    tree: str
    rows: dict[str, dict[str, int]]
    answers: dict[str, str]


@pytest.fixture(scope="module")
def adopt(tmp_path_factory: pytest.TempPathFactory) -> Adopt:
    """Runs the playbook with an inventory that has these clients in it; returns its output."""

    def run(*arguments: str, clients: tuple[str, ...] = ("replacement",), expect: int = 0) -> str:
        inventory = tmp_path_factory.mktemp("inventory")
        (inventory / "group_vars").symlink_to(SCENARIO / "inventory/group_vars")
        hosts = {name: {"backup_client_name": name} if name == ELSEWHERE else None for name in clients}
        groups = {"backup_servers": {"hosts": {"server": None}}, "backup_clients": {"hosts": hosts}}
        (inventory / "hosts.yml").write_text(json.dumps(groups))
        # The lab has neither a vault nor a password for sudo.
        (command,) = PAGE["2. Give it the generations"]
        words = (
            command.replace("inventory/mine", str(inventory)).replace(" --ask-vault-pass --ask-become-pass", "").split()
        )
        done = subprocess.run(
            [Path(sys.executable).parent / words[0], *words[1:], *arguments],
            cwd=PROJECT,
            env=os.environ | {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def lost(client: Machine, replacement: Machine) -> Lost:
    """The client after its last backup: stopped for good. Its key is in the hands of somebody else."""
    client.backup()
    found = Lost(
        client.generations(),
        tree(client),
        {name: client.rows(*where) for name, where in DATABASES.items()},
        {name: ask(client, name) for name in DATABASES},
    )
    assert "letters" in found.tree
    # The fresh machine has servers, and nothing in them.
    names = "SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'"
    assert set(replacement.postgresql("postgres", names).split()) == {"postgres", "template0", "template1"}
    assert "wiki" not in replacement.mariadb(
        "mysql", "SELECT User FROM user UNION SELECT SCHEMA_NAME FROM information_schema.SCHEMATA"
    )
    for path in ("sedai_ed25519", "sedai_known_hosts"):
        replacement.write(f"/root/stolen_{path}", client.read(f"/root/.ssh/{path}"))
    podman("stop", "--time", "0", client.container)
    return found


def knock(machine: Machine, key: str) -> tuple[int, str]:
    """Exit code and words of the gate for a key."""
    command = f"ssh -F none -i {key} -o UserKnownHostsFile=/root/stolen_sedai_known_hosts -o BatchMode=yes sedai@server"
    done = machine.host.run(f"{command} status </dev/null 2>&1")
    return done.rc, done.stdout


@pytest.fixture(scope="module")
def other_key(server: Machine, client: Machine) -> str:
    """The line that lets the other client in; only an earlier run of site.yml has seen its key."""
    keys = server.read(KEYS).decode()
    own = next(line for line in keys.splitlines() if "--client client" in line)
    gate = own.partition(" ssh-ed25519 ")[0].replace("--client client", f"--client {ELSEWHERE}")
    key = " ".join(client.read("/etc/ssh/ssh_host_ed25519_key.pub").decode().split()[:2])
    line = f"{gate} {key} sedai {ELSEWHERE}"
    if line not in keys:
        server.write(KEYS, f"{keys}{line}\n".encode())
    return line


@pytest.fixture(scope="module")
def mails(mailbox: Mailbox, lost: Lost) -> set[str]:
    """The mails that were there before another machine took the place."""
    return mailbox.names()


@pytest.fixture(scope="module")
def adopted(adopt: Adopt, replacement: Machine, other_key: str, lost: Lost, mails: set[str]) -> str:
    """The output of the playbook. Cron backs up each minute from the moment that it can."""
    status, words = knock(replacement, "/root/stolen_sedai_ed25519")
    assert status == 0, words
    schedule = json.dumps({"backup_client_backup_schedule": "* * * * *"})
    return adopt("-e", "client=replacement", "-e", schedule, clients=(ELSEWHERE, "replacement"))


class TestRefusals:
    """What can't be taken over is refused before anything is changed, with the way out."""

    @pytest.mark.parametrize(
        ("arguments", "clients", "words"),
        [
            pytest.param((), ("client", "replacement"), "-e client=client", id="two machines"),
            pytest.param(("-e", "client=typo"), ("replacement",), "-e client=replacement", id="no such machine"),
            pytest.param(
                ("-e", "backup_client_name=nobody"), ("replacement",), "generations of: client.", id="no generations"
            ),
        ],
    )
    def test_nothing_is_changed(
        self, adopt: Adopt, server: Machine, replacement: Machine, arguments: tuple[str, ...],
        clients: tuple[str, ...], words: str,
    ) -> None:  # fmt: skip
        keys = server.read(KEYS)
        output = " ".join(adopt(*arguments, clients=clients, expect=2).split())
        assert words in output
        assert "nothing was changed" in output
        assert "changed=0" in output
        assert "changed=1" not in output
        assert server.read(KEYS) == keys
        assert not replacement.host.file(CONFIGURATION).exists


class TestNewMachine:
    """In this order, as a person does it."""

    def test_it_is_told_what_to_do_next(self, adopted: str, lost: Lost) -> None:
        commands = [
            *PAGE["3. Bring the files back"][:2],
            *PAGE["4. Bring the databases back"][:2],
            *PAGE["5. Let the backups go on"],
        ]
        for words in ("PAUSED", "restore --keep-existing /home /srv/data", *commands):
            assert words in adopted

    def test_the_old_key_opens_nothing_any_more(
        self, adopted: str, server: Machine, replacement: Machine, other_key: str
    ) -> None:
        status, words = knock(replacement, "/root/stolen_sedai_ed25519")
        assert status == 255
        assert "Permission denied" in words
        status, words = knock(replacement, "/root/.ssh/sedai_ed25519")
        assert status == 0, words
        keys = server.read(KEYS).decode().splitlines()
        assert sum("--client client" in line for line in keys) == 1
        assert keys.count(other_key) == 1

    def test_it_has_the_generations(self, adopted: str, replacement: Machine, lost: Lost) -> None:
        assert replacement.generations() == lost.generations

    def test_it_does_not_back_up(
        self, adopted: str, replacement: Machine, lost: Lost, mailbox: Mailbox, mails: set[str]
    ) -> None:
        words = replacement.program("backup_data.py", expect=2)
        assert "paused" in words
        assert lost.generations[-1] in words
        assert "backup_data.py --resume" in words
        # cron may have been first: the same again is not mailed.
        assert "--resume" in mailbox.wait("backups are paused", mails)
        # It would find the sources missing, and more.
        looked = replacement.program("backup_data.py", "--dry-run", expect=1)
        assert "Would send" in looked
        assert "Backups are paused" in looked
        assert replacement.generations() == lost.generations

    def test_files_come_back(self, adopted: str, replacement: Machine, lost: Lost) -> None:
        """By the page's own commands."""
        listing, beside, accounts, group, account, in_place = PAGE["3. Bring the files back"]
        assert lost.generations[-1] in replacement.run(listing)
        replacement.run(beside)
        assert replacement.read("/root/old-machine/etc/hostname").strip() == b"client"
        missing = [line[2:].split(":") for line in replacement.run(accounts, 1).splitlines() if line.startswith("> ")]
        people = {fields[0]: fields[2] for fields in missing if 1000 <= int(fields[2]) < 60000}
        assert people == {"writer": "1234"}
        for command in (group, account):
            replacement.run(command.replace("NUMBER", people["writer"]).replace("NAME", "writer"))
        assert not replacement.host.file("/home/writer").exists

        # What lets a person in on this machine, and on no other.
        keys = "/home/admin/.ssh/authorized_keys"
        replacement.run(f"echo '# of the new machine' >>{keys}")
        before = replacement.run(f"cat {keys}; stat -c '%a %U %Y' {keys} /home/admin/.ssh /home/admin")
        said = replacement.run(f"{in_place} 2>&1", 1)
        assert f"{keys} was there" in said
        assert replacement.run(f"cat {keys}; stat -c '%a %U %Y' {keys} /home/admin/.ssh /home/admin") == before
        assert replacement.run("stat -c '%U:%G' /home/writer /home/writer/.bashrc").split() == ["writer:writer"] * 2

        assert not replacement.host.file("/srv/data").exists
        replacement.run(in_place.replace("/home", "/srv/data"))
        assert tree(replacement) == lost.tree

    def test_databases_come_back(self, adopted: str, replacement: Machine, lost: Lost) -> None:
        which, *page = PAGE["4. Bring the databases back"]
        assert set(DATABASES) <= set(replacement.run(which).split())
        for command in page:
            replacement.run(command)
        done = [command.split()[-1] for command in page]
        assert done == ["main/@globals", "main/shop"]
        for name in ("wiki/@globals", *DATABASES):
            if name not in done:
                replacement.program("restore_data.py", "restore-db", name)
        for name, where in DATABASES.items():
            assert replacement.rows(*where) == lost.rows[name]
            assert ask(replacement, name) == lost.answers[name]
        # With the accounts, and with their passwords.
        app = b'[client]\nuser=wiki-app\npassword="lab-only\'s \\\\ \\"word\\""\n'
        replacement.write("/root/app.cnf", app)
        assert "pages" in replacement.run("mariadb --defaults-file=/root/app.cnf -e 'SHOW TABLES' wiki")
        owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'Lager'"
        assert replacement.postgresql("shop", owners) == "shop_owner"

    def test_cron_did_not_back_up_either(self, adopted: str, replacement: Machine, lost: Lost) -> None:
        assert f"* * * * * flock --shared --close {PROGRAMS} {PROGRAMS}/backup_data.py --quiet" in replacement.run(
            "crontab -l"
        )
        # One refusal was asked for by a test above.
        log = replacement.host.file(LOG)
        wait_for("a backup by cron", lambda: log.content_string.count("backup: exit 2") > 1, 75)
        assert replacement.generations() == lost.generations
        replacement.run("crontab -l | sed 's/^[*] [*] [*] [*] [*]/0 0 29 2 */' | crontab -")

    def test_it_goes_on_with_the_sequence(self, adopted: str, replacement: Machine, lost: Lost) -> None:
        assert PAGE["5. Let the backups go on"] == [f"{PROGRAMS}/backup_data.py --resume"]
        record: dict[str, Any] = replacement.backup("--resume")
        # The server may have pruned one meanwhile, and never the newest of the lost machine.
        *older, newest = replacement.generations()
        assert newest == record["generation"]
        assert older[-1] == lost.generations[-1]
        assert set(older) <= set(lost.generations)
        number = int(lost.generations[-1].rpartition("-")[2])
        assert record["generation"].endswith(f"-{number + 1:06d}")
        dumped = {database["name"]: database["rows"] for database in record["databases"]}
        assert {name: sum(rows.values()) for name, rows in lost.rows.items()}.items() <= dumped.items()
        replacement.program("check_backup_integrity.py", "--level", "full", "--all")
        assert replacement.backup()["generation"] == replacement.generations()[-1]

    def test_it_believes_what_the_old_machine_signed(
        self, adopted: str, server: Machine, replacement: Machine, lost: Lost
    ) -> None:
        """And nothing that somebody rewrote since."""

        def findings() -> list[dict[str, Any]]:
            said = replacement.program("check_backup_integrity.py", "--json", expect=1)
            found: list[dict[str, Any]] = json.loads(next(line for line in said.splitlines() if line[:1] == "{"))[
                "findings"
            ]
            return found

        own, old = replacement.read(f"{CONFIGURATION}/allowed_signers").decode().splitlines()
        assert replacement.read("/root/.ssh/sedai_ed25519.pub").decode().split()[1] in own
        assert replacement.run("ssh-keygen -y -f /root/stolen_sedai_ed25519").split()[1] in old
        name = lost.generations[-1]
        record = f"{STORE}/{name}/generation.json"
        genuine = server.read(record)
        forged = genuine.replace(b'"started": "2', b'"started": "1')
        assert forged != genuine
        server.run(f"cp -p {record} /root/record")
        server.write("/root/forged", forged)
        server.run(f"cat /root/forged > {record}")
        found = findings()
        assert [(one["code"], one["generation"]) for one in found] == [("signature", name)]
        # Nor somebody else's signature for it.
        server.run(
            "rm -f /root/forger*; ssh-keygen -q -t ed25519 -N '' -f /root/forger; "
            f"ssh-keygen -Y sign -q -f /root/forger -n sedai-generation < {record} > /root/forged.sig; "
            f"cp -p {record}.sig /root/genuine.sig; cat /root/forged.sig > {record}.sig"
        )
        [found] = findings()
        assert "which is not known here" in found["found"]
        server.run(f"cp -p /root/record {record}; cp -p /root/genuine.sig {record}.sig")
        replacement.program("check_backup_integrity.py", "--all")

    def test_the_playbook_does_not_pause_it_again(self, adopted: str, adopt: Adopt, replacement: Machine) -> None:
        output = adopt("-e", "client=replacement", clients=(ELSEWHERE, "replacement"))
        assert set(re.findall(r"changed=(\d+)", output)) == {"0"}
        assert "go on" in " ".join(output.split())
        assert not replacement.host.file(f"{STATE}/paused").exists
