"""Configuration: strict, and every refusal names the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from sedai.client import config as client_config
from sedai.core.errors import ConfigError
from sedai.server import config as server_config

CLIENT = """
schema = 1
client = "laptop"
state_directory = "/var/lib/x"
log_file = "/var/log/x.log"
[server]
host = "vps.example.com"
identity_file = "/root/.ssh/key"
known_hosts_file = "/root/.ssh/known"
[[sources]]
path = "/etc"
"""


def refusal(path: Path, text: str) -> str:
    """What a person reads when the client's configuration is ``text``."""
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        client_config.load(path)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_client_configuration_is_read(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(CLIENT + 'exclude = ["*.tmp"]\n')
    config = client_config.load(tmp_path / "c.toml")
    assert config.sources[0].exclude == ("*.tmp",)
    assert config.server.port == 22


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('path = "/etc"', 'path = "etc"', ["absolute"]),
        ('path = "/etc"', 'path = "/"', ["below /"]),
        ('path = "/etc"', 'path = "/a/../b"', ["without `..`"]),
        ('path = "/etc"', 'path = "/etc"\nexclud = ["a"]', ["unknown key `sources[0].exclud`", "`sources[0].exclude`"]),
        ('path = "/etc"', 'path = "/etc"\nexclude = "a"', ["`sources[0].exclude` must be a list"]),
        ('path = "/etc"', 'path = "/etc"\n[[sources]]\npath = "/etc/ssh"', ["overlap"]),
        ('[[sources]]\npath = "/etc"', "", ["`sources` is missing"]),
        ('[[sources]]\npath = "/etc"', "sources = []", ["unknown key `server.sources`"]),
        ('host = "vps.example.com"', "host = 5", ["`server.host` must be a string"]),
        ('host = "vps.example.com"', 'host = "h"\nport = true', ["`server.port` must be a whole number"]),
        ('client = "laptop"', 'client = "../x"', ["'../x'"]),
        ('client = "laptop"', 'client = "laptop"\nlanguage = "xx"', ["language", "en, ja"]),
        ("schema = 1", "schema = 9", ["schema 9"]),
        ("schema = 1", "schema = ", ["can't be read"]),
    ],
)
def test_a_wrong_configuration_is_refused_with_the_key(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert old in CLIENT
    text = refusal(tmp_path / "c.toml", CLIENT.replace(old, new))
    for word in words:
        assert word in text
    assert str(tmp_path / "c.toml") in text


def test_a_missing_configuration_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ansible-playbook"):
        client_config.load(tmp_path / "none.toml")


def test_a_client_may_keep_more_than_the_others(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(
        'store = "/srv/sedai"\nlog_file = "/l"\n[clients.a]\n[clients.b]\nretention = { keep_last = 20 }\n'
    )
    config = server_config.load(tmp_path / "s.toml")
    assert config.retention_for("a").keep_last == 10
    assert config.retention_for("b").keep_last == 20
