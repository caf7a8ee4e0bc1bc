"""The lab is what the other tests stand on: a provider that is real, hosts like a VPS, and no way out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit import labs, mail
from labkit.system import PODMAN, LabError, podman, scenario_lab

LAB = labs.Lab(scenario_lab("lab"))
HOSTS = (labs.Host("client", "trixie"), labs.Host("server", "bookworm", "person"), labs.Host(labs.MAIL_HOST, "mail"))
PROVIDER = LAB.container(labs.MAIL_HOST)

# Runs on a host of the lab, with nothing but what Debian brings: certificates are checked as msmtp checks them.
SEND = """
import json, smtplib, ssl, sys
port, password, recipient, name = json.load(sys.stdin)
context = ssl.create_default_context()
try:
    if port == 465:
        session = smtplib.SMTP_SSL(name, port, timeout=10, context=context)
    else:
        session = smtplib.SMTP(name, port, timeout=10)
        session.starttls(context=context)
    # smtplib's own login() speaks ASCII only.
    session.ehlo_or_helo_if_needed()
    session.user, session.password = "user@example.com", password
    import base64
    token = base64.b64encode(b"\\0user@example.com\\0" + password.encode()).decode()
    code, words = session.docmd("AUTH", "PLAIN " + token)
    if code == 235:
        session.sendmail("user@example.com", [recipient], "Subject: from port %d\\r\\n\\r\\nhello\\r\\n" % port)
        print("sent")
    else:
        print(code, words.decode())
except (smtplib.SMTPException, OSError) as error:
    print(repr(error))
"""


def send(
    *,
    port: int = 587,
    password: str = mail.FIRST_PASSWORD,
    to: str = "user@example.com",
    name: str = "mail.example.com",
) -> str:
    """Log in and send one message from the server; `sent`, or what the provider said."""
    request = json.dumps([port, password, to, name]).encode()
    done = podman("exec", "--interactive", LAB.container("server"), "python3", "-c", SEND, stdin=request)
    return done.stdout.decode().strip()


def on(host: str, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command over SSH, as a person does."""
    return subprocess.run(
        ["ssh", "-F", str(LAB.ssh_config), "-o", "BatchMode=yes", host, command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="module", autouse=True)
def lab() -> Iterator[None]:
    labs.up(LAB, HOSTS)
    yield
    assert labs.down(LAB)
    assert not LAB.directory.exists()


@pytest.fixture
def mailbox() -> None:
    """Empty when the test begins."""
    mail.clear(PROVIDER)


@pytest.mark.usefixtures("mailbox")
@pytest.mark.parametrize("port", [587, 465])
@pytest.mark.parametrize("name", ["mail.example.com", "mail"])
def test_mail_is_delivered_over_both_kinds_of_tls(port: int, name: str) -> None:
    assert send(port=port, name=name) == "sent"
    (message,) = mail.wait_for_messages(PROVIDER)
    assert message["Subject"] == f"from port {port}"
    assert message.get_content() == "hello\n"


@pytest.mark.parametrize("port", [587, 465])
def test_a_wrong_password_is_refused(port: int) -> None:
    assert send(port=port, password="wrong").startswith("535 ")


def test_the_certificate_is_for_the_name_only() -> None:
    address = podman("exec", LAB.container("server"), "getent", "hosts", "mail").stdout.decode().split()[0]
    assert "CERTIFICATE_VERIFY_FAILED" in send(name=address)


@pytest.mark.usefixtures("mailbox")
def test_it_takes_mail_for_its_own_domain_only() -> None:
    assert "554" in send(to="somebody@example.org")
    assert mail.messages(PROVIDER) == []
    # Not even from the inside: a message that gets past SMTP ends in a bounce.
    podman("exec", PROVIDER, "sh", "-c", "echo x | sendmail -f user@example.com somebody@example.org")
    (bounce,) = mail.wait_for_messages(PROVIDER)
    assert "this provider delivers to example.com only" in bounce.as_string()


@pytest.mark.parametrize("password", ['a"b\\c#d $e:f', "pässword 世代", " lead and trail ", "x" * 200])
def test_any_printable_password_can_be_set(password: str) -> None:
    mail.set_password(PROVIDER, password)
    try:
        assert send().startswith("535 ")
        assert send(password=password) == "sent"
    finally:
        mail.set_password(PROVIDER, mail.FIRST_PASSWORD)
    assert send() == "sent"


@pytest.mark.parametrize(("host", "user"), [("client", "admin"), ("server", "person")])
def test_hosts_are_reached_by_ssh_with_sudo(host: str, user: str) -> None:
    done = on(host, "id -un; sudo -n id -un; hostname")
    assert done.stdout.split() == [user, "root", host]


def test_hosts_know_each_other_and_nothing_outside() -> None:
    assert on("client", "timeout 5 bash -c 'exec 3<>/dev/tcp/server/22; head -c 4 <&3'").stdout == "SSH-"
    # An address of nobody: without a route the kernel says so at once.
    outside = on("client", "timeout 5 bash -c 'exec 3<>/dev/tcp/198.51.100.1/80'")
    assert "Network is unreachable" in outside.stderr
    assert on("client", "ip route show default").stdout == ""


def test_host_keys_differ() -> None:
    keys = [line.split()[2] for line in (LAB.directory / "known_hosts").read_text().splitlines()]
    assert len(keys) == len(set(keys)) > 3


@pytest.mark.parametrize("host", ["client", "server"])
def test_packages_come_from_the_image(host: str) -> None:
    missing = "msmtp msmtp-mta mailutils bubblewrap python3-xxhash python3-pathspec python3-rich"
    assert on(host, f"dpkg-query --show --showformat='${{db:Status-Status}} ' {missing}").returncode == 1
    done = on(host, f"sudo apt-get update && sudo apt-get install --yes --no-install-recommends {missing} </dev/null")
    assert done.returncode == 0, done.stderr
    sandbox = "bwrap --unshare-all --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib"
    # Processes outside are not to be seen.
    done = on(host, f"{sandbox} --symlink usr/lib64 /lib64 --proc /proc --dev /dev /bin/sh -c 'echo /proc/[0-9]*'")
    assert done.stdout.split() == ["/proc/1", "/proc/2"], done.stderr


def test_hard_cases_can_be_made() -> None:
    script = (
        "cd /srv && sudo mknod null c 1 3 && sudo mknod pipe p && sudo touch file && sudo chmod 6755 file"
        " && sudo setfacl -m u:daemon:r file && sudo setfattr -n user.x -v y file"
        " && stat --format=%F null pipe && getfacl -c file && getfattr -n user.x file"
    )
    done = on("client", script)
    assert done.returncode == 0, done.stderr
    for expected in ("character special file", "fifo", "user:daemon:r--", 'user.x="y"'):
        assert expected in done.stdout


@pytest.mark.parametrize("host", ["client", "server"])
def test_cron_runs(host: str) -> None:
    # Debian's cron runs @reboot entries when it starts for the first time after boot.
    script = "echo '@reboot root id -un >/srv/cron-ran' | sudo tee /etc/cron.d/probe && sudo rm -f /run/crond.reboot"
    assert on(host, f"{script} && sudo systemctl restart cron").returncode == 0
    waited = on(host, "for _ in $(seq 100); do [ -s /srv/cron-ran ] && break; sleep 0.1; done; cat /srv/cron-ran")
    assert waited.stdout == "root\n"


def test_another_checkouts_lab_is_left_alone(tmp_path: Path) -> None:
    foreign = labs.Lab(scenario_lab("foreign"))
    labels = (f"--label=sedai.lab={foreign.name}", f"--label=sedai.checkout={tmp_path}")
    podman("network", "create", "--internal", *labels, foreign.network)
    try:
        for refused in (lambda: labs.up(foreign, HOSTS), lambda: labs.down(foreign)):
            with pytest.raises(LabError, match="belongs to the checkout"):
                refused()
        assert podman("network", "exists", foreign.network, check=False).returncode == 0
        # A checkout that is gone uses nothing any more.
        gone = labs.Lab(scenario_lab("gone"))
        podman("network", "create", "--internal", f"--label=sedai.checkout={tmp_path}/gone", gone.network)
        assert labs.down(gone)
        assert podman("network", "exists", gone.network, check=False).returncode == 1
    finally:
        podman("network", "rm", foreign.network)


def test_podman_is_the_labs_own() -> None:
    shown = subprocess.run(
        [PODMAN, "info", "--format", "{{.Host.OCIRuntime.Name}}"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "runc"
