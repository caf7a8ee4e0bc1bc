"""New settings are in use only when the provider took a mail with them, and the password is nowhere to be seen."""

from __future__ import annotations

import base64
import subprocess

import pytest
from conftest import PASSWORD, Person, Provider, Secret
from testinfra.host import Host

from labkit.system import PODMAN

HOME = "/home/admin"
SECRET = 'S3cret-"rotated"\\#パス'
WRONG = "Wr0ng-and-never-seen"

AWKWARD_PASSWORDS = [
    'quo"te',
    '"quoted"',
    '"',
    "single'quote",
    "back\\slash",
    "ends with backslash\\",
    "#hash",
    "a # b",
    " leading and trailing ",
    "in  the   middle",
    "$HOME $(id) `id` ${x}",
    "100%s %H %C",
    "パスワード",
    "é\u00a0ü\u3000",
    "{{ lookup('env', 'HOME') }} {% raw %} {# x #}",
    "~",
    "\U0001f512",
    "x" * 480,
]


def disguises(password: str) -> list[str]:
    """The forms in which a password could be seen."""
    plain = password.encode()
    login = b"\0user@example.com\0" + plain
    encoded = [base64.b64encode(data).decode() for data in (plain, login)]
    return [password, password.replace('"', '\\"'), password.encode("unicode_escape").decode(), *encoded]


def assert_hidden(text: str, *passwords: str) -> None:
    for password in passwords:
        assert [form for form in disguises(password) if form in text] == []


def test_the_test_mail_has_arrived(server: Host, provider: Provider) -> None:
    mails = provider.wait(1)
    assert mails[0]["Subject"] == "[TEST] New mail settings on server"
    assert mails[0]["From"] == "user@example.com"


def test_files_are_private(server: Host) -> None:
    for name in (".msmtprc", "logs/msmtp.log"):
        file = server.file(f"{HOME}/{name}")
        assert (file.user, file.group, file.mode) == ("admin", "admin", 0o600)
    assert not server.file(f"{HOME}/.msmtprc.new").exists
    assert "exitcode=EX_OK" in server.file(f"{HOME}/logs/msmtp.log").content_string


def test_no_other_mta_came_along(server: Host) -> None:
    for name in ("msmtp", "msmtp-mta", "mailutils", "ca-certificates"):
        assert server.package(name).is_installed
    assert not [name for name in ("exim4-base", "postfix") if server.package(name).is_installed]


@pytest.mark.parametrize("extra", ["", "-r somebody@example.net"])
def test_programs_can_send_and_the_provider_sees_our_sender(server: Host, provider: Provider, extra: str) -> None:
    before = len(provider.mails("other"))
    done = server.run(f"echo body | runuser -u admin -- env HOME={HOME} mail {extra} -s 'by mail' other@example.com")
    assert done.rc == 0, done.stderr
    newest = provider.wait(before + 1, "other")[-1]
    assert newest["From"].addresses[0].addr_spec == "user@example.com"
    assert newest["Return-Path"] == "<user@example.com>"


def test_rotation_of_the_log_keeps_it_private(server: Host) -> None:
    done = server.run("logrotate --force /etc/logrotate.d/sedai-msmtp")
    assert done.rc == 0, done.stderr
    assert server.file(f"{HOME}/logs/msmtp.log").mode == 0o600
    assert server.file(f"{HOME}/logs/msmtp.log.1.gz").size > 0
    assert server.run("logrotate --debug /etc/logrotate.conf").stderr.count("error:") == 0


def test_the_log_is_allowed_in_apparmor(server: Host) -> None:
    assert f"owner {HOME}/logs/msmtp.log wk,\n" in server.file("/etc/apparmor.d/local/usr.bin.msmtp").content_string


def test_a_wrong_password_is_refused_in_the_provider_s_words(server: Host, person: Person, provider: Provider) -> None:
    before = server.file(f"{HOME}/.msmtprc")
    old = (before.content, before.mtime)
    mails = len(provider.mails())

    output = person.provision("-vvv", "--diff", expect=2, msmtp_password=Secret(WRONG))

    assert "535 5.7.8" in output
    assert "The old ones are still in use." in output
    assert "changed=0" in output
    assert_hidden(output, WRONG, PASSWORD)
    after = server.file(f"{HOME}/.msmtprc")
    assert (after.content, after.mtime) == old
    assert not server.file(f"{HOME}/.msmtprc.new").exists
    assert len(provider.mails()) == mails
    sent = server.run(f"printf 'Subject: x\\n\\nx\\n' | runuser -u admin -- msmtp -C {HOME}/.msmtprc other@example.com")
    assert sent.rc == 0, sent.stderr


def test_a_rotated_password_is_seen_nowhere(server: Host, person: Person, provider: Provider, rotated: None) -> None:
    """With -vvv and --diff, by implicit TLS, while someone looks at the list of processes all the time."""
    provider.set_password(SECRET)
    mails = len(provider.mails())
    implicit_tls = provider.said("postfix/submissions/smtpd")
    # Everything that a person who is logged in could see: command lines, and here even the environments.
    watch = "while [ ! -e /tmp/enough ]; do cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ; done 2>/dev/null"
    watcher = subprocess.Popen(
        [PODMAN, "exec", server.backend.name, "sh", "-c", f"{watch} | tr '\\0' '\\n' | sort -u >/tmp/processes"]
    )
    try:
        output = person.provision("-vvv", "--diff", msmtp_password=Secret(SECRET), msmtp_port=465)
    finally:
        server.run_expect([0], "touch /tmp/enough")
        watcher.wait(timeout=30)

    assert len(provider.wait(mails + 1)) == mails + 1
    assert provider.said("postfix/submissions/smtpd") > implicit_tls
    assert server.file(f"{HOME}/.msmtprc").content_string.count(SECRET) == 1

    assert "Prove the settings" in output
    assert_hidden(output, SECRET)
    processes = server.file("/tmp/processes").content_string
    assert f"--file={HOME}/.msmtprc.new" in processes, "the watch has seen nothing"
    assert_hidden(processes, SECRET)
    assert_hidden(server.check_output("journalctl --no-pager"), SECRET)
    found = server.run(f"grep -rlF -e 'S3cret-' /var/log /tmp /var/tmp /root/.ansible /etc {HOME} --exclude=journal*")
    assert found.stdout.split() == [f"{HOME}/.msmtprc"]


def test_every_printable_password_logs_in(server: Host, person: Person, provider: Provider, rotated: None) -> None:
    accounts = {f"awkward{number}@example.com": password for number, password in enumerate(AWKWARD_PASSWORDS)}
    provider.set_accounts(accounts)
    play = [
        {
            "hosts": "senders",
            "become": True,
            "gather_facts": True,
            "gather_subset": ["!all", "min"],
            "tasks": [
                {"ansible.builtin.import_role": {"name": "msmtp", "tasks_from": "preflight"}},
                {
                    "ansible.builtin.include_role": {"name": "msmtp", "tasks_from": "prove"},
                    "loop": "{{ accounts | dict2items }}",
                    "loop_control": {"label": "{{ item.key }}"},
                    "vars": {
                        "msmtp_username": "{{ item.key }}",
                        "msmtp_password": "{{ item.value }}",
                    },
                },
            ],
        }
    ]
    mails = len(provider.mails())
    output = person.play(play, accounts={account: Secret(password) for account, password in accounts.items()})
    assert f"changed={len(accounts)}" in output
    assert len(provider.wait(mails + len(accounts))) == mails + len(accounts)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"msmtp_port": 25}, "can't be reached"),
        ({"msmtp_host": "server"}, "can't be reached"),
        ({"msmtp_host": "nowhere.example.com"}, "The host name was not found"),
        (
            {"msmtp_test_recipient": "somebody@example.net", "msmtp_timeout": 21},
            "The provider refuses this sender or recipient",
        ),
    ],
)
def test_what_the_provider_or_the_network_refuses_is_explained(
    server: Host, person: Person, settings: dict[str, str | int], words: str
) -> None:
    before = server.file(f"{HOME}/.msmtprc").content
    play = [
        {
            "hosts": "senders",
            "become": True,
            "gather_facts": True,
            "gather_subset": ["!all", "min"],
            "tasks": [
                {"ansible.builtin.import_role": {"name": "msmtp", "tasks_from": part}}
                for part in ("preflight", "prove")
            ],
        }
    ]
    assert words in person.play(play, expect=2, **settings)
    assert server.file(f"{HOME}/.msmtprc").content == before


def test_a_missing_secret_stops_before_anything_is_changed(occupied: Host, person: Person) -> None:
    output = person.provision(hosts="occupied_hosts", expect=2, msmtp_password="")
    assert "ansible-vault edit" in output
    assert "changed=0" in output
    assert not occupied.package("msmtp").is_installed


def test_another_mta_is_not_removed_unasked(occupied: Host, person: Person, provider: Provider) -> None:
    occupied.run_expect([0], "DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends postfix")
    # As somebody has set it up.
    occupied.run_expect(
        [0], "postconf -e myhostname=shop.example.com mydestination=example.com && systemctl restart postfix"
    )
    settings = occupied.check_output("md5sum /etc/postfix/*.cf /etc/aliases")
    running = occupied.check_output("systemctl show --property=ActiveEnterTimestamp postfix@- postfix")
    output = person.provision(hosts="occupied_hosts", expect=2)
    assert "Installing msmtp-mta would remove: postfix" in output
    assert "msmtp_install_mta: false" in output
    assert "msmtp_replace_mta: true" in output
    assert "changed=0" in output
    assert not occupied.package("msmtp").is_installed

    mails = len(provider.mails())
    person.provision(hosts="occupied_hosts", msmtp_install_mta=False)
    assert occupied.package("postfix").is_installed
    assert occupied.package("mailutils").is_installed
    assert occupied.check_output("md5sum /etc/postfix/*.cf /etc/aliases") == settings
    assert occupied.check_output("systemctl show --property=ActiveEnterTimestamp postfix@- postfix") == running
    assert occupied.check_output("dpkg -S /usr/sbin/sendmail") == "postfix: /usr/sbin/sendmail"
    assert not occupied.package("msmtp-mta").is_installed
    assert len(provider.wait(mails + 1)) == mails + 1


def test_the_person_may_have_the_other_mta_removed(occupied: Host, person: Person) -> None:
    person.provision(hosts="occupied_hosts", msmtp_replace_mta=True)
    assert not occupied.package("postfix").is_installed
    assert occupied.package("msmtp-mta").is_installed
