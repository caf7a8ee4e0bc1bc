"""The whole, as a person uses it: real SSH, real rsync, real cron, real mail. The tests run in this order."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import CONFIGURATION, LAB, MAILBOX, PROGRAMS, PROJECT, STORE, Client, Mailbox, playbook, wait_for
from testinfra.host import Host

from labkit.system import podman

NewMail = Callable[[str], str]
SSH = "ssh -F none -i /root/.ssh/sedai_ed25519 -o UserKnownHostsFile=/root/.ssh/sedai_known_hosts -o BatchMode=yes"

# cron's runs wait while an upgrade holds the directory of the programs.
HELD = f"flock --shared --close {PROGRAMS}"


def describe(client: Client, directory: str) -> dict[str, dict[str, Any]]:
    """Everything about a tree that a restore has to bring back."""
    done = client.host.run(f"python3 /root/hard_tree.py describe {shlex.quote(directory)}")
    assert done.rc == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


def site(*arguments: str, expect: int = 0) -> str:
    """Run site.yml and return what it said."""
    return playbook("site.yml", *arguments, expect=expect)


def inode(host: Host, path: str) -> tuple[int, int]:
    """Inode number and link count."""
    number, links = host.check_output(f"stat -c '%i %h' {shlex.quote(path)}").split()
    return int(number), int(links)


def fetched(url: str) -> str:
    """What is there; nothing while nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  our own page
            return str(answer.read().decode())
    except OSError:
        return ""


class TestBackup:
    """Full and incremental runs."""

    def test_first_run_stores_everything_as_plain_files(
        self, client: Client, server: Host, first: dict[str, Any]
    ) -> None:
        assert client.generations() == [first["generation"]]
        tree = f"{STORE}/{first['generation']}/tree"
        here = client.host.check_output("md5sum < /etc/passwd")
        assert server.check_output(f"md5sum < {tree}/etc/passwd") == here
        assert server.file(f"{tree}/etc/shadow").user == "sedai"

    def test_second_run_sends_what_changed_and_links_the_rest(
        self, client: Client, server: Host, first: dict[str, Any], data: str
    ) -> None:
        client.host.run_expect([0], f"echo changed > {data}/1; echo new > {data}/new; rm {data}/2")
        second = client.backup()
        assert second["sent_files"] == 2
        assert (second["plan"]["new"], second["plan"]["removed"]) == (1, 1)
        old, new = (f"{STORE}/{run['generation']}/tree{data}" for run in (first, second))
        assert inode(server, f"{old}/3") == inode(server, f"{new}/3")
        assert inode(server, f"{old}/1")[0] != inode(server, f"{new}/1")[0]
        assert server.file(f"{new}/1").content_string == "changed\n"
        assert server.file(f"{old}/1").content_string.startswith("1\n2\n")
        assert server.file(f"{old}/2").exists and not server.file(f"{new}/2").exists

    def test_dry_run_changes_nothing(self, client: Client, data: str) -> None:
        client.host.run_expect([0], f"echo dry > {data}/dry")
        before = client.generations()
        assert client.backup("--dry-run")["plan"]["new"] == 1
        assert client.generations() == before

    def test_excludes_and_cachedir_tag(self, client: Client, server: Host, data: str) -> None:
        cache = f"{data}/cache"
        tag = "Signature: 8a477f597d28d172789f06886806bc55"
        script = f"mkdir {cache} && echo {tag} > {cache}/CACHEDIR.TAG && touch {cache}/thing {data}/left.out"
        client.host.run_expect([0], script)
        tree = f"{STORE}/{client.backup()['generation']}/tree{data}"
        assert server.file(f"{tree}/dry").exists
        assert not server.file(f"{tree}/cache/thing").exists
        assert not server.file(f"{tree}/left.out").exists


class TestRestore:
    """What comes back is what was there."""

    def test_everything_hard_comes_back(self, client: Client, first: dict[str, Any], hard_tree: str) -> None:
        client.host.run_expect([0], "rm -rf /root/restored")
        client.program("restore_data.py", "restore", "--to", "/root/restored", hard_tree)
        before, after = describe(client, hard_tree), describe(client, f"/root/restored{hard_tree}")
        assert before.pop("socket")["mode"].startswith("0o14")
        assert len(before) > 70
        assert set(after) == set(before)
        for path, entry in before.items():
            # Zeros may come back as a hole; a hole may not come back as zeros.
            had, has = entry.pop("sparse", False), after[path].pop("sparse", False)
            assert has or not had, path
            assert after[path] == entry, path

    def test_an_older_generation_comes_back(self, client: Client, first: dict[str, Any], data: str) -> None:
        client.host.run_expect([0], "rm -rf /root/older")
        client.program(
            "restore_data.py",
            "restore",
            "--generation",
            first["generation"],
            "--to",
            "/root/older",
            f"{data}/1",
            f"{data}/2",
        )
        assert client.host.file(f"/root/older{data}/2").content_string.startswith("2\n3\n")

    def test_what_is_there_is_not_overwritten_unasked(self, client: Client, data: str) -> None:
        client.program("restore_data.py", "restore", f"{data}/3")  # the very same is there
        client.host.run_expect([0], f"echo mine > {data}/3")
        assert "--overwrite" in client.program("restore_data.py", "restore", f"{data}/3", expect=2)
        assert client.host.file(f"{data}/3").content_string == "mine\n"
        client.program("restore_data.py", "restore", "--overwrite", f"{data}/3")
        assert client.host.file(f"{data}/3").content_string.startswith("3\n4\n")


class TestRetention:
    """Ten generations are kept: the first of the day, and the newest."""

    def test_twelve_more_runs_leave_ten(self, client: Client, server: Host, data: str) -> None:
        first = client.generations()[0]
        made = []
        for number in range(12):
            client.host.run_expect([0], f"echo {number} > {data}/counter")
            made.append(client.backup("--quiet")["generation"])
        assert client.generations() == [first, *made[-9:]]
        assert server.check_output(f"ls {STORE}").split() == [first, *made[-9:]]
        assert [server.file(f"{STORE}/{name}/tree{data}/counter").content_string for name in made[-9:]] == [
            f"{number}\n" for number in range(3, 12)
        ]


class TestIntegrity:
    """Damage is found, named and mailed."""

    def test_all_generations_are_clean(self, client: Client) -> None:
        assert client.check("--level", "full", "--all")["findings"] == []

    def test_a_flipped_byte_is_found_in_each_generation_that_holds_it(
        self, client: Client, server: Host, data: str, new_mail: NewMail
    ) -> None:
        generations = client.generations()
        # Made here, so that only the last three hold it.
        client.host.run_expect([0], f"seq 1000 > {data}/rotten")
        holding = [client.backup()["generation"]]
        for _ in range(2):
            client.host.run_expect([0], f"date +%N > {data}/counter")
            holding.append(client.backup()["generation"])
        path = f"{STORE}/{holding[0]}/tree{data}/rotten"
        assert inode(server, path)[1] >= 3
        flip = (
            "import os, sys; path = sys.argv[1]; times = os.stat(path); file = open(path, 'r+b'); file.seek(7); "
            "byte = file.read(1)[0]; file.seek(7); file.write(bytes([byte ^ 1])); file.close(); "
            "os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))"
        )
        server.run_expect([0], f"python3 -c {shlex.quote(flip)} {path}")

        assert client.check("--all")["findings"] == []  # a quick check reads no bytes
        findings = client.check("--level", "full", "--all", expect=1)["findings"]
        assert sorted((finding["generation"], "/" + finding["path"]) for finding in findings) == [
            (generation, f"{data}/rotten") for generation in holding
        ]
        text = new_mail("integrity check found")
        assert f"{data}/rotten" in text
        assert all(generation in text for generation in holding)
        assert not set(generations[:-3]) & set(text.split())

    def test_the_next_run_heals_it(self, client: Client, data: str) -> None:
        healed = client.backup()["generation"]
        assert client.check("--level", "full", "--generation", healed)["findings"] == []

    def test_a_missing_file_is_found_by_the_quick_check(
        self, client: Client, server: Host, data: str, new_mail: NewMail
    ) -> None:
        newest = client.backup()["generation"]
        directory = f"{STORE}/{newest}/tree{data}"
        server.run_expect([0], f"touch -r {directory} /root/times && mv {directory}/5 /srv/sedai/client/5")
        try:
            findings = client.check(expect=1)["findings"]
        finally:
            server.run_expect([0], f"mv /srv/sedai/client/5 {directory}/5 && touch -r /root/times {directory}")
        assert f"{data}/5"[1:] in [finding["path"] for finding in findings]
        assert f"{data}/5" in new_mail("integrity check found")
        assert client.check()["findings"] == []

    def test_rot_on_the_client_is_named_and_never_backed_up(
        self, client: Client, server: Host, new_mail: NewMail
    ) -> None:
        """In memory a mapped page can change while size, times and inode stay, as they do on a disk that rots."""
        path = "/dev/shm/rotting/file"
        rotter = (
            f"import mmap, os, time; file = open('{path}', 'r+b'); page = mmap.mmap(file.fileno(), 0); page[0] = page[0]; "
            "open('/root/mapped', 'w')\nwhile not os.path.exists('/root/rot'): time.sleep(0.1)\n"
            "page[0] ^= 1; os.rename('/root/rot', '/root/rotted')"
        )
        client.host.run_expect([0], f"mkdir -p {path[:-5]} && echo 'good bytes' > {path} && rm -f /root/rot*")
        client.host.run_expect([0], f"nohup python3 -c {shlex.quote(rotter)} >/root/rotter.out 2>&1 &")
        wait_for("the mapping", lambda: client.host.file("/root/mapped").exists)
        text = client.host.file(CONFIGURATION).content_string + '\n[[sources]]\npath = "/dev/shm/rotting"\n'
        client.write("/root/rotting.toml", text)
        own = ("--config", "/root/rotting.toml")
        client.host.run_expect([0], "sleep 0.2")
        client.backup(*own)
        client.host.run_expect([0], "touch /root/rot")
        wait_for("the rot", lambda: client.host.file("/root/rotted").exists)
        assert client.host.check_output(f"cat {path}") != "good bytes"
        assert client.backup(*own)["findings"] == []  # a scan sees nothing
        record = client.backup(*own, "--rehash", expect=1)
        assert [(finding["code"], "/" + finding["path"]) for finding in record["findings"]] == [("rotten", path)]
        assert f"{path} has other bytes now" in new_mail("backup done, 1 finding")
        assert server.check_output(f"cat {STORE}/{record['generation']}/tree{path}") == "good bytes"
        client.program("restore_data.py", "restore", "--overwrite", path)
        assert client.host.check_output(f"cat {path}") == "good bytes"
        assert client.backup(*own, "--rehash")["findings"] == []
        client.host.run_expect([0], f"rm -r {path[:-5]} /root/mapped /root/rotted")


class TestFailure:
    """Nothing fails silently."""

    def test_a_failed_command_fails_the_backup_and_is_mailed(self, client: Client, new_mail: NewMail) -> None:
        failing = client.configuration("/root/failing.toml", {"before": '["echo the dump broke >&2; exit 7"]'})
        before = client.generations()
        assert "the dump broke" in client.program("backup_data.py", "--config", failing, expect=3)
        assert "the dump broke" in new_mail("backup FAILED")
        assert client.generations() == before
        assert "the dump broke" in client.host.file("/root/project/logs/sedai.log").content_string

    def test_an_unreadable_source_is_a_finding_and_the_rest_is_stored(
        self, client: Client, new_mail: NewMail, data: str
    ) -> None:
        text = client.host.file(CONFIGURATION).content_string + '\n[[sources]]\npath = "/srv/not there"\n'
        client.write("/root/missing.toml", text)
        record = client.backup("--config", "/root/missing.toml", expect=1)
        assert record["generation"] == client.generations()[-1]
        assert "/srv/not there" in new_mail("backup done")

    def test_a_second_run_at_the_same_time_says_who_runs(self, client: Client) -> None:
        slow = client.configuration("/root/slow.toml", {"before": '["touch /root/started; sleep 4"]'})
        client.host.run_expect(
            [0], f"rm -f /root/started; nohup {PROGRAMS}/backup_data.py --config {slow} >/root/slow.out 2>&1 &"
        )
        wait_for("the first run", lambda: client.host.file("/root/started").exists)
        holder = client.host.check_output("pgrep -of '[b]ackup_data.py --config /root/slow.toml'")
        words = client.program("backup_data.py", expect=3)
        assert f"pid {holder}" in words
        wait_for("its end", lambda: client.host.run("pgrep -f '[b]ackup_data.py --config /root/slow.toml'").rc == 1)
        assert "Generation" in client.host.file("/root/slow.out").content_string

    def test_an_alert_waits_while_the_server_is_away(self, client: Client, server: Host, new_mail: NewMail) -> None:
        server.run_expect([0], "systemctl stop ssh")
        try:
            assert "can't be reached" in client.program("backup_data.py", expect=3)
            # The same again waits too, and is folded by the server.
            assert "can't be reached" in client.program("backup_data.py", expect=3)
        finally:
            server.run_expect([0], "systemctl start ssh")
        client.backup()
        assert "can't be reached" in new_mail("backup FAILED")
        assert "was reported 2 times" in new_mail("backup is clean again")
        still_open = server.check_output("runuser -u admin -- /home/admin/scripts/send_alert_email.sh --incidents")
        assert "client:client:backup" not in still_open

    def test_an_interrupted_run_is_never_listed_and_goes_on_where_it_was(
        self, client: Client, server: Host, data: str
    ) -> None:
        size = 48 << 20
        client.host.run_expect([0], f"head -c {size} /dev/urandom > {data}/big")
        slow = client.configuration("/root/limited.toml", {"bandwidth_limit_kib": "12000"})
        before = client.generations()
        command = f"setsid {PROGRAMS}/backup_data.py --config {slow} >/root/limited.out 2>&1 & echo $!"
        client.host.check_output(command)

        def arrived() -> int:
            return int(server.check_output("du -s --block-size=1 /srv/sedai/client/incoming/delta").split()[0])

        wait_for("half of it", lambda: arrived() > size // 2)
        client.host.run_expect(
            [0], "pkill -9 -f '[b]ackup_data.py --config /root/limited.toml'; pkill -9 -x rsync; true"
        )
        wait_for("the end of the receiver", lambda: server.run("pgrep -x rsync").rc == 1)
        kept = arrived()
        assert kept > size // 3
        assert client.generations() == before

        received = "cat /sys/class/net/eth0/statistics/rx_bytes"
        start = int(server.check_output(received))
        record = client.backup()
        assert int(server.check_output(received)) - start < size - kept // 2
        assert client.generations()[-1] == record["generation"]
        stored = f"{STORE}/{record['generation']}/tree{data}/big"
        assert server.check_output(f"md5sum < {stored}") == client.host.check_output(f"md5sum < {data}/big")
        client.host.run_expect([0], f"rm {data}/big")


class TestGate:
    """A stolen key reaches nothing but the gate."""

    @pytest.mark.parametrize(
        "command", ["", "sh", "cat /etc/passwd", "rsync --server --daemon .", "rsync --server -vlogDtpr . /"]
    )
    def test_other_commands_are_refused(self, client: Client, command: str) -> None:
        assert client.host.run(f"{SSH} sedai@server status </dev/null").rc == 0
        done = client.host.run(f"{SSH} sedai@server {shlex.quote(command)} </dev/null")
        assert done.rc != 0
        assert "root:" not in done.stdout

    def test_no_forwarding(self, client: Client) -> None:
        tunnel = f"timeout 5 {SSH} -N -L 9999:localhost:22 sedai@server & sleep 2"
        done = client.host.run(f"{tunnel}; bash -c 'timeout 2 head -c 3 </dev/tcp/localhost/9999'")
        assert "SSH" not in done.stdout


def hard_to_reach(address: str) -> dict[str, Any]:
    """What an inventory says of a server that is behind a jump host, with an IPv6 address and another port."""
    lab = PROJECT / ".lab" / LAB
    known = f"-o HostKeyAlias=server -o StrictHostKeyChecking=yes -o UserKnownHostsFile='{lab}/known_hosts'"
    by_jump = f"-F '{lab}/ssh_config' -J sedai-{LAB}-server -o IdentityFile='{lab}/id_ed25519' {known}"
    server = {"ansible_host": address, "ansible_port": 2222, "ansible_ssh_common_args": by_jump}
    client = {
        "backup_client_server_host": address,
        "backup_client_server_port": 2222,
        "backup_client_ssh_options": ["ProxyJump=admin@server"],
    }
    return {"backup_servers": {"hosts": {"server": server}}, "backup_clients": {"hosts": {"client": client}}}


class TestOtherWays:
    """A server that is not simply there by its name, on port 22."""

    def test_ipv6_only_another_port_and_a_jump_host(self, client: Client, server: Host, tmp_path: Path) -> None:
        """The jump host is the server by its old address, which lets the person's account in for jumps."""
        addresses = {"client": "fd5e:da10::1", "server": "fd5e:da10::2"}
        for name, address in addresses.items():
            words = f"exec --privileged sedai-{LAB}-{name} ip -6 address replace {address}/64 dev eth0 nodad"
            podman(*words.split())
        make = "rm -f {0}; ssh-keygen -q -t ed25519 -N '' -f {0}; cat {0}.pub".format("/root/.ssh/id_ed25519")
        key = client.host.check_output(make)
        listening = f"ListenAddress 0.0.0.0:22\nListenAddress [{addresses['server']}]:2222\n"
        server.run_expect([0], f"printf '{listening}' >/etc/ssh/sshd_config.d/lab.conf && systemctl restart ssh")
        server.run_expect([0], f"echo '{key}' >>/home/admin/.ssh/authorized_keys")
        known = client.host.check_output("cat /root/.ssh/sedai_known_hosts")
        client.write("/root/.ssh/known_hosts", known + "\n")
        client.write("/root/other_known_hosts", known.replace("server ", f"[{addresses['server']}]:2222 ") + "\n")
        way = {"host": f'"{addresses["server"]}"', "port": "2222", "known_hosts_file": '"/root/other_known_hosts"'}
        try:
            straight = client.configuration("/root/straight.toml", way)
            client.backup("--config", straight)
            jumping = client.configuration("/root/jumping.toml", way | {"ssh_options": '["ProxyJump=admin@server"]'})
            client.backup("--config", jumping)
            client.check("--config", jumping)
            # Provisioned so, it is the same: Ansible goes by the jump host too, and the client is told the way.
            (tmp_path / "hosts.yml").write_text(json.dumps(hard_to_reach(addresses["server"])), encoding="utf-8")
            assert "failed=0" in site("-i", str(tmp_path / "hosts.yml"))
            assert "ProxyJump=admin@server" in client.host.file(CONFIGURATION).content_string
            client.backup()
            server.run_expect([0], "sed -i '$d' /home/admin/.ssh/authorized_keys")
            # It went by the jump host, and the way to try it by hand does, too: there the reason is told.
            said = client.program("backup_data.py", "--config", jumping, expect=3)
            by_hand = said.partition("Try: ")[2].splitlines()[0]
            assert "admin@server: Permission denied" in client.host.run(f"{by_hand} </dev/null").stderr
        finally:
            server.run_expect([0], "rm /etc/ssh/sshd_config.d/lab.conf && systemctl restart ssh")
            client.host.run_expect([0], "rm -f /root/.ssh/known_hosts /root/.ssh/id_ed25519*")
        site()
        client.backup()

    def test_where_no_host_has_ipv4(
        self, client: Client, server: Host, mailbox: Mailbox, data: str, new_mail: NewMail
    ) -> None:
        """Names lead to addresses of the newer kind alone, for ssh and for msmtp; the others are taken away."""

        def ip(name: str, words: str) -> str:
            return podman("exec", "--privileged", f"sedai-{LAB}-{name}", "ip", *words.split()).stdout.decode()

        new = {"client": "fd5e:da10::1", "server": "fd5e:da10::2", "mail": "fd5e:da10::3"}
        old = {name: ip(name, "-4 -brief address show dev eth0").split()[2] for name in new}
        sed = "; ".join(f"s|^{old[name].split('/')[0]}\\t|{new[name]}\\t|" for name in new)
        hosts = {"client": client.host, "server": server}
        mailbox.host.run_expect([0], "postconf -e inet_protocols=all && systemctl restart postfix@-")
        try:
            for name, address in new.items():
                ip(name, f"-6 address replace {address}/64 dev eth0 nodad")
            for name, host in hosts.items():
                # It is a mount: only its content can be another.
                host.run_expect([0], f"cp /etc/hosts /root/hosts && sed '{sed}' /root/hosts >/etc/hosts")
                ip(name, "-4 address flush dev eth0")
                assert "inet " not in ip(name, "address show dev eth0")
            client.backup()
            client.check()
            failing = client.configuration("/root/failing.toml", {"before": '["echo no IPv4 >&2; exit 7"]'})
            client.program("backup_data.py", "--config", failing, expect=3)
            assert "no IPv4" in new_mail("backup FAILED")
            server.run_expect([0], "runuser -u admin -- /home/admin/scripts/send_alert_email.sh 'without IPv4' body")
            assert new_mail("without IPv4")
            by_newer = f"grep -l 'IPv6:{new['server']}]' $(grep -l 'Subject: without IPv4' {MAILBOX}/new/*)"
            mailbox.host.run_expect([0], by_newer)
        finally:
            for name, host in hosts.items():
                ip(name, f"-4 address replace {old[name]} broadcast + dev eth0")
                host.run_expect([0], "cat /root/hosts >/etc/hosts")
            mailbox.host.run_expect([0], "postconf -e inet_protocols=ipv4 && systemctl restart postfix@-")
        client.backup()
        assert new_mail("backup is clean again")


class TestCron:
    """cron really runs the lines that the role wrote."""

    def test_cron_backs_up_and_checks(self, client: Client) -> None:
        crontab = client.host.check_output("crontab -l")
        lines = [line for line in crontab.splitlines() if line[:1].isdigit()]
        assert [line.split(" ", 5)[5] for line in lines] == [
            f"{HELD} {PROGRAMS}/backup_data.py --quiet",
            f"{HELD} {PROGRAMS}/check_backup_integrity.py --quiet",
            f"{HELD} {PROGRAMS}/check_backup_integrity.py --level full --all --quiet",
            f"{HELD} {PROGRAMS}/restore_drill.py --quiet",
        ]
        log = client.host.file("/root/project/logs/sedai.log")
        generations, logged = client.generations(), len(log.content_string)
        client.write("/root/crontab", "".join(f"* * * * * {line.split(' ', 5)[5]}\n" for line in lines))
        client.host.run_expect([0], "crontab /root/crontab")
        try:
            wait_for("a backup by cron", lambda: client.generations()[-1] != generations[-1], 75)
            wait_for("a check by cron", lambda: "check: exit 0" in log.content_string[logged:], 75)
        finally:
            client.write("/root/crontab", crontab + "\n")
            client.host.run_expect([0], "crontab /root/crontab")
        assert client.host.check_output("crontab -l") == crontab

    def test_a_missed_run_is_caught_up_after_boot(self, client: Client) -> None:
        client.host.run_expect([0], "mv /root/.local/state/sedai/runs.jsonl /root/runs.jsonl")  # nothing was ever done
        before = client.generations()
        client.host.run_expect([0], "systemctl stop cron; rm -f /run/crond.reboot; systemctl start cron")
        wait_for("the catching up", lambda: client.generations()[-1] != before[-1])
        # Not due any more: the next boot does nothing.
        after = client.generations()
        wait_for(
            "the check", lambda: '"check"' in client.host.file("/root/.local/state/sedai/runs.jsonl").content_string
        )
        client.host.run_expect([0], "systemctl stop cron; rm -f /run/crond.reboot; systemctl start cron; sleep 4")
        assert client.generations() == after


def told(page: str) -> list[str]:
    """What a page tells a person to type, line by line."""
    text = (PROJECT / f"{page}.md").read_text(encoding="utf-8")
    return [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


# docs/restore.md is followed by the scenario recovery, and so is what needs a database; imports by tests/unit.
PAGES = ("README", *(f"docs/{name}" for name in ("daily", "faq", "how", "moving", "security", "smtp")))
ELSEWHERE = ("restore-db", "restore_data.py databases", " import ", "sudo mv ", "sudo rsync ")
DAILY = [line for page in PAGES for line in told(page) if not any(words in line for words in ELSEWHERE)]


class TestStatus:
    """At a glance: what needs a look, and the command that is printed for it mends it."""

    def test_the_commands_of_the_pages_on_daily_life(self, client: Client, server: Host, new_mail: NewMail) -> None:
        client.host.run_expect([0], "touch /srv/data/report.xlsx")
        client.host.run_expect([0], "rm -rf /root/restored")
        client.backup()
        client.backup()
        followed = 0
        for command in dict.fromkeys(DAILY):
            if command.startswith(("sudo ", "~/scripts/")):
                done = server.run("runuser -l admin -c %s", command.replace("laptop", "client"))
            elif command.startswith("python3 /usr/local/"):
                done = server.run(command.replace("NAME", "client"))
            elif command.startswith("/root/"):
                done = client.host.run(command)
            else:
                continue  # by the test of the server's page, by those of playbooks and signatures, or by none
            followed += 1
            assert done.rc in (0, 1), f"{command}: {done.stdout}{done.stderr}"
            assert done.stdout or "--html" in command or "send_alert_email.sh" in command, command
        assert followed > 20
        assert new_mail("[TEST] Backup Alert Test")

    def test_the_commands_of_the_five_minute_start(self, client: Client) -> None:
        client.host.run_expect([0], "rm -rf /root/first-restore")
        *commands, difference = (line for line in told("docs/start") if line.startswith(("/root/", "diff ")))
        assert len(commands) == 5
        for command in commands:
            done = client.host.run(command)
            assert done.rc in (0, 1) and done.stdout, f"{command}: {done.stdout}{done.stderr}"
        assert client.host.run_expect([0], difference).stdout == ""

    def test_all_is_well(self, client: Client) -> None:
        client.backup()
        client.check()
        client.check("--level", "full", "--all")
        client.program("restore_drill.py", "--files", "1", "--quiet")
        said = client.program("backup_status.py")
        assert "All is well." in said
        assert client.generations()[-1] in said

    def test_an_encrypted_tree_is_mailed_and_nothing_is_pruned_until_it_is_released(
        self, client: Client, server: Host, data: str, new_mail: NewMail
    ) -> None:
        for _ in range(10 - len(client.generations())):
            client.backup()
        before = client.generations()
        encrypt = "head -c 2000 /dev/urandom >$file"
        client.host.run_expect([0], f"cp -a {data} /srv/before && for file in {data}/*[0-9]; do {encrypt}; done")
        try:
            client.backup(expect=1)
            mail = " ".join(new_mail("backup done").split())
            assert "hold nothing but noise now, as if somebody had encrypted them" in mail
            assert "release --client client" in mail
            assert client.generations()[:-1] == before  # eleven by now
        finally:
            client.host.run_expect([0], f"rm -r {data} && mv /srv/before {data}")

        said = " ".join(client.program("backup_status.py", expect=1).split())
        assert "nothing but noise" in said
        release = re.search(r"sudo (\S+sedai_server.py release --client client)", said)
        assert release
        server.run_expect([0], release[1])
        client.backup()
        assert new_mail("backup is clean again")
        assert len(client.generations()) == 10
        table = json.loads(client.program("backup_status.py", "--json"))
        assert table["attention"] == []
        assert [each["generation"] for each in table["generations"]] == client.generations()

    def test_the_server_s_own_mails_arrive(self, client: Client, server: Host, new_mail: NewMail) -> None:
        """The weekly one, and the watch's of the day after tomorrow, when nothing has come: by the way of all alerts."""
        generation = client.backup()["generation"]
        tool = "runuser -u sedai -- /usr/local/lib/sedai/sedai_server.py"
        server.run_expect([0, 1], f"{tool} report")
        assert generation in new_mail("weekly report")
        later = (
            "import runpy, sys, time; now = time.time; time.time = lambda: now() + 2 * 86400; "
            "sys.argv = ['sedai_server.py', 'watch']; "
            "runpy.run_path('/usr/local/lib/sedai/sedai_server.py', run_name='__main__')"
        )
        server.run_expect([1], f'runuser -u sedai -- python3 -c "{later}"')
        assert "backup_data.py" in new_mail("URGENT: no new backup")
        server.run_expect([0], f"{tool} watch")
        assert new_mail("resolved: no new backup")

    def test_the_journal_has_what_both_did(self, client: Client, server: Host) -> None:
        generation = client.backup()["generation"]
        assert generation in server.check_output("journalctl --identifier sedai --output cat")
        assert "backup: exit 0" in client.host.check_output("journalctl --identifier sedai --output cat --lines 5")

    def test_prometheus_is_told_by_both(self, client: Client, server: Host) -> None:
        generation = client.backup()
        file = "/var/lib/prometheus/node-exporter/sedai.prom"
        told = client.host.file(file).content_string
        assert f'sedai_backup_files{{client="client"}} {float(generation["files"])}' in told
        server.run_expect([0], "runuser -u sedai -- /usr/local/lib/sedai/sedai_server.py watch")
        count = float(len(client.generations()))
        assert f'sedai_generations{{client="client"}} {count}' in server.file(file).content_string
        for host in (client.host, server):
            assert host.file(file).mode == 0o644  # node_exporter is another account

    def test_a_file_tells_how_the_last_runs_ended(self, client: Client) -> None:
        generation = client.backup()["generation"]
        told = client.host.file("/var/lib/sedai-state/client.json")
        assert told.mode == 0o644
        table = json.loads(told.content_string)
        assert (table["newest"], table["runs"]["backup"]["exit"]) == (generation, 0)

    def test_the_client_s_page(self, client: Client) -> None:
        generation = client.backup()["generation"]
        client.program("backup_status.py", "--html", "/root/status.html")
        page = client.host.file("/root/status.html")
        assert page.mode == 0o600
        assert generation in page.content_string

    def test_the_server_s_page_is_shown_through_ssh_alone(self, client: Client, server: Host) -> None:
        """And holds what was sealed just now: the gate writes it behind its answer."""
        generation = client.backup()["generation"]
        assert generation in server.run_expect([0], "/usr/local/lib/sedai/sedai_server.py status --json").stdout
        (showing,) = (command for command in DAILY if command.startswith("ssh -t "))
        command = re.sub(r"^ssh .* you@\S+ ", "", showing)
        assert "--bind 127.0.0.1" in command
        config = PROJECT / ".lab" / LAB / "ssh_config"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = ["ssh", "-tt", "-F", config, "-L", f"{port}:127.0.0.1:8080", "server", command]
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as ssh:
            try:
                for name in ("", "status.json"):
                    url = f"http://127.0.0.1:{port}/{name}"
                    wait_for("the new page", lambda url=url: generation in fetched(url))
            finally:
                ssh.terminate()

    def test_without_the_server_it_says_what_is_known_here(self, client: Client) -> None:
        elsewhere = client.configuration("/root/nowhere.toml", {"port": "1"})
        said = client.program("backup_status.py", "--config", elsewhere, expect=3)
        assert "The server can't be asked" in said
        assert "restore drill" in said


@pytest.fixture(scope="module")
def again(client: Client, server: Host, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What site.yml says where there is nothing to do, and where sudo on both hosts wants a password."""
    password = tmp_path_factory.mktemp("sudo") / "password"
    password.write_text("s3same open\n", encoding="utf-8")
    rule = "/etc/sudoers.d/lab"
    hosts = (client.host, server)
    try:
        for host in hosts:
            host.run_expect([0], f"echo 'admin:s3same open' | chpasswd && sed -i.lab 's/NOPASSWD: //' {rule}")
            host.run_expect([1], "runuser -u admin -- sudo -n true")
        return site("--become-password-file", str(password))
    finally:
        for host in hosts:  # sudo passes over names with a dot
            host.run_expect([0], f"mv {rule}.lab {rule} && usermod --lock admin")


class TestProvisioning:
    """What a run of site.yml does not see stays as it is, and what it can't do it refuses beforehand."""

    def test_with_a_password_for_sudo_it_changes_nothing(self, again: str) -> None:
        assert again.count("changed=0  failed=0") == 2

    def test_the_last_lines_say_when_where_to_whom_and_what_next(self, again: str) -> None:
        """Without them nothing would change, and nothing fail. tests/templates has every word, in both languages."""
        last = again.rpartition("Say what is scheduled, where things are, and what to try next")[2].split("RECAP")[0]
        for words in (
            "client: cron backs up every day at 03:15,",
            f"{PROGRAMS}/backup_data.py (the first backup)",
            "server: the generations are in /srv/sedai,",
            "Alerts go to user@example.com.",
        ):
            assert words in last
        assert "MAILS WAIT" not in last

    @pytest.mark.parametrize(
        "part",
        ["--limit=client", "--limit=server"]
        + [f"--tags={role}" for role in ("msmtp", "alert_mail", "backup_server", "backup_client", "prove")],
    )
    def test_a_part_changes_nothing(self, client: Client, part: str) -> None:
        output = site(part)
        assert "changed=0" in output
        assert "changed=1" not in output
        client.program("restore_data.py", "list")

    def test_manuals_and_completions_are_where_they_are_looked_for(self, client: Client, server: Host) -> None:
        """By anybody. man and zsh are in no image; tests/project has them read the files."""
        files = PROJECT / "files/share"
        pages = sorted(path.name.removesuffix(".1") for path in files.glob("man/man1/*"))
        servers = {"sedai_gate.py", "sedai_server.py", "send_alert_email.sh"}
        assert servers < set(pages)
        for program in pages:
            host = server if program in servers else client.host
            for name in (
                f"man/man1/{program}.1",
                f"bash-completion/completions/{program}",
                f"zsh/site-functions/_{program}",
            ):
                there = host.run(f"runuser -u nobody -- cat /usr/local/share/{name}")
                assert there.stdout == (files / name).read_text(encoding="utf-8"), f"{name}: {there.stderr}"

    @pytest.mark.parametrize("secret", ["", "{{ vault_msmtp_password }}"], ids=["empty", "missing"])
    def test_without_the_secret_nothing_is_changed(self, secret: str) -> None:
        output = site("--extra-vars", json.dumps({"msmtp_password": secret, "backup_client_language": "ja"}), expect=2)
        assert "ansible-vault edit" in output
        assert "Provision" not in output  # the plays after the preflight
        assert output.count("changed=0") == 2


class TestUpgrade:
    """Both sides come to this version, and no backup is lost or cut off meanwhile."""

    LIBRARIES = ((PROGRAMS, "client"), ("/usr/local/lib/sedai", "server"))

    def installed(self, hosts: dict[str, Host], version: str) -> None:
        """Pretend that both have another version, which spoke another protocol."""
        for directory, name in self.LIBRARIES:
            change = f"sed -i 's/^__version__ = .*/__version__ = \"{version}\"/' {directory}/sedai/__init__.py"
            hosts[name].run_expect([0], change)
        hosts["client"].run_expect([0], f"sed -i 's/^PROTOCOL = .*/PROTOCOL = 0/' {PROGRAMS}/sedai/core/wire.py")

    def test_the_way_back_and_half_the_way_are_refused(self, client: Client, server: Host) -> None:
        self.installed({"client": client.host, "server": server}, "99.0")
        output = playbook("playbooks/upgrade.yml", "--limit", "client", expect=2)
        assert "upgraded together, nothing was changed" in output
        output = playbook("playbooks/upgrade.yml", expect=2)
        assert output.count("has sedai 99.0, and this checkout is") == 2
        assert output.count("-e downgrade=true") == 2
        assert output.count("changed=0") == 2
        client.program("restore_data.py", "list", expect=2)

    def test_what_runs_is_waited_for_and_what_comes_is_held_back(self, client: Client, server: Host) -> None:
        """A backup by hand runs when the upgrade begins; cron starts one in its middle."""
        self.installed({"client": client.host, "server": server}, "0.0.1")
        lock = "/root/.local/state/sedai/lock"
        line = client.host.check_output("crontab -l | grep 'backup_data.py --quiet$'").split(" ", 5)[5]
        started = f"while ! grep -q 'for an upgrade' {lock}; do sleep 0.1; done; {line}; echo $? >/root/held"
        # The one that runs ends when it has been met; Ansible's modules are in the journal with their arguments.
        met = 'journalctl --quiet --since "$(date "+%F %T")" --follow | grep --quiet --max-count=1 "flock --nonblock"; sleep 1'
        for command in (f"flock {lock} sh -c {shlex.quote(met)}", f"rm -f /root/held; {started}"):
            client.host.run_expect([0], f"setsid sh -c {shlex.quote(command)} >/dev/null 2>&1 &")
        output = playbook("playbooks/upgrade.yml")
        assert "  waiting client: backup_client : hold | Wait for what is running" in output
        assert "  Everything is as it was sealed.\n" in output
        now = client.program("backup_data.py", "--version").split()[-1]
        for name in ("client", "server"):
            assert f"{name}: sedai {now} (before: 0.0.1)\n" in output
        wait_for("the backup that was held back", lambda: client.host.file("/root/held").exists, 60)
        assert client.host.file("/root/held").content_string == "0\n"
        record = json.loads(server.file(f"{STORE}/{client.generations()[-1]}/generation.json").content_string)
        assert record["sedai_version"] == now, "it was sealed by the new version"
        assert not client.host.run("pgrep -ax sleep").stdout.count("3600")
