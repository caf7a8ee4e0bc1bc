"""An alert reaches the person as it was written, and none is lost. The tests run in this order: cron needs a minute."""

from __future__ import annotations

import os
import subprocess
import time

import pytest
from conftest import HOME, PROJECT, SCENARIO, SCRIPT, SPOOL, Provider, Server


def test_the_server_was_provisioned_the_hard_way(server: Server) -> None:
    """Over IPv6 and another port, by a jump host, with a password for sudo."""
    server.host.check_output("journalctl --no-pager --unit ssh | grep 'Accepted publickey for admin from fd5e:'")
    assert "a password is required" in server.as_user("sudo -n true").stderr
    assert ":2222 " in server.host.check_output("ss -Hltn6")
    assert ":22 " not in server.host.check_output("ss -Hltn6")


def test_an_alert_waits_while_the_provider_is_away(server: Server, alert_in_outage: str) -> None:
    for path, mode in ((SPOOL, 0o700), (f"{SPOOL}/queue", 0o700), (f"{SPOOL}/queue/{server.waiting()[0]}", 0o600)):
        assert (server.host.file(path).user, server.host.file(path).mode) == ("admin", mode)


def test_the_call_of_the_seed(server: Server, provider: Provider) -> None:
    subject = "[TEST] Backup Alert Test"
    body = "This is a test email from VPS backup alert system."
    done = server.alert(subject, body)
    assert done.stdout.count("The provider took the mail for") == 2
    for local_part in ("user", "second"):
        message = provider.wait(subject, local_part)
        assert message.get_content() == f"{body}\n"
        assert str(message["From"]) == '"sedai (server)" <user@example.com>'
        assert str(message["To"]) == f"{local_part}@example.com"


@pytest.mark.parametrize(
    ("subject", "body"),
    [
        ("バックアップ失敗: 世代が作れませんでした、前回の成功は2026年11月23日", "本文です。\n二行目、絵文字 🗄️\n"),
        ("$HOME `id` \"quotes\" 'single' \\ %s", ".\n..\nFrom the start\n" + "x" * 3000 + "\n"),
        ("長い件名" * 30, "\n\nblank lines around\n\n"),
    ],
)
def test_text_arrives_as_it_was_written(server: Server, provider: Provider, subject: str, body: str) -> None:
    server.alert(subject, body)
    assert provider.wait(subject).get_content() == body


def test_the_body_comes_from_stdin(server: Server, provider: Provider) -> None:
    server.alert("body from stdin", stdin="一行目\n二行目\n")
    assert provider.wait("body from stdin").get_content() == "一行目\n二行目\n"


def test_a_newline_adds_no_header(server: Server, provider: Provider) -> None:
    server.alert("innocent\nBcc: other@example.com\r\nX-Evil: yes\n\nbody", "real body")
    message = provider.wait("innocent Bcc: other@example.com X-Evil: yes body")
    assert message["Bcc"] is None
    assert message["X-Evil"] is None
    assert message.get_content() == "real body\n"
    assert provider.mails(str(message["Subject"]), "other") == []


@pytest.mark.parametrize("words", [(), ("",), ("a", "b", "c"), ("--flsh",)])
def test_wrong_usage(server: Server, words: tuple[str, ...]) -> None:
    assert "usage:" in server.alert(*words, expect=64).stderr


def test_wrong_configuration(server: Server, configuration: str) -> None:
    server.host.run_expect([0], f"sed -i 's/^recipients.*/recipients = []/' {configuration}")
    assert "nobody would get an alert" in server.alert("x", "y", expect=78).stderr


def test_a_bad_address_stops_nobody_else(server: Server, provider: Provider, configuration: str) -> None:
    recipients = 'recipients = ["nobody@example.net", "user@example.com"]'
    server.host.run_expect([0], f"sed -i 's/^recipients.*/{recipients}/' {configuration}")
    done = server.alert("one bad address", "x", expect=75)
    assert "The provider took the mail for user@example.com." in done.stdout
    assert "nobody@example.net" in done.stderr
    provider.wait("one bad address")
    waiting = [
        name for name in server.waiting() if "nobody@" in server.host.file(f"{SPOOL}/queue/{name}").content_string
    ]
    assert len(waiting) == 1
    server.host.run_expect([0], f"rm {SPOOL}/queue/{waiting[0]}")


def test_a_caller_may_run_exactly_the_script(server: Server, provider: Provider, caller: str) -> None:
    call = f"printf 'from the gate\\n' | sudo -n -u admin -- {SCRIPT} 'called by sudo'"
    done = server.as_user(call, user=caller)
    assert done.rc == 0, done.stderr
    assert provider.wait("called by sudo").get_content() == "from the gate\n"


@pytest.mark.parametrize(
    "command",
    [
        "sudo -n -u admin -- /bin/sh -c id",
        f"sudo -n -u root -- {SCRIPT} x y",
        f"sudo -n -- {SCRIPT} x y",
        f"sudo -n -u admin PYTHONPATH=/tmp -- {SCRIPT} x y",
    ],
)
def test_a_caller_may_run_nothing_else(server: Server, caller: str, command: str) -> None:
    done = server.as_user(command, user=caller)
    assert done.rc == 1
    assert "sudo:" in done.stderr


def test_the_caller_s_environment_changes_nothing(server: Server) -> None:
    """A module of the caller's is not loaded, by PYTHONPATH or by the working directory."""
    planted = "open('/tmp/evil/loaded', 'w')"
    server.host.run_expect([0], f'mkdir -p /tmp/evil && echo "{planted}" >/tmp/evil/email.py && chmod 777 /tmp/evil')
    done = server.as_user(f"cd /tmp/evil && PYTHONPATH=/tmp/evil PYTHONSTARTUP=/tmp/evil/email.py {SCRIPT} --list")
    assert done.rc == 0, done.stderr
    assert not server.host.file("/tmp/evil/loaded").exists


def test_killed_while_sending_nothing_is_lost(server: Server, provider: Provider) -> None:
    subject = "killed while sending"
    provider.host.run_expect([0], "pkill --signal STOP master; pkill --signal STOP smtpd; true")
    try:
        before = len(server.waiting())
        started = server.as_user(f"setsid {SCRIPT} '{subject}' x >/dev/null 2>&1 & echo $!")
        deadline = time.monotonic() + 10
        while len(server.waiting()) < before + 2:
            assert time.monotonic() < deadline, "nothing was spooled"
            time.sleep(0.1)
        assert server.host.run("pgrep --exact msmtp").rc == 0, f"not sending: {started.stdout}"
        server.host.run_expect(
            [0], "pkill --signal KILL --full '[s]end_alert_email.py'; pkill --signal KILL --exact msmtp; true"
        )
    finally:
        provider.host.run_expect([0], "pkill --signal CONT master; pkill --signal CONT smtpd; true")
    assert len(server.waiting()) >= before + 2
    # Once by hand or by cron, whoever comes first; never twice.
    server.as_user(f"{SCRIPT} --flush")
    for local_part in ("user", "second"):
        provider.wait(subject, local_part)


def test_logs_are_private_and_are_rotated(server: Server) -> None:
    log = server.host.file(f"{HOME}/logs/alert_mail.log")
    assert (log.user, log.mode) == ("admin", 0o600)
    assert "delivered to user@example.com" in log.content_string
    done = server.host.run("logrotate --force /etc/logrotate.d/sedai-alert-mail")
    assert done.rc == 0, done.stderr
    assert server.host.file(f"{HOME}/logs/alert_mail.log.1.gz").size > 0
    assert server.host.file(f"{HOME}/logs/alert_mail.log").mode == 0o600
    assert server.host.run("logrotate --debug /etc/logrotate.conf").stderr.count("error:") == 0


def test_root_sends_as_the_person(server: Server, provider: Provider) -> None:
    """`sudo ~/scripts/send_alert_email.sh`: what waits is the person's, so that cron's flush can read it."""
    with provider.away():
        done = server.host.run(f"{SCRIPT} 'sent by root' x")
        assert done.rc == 75, done.stderr
        assert len(server.waiting()) >= 2
        owners = server.host.check_output(f"find {SPOOL} {HOME}/logs -printf '%u:%g\\n'").split()
        assert set(owners) == {"admin:admin"}
    server.alert("--flush")
    for local_part in ("user", "second"):
        provider.wait("sent by root", local_part)


def test_a_third_account_is_told_whose_it_is(server: Server) -> None:
    # The home is closed to others, so that they can't even see the script or the configuration.
    sender = "python3 -E -s /usr/local/lib/sedai/send_alert_email.py"
    done = server.as_user(f"{sender} {HOME}/.config/sedai/alert_mail.toml x y", user="nobody")
    assert done.rc == 78
    assert "only admin may send with it" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_that_is_no_toml_never_replaces_a_good_one(server: Server) -> None:
    path = f"{HOME}/.config/sedai/alert_mail.toml"
    before = server.host.file(path).content_string
    done = play("molecule/alert_mail/converge.yml", '{"alert_mail_from_name": "a \\u007f"}')  # which TOML forbids
    assert done.returncode == 2
    assert "configure | Say who gets alerts" in done.stdout
    assert server.host.file(path).content_string == before


def play(playbook: str, variables: str = "{}") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ansible-playbook", f"--inventory={SCENARIO}/inventory", f"--extra-vars={variables}", PROJECT / playbook],
        cwd=PROJECT,
        env=os.environ | {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_playbook_sends_the_seed_s_test(provider: Provider) -> None:
    before = len(provider.mails("[TEST] Backup Alert Test"))
    done = play("playbooks/test_alert.yml")
    assert done.returncode == 0, done.stdout
    deadline = time.monotonic() + 10
    while len(provider.mails("[TEST] Backup Alert Test")) == before:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_cron_delivers_what_waited(server: Server, provider: Provider, alert_in_outage: str) -> None:
    """Nobody calls --flush here: the line in /etc/cron.d does, within a minute of the provider's return."""
    for local_part in ("user", "second"):
        assert provider.wait(alert_in_outage, local_part, seconds=75).get_content() == "本文\n"
    assert server.alert("--list").stdout == "No mail waits.\n"


def test_the_playbook_says_when_the_mail_waits(server: Server, provider: Provider) -> None:
    with provider.away():
        done = play("playbooks/test_alert.yml")
    assert done.returncode == 2
    assert "The mail waits in the spool" in done.stdout + done.stderr
    assert "cannot connect to mail.example.com" in done.stdout + done.stderr
