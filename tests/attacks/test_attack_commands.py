"""What can be asked of a key that opens only the gate: other commands, rsync's options and paths, SSH's own features."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import time
from typing import Any

import pytest
from attack_lab import STORE, Server
from attacker import CAPABILITIES, PULL, PUSH, Attacker, refused

from sedai.core import wire

pytestmark = pytest.mark.usefixtures("unharmed")

COMMANDS = [
    *("", " ", "id", "sh", "sh -c id", "/bin/sh", "python3 -c 'print(1)'", "cat /etc/passwd", "rm -rf /srv/sedai"),
    *("touch /srv/sedai/alpha/generations/x", "chmod -R 777 /srv/sedai", "scp -t /srv/sedai", "scp -f /srv/sedai/beta"),
    *(
        "internal-sftp",
        "/usr/lib/openssh/sftp-server",
        "git-upload-pack /",
        "status; id",
        "status && id",
        "status | id",
    ),
    *("status & id", "status `id`", "status $(id)", "status\nid", "\nid", "status ", " status", "Status", "status\r"),
    *("status\x01id", "prune", "release", "freeze", "delete", "__init__", "_prune", "list beta", "--client beta"),
    *("begin --client beta", "status --config /tmp/x", "'", '"', "\\", 'status"', "%s%n", "a" * 5000, "статус"),
    *("rsync", "rsync ", "rsync --daemon", "sedai_gate.py --client beta"),
    "/usr/bin/python3 -P /usr/local/lib/sedai/sedai_gate.py --client beta",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_other_command(attacker: Attacker, command: str) -> None:
    # An empty command would open a shell, whose input this is.
    refused(attacker.ask(command, b"id\n"))


OPTIONS = """
--delete --delete-before --delete-after --delete-excluded --force --inplace --append --append-verify --write-devices
--copy-devices --remove-source-files --backup -b --backup-dir=/srv --temp-dir=/tmp -T/tmp --partial-dir=/base
--log-file=/tmp/x --link-dest=/base --link-dest=/ --copy-dest=/ --compare-dest=/srv -K --keep-dirlinks -L -k
--copy-unsafe-links --munge-links --super --no-fake-super --files-from=/etc/passwd --daemon --config=/tmp/x --rsh=sh -e
--rsync-path=sh --chmod=777 --chown=0:0 --usermap=*:0 --trust-sender --ignore-existing --protocol=26 --relative -s
--secluded-args --only-write-batch=/tmp/x --write-batch=/tmp/x --read-batch=/etc/passwd --filter=merge_/etc/passwd
--exclude-from=/etc/shadow --password-file=/etc/shadow --bwlimit=1;id --server --sender -- -M--x
""".split()  # noqa: SIM905  a list this long reads best as words


@pytest.mark.parametrize("form, place", [(PUSH, -2), (PULL, 4)], ids=["push", "pull"])
@pytest.mark.parametrize("option", OPTIONS)
def test_no_further_option_of_rsync(attacker: Attacker, oldest: str, option: str, form: str, place: int) -> None:
    """Among what the gate knows."""
    words = form.format(generation=oldest).split()
    command = shlex.join([*words[:place], option, *words[place:]])
    refused(attacker.ask(command), "not one that the gate carries out")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/delta/", "/delta/../generations/"),
        ("/delta/", "/delta/docs/../../generations/"),
        ("/delta/", "/delta/./docs/"),
        ("/delta/", "/delta/docs//"),
        ("/delta/", "'/delta/docs;id/'"),
        ("/delta/", "/base/"),
        ("/delta/", "/"),
        ("/delta/", f"{STORE}/alpha/generations/"),
        ("/delta/", "/delta"),
        ("/delta/", "//delta/"),
        ("/delta/", "/delta/."),
        ("/delta/", "/delta/ /delta/"),
        ("/delta/", "'/delta/\n/etc'"),
        ("/delta/", "$HOME/"),
        ("/delta/", "~/"),
        ("/delta/", "/delta/*"),
        ("--copy-dest /base", "--copy-dest /delta/../base"),
        ("--copy-dest /base", f"--copy-dest {STORE}/beta"),
        ("--copy-dest", "--link-dest"),
        ("--copy-dest", "--compare-dest"),
        (" --fake-super", ""),
        (" --numeric-ids", ""),
        (wire.PARTIAL_DIRECTORY, "/tmp"),
        (wire.PARTIAL_DIRECTORY, "../x"),
        ("lHogDtpAXIRS", "lHogDtpAXIRSK"),
        ("lHogDtpAXIRS", "lHogDtpAXIRSd"),
        ("lHogDtpAXIRS", "lHogDtpAXIRb"),
        ("lHogDtpAXIRS", "lHogDtpAXIRSS"),
        ("lHogDtpAXIRS", "lHogDtpAXI"),
        (f"e.{CAPABILITIES}", f"e.{CAPABILITIES};id"),
        (f"e.{CAPABILITIES}", "e." + "x" * 25),
        (f"e.{CAPABILITIES}", "e31.2x"),
        ("rsync --server", "rsync --server --server"),
        ("rsync --server", "rsync\n--daemon --server"),
        ("rsync --server", "rsync --server --daemon"),
        ("xxh128", "none"),
        ("xxh128", "md4"),
    ],
)
def test_no_other_push(attacker: Attacker, old: str, new: str) -> None:
    assert old in PUSH
    refused(attacker.ask(PUSH.replace(old, new)))


@pytest.mark.parametrize(
    "generation",
    [
        *(
            "..",
            ".",
            "latest/..",
            "latest/../..",
            "../../beta",
            "delta",
            "base",
            "tree",
            "etc",
            "/etc",
            "..%2f",
            "*",
            "",
        ),
        *("{own}/..", "{own}/tree", "{own}/../../../beta/generations/{theirs}", "{theirs}", "{own} /etc", "{own}\n"),
        *(
            "-{own}",
            "{own}'",
            "{own};id",
            "{own}\\",
            "{lower}",
            "\uff10" * 8 + "T\uff10\uff10\uff10\uff10\uff10\uff10Z-000001",
            "x" * 300,
        ),
    ],
)
def test_no_other_pull(attacker: Attacker, oldest: str, theirs: str, generation: str) -> None:
    asked = generation.format(own=oldest, theirs=theirs, lower=oldest.lower())
    done = attacker.ask(PULL.replace("/{generation}/", shlex.quote(f"/{asked}/")), b"secret/diary\0\0")
    refused(done, "sedai:")
    assert b"of beta" not in done.stdout


FEATURES = {
    "local forwarding": ["-o", "ClearAllForwardings=no", "-W", "127.0.0.1:22", "server"],
    "sftp": ["-s", "server", "sftp"],
    "another subsystem": ["-s", "server", "netconf"],
    "remote forwarding": ["-o", "ExitOnForwardFailure=yes", "-N", "-R", "0:127.0.0.1:22", "server"],
    "remote socket": ["-o", "ExitOnForwardFailure=yes", "-N", "-R", "/tmp/planted:127.0.0.1:22", "server"],
    "a shell with a terminal": ["-tt", "server"],
    "a command with a terminal": ["-tt", "server", "id"],
    "no command": ["server"],
    "root": ["-l", "root", "server", "id"],
    "the admin's account": ["-o", "User=nobody", "-l", "nobody", "server", "id"],
}


@pytest.mark.parametrize("feature", FEATURES)
def test_no_feature_of_ssh(attacker: Attacker, feature: str) -> None:
    words = FEATURES[feature]
    if "-l" in words:  # the attacker's own -l comes first, and the first counts
        place = attacker.ssh_words.index("-l")
        argv = [*attacker.ssh_words[:place], *attacker.ssh_words[place + 2 :], *words]
        done = subprocess.run(argv, input=b"id\n", capture_output=True, check=False, timeout=30)
    else:
        done = attacker.fresh(*words, stdin=b"id\n")
    refused(done)
    assert b"SSH-2.0" not in done.stdout


def test_a_local_port_leads_nowhere(attacker: Attacker) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([*attacker.ssh_words, "-N", "-L", f"127.0.0.1:{port}:127.0.0.1:22", "server"])
    try:
        for _ in range(100):
            try:
                connection = socket.create_connection(("127.0.0.1", port), 1)
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        with connection:
            connection.settimeout(10)
            try:
                said = connection.recv(100)
            except ConnectionResetError:
                said = b""
            assert said == b""
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("permission", ["pty", "port-forwarding", "agent-forwarding", "x11-forwarding", "user-rc"])
def test_the_key_permits_nothing_more(attacker: Attacker, permission: str) -> None:
    """sshd tells what a key may do while it lets it in."""
    said = attacker.fresh("-v", "-o", "LogLevel=DEBUG1", "server", "status").stderr.decode()
    [options] = {line.split("key options: ")[1] for line in said.splitlines() if "key options: " in line}
    assert options.split() == ["command"]
    assert permission not in options


@pytest.mark.parametrize(
    "setting",
    [
        *(
            "PYTHONPATH=/tmp",
            "PYTHONSTARTUP=/tmp/x",
            "LD_PRELOAD=/tmp/x.so",
            "PATH=/tmp",
            "HOME=/tmp",
            "LC_ALL=../../x",
        ),
        *("SSH_ORIGINAL_COMMAND=id", "RSYNC_RSH=id", "BASH_ENV=/tmp/x", "LANG=$(id)"),
    ],
)
def test_the_environment_changes_nothing(attacker: Attacker, setting: str) -> None:
    usual = attacker.result("status")
    done = attacker.fresh("-o", f"SetEnv={setting}", "server", "status")
    found = json.loads(done.stdout)["result"]
    assert {key: found[key] for key in ("client", "generations", "newest")} == {
        key: usual[key] for key in ("client", "generations", "newest")
    }


JSON: dict[str, tuple[str, bytes]] = {
    "nothing but brackets": ("begin", b"[" * 500_000 + b"\n"),
    "deep objects": ("begin", b'{"a":' * 100_000 + b"\n"),
    "oversized": ("begin", b'{"protocol":1,"x":"' + b"x" * 3_000_000 + b'"}\n'),
    "oversized without an end": ("list", b"x" * 5_000_000),
    "no object": ("begin", b"3\n"),
    "null": ("begin", b"null\n"),
    "a list": ("begin", b"[1]\n"),
    "not UTF-8": ("begin", b"\xff\xfe\n"),
    "NUL": ("begin", b"\0\n"),
    "another protocol": ("begin", b'{"protocol":2}\n'),
    "no protocol": ("begin", b"{}\n"),
    "a time of text": ("begin", b'{"protocol":1,"time":"x"}\n'),
    "a time of an object": ("begin", b'{"protocol":1,"time":{}}\n'),
    "a huge number": ("begin", b'{"protocol":1,"time":1' + b"0" * 5000 + b"}\n"),
    "a seal of nothing": ("seal", b'{"protocol":1}\n'),
    "a seal with lists": (
        "seal",
        b'{"protocol":1,"base":[],"base_manifest_sha256":[],"entries":[],"started":[],"sources":3}\n',
    ),
    "a manifest that is no name": ("manifest", b'{"protocol":1,"generation":["latest"]}\n'),
    "a manifest elsewhere": ("manifest", b'{"protocol":1,"generation":"../../beta/generations/latest"}\n'),
    "a manifest of everything": ("manifest", b'{"protocol":1,"generation":"/etc/passwd"}\n'),
    "reading elsewhere": ("read", b'{"protocol":1,"generation":"../../beta/generations/latest"}\nhome\n'),
    "reading of nothing": ("read", b'{"protocol":1}\nhome\n'),
    "reading above the tree": ("read", b'{"protocol":1,"generation":"latest"}\n../generation.json\n'),
    "reading far above the tree": ("read", b'{"protocol":1,"generation":"latest"}\nhome/../../../../../etc/passwd\n'),
    "reading from the root": ("read", b'{"protocol":1,"generation":"latest"}\n/etc/passwd\n'),
    "reading with NUL": ("read", b'{"protocol":1,"generation":"latest"}\nhome\0/etc/passwd\n'),
    "a check of what is not there": ("verify", b'{"protocol":1,"generation":"../.."}\n'),
    "a check of no level": ("verify", b'{"protocol":1,"level":"../x"}\n'),
    "a check of a level of lists": ("verify", b'{"protocol":1,"level":[[]]}\n'),
    "an alert without a subject": ("alert", b'{"protocol":1,"body":"x"}\n'),
    "an alert with an option": ("alert", b'{"protocol":1,"subject":"--help"}\n'),
    "an alert with two lines": ("alert", b'{"protocol":1,"subject":"x\\nBcc: a@example.com","body":""}\n'),
    "an alert with NUL": ("alert", b'{"protocol":1,"subject":"x","body":"\\u0000"}\n'),
    "an alert with half a pair": ("alert", b'{"protocol":1,"subject":"\\ud800","body":"x"}\n'),
    "an alert of 2 MiB": ("alert", b'{"protocol":1,"subject":"x","body":"' + b"x" * (1 << 21) + b'"}\n'),
}


@pytest.mark.parametrize("what", JSON)
def test_a_request_that_is_none(attacker: Attacker, what: str) -> None:
    done = attacker.ask(*JSON[what])
    refused(done)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert answer["error"]
    assert "Traceback" not in done.stderr.decode()


@pytest.mark.parametrize("key", ["client", "config", "store", "account", "root"])
def test_another_name_in_a_request_means_nothing(attacker: Attacker, beta: Attacker, key: str) -> None:
    for value in ("beta", "../beta", f"{STORE}/beta"):
        assert attacker.result("status", {key: value})["client"] == "alpha"
        listed = attacker.result("list", {key: value})["generations"]
        assert {record["client"] for record in listed} == {"alpha"}


def test_a_subject_is_no_file_name_and_no_command(attacker: Attacker, server: Server) -> None:
    for subject in (
        "$(touch /tmp/ran)",
        "`touch /tmp/ran`",
        "x; touch /tmp/ran",
        "../../srv/sedai/x",
        "'\"; touch /tmp/ran",
    ):
        attacker.verb("alert", {"subject": subject, "body": "x"})
    assert server.root("ls /tmp").count("ran\n") == 0
