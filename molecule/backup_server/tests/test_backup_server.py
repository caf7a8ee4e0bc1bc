"""What the role makes of a machine: a store that a client reaches through the gate only."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Iterator

import pytest
from conftest import Play
from testinfra.host import Host

Ask = Callable[..., subprocess.CompletedProcess[str]]
LIBRARY = "/usr/local/lib/sedai"


def as_sedai(server: Host, command: str) -> int:
    """Exit status of a shell command that the store's account runs."""
    status: int = server.run(f"runuser -u sedai -- sh -c {shlex.quote(command)}").rc
    return status


class TestKey:
    """A key opens the gate, for its own client, and nothing else."""

    def test_the_gate_answers_in_the_client_s_name(self, alpha: Ask) -> None:
        answer = json.loads(alpha("status").stdout)["result"]
        assert (answer["client"], answer["generations"]) == ("alpha", 0)

    @pytest.mark.parametrize("command", ["", "id", "sh -c id", "scp -t /tmp", "internal-sftp", "status; id"])
    def test_nothing_else_is_run(self, alpha: Ask, command: str) -> None:
        done = alpha(command)
        assert done.returncode != 0
        assert "uid=" not in done.stdout

    def test_there_is_no_password(self, server: Host) -> None:
        assert server.check_output("getent shadow sedai").split(":")[1] == "*"

    @pytest.mark.parametrize("user, seconds", [("sedai", "15"), ("admin", "0")])
    def test_sshd_gives_a_vanished_client_up_and_leaves_others_alone(
        self, server: Host, user: str, seconds: str
    ) -> None:
        settings = server.check_output(f"sshd -T -C user={user},host=client,addr=10.0.0.1")
        assert f"\nclientaliveinterval {seconds}\n" in settings

    def test_an_alert_reaches_the_command(self, server: Host, alpha: Ask) -> None:
        request = json.dumps({"protocol": 1, "subject": "subject", "body": "世代\n"})
        assert json.loads(alpha("alert", request + "\n").stdout)["result"] == {"alert": "delivered"}
        assert server.file("/tmp/alert: subject").content_string == "世代\n"


class TestAccount:
    """Whoever gets hold of the account can change neither its keys nor its rules."""

    @pytest.mark.parametrize("command", [
        "echo x >>/var/lib/sedai/.ssh/authorized_keys",
        "mv /var/lib/sedai/.ssh /var/lib/sedai/.ssh2",
        "mkdir /var/lib/sedai/.config",
        "echo x >>/etc/sedai/server.toml",
        "mkdir /srv/sedai/gamma",
        "rmdir /srv/sedai/alpha",
        f"echo x >>{LIBRARY}/sedai_gate.py",
        f"touch {LIBRARY}/sedai/core/re.py",
    ])  # fmt: skip
    def test_it_can_t_change_its_bounds(self, server: Host, command: str) -> None:
        assert as_sedai(server, command) != 0

    def test_it_can_use_its_store(self, server: Host) -> None:
        assert as_sedai(server, "touch /srv/sedai/alpha/x && rm /srv/sedai/alpha/x") == 0

    @pytest.mark.parametrize("path", ["/srv/sedai", "/srv/sedai/alpha", "/etc/sedai/server.toml", "/var/log/sedai"])
    def test_others_see_nothing(self, server: Host, path: str) -> None:
        command = f"runuser -u nobody -- sh -c 'ls {path}/ || cat {path}'"
        assert server.run(command).rc != 0


class TestConfiguration:
    """The settings arrive in the programs."""

    def test_retention(self, server: Host) -> None:
        script = (
            f"import sys; sys.path.insert(0, '{LIBRARY}'); from sedai.server import config; loaded = config.load(None); "
            "print([[r.keep_last, r.keep_daily, r.keep_weekly, r.keep_monthly, r.guard_days] "
            "for r in map(loaded.retention_for, ['alpha', 'beta.example'])])"
        )
        assert json.loads(server.check_output(f"python3 -c {shlex.quote(script)}")) == [
            [3, 0, 0, 12, 1],
            [7, 0, 0, 0, 9],
        ]

    def test_the_log_is_rotated(self, server: Host, alpha: Ask) -> None:
        alpha("nonsense")  # the log has a line now
        server.run_expect([0], "logrotate --force /etc/logrotate.d/sedai-server")
        assert server.file("/var/log/sedai/server.log.1").user == "sedai"
        alpha("nonsense")
        assert "nonsense" in server.file("/var/log/sedai/server.log").content_string


CLIENTS = [{"name": "alpha", "public_key": ""}, {"name": "beta.example", "public_key": ""}]


class TestClients:
    """Clients that a run does not see stay; those that are gone lose their key, not their generations."""

    def test_an_unseen_client_keeps_its_key(self, play: Play, server: Host, alpha: Ask) -> None:
        keys = server.file("/var/lib/sedai/.ssh/authorized_keys").content_string
        assert "changed=1 " in play({"backup_server_clients": CLIENTS})  # alpha's own retention is gone
        assert server.file("/var/lib/sedai/.ssh/authorized_keys").content_string == keys
        assert alpha("status").returncode == 0

    def test_a_removed_client_loses_its_key_and_keeps_its_data(self, play: Play, server: Host, alpha: Ask) -> None:
        server.run_expect([0], "runuser -u sedai -- touch /srv/sedai/alpha/data")
        play({"backup_server_clients": CLIENTS[1:]})
        try:
            assert "Permission denied" in alpha("status").stderr
            assert server.file("/srv/sedai/alpha/data").exists
        finally:
            play({})


class TestEarlier:
    """What a run does not see, it takes from what an earlier one wrote, and only from that."""

    def test_an_unseen_alert_command_stays(self, play: Play, server: Host) -> None:
        command = "grep ^alert_command /etc/sedai/server.toml"
        before = server.check_output(command)
        assert "/tmp/alert" in before
        play({"backup_server_alert_command": None})
        assert server.check_output(command) == before

    def test_keys_that_can_t_be_read_are_not_taken_for_none(self, play: Play, server: Host) -> None:
        keys = "/var/lib/sedai/.ssh/authorized_keys"
        server.run_expect([0], f"mv {keys} {keys}.away && mkdir {keys}")
        try:
            assert "changed=0 " in play({"backup_server_clients": CLIENTS}, expect=2)
            assert server.check_output(f"ls {keys}") == ""
        finally:
            server.run_expect([0], f"rm -r {keys} && mv {keys}.away {keys}")


class TestAlertCommand:
    """An alert command that the account can't run is found out about now, not in the night of the failure."""

    @pytest.fixture
    def sender(self, server: Host) -> Iterator[str]:
        script, rule = "/usr/local/bin/send_alert_email.sh", "/etc/sudoers.d/test-alerts"
        server.run_expect([0], f"ln -s /usr/bin/true {script}; echo 'sedai ALL=(admin) NOPASSWD: {script}' >{rule}")
        yield script
        server.run_expect([0], f"rm -f {script} {rule}")

    def test_it_is_tried_as_the_account(self, play: Play, server: Host, sender: str) -> None:
        command = {"backup_server_alert_command": ["sudo", "-n", "-u", "admin", "--", sender]}
        try:
            play(command)
            server.run_expect([0], "rm /etc/sudoers.d/test-alerts")
            said = " ".join(play(command, expect=2).split())
            assert "sedai can't send alerts" in said
            assert "alert_mail_callers: [sedai]" in said
        finally:
            play({})


class TestSandbox:
    """A server without user namespaces is refused; going without the sandbox is chosen by hand."""

    @pytest.fixture
    def no_namespaces(self, server: Host) -> Iterator[None]:
        server.run_expect([0], "mv /usr/bin/bwrap /usr/bin/bwrap.away")
        script = r"#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
        server.run_expect([0], f'printf "{script}" >/usr/bin/bwrap && chmod 0755 /usr/bin/bwrap')
        yield
        server.run_expect([0], "mv /usr/bin/bwrap.away /usr/bin/bwrap")

    def test_it_is_refused_with_the_way_out(self, no_namespaces: None, play: Play) -> None:
        output = play({}, expect=2)
        assert "No permissions to create new namespace" in output
        assert 'backup_server_sandbox: "off"' in output
        assert "changed=0" in output

    def test_off_is_possible(self, no_namespaces: None, play: Play, server: Host) -> None:
        assert "changed=1 " in play({"backup_server_sandbox": "off"})
        assert 'sandbox = "off"' in server.file("/etc/sedai/server.toml").content_string


class TestLibrary:
    """What an earlier version deployed is taken away again, and what was changed by hand is mended."""

    def test_the_library_is_as_in_the_project(self, server: Host, play: Play) -> None:
        retired, foreign = f"{LIBRARY}/sedai/core/retired.py", f"{LIBRARY}/sedai/core/foreign.py"
        compiled = f"{LIBRARY}/sedai/core/__pycache__/retired.cpython-311.pyc"
        server.run_expect([0], f"mkdir -p {LIBRARY}/sedai/core/__pycache__; touch {retired} {foreign} {compiled}")
        server.run_expect([0], f"echo sedai/core/retired.py >>{LIBRARY}/.server.files")
        server.run_expect([0], f"echo '# evil' >>{LIBRARY}/sedai/__init__.py; chmod 0777 {LIBRARY}/sedai_gate.py")
        play({})
        assert not server.file(retired).exists and not server.file(compiled).exists
        assert server.file(foreign).exists
        assert "evil" not in server.file(f"{LIBRARY}/sedai/__init__.py").content_string
        assert server.file(f"{LIBRARY}/sedai_gate.py").mode == 0o755
        server.run_expect([0], f"rm {foreign}")

    def test_the_gate_finds_its_modules_compiled(self, server: Host, play: Play) -> None:
        server.run_expect([0], f"rm {LIBRARY}/sedai/server/__pycache__/gate.*.pyc")
        play({})
        asked = f"PYTHONDONTWRITEBYTECODE=1 python3 -v {LIBRARY}/sedai_gate.py --help"
        output = server.run_expect([0], f"runuser -u sedai -- sh -c '{asked}' 2>&1").stdout
        assert f"code object from {LIBRARY}/sedai/" not in output
        assert f".pyc matches {LIBRARY}/sedai/server/gate.py" in output


class TestRefusals:
    """A wrong setting stops the role before anything is changed, and says what to do."""

    def test_all_problems_are_said_at_once(self, play: Play) -> None:
        clients = [
            {"name": "Alpha", "public_key": ""},
            {"name": "../x", "public_key": ""},
            {"name": "twice", "public_key": ""},
            {"name": "twice", "public_key": ""},
            {"name": "lines", "public_key": "ssh-ed25519 AAAA\nssh-ed25519 AAAA"},
            {"name": "quota", "public_key": "", "quota_gib": 0},
            {"name": "options", "public_key": 'command="sh" ssh-ed25519 AAAA'},
        ]
        output = play(
            {"backup_server_clients": clients, "backup_server_store": "srv/sedai", "backup_server_keep_last": 0}
            | {"backup_server_reserve_percent": 100},
            expect=2,
        )
        said = " ".join(output.split())
        for words in (
            "Alpha in backup_server_clients is not",
            "../x in backup_server_clients is not",
            "a name twice",
            "lines in backup_server_clients has a public_key that is not one line",
            "options in backup_server_clients has a public_key that is not one line",
            "quota_gib in backup_server_clients must be at least 1",
            "must be an absolute path",
            "at least 1",
            "MiB left, less than the 100 % of backup_server_reserve_percent",
        ):
            assert words in said
        assert "changed=0" in output

    def test_an_unknown_sandbox_is_refused(self, play: Play) -> None:
        output = play({"backup_server_sandbox": "maybe"}, expect=2)
        assert "must be one of: require, off" in " ".join(output.split())
        assert "changed=0" in output
