"""Right answers become an inventory that works; wrong ones are refused with their remedy, and nothing is written."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from conftest import ANSWERS, ENVIRONMENT, LAB_DIRECTORY, PASSWORD, PROJECT, VPS, Configure, Terminal, playbook
from testinfra.host import Host

WRITTEN = LAB_DIRECTORY / "inventory"
FILES = {
    "hosts.yml",
    ".vault.yml",
    ".vault_password",
    "group_vars/all/configured.yml",
    "group_vars/backup_clients/configured.yml",
    "group_vars/backup_servers/configured.yml",
}


def run(*words: str) -> str:
    done = subprocess.run(words, cwd=PROJECT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


class TestWritten:
    """What the scenario's first run wrote; molecule has seen that a second one changes nothing."""

    def test_nobody_else_may_read_it(self) -> None:
        assert set(files(WRITTEN)) == FILES
        for path in (WRITTEN, *WRITTEN.rglob("*")):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path

    def test_the_secret_is_in_no_file_as_it_is(self) -> None:
        for name, content in files(WRITTEN).items():
            assert PASSWORD.encode() not in content, name
        assert files(WRITTEN)[".vault.yml"].startswith(b"$ANSIBLE_VAULT;1.1;AES256\n")

    def test_ansible_reads_the_answers(self) -> None:
        listed = json.loads(run("ansible-inventory", f"--inventory={WRITTEN}", "--list"))
        hosts = listed["_meta"]["hostvars"]
        assert listed["backup_servers"]["hosts"] == ["vps"]
        assert listed["backup_clients"]["hosts"] == ["laptop"]
        assert hosts["vps"]["ansible_host"] == VPS
        assert hosts["vps"]["ansible_port"] == 22
        assert hosts["vps"]["ansible_user"] == "admin"
        assert hosts["laptop"]["ansible_connection"] == "local"
        assert hosts["laptop"]["backup_client_sources"] == [{"path": "/etc"}, {"path": "/usr/share"}]
        assert hosts["laptop"]["backup_client_backup_schedule"] == "40 22 * * *"
        assert hosts["laptop"]["backup_client_check_schedule"] == "40 0 * * *"
        assert hosts["vps"]["alert_mail_recipients"] == ["user@example.com"]
        assert {hosts[host]["msmtp_port"] for host in hosts} == {587}

    def test_the_secret_comes_out_of_the_vault_by_itself(self) -> None:
        shown = run("ansible", f"--inventory={WRITTEN}", "vps", "--module-name=debug", "--args=var=msmtp_password")
        assert f"msmtp_password: {PASSWORD}" in shown
        viewed = run(
            "ansible-vault", "view", f"--vault-password-file={WRITTEN}/.vault_password", f"{WRITTEN}/.vault.yml"
        )
        assert json.loads(viewed)["smtp_password"] == PASSWORD

    def test_site_yml_is_all_that_is_left(self) -> None:
        assert "laptop" in run("ansible-playbook", f"--inventory={WRITTEN}", "site.yml", "--list-hosts")
        root = run("ansible", f"--inventory={WRITTEN}", "vps", "--become", "--module-name=command", "--args=id -u")
        assert root.splitlines()[-1] == "0"

    def test_settings_of_one_s_own_win(self, tmp_path: Path) -> None:
        shutil.copytree(WRITTEN, tmp_path / "inventory")
        (tmp_path / "inventory/group_vars/all/own.yml").write_text("---\nalert_mail_recipients: [other@example.com]\n")
        hosts = json.loads(run("ansible-inventory", f"--inventory={tmp_path}/inventory", "--list"))["_meta"]["hostvars"]
        assert hosts["vps"]["alert_mail_recipients"] == ["other@example.com"]


def mail_address(server: Host) -> str:
    """The provider by its number, for which its certificate is not made."""
    return str(server.check_output("getent hosts mail").split()[0])


@pytest.mark.usefixtures("accounts")
class TestRefused:
    """Without a person every wrong answer is named at once; the exit code is not 0, and nothing is written."""

    @pytest.mark.parametrize(
        ("wrong", "sentences"),
        [
            ({"vps_host": "nowhere.invalid"}, ["configure_vps_host: The name nowhere.invalid is not found"]),
            ({"vps_port": "23"}, ["configure_vps_port: Port 23 of", "does not answer"]),
            ({"vps_user": "nobody-we-know"}, ["configure_vps_user:", "lets no SSH key of yours in as nobody-we-know"]),
            ({"vps_user": "powerless"}, ["configure_vps_sudo_password: sudo wants a password"]),
            (
                {"vps_user": "powerless", "vps_sudo_password": "Wr0ng-one"},
                ["configure_vps_sudo_password: sudo refuses this password"],
            ),
            ({"smtp_host": "nowhere.invalid"}, ["configure_smtp_host: The VPS does not find the name nowhere.invalid"]),
            ({"smtp_port": "26"}, ["configure_smtp_port: The VPS does not reach port 26 of mail.example.com"]),
            ({"smtp_host": "MAIL"}, ["configure_smtp_port: The certificate of", "is not valid", "mismatch"]),
            (
                {"smtp_password": "Wr0ng-one"},
                ["configure_smtp_password: mail.example.com refuses the login of user@example.com: 535"],
            ),
            (
                # Several at once, and one of them is none at all.
                {
                    "sources": "/etc, /not/there",
                    "time": "25:00",
                    "name": "My Laptop",
                    "recipients": "x",
                    "smtp_address": "",
                },
                [
                    "configure_smtp_address: There is no answer",
                    "configure_smtp_password: This can't be tried before these are right: configure_smtp_address.",
                    "configure_recipients: x is no mail address",
                    "configure_sources: /not/there is not there",
                    "configure_name: My Laptop can't be a name",
                    "configure_time: 25:00 is no time of day",
                ],
            ),
            ({"language": "ja", "time": "25:00"}, ["configure_time: 25:00 は時刻ではありません"]),
        ],
        ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
    )
    def test_a_wrong_answer(
        self, server: Host, configure: Configure, wrong: dict[str, str], sentences: list[str]
    ) -> None:
        answers = {name: mail_address(server) if answer == "MAIL" else answer for name, answer in wrong.items()}
        output = configure(expect=2, **ANSWERS | answers)
        for sentence in sentences:
            assert sentence in output
        assert "Wr0ng" not in output
        assert not configure.inventory.exists()

    def test_without_answers_all_that_are_missing_are_named(self, configure: Configure) -> None:
        output = configure(expect=2)
        for name in ("vps_host", "vps_user", "smtp_host", "smtp_address", "smtp_password"):
            assert f"configure_{name}: " in output
        assert not configure.inventory.exists()

    def test_an_inventory_that_was_written_by_hand(self, configure: Configure) -> None:
        configure.inventory.mkdir()
        (configure.inventory / "hosts.yml").write_text("---\nall:\n")
        assert "was written by hand and stays as it is" in configure(expect=2, **ANSWERS)
        assert files(configure.inventory) == {"hosts.yml": b"---\nall:\n"}


def test_answers_come_from_the_environment_and_the_rest_from_a_file(configure: Configure) -> None:
    rest = {name: answer for name, answer in ANSWERS.items() if name not in ("vps_host", "smtp_password")}
    given = {"SEDAI_VPS_HOST": VPS, "SEDAI_SMTP_PASSWORD": "Wr0ng-one"}
    assert "configure_smtp_password: mail.example.com refuses the login" in configure(
        expect=2, environment=given, **rest
    )
    output = configure("-vvv", environment=given | {"SEDAI_SMTP_PASSWORD": PASSWORD}, **rest)
    assert PASSWORD not in output
    assert files(configure.inventory).keys() == FILES
    shown = run(
        "ansible", f"--inventory={configure.inventory}", "vps", "--module-name=debug",
        "--args=msg={{ ansible_host }}/{{ msmtp_password }}",
    )  # fmt: skip
    assert f"{VPS}/{PASSWORD}" in shown
    # What is in the file, or behind -e, is nearer.
    assert "The name nowhere.invalid is not found" in configure(
        expect=2, environment=given, **ANSWERS | {"vps_host": "nowhere.invalid"}
    )


@pytest.mark.usefixtures("accounts")
def test_a_password_for_sudo_works_and_is_seen_nowhere(configure: Configure) -> None:
    output = configure("-vvv", "--diff", **ANSWERS | {"vps_user": "guarded", "vps_sudo_password": "s3same open"})
    assert "changed=" in output
    for secret in (PASSWORD, "s3same open"):
        assert secret not in output
        assert all(secret.encode() not in content for content in files(configure.inventory).values())
    root = run(
        "ansible", f"--inventory={configure.inventory}", "vps", "--become", "--module-name=command", "--args=id -u"
    )
    assert root.splitlines()[-1] == "0"


def test_what_the_backups_need_is_said_where_ssh_goes_by_another_machine(configure: Configure) -> None:
    by_jump = {"ssh_arguments": f"{ANSWERS['ssh_arguments']} -J {VPS}", "vps_host": "server"}
    output = configure(**ANSWERS | by_jump)
    assert f'backup_client_ssh_options: ["ProxyJump={VPS}"]' in output
    assert f"{configure.inventory}/group_vars/backup_clients/own.yml" in output
    assert "別のマシンを経由" in configure(**ANSWERS | by_jump | {"language": "ja"})
    assert "backup_client_ssh_options" not in configure(**ANSWERS)


@pytest.mark.timeout(1800)  # two conversations, word by word
class TestFirstContact:
    """ssh has never seen the VPS: nothing is noted before a person, or the answers, have seen its host key."""

    @pytest.fixture
    def known_hosts(self, tmp_path: Path) -> Path:
        return tmp_path / "ssh/known_hosts"

    @pytest.fixture
    def stranger(self, tmp_path: Path, known_hosts: Path) -> str:
        """Arguments of an ssh that knows the way, and not the host."""
        there = (LAB_DIRECTORY / "ssh_config").read_text()
        config = tmp_path / "ssh_config"
        config.write_text(re.sub("UserKnownHostsFile .*", f"UserKnownHostsFile {known_hosts}", there))
        assert str(known_hosts) in config.read_text()
        return f"-F {config}"

    @pytest.fixture
    def fingerprint(self, server: Host) -> str:
        return server.check_output("ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub").split()[1]

    def test_the_fingerprint_that_was_given(
        self, configure: Configure, stranger: str, known_hosts: Path, fingerprint: str
    ) -> None:
        other = "SHA256:" + "x" * 43
        output = configure(expect=2, **ANSWERS | {"ssh_arguments": stranger, "vps_host_key": other})
        assert f"configure_vps_host_key: {VPS} shows the host key {fingerprint}, and {other} is not yes" in output
        assert "configure_vps_user: This can't be tried before these are right: configure_vps_host_key." in output
        assert not known_hosts.exists()
        configure(**ANSWERS | {"ssh_arguments": stranger, "vps_host_key": fingerprint})
        assert known_hosts.stat().st_mode & 0o777 == 0o600
        [line] = known_hosts.read_text().splitlines()
        assert line.split()[-1] in (LAB_DIRECTORY / "known_hosts").read_text()

    def test_without_an_answer_and_a_person_it_is_told(
        self, configure: Configure, stranger: str, known_hosts: Path, fingerprint: str
    ) -> None:
        output = configure(**ANSWERS | {"ssh_arguments": stranger})
        assert f"ssh knows {VPS} by the host key {fingerprint} from now on." in output
        assert known_hosts.exists()

    def test_a_key_that_changed(self, configure: Configure, stranger: str, known_hosts: Path) -> None:
        known_hosts.parent.mkdir()
        name = VPS if "HostKeyAlias" in (LAB_DIRECTORY / "ssh_config").read_text() else "*"
        key = (LAB_DIRECTORY / "id_ed25519.pub").read_text().split()[1]
        known_hosts.write_text(f"{name} ssh-ed25519 {key}\n")
        before = known_hosts.read_bytes()
        output = configure(expect=2, **ANSWERS | {"ssh_arguments": stranger, "vps_host_key": "yes"})
        assert f"configure_vps_host_key: {VPS} shows another host key than the one that ssh knows" in output
        assert known_hosts.read_bytes() == before

    def test_a_person_is_asked(self, tmp_path: Path, stranger: str, known_hosts: Path, fingerprint: str) -> None:
        with Terminal(
            playbook(tmp_path / "inventory", f"--extra-vars=configure_ssh_arguments='{stranger}'")
        ) as terminal:
            terminal.answer("Language", "")
            terminal.answer("address of your VPS", VPS)
            terminal.answer("Port of its SSH server", "")
            shown = re.escape(fingerprint)
            terminal.expect(f"it shows the host key {shown}")
            terminal.answer("Is that the host key", "no")
            terminal.expect(f"✗ {VPS} shows the host key {shown}, and no is not yes: nothing was noted")
            assert not known_hosts.exists()
            terminal.answer("Is that the host key", "yes")
            terminal.expect(f"ssh knows {VPS} by the host key {shown} from now on")
            terminal.expect("User you log in with there")
        assert known_hosts.exists()


def test_a_person_mends_a_wrong_answer_and_edits_later(tmp_path: Path) -> None:
    """At a terminal. Afterwards the same again: Enter keeps everything, the password too, and one answer is changed."""
    inventory = tmp_path / "inventory"
    command = playbook(inventory, f"--extra-vars=configure_ssh_arguments='{ANSWERS['ssh_arguments']}'")
    with Terminal(command) as terminal:
        terminal.answer("Language", "")
        terminal.answer("address of your VPS", "nowhere.invalid")
        terminal.expect("✗ The name nowhere.invalid is not found")
        terminal.answer("address of your VPS", VPS)
        terminal.answer("Port of its SSH server", "23")
        terminal.expect("✗ Port 23 of .* does not answer")
        terminal.answer(r"Port of its SSH server \[22\]", "")
        terminal.answer(r"User .* \[admin\]", "")
        terminal.answer("SMTP server", "mail")
        terminal.answer("Its port", "<")
        terminal.answer(r"SMTP server .* \[mail\]", "mail.example.com")
        terminal.answer(r"Its port .* \[587\]", "465")
        terminal.answer("mail address", "user@example.com")
        terminal.answer("Its password", "Wr0ng-one")
        terminal.expect("✗ mail.example.com refuses the login")
        terminal.answer("Its password", PASSWORD)
        terminal.answer(r"alerts .* \[user@example.com\]", "")
        terminal.answer(r"backed up .* \[/etc, /home\]", "/etc")
        terminal.answer("Name of this machine", "laptop")
        terminal.answer(r"Time .* \[03:15\]", "")
        terminal.expect("What is left: . .venv/bin/activate && ansible-playbook site.yml")
        terminal.expect("failed=0")
    assert PASSWORD not in terminal.seen
    assert "Wr0ng" not in terminal.seen
    before = files(inventory)
    assert set(before) == FILES

    with Terminal(command) as terminal:
        terminal.answer(r"Language .* \[en\]", "")
        for question in ("your VPS", "Port", "User", "SMTP server", "Its port"):
            terminal.answer(question, "")
        terminal.answer(r"mail address there \[user@example.com\]", "")
        terminal.answer(r"Its password .* \[Enter takes the one in use\]", "")
        terminal.answer("alerts", "")
        terminal.answer("backed up", "")
        terminal.answer(r"Name .* \[laptop\]", "")
        terminal.answer(r"Time .* \[03:15\]", "4:05")
        terminal.expect("changed=1 .*failed=0")
    after = files(inventory)
    assert {name for name in FILES if before[name] != after[name]} == {"group_vars/backup_clients/configured.yml"}
    assert b"backup_client_backup_schedule: 5 4 * * *\n" in after["group_vars/backup_clients/configured.yml"]
