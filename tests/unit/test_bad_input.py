"""Every program, called badly: one clear sentence, the exit code that goes with it, and never a traceback.

The programs run as processes, as people start them. The server that they would ask is not there, so what is refused here
is refused before anything is asked, unless a case says otherwise.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
CLIENT = ("backup_data.py", "backup_status.py", "check_backup_integrity.py", "restore_data.py", "restore_drill.py")
GATE = "sedai_gate.py"
USAGE, NOT_DONE, MAIL_USAGE, MAIL_CONFIGURATION = 2, 3, 64, 78


@dataclass(frozen=True)
class Place:
    """A client's, a server's and a mailer's configuration in one directory."""

    root: Path

    def call(self, program: str, *words: str, config: Path | None = None, asked: str = "") -> tuple[int, str]:
        """Exit status and everything said; ``config`` in place of the usual one, ``asked``: the gate's command."""
        usual = {GATE: "server.toml", "sedai_server.py": "server.toml", "send_alert_email.py": "mail.toml"}.get(
            program, "client.toml"
        )
        named = str(config or self.root / usual)
        given = (named, *words) if program == "send_alert_email.py" else ("--config", named, *words)
        ended = subprocess.run(
            [sys.executable, SCRIPTS / program, *given],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            cwd=self.root,
            check=False,
            env=os.environ | {"SSH_ORIGINAL_COMMAND": asked},
        )
        said = (ended.stdout + ended.stderr).decode(errors="backslashreplace")
        if program == GATE and said.startswith("{"):  # one object on one line, whose words are for people
            said = json.loads(said)["error"]
        assert "Traceback" not in said and "Unexpected" not in said and "unexpectedly" not in said, said
        return ended.returncode, said

    def other(self, usual: str, old: str, new: str) -> Path:
        """A configuration with ``new`` for what fits ``old``."""
        text, count = re.subn(old, lambda found: new, (self.root / usual).read_text(), flags=re.MULTILINE)
        assert count == 1
        made = self.root / "other.toml"
        made.write_text(text)
        return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("place")
    for name in ("source", "store", "spool", "staging"):
        (root / name).mkdir()
    (root / "source/file").write_text("content")
    (root / "client.toml").write_text(
        f'schema = 1\nclient = "laptop"\nstate_directory = "{root}/state"\nlog_file = "{root}/client.log"\n'
        f'staging_directory = "{root}/staging"\n'
        f'[server]\nhost = "127.0.0.1"\nport = 1\nidentity_file = "{root}/key"\nknown_hosts_file = "{root}/hosts"\n'
        f'[[sources]]\npath = "{root}/source"\n[[databases]]\nname = "notes"\nkind = "sqlite"\npath = "{root}/notes"\n'
    )
    (root / "server.toml").write_text(
        f'schema = 1\nstore = "{root}/store"\nlog_file = "{root}/server.log"\n[clients.laptop]\n'
    )
    (root / "mail.toml").write_text(
        f'recipients = ["user@example.com"]\nfrom_address = "user@example.com"\nfrom_name = "x"\n'
        f'spool_directory = "{root}/spool"\nlog_file = "{root}/mail.log"\nmsmtp_config = "{root}/none"\n'
    )
    return Place(root)


@pytest.mark.parametrize("program", [*CLIENT, GATE, "sedai_server.py", "send_alert_email.py"])
@pytest.mark.parametrize(
    "content, words",
    [
        (None, "is not there"),
        ("directory", "can't be read: Is a directory."),
        (b"\xff", "can't be read"),
        (b"x = [", "can't be read"),
        (b"", "is missing"),
        (b"nonsense = 1\n", "unknown key `nonsense`"),
        (b'"a\\nb" = 1\n', r"unknown key `a\nb`"),
    ],
)
def test_a_configuration_that_is_none(place: Place, program: str, content: bytes | str | None, words: str) -> None:
    path = place.root / "wrong.toml"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        path = place.root
    else:
        path = place.root / "none.toml"
    verb = {
        "restore_data.py": ["list"],
        GATE: ["--client", "laptop"],
        "sedai_server.py": ["prune"],
        "send_alert_email.py": ["x", "y"],
    }
    status, said = place.call(program, *verb.get(program, []), config=path)
    assert (status, words in said) == (MAIL_CONFIGURATION if "email" in program else USAGE, True), said
    assert str(path) in said


@pytest.mark.parametrize(
    "call, words",
    [
        ("backup_data.py --rehash 0", "must be a whole number of at least 1"),
        ("backup_data.py --rehash x", "must be a whole number of at least 1"),
        ("backup_data.py --forget nots/main", "It has: notes."),
        ("backup_data.py --forget", "expected one argument"),
        ("backup_data.py --dry-run --resume", "not allowed with"),
        ("backup_status.py --html ''", "--html: must not be empty"),
        ("backup_status.py --html x --json", "not allowed with"),
        ("sedai_server.py status --json --html x", "not allowed with"),
        ("sedai_server.py status", "names no [watch] state_directory"),
        ("backup_data.py extra", "unrecognized arguments"),
        ("check_backup_integrity.py --level deep", "invalid choice"),
        ("check_backup_integrity.py --all --generation x", "not allowed with"),
        ("restore_drill.py --files -1", "must be a whole number of at least 1"),
        ("restore_drill.py --seed x", "invalid int value"),
        ("restore_data.py", "required: VERB"),
        ("restore_data.py nonsense", "invalid choice"),
        ("restore_data.py restore", "required: PATH"),
        ("restore_data.py restore --to '' /x", "--to: must not be empty"),
        ("restore_data.py restore ''", "PATH: must not be empty"),
        ("restore_data.py restore --keep-existing --overwrite /x", "not allowed with"),
        ("restore_data.py restore-db x --as ''", "--as: must not be empty"),
        ("restore_data.py diff x", "required: B"),
        ("restore_data.py --config '' list", "--config: must not be empty"),
        ("sedai_server.py", "required: verb"),
        ("sedai_server.py prune --client ''", "is not configured on this server"),
        ("sedai_server.py prune --client ../x", "The client ../x is not configured on this server."),
        ("sedai_server.py freeze --client nobody", "The client nobody is not configured on this server."),
        ("sedai_server.py release", "required: --client"),
        ("sedai_server.py watch", "names no [watch] state_directory"),
        ("sedai_gate.py", "required: --client"),
        ("sedai_gate.py --client", "expected one argument"),
        ("sedai_gate.py --client ''", "is not configured on this server"),
        ("sedai_gate.py --client ../x", "The client ../x is not configured on this server."),
        ("sedai_gate.py --client laptop", "The gate knows no ''."),
        ("sedai_gate.py --client laptop status", "unrecognized arguments"),
    ],
)
def test_a_call_that_is_none(place: Place, call: str, words: str) -> None:
    program, *given = ("" if word == "''" else word for word in call.split())
    status, said = place.call(program, *given)
    assert (status, words in said) == (USAGE, True), said


@pytest.mark.parametrize(
    "asked, words",
    [
        ("nonsense", "The gate knows no 'nonsense'."),
        ("status; id", "The gate knows no 'status; id'."),
        ("\udcff", r"The gate knows no '\udcff'."),
        ("begin", "The request for `begin` lacks 'time'."),
        ("seal", "The request for `seal` lacks 'base'."),
        ("rsync --daemon", "This rsync command is not one that the gate carries out."),
    ],
)
def test_a_command_of_the_gate_that_is_none(place: Place, asked: str, words: str) -> None:
    status, said = place.call(GATE, "--client", "laptop", asked=asked)
    assert (status, words in said) == (USAGE, True), said


@pytest.mark.parametrize(
    "words",
    [
        ["", "body"], [], ["a", "b", "c"], ["--nonsense"], ["--flush", "x"], ["--list", "x"], ["--incidents", "x"],
        ["--help", "x"], ["--incident"], ["--incident", "key"], ["--incident", "no key", "subject", "body"],
        ["--resolved", "../x"], ["--incident", "", "subject", "body"], ["--incident", "x" * 201, "subject", "body"],
    ],
)  # fmt: skip
def test_an_alert_that_is_none(place: Place, words: list[str]) -> None:
    status, said = place.call("send_alert_email.py", *words)
    assert status == MAIL_USAGE
    assert said.startswith("send_alert_email: ") and "usage: send_alert_email.sh" in said
    assert not any((place.root / "spool").rglob("*.mail"))


def test_the_mailer_without_a_word() -> None:
    ended = subprocess.run(
        [sys.executable, SCRIPTS / "send_alert_email.py"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == MAIL_USAGE
    assert ended.stdout.startswith("usage: ") and ended.stderr == ""


@pytest.mark.parametrize(
    "old, new, status, words",
    [
        (r"^host = .*", 'host = ""', USAGE, "host '' must be one word"),
        (r"^host = .*", 'host = "-oProxyCommand=x"', USAGE, "must be one word"),
        (r"^host = .*", r'host = "a\nProxyCommand x"', USAGE, r"host 'a\nProxyCommand x' must be one word"),
        (r"^host = .*", 'host = "x"\naccount = "a b"', USAGE, "account 'a b' must be one word"),
        (r"^host = .*", 'host = "x"\nssh_options = ["Nonsense"]', USAGE, "of the form Name=value"),
        (r"^host = .*", r'host = "x"' + "\n" + r'ssh_options = ["Port=1\nX 1"]', USAGE, "of the form Name=value"),
        (r"^port = .*", "port = 65536", USAGE, "port 65536 must be from 1 to 65535"),
        (r"^port = .*", "port = 1", NOT_DONE, "can't be reached"),
        (r"^state_directory = .*", 'state_directory = "/dev/null/x"', USAGE, "The state_directory /dev/null/x can't be made"),
        (r"^log_file = .*", 'log_file = "/proc/x"', USAGE, "The log file /proc/x can't be written"),
    ],
)  # fmt: skip
def test_a_client_that_is_configured_badly(place: Place, old: str, new: str, status: int, words: str) -> None:
    config = place.other("client.toml", old, new)
    for program, verb in (("restore_data.py", ["list"]), ("check_backup_integrity.py", [])):
        ended, said = place.call(program, *verb, config=config)
        assert (ended, words in said) == (status, True), said


@pytest.mark.parametrize(
    "old, new, words",
    [
        (r"^store = .*", 'store = "relative"', "store relative must be an absolute path"),
        (r"^store = .*", 'store = "/nowhere"', "The store /nowhere is not there."),
        (r"^store = .*", 'store = "/dev/null"', "The store /dev/null is not there."),
        (r"^\[clients.laptop\]", '[clients."../x"]', "client '../x' must be lower-case letters"),
        (r"^\[clients.laptop\]", "[clients.laptop]\nquota_gib = 0", "quota_gib must be from 1"),
    ],
)
def test_a_server_that_is_configured_badly(place: Place, old: str, new: str, words: str) -> None:
    config = place.other("server.toml", old, new)
    for verb in (["prune"], ["prune", "--explain"], ["release", "--client", "laptop"]):
        status, said = place.call("sedai_server.py", *verb, config=config)
        assert (status, words in said) == (USAGE, True), said
    if "is not there" not in words:  # whether the store is there the gate finds out by itself, verb by verb
        status, said = place.call(GATE, "--client", "laptop", config=config, asked="status")
        assert (status, words in said) == (USAGE, True), said


def test_a_store_that_is_not_there_is_for_the_watch_to_tell(place: Place) -> None:
    watch = f'store = "/nowhere"\nalert_command = ["/bin/true"]\n[watch]\nstate_directory = "{place.root}/watch"'
    (place.root / "watch").mkdir()
    text = (place.root / "server.toml").read_text()
    config = place.root / "watched.toml"
    top, clients = text.split("[clients", 1)
    config.write_text(re.sub("^store = .*\n", "", top, flags=re.MULTILINE) + f"{watch}\n[clients{clients}")
    status, said = place.call("sedai_server.py", "watch", config=config)
    assert status == 1, said
    assert "/nowhere" in (place.root / "server.log").read_text()
