"""Restoring as a frightened person does it: list, find, compare, bring back, and once without this project at all."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import CONFIGURATION, PROGRAMS, PROJECT, STORE, Client, wait_for
from testinfra.host import Host

from labkit import instructions

SOURCE = "/srv/data/restore"
NOTES = f"{SOURCE}/notes.txt"
FLIP = (
    "import os, sys; path = sys.argv[1]; times = os.stat(path); file = open(path, 'r+b'); byte = file.read(1)[0]; "
    "file.seek(0); file.write(bytes([byte ^ 1])); file.close(); os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))"
)


def describe(client: Client, directory: str) -> dict[str, dict[str, Any]]:
    """Everything about a tree that a restore has to bring back; sockets never come back."""
    output = client.host.check_output(f"python3 /root/hard_tree.py describe {shlex.quote(directory)}")
    found: dict[str, dict[str, Any]] = json.loads(output)
    return {path: entry for path, entry in found.items() if not str(entry["mode"]).startswith("0o14")}


def assert_same(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> None:
    """Nothing is different; zeros may come back as a hole, a hole may not come back as zeros."""
    assert set(after) == set(before)
    for path, entry in before.items():
        had, has = entry.get("sparse", False), after[path].get("sparse", False)
        assert has or not had, path
        assert after[path] | {"sparse": had} == entry | {"sparse": had}, path


def restore(client: Client, *arguments: str, expect: int = 0) -> str:
    return client.program("restore_data.py", "restore", *arguments, expect=expect)


@pytest.fixture(scope="module")
def generations(client: Client, hard_tree: str) -> list[str]:
    """Three versions of a file: one, two, and gone."""
    client.host.run_expect([0], f"rm -rf {SOURCE} && mkdir -m 750 {SOURCE}")
    made = []
    for text in ("one", "two"):
        client.write(NOTES, text)
        client.write(f"{SOURCE}/other", "always the same")
        client.host.run_expect([0], f"touch -d 2026-01-01 {SOURCE}/other")
        made.append(client.backup()["generation"])
        client.host.run_expect([0], "sleep 1")  # --at knows whole seconds
    client.host.run_expect([0], f"rm {NOTES}")
    return [*made, client.backup()["generation"]]


def records(client: Client) -> dict[str, dict[str, Any]]:
    listed = json.loads(client.program("restore_data.py", "list", "--json"))
    return {record["generation"]: record for record in listed}


class TestLook:
    """list, find and diff."""

    def test_list_tells_what_the_checks_found(self, client: Client, generations: list[str]) -> None:
        newest = generations[-1]
        assert records(client)[newest]["state"] == "not checked yet"
        client.check()
        assert records(client)[newest]["state"].startswith("names checked ")
        client.check("--level", "full", "--generation", newest)
        today = client.host.check_output("date +%F")
        assert records(client)[newest]["state"] == f"every byte checked {today}"
        line = client.program("restore_data.py", "list").splitlines()[-1]
        assert line.startswith(f"{newest}  {today} ") and line.endswith(f"every byte checked {today}")

    def test_list_names_a_record_that_can_not_be_read(
        self, client: Client, server: Host, generations: list[str]
    ) -> None:
        record = f"{STORE}/{generations[1]}/generation.json"
        server.run_expect([0], f"cp -p {record} /root/record && truncate -s 10 {record}")
        try:
            lines = client.program("restore_data.py", "list").splitlines()
            assert [line.split()[0] for line in lines if "DAMAGED" in line] == [generations[1]]
        finally:
            server.run_expect([0], f"cat /root/record > {record}")

    def test_find_groups_versions(self, client: Client, generations: list[str]) -> None:
        first, second, third = generations
        versions = json.loads(client.program("restore_data.py", "find", "--json", NOTES))
        assert [(version["size"], version["generations"]) for version in versions] == [(3, [first]), (3, [second])]
        output = client.program("restore_data.py", "find", "othe?")
        assert f"{SOURCE}/other\n" in output and f"in {first} to {third} (3 generations)" in output

    def test_find_knows_the_nearest_names(self, client: Client, generations: list[str]) -> None:
        assert f"{SOURCE}/other" in client.program("restore_data.py", "find", f"{SOURCE}/othr", expect=2)

    def test_diff(self, client: Client, generations: list[str]) -> None:
        first, second, third = generations
        output = client.program("restore_data.py", "diff", first, second, SOURCE).splitlines()
        assert output[0] == f"* {NOTES}  (content, time)"
        assert output[1:] == [f"{first} to {second}: 0 added, 0 removed, 1 changed"]
        output = client.program("restore_data.py", "diff", "previous", "latest", SOURCE).splitlines()
        assert output == [
            f"* {SOURCE}/  (time)",
            f"- {NOTES}",
            f"{second} to {third}: 0 added, 1 removed, 1 changed",
        ]


class TestWhen:
    """--at and --generation."""

    def test_at_a_time(self, client: Client, generations: list[str]) -> None:
        known = records(client)
        for name, text in zip(generations[:2], ("one", "two"), strict=True):
            client.host.run_expect([0], "rm -rf /root/at")
            output = restore(client, "--at", known[name]["sealed"], "--to", "/root/at", NOTES)
            assert client.host.file(f"/root/at{NOTES}").content_string == text
            assert name in output and "each compared with its digest" in output

    def test_a_bare_date_is_the_end_of_that_day(self, client: Client, generations: list[str]) -> None:
        today = client.host.check_output("date +%F")
        assert generations[-1] in restore(client, "--at", today, "--dry-run", SOURCE, "--to", "/root/nowhere")
        assert not client.host.file("/root/nowhere").exists

    def test_nothing_is_that_old(self, client: Client, generations: list[str]) -> None:
        oldest = client.generations()[0]
        assert oldest in restore(client, "--at", "2001-01-01", "/etc", expect=2)


class TestInPlace:
    """What is there stays, unless it is to be overwritten."""

    def test_what_is_lost_comes_back_and_the_rest_is_not_touched(
        self, client: Client, generations: list[str], hard_tree: str
    ) -> None:
        before = describe(client, hard_tree)
        untouched = client.host.check_output(f"stat -c %i {hard_tree}/acl")
        client.host.run_expect([0], f"cd {hard_tree} && rm -r xattr fifo 'links' 'read-only directory' sparse")
        assert "files there already" in restore(client, hard_tree)
        # Directories that were there keep their times; the time of the tree's own is that of the removal.
        after = describe(client, hard_tree)
        before["."] |= {"mtime_ns": after["."]["mtime_ns"]}
        assert_same(before, after)
        assert client.host.check_output(f"stat -c %i {hard_tree}/acl") == untouched

    def test_a_directory_keeps_mode_and_time(self, client: Client, generations: list[str]) -> None:
        look = f"stat -c '%a %y' {SOURCE}"
        client.host.run_expect([0], f"rm {SOURCE}/other; chmod 700 {SOURCE}; touch -d 2020-02-02 {SOURCE}")
        before = client.host.check_output(look)
        restore(client, SOURCE)
        assert client.host.file(f"{SOURCE}/other").content_string == "always the same"
        assert client.host.check_output(look) == before
        restore(client, "--overwrite", SOURCE)
        assert client.host.check_output(look).startswith("750 ")

    def test_something_else_is_replaced_only_on_demand(self, client: Client, generations: list[str]) -> None:
        client.write(f"{SOURCE}/other", "mine")
        assert f"{SOURCE}/other exists already" in restore(client, SOURCE, expect=2)
        output = restore(client, "--dry-run", SOURCE, expect=1)
        assert "replaces what is different: 1 entry" in output and "REFUSED: " in output
        assert client.host.file(f"{SOURCE}/other").content_string == "mine"
        restore(client, "--overwrite", SOURCE)
        assert client.host.file(f"{SOURCE}/other").content_string == "always the same"


class TestBadInput:
    """One clear sentence, and exit 2."""

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--generation", "20010101T000000Z-000001", "/etc"], "There is no generation '20010101T000000Z-000001'"),
            (["--at", "yesterday", "/etc"], "'yesterday' is not a time"),
            (["etc"], "must be an absolute path"),
            (["/etc/host"], "Near names: /etc/hosts"),
            (["--to", "/etc/passwd", "/etc/hosts"], "/etc/passwd is not a directory"),
            (["--to", "/etc/passwd/x", "/etc/hosts"], "/etc/passwd/x can't be made"),
            (["--to", "/etc", "/etc/hosts"], "/etc is not empty"),
            (["--at", "2026-01-01", "--generation", "latest", "/etc"], "not allowed with"),
            ([], "required"),
        ],
    )
    def test_restore(self, client: Client, generations: list[str], arguments: list[str], words: str) -> None:
        assert words in restore(client, *arguments, expect=2)

    def test_a_path_that_only_older_generations_have(self, client: Client, generations: list[str]) -> None:
        output = restore(client, "--to", "/root/x", NOTES, expect=2)
        assert f"{generations[0]} to {generations[1]}" in output and f"--generation {generations[1]}" in output

    def test_diff_and_find(self, client: Client, generations: list[str]) -> None:
        assert "There is no generation" in client.program("restore_data.py", "diff", "previous", "x", expect=2)
        assert "is in neither" in client.program("restore_data.py", "diff", "previous", "latest", "/nowhere", expect=2)
        assert "whole path" in client.program("restore_data.py", "find", "etc/hosts", expect=2)


class TestDamage:
    """Rotten bytes are not restored, and whoever has them whole is named."""

    @pytest.fixture
    def rotten(self, client: Client, server: Host, generations: list[str]) -> Iterator[list[str]]:
        """The newest generation has a rotten file, which an older one has whole in an inode of its own."""
        client.host.run_expect([0], f"touch -d 2026-01-02 {SOURCE}/other")
        newest = client.backup()["generation"]
        flip = f"python3 -c {shlex.quote(FLIP)} {STORE}/{newest}/tree{SOURCE}/other"
        server.run_expect([0], flip)
        yield [generations[-1], newest]
        server.run_expect([0], flip)

    def test_refused_and_the_other_generation_named(self, client: Client, rotten: list[str]) -> None:
        older, newest = rotten
        client.host.run_expect([0], "rm -rf /root/damaged")
        output = restore(client, "--to", "/root/damaged", SOURCE, expect=3)
        assert f"{SOURCE}/other: content" in output and newest in output
        assert f"the same bytes are whole in {older}" in output
        assert not client.host.file("/root/damaged").exists
        restore(client, "--generation", older, "--to", "/root/damaged", SOURCE)
        client.host.run_expect([0], "rm -rf /root/damaged")
        output = restore(client, "--accept-damaged", "--to", "/root/damaged", SOURCE, expect=1)
        assert f"FINDING: damaged on the server: {SOURCE}/other" in output
        assert client.host.file(f"/root/damaged{SOURCE}/other").exists


class TestBrokenOff:
    """A restore that was killed goes on where it was."""

    def test_after_kill_9(self, client: Client, generations: list[str]) -> None:
        size, big, there = 160 << 20, f"{SOURCE}/big", f"/root/resumed{SOURCE}"
        client.host.run_expect([0], f"rm -rf /root/resumed; head -c {size} /dev/urandom > {big}")
        client.backup()
        client.host.run_expect([0], f"touch -r {big} /root/time")
        kill = (
            f"until [ -n \"$(find {there} -maxdepth 1 -name '.big.*' -size +40M 2>/dev/null)\" ]; do :; done; "
            "pkill -9 -x rsync; pkill -9 -f '[r]estore_data.py restore --to /root/resumed'"
        )
        command = f"{PROGRAMS}/restore_data.py restore --to /root/resumed {SOURCE}"
        client.host.run(f"setsid sh -c {shlex.quote(kill)} >/root/kill.out 2>&1 & {command}")
        wait_for("the end of rsync", lambda: client.host.run("pgrep -x rsync").rc == 1)
        part = int(client.host.check_output(f"find {there} -name '*big*' -printf '%s\\n' | sort -n | tail -1"))
        assert (40 << 20) <= part < size and not client.host.file(f"{there}/big").exists

        assert "not empty" in restore(client, "--to", "/root/resumed", f"{SOURCE}/other", expect=2)
        received = "cat /sys/class/net/eth0/statistics/rx_bytes"
        start = int(client.host.check_output(received))
        restore(client, "--to", "/root/resumed", SOURCE)
        assert int(client.host.check_output(received)) - start < size - part // 2
        assert client.host.check_output(f"find {there} -name '.*'") == ""
        assert_same(describe(client, SOURCE), describe(client, there))
        assert "not empty" in restore(client, "--to", "/root/resumed", SOURCE, expect=2)
        client.host.run_expect([0], f"rm -rf {big} /root/resumed")
        client.backup()


@pytest.fixture(scope="module")
def config(client: Client) -> str:
    client.host.run_expect([0], "id tester || useradd -m tester")
    changes = {
        "state_directory": '"/home/tester/state"',
        "log_file": '"/home/tester/sedai.log"',
        "identity_file": '"/home/tester/key"',
        "known_hosts_file": '"/home/tester/known_hosts"',
    }
    path = client.configuration("/home/tester/client.toml", changes)
    client.host.run_expect(
        [0],
        f"cp /root/.ssh/sedai_ed25519 /home/tester/key && cp /root/.ssh/sedai_known_hosts /home/tester/known_hosts "
        f"&& rm -rf /home/tester/scripts && cp -r {PROGRAMS} /home/tester/scripts && chown -R tester: /home/tester",
    )
    return path


class TestOrdinaryUser:
    """Without root everything comes back that can, and the rest is summed up."""

    @staticmethod
    def run(client: Client, config: str, *arguments: str) -> tuple[int, str]:
        words = ["/home/tester/scripts/restore_data.py", "--config", config, "restore", *arguments]
        done = client.host.run(f"runuser -u tester -- {shlex.join(words)}")
        return done.rc, done.stdout + done.stderr

    def test_what_could_not_be_set_is_summed_up(self, client: Client, config: str, hard_tree: str) -> None:
        client.host.run_expect([0], "rm -rf /home/tester/back")
        client.backup()
        code, output = self.run(client, config, "--to", "/home/tester/back", hard_tree)
        assert code == 1, output
        findings = [line for line in output.splitlines() if line.startswith("FINDING: ")]
        assert len(findings) < 10, output
        assert any("could not get their owner and group: " in line and "…" in line for line in findings)
        assert any("2 entries were left out: only root can make devices" in line for line in findings)
        before, after = describe(client, hard_tree), describe(client, f"/home/tester/back{hard_tree}")
        assert set(before) - set(after) == {"character device", "block device"}
        for path, entry in after.items():
            assert entry.get("sha256") == before[path].get("sha256"), path
            assert entry["mtime_ns"] == before[path]["mtime_ns"], path
            assert entry.get("same inode as") == before[path].get("same inode as"), path

    def test_the_own_files_come_back_clean(self, client: Client, config: str) -> None:
        client.host.run_expect(
            [0],
            "rm -rf /srv/data/own /home/tester/own && mkdir -p /srv/data/own && echo x > /srv/data/own/file "
            "&& chmod 0 /srv/data/own/file && chown -R tester: /srv/data/own",
        )
        client.backup()
        code, output = self.run(client, config, "--to", "/home/tester/own", "/srv/data/own/file")
        assert code == 1, output
        assert "Only root brings back capabilities" in output
        [finding] = [line for line in output.splitlines() if line.startswith("FINDING: ")]
        said, _, examples = finding.removeprefix("FINDING: ").partition(": ")
        assert said == "2 entries could not get their owner and group"
        assert set(examples.split(", ")) == {"/home/tester/own/srv", "/home/tester/own/srv/data"}


@pytest.fixture(scope="module")
def admitted(client: Client, server: Host) -> Iterator[None]:
    """The client's root may log in to the server as root and as admin, with a key under its usual name."""
    client.host.run_expect(
        [0],
        "rm -f /root/.ssh/id_ed25519; ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519; "
        "cat /root/.ssh/sedai_known_hosts >> /root/.ssh/known_hosts",
    )
    key = client.host.check_output("cat /root/.ssh/id_ed25519.pub")
    for home in ("/root", "/home/admin"):
        server.run_expect([0], f"mkdir -p {home}/.ssh && echo {shlex.quote(key)} >> {home}/.ssh/authorized_keys")
    yield
    for home in ("/root", "/home/admin"):
        server.run_expect([0], f"sed -i '\\#{key.split()[1]}#d' {home}/.ssh/authorized_keys")
    client.host.run_expect([0], "rm -f /root/.ssh/id_ed25519* /root/.ssh/known_hosts; rm -rf /root/restored")


class TestWithoutThisProject:
    """RESTORE.txt, followed to the letter."""

    def test_everything_comes_back(
        self, client: Client, server: Host, admitted: None, hard_tree: str, generations: list[str]
    ) -> None:
        newest = client.backup()["generation"]
        commands = instructions.indented(server.check_output(f"cat {STORE}/{newest}/RESTORE.txt"))
        assert [title for title in commands if title.isupper()] == [
            "ONE FILE",
            "ONE DIRECTORY",
            "EVERYTHING",
            "THEN",
            "LAST",
            "WHO MADE IT",
        ]
        client.host.run_expect([0], "rm -rf /root/restored")

        def follow(title: str, expect: int = 0) -> str:
            done = client.host.run(commands[title].replace("THIS-SERVER", "server"))
            assert done.rc == expect, f"{title}: {done.stdout}\n{done.stderr}"
            output: str = done.stdout
            return output

        follow("ONE FILE")
        assert client.host.check_output("find /root/restored -type f") == "/root/restored/etc/hosts"
        look = "stat -c '%a %u:%g %y' {0} {0}/hosts"
        assert client.host.check_output(look.format("/root/restored/etc")) == client.host.check_output(
            look.format("/etc")
        )
        follow("ONE DIRECTORY")
        assert client.host.run("diff -r --no-dereference /etc /root/restored/etc").rc == 0
        follow("EVERYTHING")
        assert client.host.check_output("stat -c '%a %u:%g' /root/restored") == "755 0:0"
        follow("THEN")
        assert_same(describe(client, hard_tree), describe(client, f"/root/restored{hard_tree}"))
        output = follow("LAST")
        assert " are different." in output and " 0 are different." in output and not output.startswith("0 ")
        client.host.run_expect([0], f"echo rotten > /root/restored{SOURCE}/other")
        assert f"DIFFERENT: b'{SOURCE[1:]}/other'" in follow("LAST", expect=1)

    def test_who_made_it(self, client: Client, server: Host, admitted: None) -> None:
        """Whether the client signed this generation, by RESTORE.txt and by docs/security.md; then root rewrites it."""
        newest = client.backup()["generation"]
        record = f"{STORE}/{newest}/generation.json"
        told = instructions.indented(server.check_output(f"cat {STORE}/{newest}/RESTORE.txt"))["WHO MADE IT"]
        by_note = told.replace("THIS-SERVER", "server")
        page = (PROJECT / "docs/security.md").read_text(encoding="utf-8")
        [block] = re.findall(r"```sh\n((?:ssh [^`]*)ssh-keygen -Y verify[^`]*)```", page)
        by_page = block.replace("vps.example.com", "server").replace("laptop", "client")
        client.host.run_expect([0], "cp /root/.config/sedai/allowed_signers /tmp/")

        def follow(commands: str) -> tuple[int, str]:
            done = client.host.run(f"set -e\n{commands}")
            return done.rc, done.stdout

        code, said = follow(by_note)
        assert code == 0
        assert said.startswith('Good "sedai-generation" signature for client with ED25519 key ')
        assert said.splitlines()[1].startswith('"manifest_sha256": "')
        assert follow(by_page) == (0, said.splitlines()[0] + "\n")
        server.run_expect([0], f'cp -p {record} /root/record && sed -i \'s/"started": "2/"started": "1/\' {record}')
        try:
            for commands in (by_note, by_page):
                code, said = follow(commands)
                assert code != 0 and "Good" not in said
            [finding] = client.check(expect=1)["findings"]
            assert (finding["code"], finding["generation"]) == ("signature", newest)
            assert finding["found"] == "one that does not fit the record"
        finally:
            server.run_expect([0], f"cp -p /root/record {record}")
        client.check()

    def test_with_sudo_on_the_server(
        self, client: Client, server: Host, admitted: None, generations: list[str]
    ) -> None:
        """As a person whom sudo asks for a password, which rsync can't type."""
        commands = instructions.indented(server.check_output(f"cat {STORE}/{generations[-1]}/RESTORE.txt"))
        allow = next(command for title, command in commands.items() if title.startswith("WITHOUT ROOT'S LOGIN"))
        take_away = next(command for command in commands.values() if command.startswith("sudo rm "))
        server.run_expect(
            [0],
            "useradd --create-home keeper && mkdir /home/keeper/.ssh && "
            "cp /home/admin/.ssh/authorized_keys /home/keeper/.ssh && chown -R keeper: /home/keeper/.ssh",
        )
        client.host.run_expect([0], "rm -rf /root/restored")

        def follow(title: str) -> Any:
            command = commands[title].replace("root@THIS-SERVER", "keeper@server")
            command = command.replace("rsync ", 'rsync --rsync-path="sudo rsync" ', 1).replace("gzip", "sudo gzip")
            return client.host.run(command)

        try:
            assert follow("ONE FILE").rc != 0
            server.run_expect([0], f"runuser -u admin -- sh -c {shlex.quote(allow.replace('NAME', 'keeper'))}")
            server.run_expect([0], "visudo --check --quiet")
            for title in ("ONE FILE", "LAST"):
                done = follow(title)
                assert done.rc == 0, done.stderr
            assert client.host.check_output("cat /root/restored/etc/hosts") == client.host.check_output(
                "cat /etc/hosts"
            )
            server.run_expect([0], f"runuser -u admin -- sh -c {shlex.quote(take_away)}")
            assert follow("ONE FILE").rc != 0
        finally:
            server.run("rm -f /etc/sudoers.d/zz-restore; userdel --remove keeper")


def test_the_state_directory_is_left_tidy(client: Client) -> None:
    """No restore that is done, refused or killed leaves anything behind for ever."""
    state = client.host.check_output(f"sed -n 's/^state_directory = \"\\(.*\\)\"/\\1/p' {CONFIGURATION}")
    assert client.host.check_output(f"ls {state}/restores 2>/dev/null || true") == ""
