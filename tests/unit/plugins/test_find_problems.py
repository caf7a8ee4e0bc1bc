"""The preflight names every problem of every host in one run, also of a host that nobody can log in to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from find_problems import merge, unknown, wrong
from look_at_host import address_of, told
from play_runs import ROOT, SECRET, ansible_playbook

SOURCES = {
    "type": "list",
    "elements": "dict",
    "options": {
        "path": {"type": "str", "required": True},
        "exclude": {"type": "list", "elements": "str"},
        "one_filesystem": {"type": "bool"},
    },
}


@pytest.mark.parametrize("option, value, problems", [
    ({"type": "int"}, "22", []),
    ({"type": "int"}, 22, []),
    ({"type": "int"}, "many", ["x must be a whole number."]),
    ({"type": "int"}, 2.5, ["x must be a whole number."]),
    ({"type": "int"}, [], ["x must be a whole number."]),
    ({"type": "bool"}, "yes", []),
    ({"type": "bool"}, "perhaps", ["x must be true or false."]),
    ({"type": "str"}, "", []),
    ({"type": "str"}, 5, []),
    ({"type": "str"}, False, ["x must be text."]),
    ({"type": "str"}, {}, ["x must be text."]),
    ({"type": "path"}, "/srv", []),
    ({"type": "path"}, ["/srv"], ["x must be a path."]),
    ({"type": "str", "choices": ["en", "ja"]}, "ja", []),
    ({"type": "str", "choices": ["en", "ja"]}, SECRET, ["x must be one of: en, ja."]),
    ({"type": "dict"}, [], ["x must be a set of keys with values."]),
    ({"type": "list", "elements": "str"}, "a,b", ["x must be a list."]),
    ({"type": "list", "elements": "str"}, ["a", ["b"]], ["x, entry 2 must be text."]),
    (SOURCES, [{"path": "/home", "exclude": [], "one_filesystem": True}], []),
    (SOURCES, [{"path": "/home", "exclude": None}], []),
    (SOURCES, ["/home"], ["x, entry 1 must be a set of keys with values."]),
    (SOURCES, [{"exlude": ["a"], "path": "/"}], ["x, entry 1 has exlude, which is unknown. Is it exclude?"]),
    (SOURCES, [{"zzz": 1, "path": "/"}],
     ["x, entry 1 has zzz, which is unknown. There is: path, exclude, one_filesystem."]),
    (SOURCES, [{"exclude": "a"}, {"path": ["b"]}],
     ["x, entry 1 has no path.", "x, entry 1: exclude must be a list.", "x, entry 2: path must be text."]),
])  # fmt: skip
def test_wrong(option: dict[str, Any], value: Any, problems: list[str]) -> None:
    assert list(wrong("x", value, option)) == problems


@pytest.mark.parametrize("name, words", [
    ("role_prot", "role_prot is no setting of sedai. Is it role_port?"),
    ("role_whatever", "role_whatever is no setting of sedai. roles/role/README.md lists them all."),
    ("role_port", ""),
    ("other_prot", ""),
    ("__role_prot", ""),
])  # fmt: skip
def test_unknown(name: str, words: str) -> None:
    assert [problem for _, problem in unknown("role", {name, "role_port"}, {"role_port", "role_host"})] == [
        words
    ] * bool(words)


@pytest.mark.parametrize("problems, sentences, expected", [
    (["x must be a whole number."], ["x must be a port, such as 22."], ["x must be a port, such as 22."]),
    (["x must be a whole number."], ["xy is wrong."], ["x must be a whole number.", "xy is wrong."]),
    (["x is missing; set it."], ["x is empty: name a path."], ["x is empty: name a path."]),
    (["x, entry 2 has no path."], ["a in x must be /a."], ["x, entry 2 has no path.", "a in x must be /a."]),
])  # fmt: skip
def test_merge(problems: list[str], sentences: list[str], expected: list[str]) -> None:
    assert merge({"x": problems}, sentences, {"x": {"type": "int"}}) == expected


def test_of_a_list_that_is_none_only_that_is_said() -> None:
    sentences = ["t in x is no address.", "y is wrong."]
    assert merge({"x": ["x must be a list."]}, sentences, {"x": {"type": "list"}}) == [
        "x must be a list.",
        "y is wrong.",
    ]


@pytest.mark.parametrize("text, words", [
    ("Missing sudo password", "--ask-become-pass"),
    ("Task failed: Incorrect sudo password", "not the password of bob"),
    ("bob is not in the sudoers file.", "adduser bob sudo"),
    ("/bin/sh: 1: sudo: not found", "apt install sudo"),
    ("bob@vps: Permission denied (publickey).", "ssh-copy-id -p 2222 bob@vps.example.com"),
    ("Host key verification failed.", "compare its key"),
    ("ssh: Could not resolve hostname vps: Name or service not known", "ansible_host"),
    ("Make sure this host can be reached over ssh: ssh: connect to host vps port 2222: Connection refused\r\n",
     "host: ssh: connect to host vps port 2222: Connection refused. Try it by hand: `ssh -p 2222 bob@vps.example.com`"),
])  # fmt: skip
def test_what_stands_in_the_way(text: str, words: str) -> None:
    variables = {"ansible_user": "bob", "ansible_host": "vps.example.com", "ansible_port": 2222}
    assert words in told(text, *address_of(variables))


def test_facts_that_are_offered_are_no_slips_of_the_fingers() -> None:
    """Else a second play would refuse what the first one has found out."""
    for path in ROOT.glob("roles/*/tasks/problems.yml"):
        role = path.parents[1].name
        facts = set()
        for tasks in path.parent.glob("*.yml"):
            facts |= set(re.findall(rf"set_fact:\n +({role}_[a-z_]+):", tasks.read_text(encoding="utf-8")))
        [finding] = [task for task in yaml.safe_load(path.read_text(encoding="utf-8")) if "find_problems" in task]
        assert facts == set(finding["find_problems"]["offered"]) and facts, role


INVENTORY = {
    "all": {"vars": {"ansible_host": "nowhere.invalid", "msmtp_from": "user@example.com", "alert_language": "fr"}},
    "backup_servers": {
        "hosts": {"vps": {}},
        "vars": {
            "msmtp_host": "mail.example.com", "msmtp_prot": 465, "msmtp_password": "{{ vault_msmtp_password }}",
            "alert_mail_from": "user@example.com", "alert_mail_recipients": "user@example.com",
            "backup_server_clients": [{"name": "Laptop", "quota": 5}], "backup_server_keep_last": "ten",
        },
    },
    "backup_clients": {
        "hosts": {"laptop": {}},
        "vars": {
            "backup_client_souces": [], "backup_client_server_host": "vps.example.com", "backup_client_name": "laptop",
            "backup_client_databases": [{"name": "wiki", "kind": "oracle", "password": {"of": SECRET}}],
        },
    },
}  # fmt: skip
NO_WAY_IN = (
    "Ansible can't work on this host: ssh: Could not resolve hostname nowhere.invalid: Name or service not known. "
    "The name is not known: look at ansible_host in the inventory's hosts.yml."
)
TOLD = {
    "vps": [
        NO_WAY_IN,
        "msmtp_prot is no setting of sedai. Is it msmtp_port?",
        "msmtp_password is missing or empty. Set vault_msmtp_password with: ansible-vault edit",
        "alert_mail_recipients must be a list.",
        "alert_mail_language must be en or ja.",
        "backup_server_language must be one of: en, ja.",
        "backup_server_clients, entry 1 has quota, which is unknown. Is it quota_gib?",
        "Laptop in backup_server_clients is not lower-case letters, digits, dots and dashes.",
        "backup_server_keep_last must be at least 1: the last good generation is never deleted.",
    ],
    "laptop": [
        NO_WAY_IN,
        "backup_client_databases, entry 1: kind must be one of: postgresql, mariadb, mysql, sqlite.",
        "backup_client_databases, entry 1: password must be text.",
        "backup_client_language must be one of: en, ja.",
        "backup_client_souces is no setting of sedai. Is it backup_client_sources?",
        "backup_client_sources is empty: nothing would be backed up. Name a path ([{path: /home}]) in group_vars.",
    ],
}


def test_every_problem_of_every_host_in_one_run(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump(INVENTORY), encoding="utf-8")
    output = ansible_playbook("-i", inventory, "playbooks/preflight.yml", expect=2)
    assert SECRET not in output
    told = re.split(r"^  FAILED (.*): Refuse to begin$", output.partition("RECAP")[0], flags=re.MULTILINE)[1:]
    found = {host: text.strip().splitlines() for host, text in zip(told[::2], told[1::2], strict=True)}
    assert found.keys() == TOLD.keys()
    for host, sentences in TOLD.items():
        assert len(found[host]) == len(sentences), found[host]
        for sentence in sentences:
            assert any(line.strip().startswith(sentence) for line in found[host]), sentence


# Those that site.yml is made of, and the one that writes the inventory.
PARTS = {"client.yml", "configure.yml", "hosts.yml", "prove.yml", "server.yml", "summary.yml"}
PLAYBOOKS = ["site.yml", *(f"playbooks/{path.name}" for path in sorted((ROOT / "playbooks").glob("*.yml"))
                           if path.name not in PARTS)]  # fmt: skip


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_an_inventory_without_hosts_is_refused_with_the_remedy(playbook: str) -> None:
    output = ansible_playbook("-i", "localhost,", playbook, expect=2)
    assert "There is no host: " in output and "`make configure`" in output
    assert "no hosts matched" not in output
