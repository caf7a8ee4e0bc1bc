"""Taking sedai off the hosts keeps the generations, and site.yml goes on where it was. The last tests of the scenario."""

from __future__ import annotations

import re

from conftest import CONFIGURATION, PROGRAMS, STORE, Client, playbook
from testinfra.host import Host

GONE_FROM_CLIENT = (
    f"{PROGRAMS}/backup_data.py",
    f"{PROGRAMS}/sedai",
    CONFIGURATION,
    "/etc/logrotate.d/sedai-client-root",
)
GONE_FROM_SERVER = (
    "/etc/cron.d/sedai-server", "/etc/cron.d/sedai-alert-mail", "/etc/sudoers.d/sedai-alert-mail", "/etc/sedai",
    "/etc/logrotate.d/sedai-server", "/etc/ssh/sshd_config.d/50-sedai.conf", "/usr/local/lib/sedai/sedai_gate.py",
    "/var/lib/sedai/.ssh/authorized_keys", "/home/admin/.msmtprc", "/home/admin/scripts/send_alert_email.sh",
)  # fmt: skip


def changed(output: str) -> int:
    """How many tasks changed something, over all hosts."""
    counts = re.findall(r"changed=(\d+)", output)
    assert counts, output
    return sum(map(int, counts))


def test_everything_but_what_was_backed_up_goes(client: Client, server: Host) -> None:
    for path in GONE_FROM_CLIENT:
        assert client.host.file(path).exists, path
    for path in GONE_FROM_SERVER:
        assert server.file(path).exists, path
    before = client.generations()
    assert changed(playbook("playbooks/uninstall.yml")) > 5
    assert [path for path in GONE_FROM_CLIENT if client.host.file(path).exists] == []
    assert [path for path in GONE_FROM_SERVER if server.file(path).exists] == []
    assert "sedai" not in client.host.run("crontab -l").stdout
    server.run_expect([0], "sshd -t && systemctl is-active ssh")
    assert server.run_expect([0], f"ls {STORE}").stdout.split() == before
    client.host.run_expect([0], "test -s /root/.ssh/sedai_ed25519")
    assert changed(playbook("playbooks/uninstall.yml")) == 0


def test_the_next_run_of_site_goes_on_where_it_was(client: Client) -> None:
    playbook("site.yml")
    before = client.generations()
    record = client.backup()
    assert record["generation"].rpartition("-")[2] == f"{int(before[-1].rpartition('-')[2]) + 1:06d}"
    assert record["sent_files"] < record["files"] / 2, "what is on the server is not sent anew"
    client.check("--level", "full", "--all")


def test_generations_go_only_when_that_is_said(client: Client, server: Host) -> None:
    playbook("playbooks/uninstall.yml", "-e", "delete_generations=true")
    for path in (STORE, "/srv/sedai", "/var/lib/sedai", "/var/log/sedai"):
        assert not server.file(path).exists
    assert not server.user("sedai").exists
    for path in ("/root/.ssh/sedai_ed25519", "/root/.local/state/sedai", "/root/project/logs"):
        assert not client.host.file(path).exists
