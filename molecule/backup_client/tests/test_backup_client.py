"""What the role makes of a machine of an ordinary account; there is no server in this scenario."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from conftest import PROJECT, Play
from testinfra.host import Host

HOME = "/home/person"
SCRIPTS = f"{HOME}/my project/scripts"
KNOWN_HOSTS = f"{HOME}/.ssh/sedai_known_hosts"
KEY = f"ssh-keygen -y -f {HOME}/.ssh/sedai_ed25519"


def person(client: Host, command: str) -> Any:
    """A shell command that the person runs."""
    return client.run(f"runuser -u person -- env HOME={HOME} sh -c {shlex.quote(command)}")


@pytest.fixture(scope="module")
def loaded(client: Host) -> dict[str, Any]:
    """The configuration as the programs read it."""
    script = (
        f"import sys, json, dataclasses; sys.path.insert(0, '{SCRIPTS}'); from sedai.client import config; "
        "print(json.dumps(dataclasses.asdict(config.load(None)), default=str))"
    )
    done = person(client, f"python3 -c {shlex.quote(script)}")
    assert done.rc == 0, done.stderr
    settings: dict[str, Any] = json.loads(done.stdout)
    return settings


class TestConfiguration:
    """The settings arrive in the programs, whatever characters they have."""

    def test_sources(self, loaded: dict[str, Any]) -> None:
        assert loaded["sources"] == [
            {
                "path": HOME,
                "exclude": ["*.tmp", 'a "quoted" \\ name', "世代 🗄", "# not a comment", "'''"],
                "one_filesystem": True,
            },
            {"path": "/srv/two words", "exclude": [], "one_filesystem": None},
        ]

    def test_the_rest(self, loaded: dict[str, Any]) -> None:
        assert (loaded["client"], loaded["language"]) == ("lap.top-1", "ja")
        assert loaded["server"]["port"] == 2222
        assert loaded["server"]["account"] == "keeper"
        assert loaded["server"]["ssh_options"] == ["ConnectTimeout=2"]
        assert loaded["backup"] == {
            "exclude": ["*.iso"],
            "before": ['echo "$HOME" >~/before # {{ kept }}'],
            "after": [],
            "one_filesystem": False,
            "bandwidth_limit_kib": 512,
            "idle_priority": True,
            "max_age_hours": 50,
            "accept_live": [],
        }
        assert loaded["drill"] == {"files": 200, "bytes": 1 << 30, "directory": "/var/tmp"}

    def test_it_is_private(self, client: Host) -> None:
        for path in (f"{HOME}/.config/sedai/client.toml", f"{HOME}/.ssh/sedai_ed25519"):
            assert (client.file(path).user, client.file(path).mode) == ("person", 0o600)

    def test_everything_is_the_person_s_and_nobody_else_may_write_it(self, client: Host) -> None:
        places = f"{HOME} /var/lib/sedai-client"
        assert int(client.check_output(f"find {places} | wc -l")) > 100
        assert client.check_output(f"find {places} ! -user person -o ! -type l -perm /022") == ""
        assert client.run("crontab -l -u root").rc == 1


class TestSsh:
    """The key and the server's host key."""

    def test_the_key_is_the_person_s(self, client: Host) -> None:
        key = client.check_output(KEY)
        assert key.startswith("ssh-ed25519 ")
        assert key.endswith(" sedai lap.top-1")

    def test_ssh_finds_the_host_key_under_its_name_and_port(self, client: Host) -> None:
        found = client.check_output(f"ssh-keygen -F '[server.example.com]:2222' -f {KNOWN_HOSTS}")
        assert "AAAAC3NzaC1lZDI1NTE5AAAAIB00000000" in found
        assert client.run(f"ssh-keygen -F server.example.com -f {KNOWN_HOSTS}").rc == 1

    @pytest.mark.parametrize("host, port, name", [
        ("192.168.7.1", 22, "192.168.7.1"),
        ("2001:db8::1", 2222, "[2001:db8::1]:2222"),
    ])  # fmt: skip
    def test_addresses(self, client: Host, play: Play, host: str, port: int, name: str) -> None:
        play({"backup_client_server_host": host, "backup_client_server_port": port})
        assert client.run(f"ssh-keygen -F {name} -f {KNOWN_HOSTS}").rc == 0

    def test_the_key_and_unseen_host_keys_stay(self, client: Host, play: Play) -> None:
        key = client.check_output(KEY)
        play({})
        known = client.file(KNOWN_HOSTS).content_string
        assert "changed=0" in play({"backup_client_server_host_keys": []})
        assert client.file(KNOWN_HOSTS).content_string == known
        assert client.check_output(KEY) == key

    def test_host_keys_that_were_never_seen_are_refused(self, client: Host, play: Play) -> None:
        client.run_expect([0], f"mv {KNOWN_HOSTS} {KNOWN_HOSTS}.away")
        try:
            assert "without --limit" in " ".join(play({"backup_client_server_host_keys": []}, expect=2).split())
        finally:
            client.run_expect([0], f"mv {KNOWN_HOSTS}.away {KNOWN_HOSTS}")


class TestPrograms:
    """They run as the person, from a directory with a blank, and fail clearly."""

    def test_the_crontab(self, client: Host) -> None:
        programs = ("backup_data.py", "check_backup_integrity.py", "restore_drill.py")
        backup, check, drill = (f"flock --shared --close '{SCRIPTS}' '{SCRIPTS}/{program}'" for program in programs)
        lines = [line for line in client.check_output("crontab -l -u person").splitlines() if line[0] != "#"]
        assert lines == [
            f"*/20 1-5,7 * * 1-5 {backup} --quiet --rehash 30",
            f"1 2 3 4 5 {check} --quiet",
            f"45 5 * * 0 {check} --level full --all --quiet",
            f"15 6 1 * * {drill} --quiet",
            f"@reboot sleep 120; {backup} --quiet --catch-up; {check} --quiet --catch-up; {drill} --quiet --catch-up",
        ]

    def test_a_line_of_the_crontab_runs_and_an_alert_is_kept(self, client: Host) -> None:
        line = client.check_output("crontab -l -u person").splitlines()[1]
        done = person(client, line.split(" ", 5)[5])
        assert done.rc == 3
        assert "Server.example.com" in done.stderr
        alerts = client.check_output(f"cat {HOME}/.local/state/sedai/alerts/*.json")
        assert "lap.top-1" in alerts
        assert client.file(f"{HOME}/before").content_string == f"{HOME}\n"

    def test_the_playbook_shows_the_words_and_fails(self, play: Play) -> None:
        output = " ".join(play({}, expect=2, playbook=PROJECT / "playbooks/backup.yml").split())
        assert "be reached as keeper@Server.example.com port 2222" in output
        assert "backup_data.py ended with 3: it was not done" in output

    def test_the_log_is_rotated(self, client: Host) -> None:
        client.run_expect([0], "logrotate --force /etc/logrotate.d/sedai-client-person")
        assert client.file(f"{HOME}/project/logs/sedai.log.1").user == "person"


class TestRefusals:
    """A wrong setting stops the role before anything is changed, and says what to do."""

    def test_all_problems_are_said_at_once(self, play: Play) -> None:
        wrong = {
            "backup_client_name": "Laptop",
            "backup_client_server_host": "-oProxyCommand=x",
            "backup_client_server_port": 0,
            "backup_client_sources": [{"path": "home"}, {"path": "/"}],
            "backup_client_backup_schedule": "@daily",
            "backup_client_check_schedule": "1 2 3 4",
            "backup_client_scripts_directory": "/x/100%",
            "backup_client_max_age_hours": 0,
        }
        output = play(wrong, expect=2)
        said = " ".join(output.split())
        for words in (
            "backup_client_name must be lower-case",
            "backup_client_server_host must be the name",
            "backup_client_server_port must be a port number",
            "home in backup_client_sources must be an absolute path",
            "/ in backup_client_sources must be an absolute path",
            "@daily must be five fields",
            "1 2 3 4 must be five fields",
            "/x/100% must be an absolute path, or start with ~/, without % and quotes",
            "backup_client_max_age_hours must be at least 1",
        ):
            assert words in said
        assert "changed=0" in output

    @pytest.mark.parametrize("variables, words", [
        ({"backup_client_sources": []}, "backup_client_sources is empty"),
        ({"backup_client_sources": [{"exclude": []}]}, "missing required arguments: path"),
        ({"backup_client_user": "nobody-here"}, "this machine has no such account"),
        ({"backup_client_language": "fr"}, "must be one of: en, ja"),
    ])  # fmt: skip
    def test_refused(self, play: Play, variables: dict[str, Any], words: str) -> None:
        output = play(variables, expect=2)
        assert words in " ".join(output.split())
        assert "changed=0" in output
