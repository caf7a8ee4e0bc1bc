#!/usr/bin/python3
"""Judge one answer that a person gave, by trying what it is for."""

from __future__ import annotations

DOCUMENTATION = r"""
module: check_answer
short_description: Judge one answer to a question of the role configure
description:
  - Tries what the answer is for (a name, a port, a login) and says what is wrong with it. It changes nothing, except that a
    host key to which the answer is yes is added to C(known_hosts).
  - Mail is tried from the server, by a small program that ssh brings to its python3, because the mails will come from there.
options:
  question: {description: Which answer to judge., type: str, required: true}
  answers: {description: The answers so far with this one; all are text., type: dict, required: true}
  ssh_arguments: {description: Further arguments of ssh., type: str, default: ""}
  probe: {description: The program that tries the mail provider., type: str, required: true}
author: The sedai authors
"""

EXAMPLES = r"""
- name: Judge an address
  check_answer:
    question: smtp_address
    answers: {smtp_address: user@example.com}
    probe: ""
"""

RETURN = r"""
problem: {description: Key of the sentence that says what is wrong; empty when nothing is., type: str, returned: always}
details: {description: What the sentence has to name., type: dict, returned: always}
notes: {description: What a person should know all the same., type: list, returned: always}
defaults: {description: What further answers probably are., type: dict, returned: always}
"""

import getpass
import json
import os
import re
import shlex
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

CONNECT_SECONDS = 15
COMMAND_SECONDS = 90

# As the roles msmtp, alert_mail and backup_client have them.
HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_-]*")
MAIL_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?")
ADDRESS = re.compile(
    r"[A-Za-z0-9.!#$%&'+/=^_`{|}~][A-Za-z0-9.!#$%&'+/=^_`{|}~-]*@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?"
)
ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
MACHINE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
TIME = re.compile(r"([01]?[0-9]|2[0-3]):[0-5][0-9]")
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# The longest that msmtp reads from a line of its file.
PASSWORD_BYTES = 480
YES = ("yes", "y", "ja", "はい")
# Names that the inventory itself uses.
TAKEN = ("vps", "all", "ungrouped", "localhost")


@dataclass
class Verdict:
    """What is wrong with an answer, if anything, and what its trial brought to light."""

    problem: str = ""
    details: dict[str, str] = field(default_factory=dict)
    notes: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    defaults: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """The answers so far, and the means to try them."""

    answers: Mapping[str, str]
    ssh_arguments: str
    probe: str

    def ssh(
        self, *options: str, command: str = "", stdin: str = "", first: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run ssh to the server, with its key and without questions; of two options ssh takes the one that comes first."""
        argv = [
            *("ssh", *first, *shlex.split(self.ssh_arguments), "-o", "BatchMode=yes"),
            *("-o", f"ConnectTimeout={CONNECT_SECONDS}", "-o", "StrictHostKeyChecking=yes"),
            *(word for key, letter in (("vps_port", "-p"), ("vps_user", "-l")) if self.answers.get(key)
              for word in (letter, self.answers[key])),
            *(*options, "--", self.answers["vps_host"]),
            *([command] if command else []),
        ]  # fmt: skip
        return run(argv, stdin)

    def settings_of_ssh(self) -> dict[str, str]:
        """What ssh makes of the server's name, with ~/.ssh/config: its true name, port, user, and the way there."""
        lines = [line.split(" ", 1) for line in self.ssh("-G").stdout.splitlines()]
        return {words[0]: words[1] for words in lines if len(words) == 2}


def run(argv: list[str], stdin: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; one that has none within the time counts as one that ssh could not start."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    try:
        return subprocess.run(
            argv, input=stdin, capture_output=True, text=True, check=False, env=environment, timeout=COMMAND_SECONDS
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(argv, 127, "", f"{argv[0]} is not installed")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 255, "", f"no answer within {COMMAND_SECONDS} s")


def is_proxied(settings: Mapping[str, str]) -> bool:
    """Whether ssh goes by another machine, so that name and port mean nothing here."""
    return bool(way(settings))


def way(settings: Mapping[str, str]) -> str:
    """The option that takes ssh by another machine, as in ssh_config(5); empty where there is none."""
    for key, option in (("proxyjump", "ProxyJump"), ("proxycommand", "ProxyCommand")):
        if settings.get(key, "none") != "none":
            return f"{option}={settings[key]}"
    return ""


def check_language(case: Case) -> Verdict:
    return Verdict("" if case.answers["language"] in ("en", "ja") else "language")


def check_vps_host(case: Case) -> Verdict:
    """The name resolves, as ssh sees it."""
    if not HOST.fullmatch(case.answers["vps_host"]):
        return Verdict("vps_host")
    settings = case.settings_of_ssh()
    name = settings.get("hostname", case.answers["vps_host"])
    defaults = {"vps_name": name, "vps_port": settings.get("port", ""), "vps_way": way(settings)}
    user = settings.get("user", "")
    if (
        user in ("", "root") or user != getpass.getuser()
    ):  # else ~/.ssh/config names none, and it is that of this machine
        defaults["vps_user"] = user
    if not is_proxied(settings):
        try:
            socket.getaddrinfo(name, None)
        except OSError:
            return Verdict("vps_unknown_name", {"host": name})
    return Verdict(defaults=defaults)


def check_vps_port(case: Case) -> Verdict:
    """Something that speaks SSH answers."""
    if not is_port(case.answers["vps_port"]):
        return Verdict("port")
    settings = case.settings_of_ssh()
    if is_proxied(settings):
        return Verdict()
    host, port = settings.get("hostname", case.answers["vps_host"]), int(case.answers["vps_port"])
    try:
        with socket.create_connection((host, port), CONNECT_SECONDS) as connection:
            greeting = connection.makefile("rb").readline(255)
    except OSError as error:
        return Verdict("vps_port_closed", {"reply": error.strerror or str(error)})
    return Verdict("" if greeting.startswith(b"SSH-") else "vps_no_ssh")


def check_vps_host_key(case: Case) -> Verdict:
    """The key by which ssh will know the server again is known, or a person says that it is the right one.

    The answer is yes, or the fingerprint that was read in the provider's panel.
    """
    known = case.settings_of_ssh().get("userknownhostsfile", "~/.ssh/known_hosts").split()
    with tempfile.TemporaryDirectory() as directory:
        new = Path(directory, "known_hosts")
        # What ssh does not know goes into the first file. Nobody has to be let in for that.
        done = case.ssh(
            command="true",
            first=(
                "-o",
                f"UserKnownHostsFile={new} {' '.join(known)}",
                "-o",
                "StrictHostKeyChecking=accept-new",
                "-o",
                "UpdateHostKeys=no",
            ),
        )
        if "HOST IDENTIFICATION HAS CHANGED" in done.stderr:
            return Verdict("vps_other_host_key")
        if not new.exists():
            return Verdict()  # it is known, or the next question tells why ssh does not get there
        lines = new.read_text(encoding="utf-8")
        shown = run(["ssh-keygen", "-l", "-f", str(new)], "").stdout.split()
    fingerprint = next((word for word in shown if word.startswith("SHA256:")), "?")
    answer = case.answers["vps_host_key"]
    if answer.lower() not in YES and answer != fingerprint:
        return Verdict("vps_host_key_other" if answer else "vps_host_key", {"fingerprint": fingerprint})
    remember(Path(known[0]).expanduser(), lines)
    return Verdict(notes=[("new_host_key", {"fingerprint": fingerprint})])


def remember(known_hosts: Path, lines: str) -> None:
    """Add what ssh is to know."""
    known_hosts.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = known_hosts.read_text(encoding="utf-8") if known_hosts.exists() else ""
    with open(os.open(known_hosts, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as stream:
        stream.write(("" if before.endswith("\n") or not before else "\n") + lines)


def check_vps_user(case: Case) -> Verdict:
    """A key of this account lets in, and python3, which Ansible needs, is there."""
    if not ACCOUNT.fullmatch(case.answers["vps_user"]):
        return Verdict("vps_user")
    done = case.ssh(command="command -v python3")
    if done.returncode == 255:
        return refused_by_ssh(done.stderr)
    return Verdict("vps_no_python" if done.returncode != 0 else "")


def refused_by_ssh(stderr: str) -> Verdict:
    """ssh's own words as one of the ways to mend it."""
    if "HOST IDENTIFICATION HAS CHANGED" in stderr or "Host key verification failed" in stderr:
        return Verdict("vps_other_host_key")
    if "Permission denied" in stderr:
        return Verdict("vps_no_key")
    words = [line for line in stderr.splitlines() if line.strip()]
    return Verdict("vps_ssh", {"reply": words[-1] if words else "?"})


def check_vps_sudo_password(case: Case) -> Verdict:
    """root needs no sudo; everybody else gets it without a password, or with this one."""
    if case.answers["vps_user"] == "root":
        return Verdict()
    done = case.ssh(
        command=shlex.join(sudo(case.answers["vps_sudo_password"])), stdin=case.answers["vps_sudo_password"] + "\n"
    )
    return sudo_verdict(done, case.answers["vps_sudo_password"])


def check_sudo_password(case: Case) -> Verdict:
    """The same on this machine."""
    if os.geteuid() == 0:
        return Verdict()
    password = case.answers["sudo_password"]
    return sudo_verdict(run(sudo(password), password + "\n"), password)


def sudo(password: str) -> list[str]:
    """The command that shows whether sudo works. -k: not by what was typed a minute ago."""
    return ["sudo", "-k", *(["-S", "-p", ""] if password else ["-n"]), "true"]


def sudo_verdict(done: subprocess.CompletedProcess[str], password: str) -> Verdict:
    """What sudo's end means."""
    if done.returncode == 0:
        return Verdict()
    if done.returncode == 127:
        return Verdict("no_sudo")
    if "sudoers" in done.stderr or "not allowed" in done.stderr:
        return Verdict("not_in_sudoers")
    return Verdict("wrong_sudo_password" if password else "sudo_password_needed")


def check_smtp_host(case: Case) -> Verdict:
    if not MAIL_HOST.fullmatch(case.answers["smtp_host"]):
        return Verdict("smtp_host")
    return probed(case)


def check_smtp_port(case: Case) -> Verdict:
    """The port answers with TLS, and with a certificate for the name."""
    if not is_port(case.answers["smtp_port"]):
        return Verdict("port")
    return probed(case, int(case.answers["smtp_port"]))


def check_smtp_address(case: Case) -> Verdict:
    return Verdict(
        "" if ADDRESS.fullmatch(case.answers["smtp_address"]) else "address", {"value": case.answers["smtp_address"]}
    )


def check_smtp_password(case: Case) -> Verdict:
    """The login is accepted."""
    password = case.answers["smtp_password"]
    if CONTROLS.search(password) or len(password.encode()) > PASSWORD_BYTES:
        return Verdict("smtp_password")
    return probed(case, int(case.answers["smtp_port"]), password)


def probed(case: Case, port: int = 0, password: str = "") -> Verdict:
    """What the server hears from the mail provider."""
    arguments = {
        "host": case.answers["smtp_host"],
        "port": port,
        "user": case.answers.get("smtp_address", ""),
        "password": password,
    }
    # The JSON text is a Python expression but for its true, false and null, of which it has none.
    done = case.ssh(command="exec python3 -", stdin=f"{case.probe}\n\nmain({json.dumps(arguments)})\n")
    if done.returncode != 0:
        return refused_by_ssh(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    return Verdict(found["problem"], {"reply": found.get("reply", "")})


def check_recipients(case: Case) -> Verdict:
    for address in listed(case.answers["recipients"]):
        if not ADDRESS.fullmatch(address):
            return Verdict("address", {"value": address})
    return Verdict("" if listed(case.answers["recipients"]) else "missing")


def check_sources(case: Case) -> Verdict:
    """Absolute, below /, and there."""
    for path in listed(case.answers["sources"]):
        if not re.match(r"/+[^/]", path) or CONTROLS.search(path):
            return Verdict("source_not_absolute", {"value": path})
        try:
            Path(path).lstat()
        except PermissionError:
            pass  # root will see it
        except OSError:
            return Verdict("source_missing", {"value": path})
    return Verdict("" if listed(case.answers["sources"]) else "missing")


def check_name(case: Case) -> Verdict:
    name = case.answers["name"]
    if name in TAKEN:
        return Verdict("name_taken")
    return Verdict("" if MACHINE.fullmatch(name) else "name")


def check_time(case: Case) -> Verdict:
    return Verdict("" if TIME.fullmatch(case.answers["time"]) else "time")


def is_port(text: str) -> bool:
    """Whether a text is the number of a port."""
    return bool(re.fullmatch(r"[0-9]{1,5}", text)) and 0 < int(text) < 65536


def listed(text: str) -> list[str]:
    """What stands between the commas of an answer."""
    return [part for part in map(str.strip, text.split(",")) if part]


CHECKS: dict[str, Callable[[Case], Verdict]] = {
    "language": check_language,
    "vps_host": check_vps_host,
    "vps_port": check_vps_port,
    "vps_host_key": check_vps_host_key,
    "vps_user": check_vps_user,
    "vps_sudo_password": check_vps_sudo_password,
    "smtp_host": check_smtp_host,
    "smtp_port": check_smtp_port,
    "smtp_address": check_smtp_address,
    "smtp_password": check_smtp_password,
    "recipients": check_recipients,
    "sources": check_sources,
    "name": check_name,
    "time": check_time,
    "sudo_password": check_sudo_password,
}


def main() -> None:
    """Judge one answer. The task has to have no_log, on which interview insists: some answers are secrets, and hiding each
    of them by itself would also hide what happens to look the same, such as a port in a sentence."""
    module = AnsibleModule(
        argument_spec={
            "question": {"type": "str", "required": True, "choices": list(CHECKS)},
            "answers": {"type": "dict", "required": True},
            "ssh_arguments": {"type": "str", "default": ""},
            "probe": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    case = Case(module.params["answers"], module.params["ssh_arguments"], module.params["probe"])
    module.exit_json(changed=False, **asdict(CHECKS[module.params["question"]](case)))


if __name__ == "__main__":
    main()
