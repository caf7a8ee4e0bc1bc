"""The machine under attack: a real server as the role makes it, two generations of ``alpha``, and what must not change.

``alpha`` is the client whose key the attacker holds; ``beta`` and ``gamma`` are other clients of the same server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attacker import Attacker

from labkit import labs
from labkit.system import CHECKOUT, PODMAN, run, scenario_lab

LAB = labs.Lab(os.environ.get("SEDAI_TEST_LAB") or scenario_lab("attacks"))
CONTAINER = LAB.container("server")
# The oldest system that we know: its bubblewrap ends before what runs in it does. SEDAI_TEST_IMAGE=trixie tries the other.
IMAGE = os.environ.get("SEDAI_TEST_IMAGE") or "bookworm"
STORE = "/srv/sedai"
CLIENTS = ("alpha", "beta", "gamma")
# The two generations of alpha lie on earlier days, as those of a client do that backs up once a day.
DAYS_AGO = (2, 1)

# Runs on the server, as root, for the whole session: for each JSON object on its standard input, what is asked for.
_AGENT = r"""
import hashlib, json, os, subprocess, sys

def picture(tops):
    seen = {}
    for top in tops:
        waiting = [os.fsencode(top)]
        while waiting:
            path = waiting.pop()
            stat = os.lstat(path)
            kind = stat.st_mode & 0o170000
            entry = [stat.st_mode, stat.st_uid, stat.st_gid, stat.st_mtime_ns, stat.st_size if kind != 0o040000 else 0]
            entry.append(sorted((n, os.getxattr(path, n, follow_symlinks=False).hex())
                                for n in os.listxattr(path, follow_symlinks=False)))
            if kind == 0o040000:
                waiting.extend(path + b"/" + name for name in os.listdir(path))
            elif kind == 0o120000:
                entry.append(os.readlink(path).hex())
            elif kind == 0o100000:
                with open(path, "rb") as stream:
                    entry.append(hashlib.sha256(stream.read()).hexdigest())
            seen[path.decode(errors="backslashreplace")] = entry
    return seen

for line in sys.stdin:
    asked = json.loads(line)
    if "tops" in asked:
        answer = picture(asked["tops"])
    else:
        done = subprocess.run(["sh", "-c", asked["command"]], input=asked["stdin"].encode(), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        answer = {"status": done.returncode, "output": done.stdout.decode(errors="replace")}
    print(json.dumps(answer), flush=True)
"""

Picture = dict[str, list[Any]]


class Server:
    """The machine, as its administrator sees it."""

    def __init__(self) -> None:
        self._agent = subprocess.Popen(
            [PODMAN, "exec", "--interactive", CONTAINER, "python3", "-c", _AGENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def _ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert self._agent.stdin is not None and self._agent.stdout is not None
        self._agent.stdin.write(json.dumps(asked).encode() + b"\n")
        self._agent.stdin.flush()
        answer: dict[str, Any] = json.loads(self._agent.stdout.readline())
        return answer

    def close(self) -> None:
        """End the agent."""
        assert self._agent.stdin is not None and self._agent.stdout is not None
        self._agent.stdin.close()
        self._agent.wait()
        self._agent.stdout.close()

    def picture(self, tops: list[str]) -> Picture:
        """Kind, mode, owner, mtime, size, attributes and bytes of everything below ``tops``, by name."""
        return self._ask({"tops": tops})

    def root(self, command: str, *, stdin: str = "", check: bool = True) -> str:
        """Run a shell command as root; what it says."""
        done = self._ask({"command": command, "stdin": stdin})
        assert done["status"] == 0 or not check, f"{command}: {done}"
        output: str = done["output"]
        return output

    def write(self, path: str, text: str, mode: str = "0755") -> None:
        """Write a file as root."""
        self.root(f"cat >{path}.new && chmod {mode} {path}.new && mv -f {path}.new {path}", stdin=text)


def _provision() -> None:
    for client in CLIENTS[1:]:
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", client, "-f", str(LAB.directory / client)])
    keys = {"alpha": "id_ed25519", "beta": "beta", "gamma": "gamma"}
    clients: list[dict[str, Any]] = [
        {"name": name, "public_key": (LAB.directory / f"{keys[name]}.pub").read_text().strip()} for name in CLIENTS
    ]
    clients[2]["quota_gib"] = 1
    variables = {
        "backup_server_clients": clients,
        "backup_server_alert_command": ["sh", "-c", 'cat >"/tmp/alert: $0"'],
        "backup_server_reserve_percent": 1,
        "ansible_user": "admin",
        "ansible_ssh_common_args": f"-F {LAB.ssh_config}",
    }
    done = subprocess.run(
        [
            *(Path(sys.executable).parent / "ansible-playbook", "--inventory", f"{CONTAINER},"),
            *("--extra-vars", json.dumps(variables), CHECKOUT / "tests/attacks/server.yml"),
        ],
        cwd=CHECKOUT,
        env=os.environ | {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# Gives a generation an earlier date, in its name and in the records that name it.
_BACKDATE = r"""
import datetime, json, os, sys
root = sys.argv[1]
names = sorted(os.listdir(root))
new = {}
for name, days in zip(names, map(int, sys.argv[2:]), strict=True):
    moment = datetime.datetime.strptime(name[:16], "%Y%m%dT%H%M%SZ") - datetime.timedelta(days=days)
    new[name] = moment.strftime("%Y%m%dT%H%M%SZ") + name[16:]
for old in names:
    path = f"{root}/{old}/generation.json"
    record = json.load(open(path))
    record["generation"] = new[old]
    record["previous"] = new.get(record["previous"], "")
    json.dump(record, open(path, "w"), indent=1)
    os.rename(f"{root}/{old}", f"{root}/{new[old]}")
"""


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server, provisioned."""
    keep = "SEDAI_TEST_LAB" in os.environ
    if not (keep and LAB.ssh_config.exists()):
        labs.up(LAB, [labs.Host("server", IMAGE)])
        _provision()
    made = Server()
    made.root("systemctl stop cron")  # the watch writes down once an hour that it ran, which is no attempt's doing
    yield made
    made.close()
    if not keep:
        labs.down(LAB)


@pytest.fixture(scope="session")
def attacker(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    """Whoever holds alpha's key, after alpha has made two generations."""
    server.root(f"rm -rf {STORE}/*/* /tmp/alert*")
    made = Attacker(LAB, "alpha", "id_ed25519", tmp_path_factory.mktemp("alpha"))
    made.back_up({"docs/letter": b"dear all\n", "docs/notes": b"first\n", "docs/tool": b"#!/bin/sh\n"})
    made.back_up({"docs/letter": b"dear all\n", "docs/notes": b"second\n", "docs/tool": b"#!/bin/sh\n"})
    server.root(f"python3 -c '{_BACKDATE}' {STORE}/alpha/generations {' '.join(map(str, DAYS_AGO))}")
    made.sign(made.generations()[0])  # the second one is not signed yet
    yield made
    made.close()


@pytest.fixture(scope="session")
def beta(server: Server, attacker: Attacker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    """The honest second client, who has one generation."""
    made = Attacker(LAB, "beta", "beta", tmp_path_factory.mktemp("beta"))
    made.back_up({"secret/diary": b"of beta\n"})
    made.sign(made.generations()[0])
    yield made
    made.close()


@pytest.fixture(scope="session")
def gamma(server: Server, attacker: Attacker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    """A client with a quota of 1 GiB, who has one generation; here the attacker holds this key too."""
    made = Attacker(LAB, "gamma", "gamma", tmp_path_factory.mktemp("gamma"))
    made.back_up({"secret/list": b"of gamma\n"})
    yield made
    made.close()


@pytest.fixture(scope="session")
def oldest(attacker: Attacker) -> str:
    """Alpha's oldest generation, which no attempt may harm."""
    return attacker.generations()[0]


@pytest.fixture(scope="session")
def theirs(beta: Attacker) -> str:
    """Beta's generation."""
    return beta.generations()[0]


@pytest.fixture(scope="session")
def protected(server: Server, attacker: Attacker, beta: Attacker, gamma: Attacker) -> list[str]:
    """What must be the same after every attempt."""
    assert len(attacker.generations()) == len(DAYS_AGO)
    return [
        *(f"{STORE}/{who.name}/generations/{name}" for who in (attacker, beta, gamma) for name in who.generations()),
        *("/etc/sedai", "/etc/passwd", "/etc/shadow", "/etc/ssh", "/var/lib/sedai", "/usr/local/lib/sedai", "/home"),
    ]


@pytest.fixture(scope="session")
def before(server: Server, protected: list[str]) -> Picture:
    """How it was before the first attempt."""
    seen = server.picture(protected)
    assert len([path for path in seen if "/alpha/generations/" in path]) > 14
    return seen


@pytest.fixture
def unharmed(server: Server, protected: list[str], before: Picture) -> Iterator[None]:
    """After the test, nothing of what is protected has changed. Each test that uses this is an attempt."""
    yield
    after = server.picture(protected)
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    # What was sealed in the right way is shown there, and nothing is read from there.
    changed = [path for path in changed if not path.startswith("/var/lib/sedai/watch/page")]
    assert changed == [], changed
