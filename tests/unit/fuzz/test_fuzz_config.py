"""Configuration files of any content: a proper configuration or a ConfigError, for each of the three that there are."""

from __future__ import annotations

import copy
import datetime
import tempfile
from pathlib import Path
from typing import Any

import pytest
from fuzzing import refusal
from hypothesis import example, given
from hypothesis import strategies as st

from sedai.client.config import ClientConfig
from sedai.core import toml
from sedai.core.errors import ConfigError, ExitCode
from sedai.mail.settings import MailSettings
from sedai.server.config import ServerConfig

KINDS: list[type] = [ClientConfig, ServerConfig, MailSettings]
# One proper table of each kind, with something in every place.
TABLES: dict[type, dict[str, Any]] = {
    ClientConfig: {
        "client": "laptop",
        "state_directory": "/state",
        "log_file": "/log",
        "language": "ja",
        "ping_url": "https://ping.example.com/x",
        "metrics_file": "/metrics/x.prom",
        "state_file": "/metrics/x.json",
        "staging_directory": "/var/lib/sedai-client",
        "server": {
            "host": "vps.example.com",
            "port": 22,
            "identity_file": "/key",
            "known_hosts_file": "/hosts",
            "allowed_signers_file": "/signers",
            "ssh_options": ["ProxyJump=x"],
        },
        "sources": [{"path": "/etc", "exclude": ["x"], "one_filesystem": True}, {"path": "/home"}],
        "backup": {"exclude": ["x"], "before": ["x"], "accept_live": ["/x"], "max_age_hours": 26},
        "databases": [
            {"name": "main", "kind": "postgresql", "databases": ["a"], "host": "/run/x", "port": 5432, "globals": True},
            {"name": "notes", "kind": "sqlite", "path": "/notes"},
        ],
        "drill": {"files": 10, "bytes": 1000, "directory": "/var/tmp"},
    },
    ServerConfig: {
        "store": "/srv/sedai",
        "log_file": "/log",
        "sandbox": "off",
        "alert_command": ["/bin/true"],
        "retention": {"keep_last": 3, "keep_daily": 1, "guard_days": 2},
        "clients": {"laptop": {"retention": {"keep_last": 1}, "quota_gib": 3, "max_age_hours": 3}, "other": {}},
        "freeze_percent": 50,
        "reserve_percent": 5,
        "language": "en",
        "watch": {"state_directory": "/w", "max_age_hours": 3, "disk_percent": 90, "disk_days": 3, "scrub_days": 7},
        "ping_url": "",
        "metrics_file": "/metrics/x.prom",
    },
    MailSettings: {
        "recipients": ["user@example.com"],
        "from_address": "sedai@example.com",
        "from_name": "sedai",
        "spool_directory": "/spool",
        "log_file": "/log",
        "msmtp_config": "/msmtprc",
        "keep_trying_days": 7,
        "language": "ja",
    },
}

scalars = st.one_of(
    *(st.text(max_size=20), st.integers(), st.booleans(), st.floats(), st.just(datetime.date(2026, 1, 1))),
    st.sampled_from(
        ["", "/", "~", "~nobody-of-this-name/x", "..", "\0", "/a\0b", "\n", "/etc/..", "/x\ny", "https://["]
    ),
    st.sampled_from(["http://a:b@c:99999/", "x" * 5000, "/" + "x" * 5000, "ж", "\U0001f5c4", "-oProxyCommand=x"]),
    st.sampled_from([-1, 0, 65536, 2**63, 10**400, -(10**400)]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(table: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each value in a table."""
    items = table.items() if isinstance(table, dict) else enumerate(table) if isinstance(table, list) else ()
    found = []
    for key, value in items:
        found += [(*above, key), *places(value, (*above, key))]
    return found


def with_value(table: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The table with another value at ``place``."""
    changed = copy.deepcopy(table)
    inner: Any = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return changed


def read(kind: type, table: dict[str, Any]) -> None:
    """Decode it; all that may come of it."""
    made: list[Any] = []
    refused = refusal(lambda: made.append(toml.decode(kind, table, "")))
    if refused is None:
        assert isinstance(made[0], kind)
    else:
        assert type(refused) is ConfigError and refused.exit_code is ExitCode.USAGE
        assert refused.message.isprintable()


@pytest.mark.parametrize("kind", KINDS)
def test_the_tables_are_proper(kind: type) -> None:
    assert isinstance(toml.decode(kind, TABLES[kind], ""), kind)
    assert len(places(TABLES[kind])) > 8


@pytest.mark.parametrize("kind", KINDS)
@given(content=st.binary(max_size=300))
@example(content=b"x = " + b"[" * 5000)
@example(content=b"x = {a = " * 3000)
@example(content=b"[" + b"a." * 5000 + b"b]\n")
@example(content=b"schema = 1" + b"0" * 5000)
@example(content=b"\xff")
@example(content=b"\0")
@example(content=b"schema = 1979-05-27\n")
def test_a_file_of_any_bytes(kind: type, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "config.toml"
        path.write_bytes(content)
        refused = refusal(lambda: toml.load(kind, path))
    assert refused is None or (type(refused) is ConfigError and str(path) in refused.message)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_any_value_in_any_place(kind: type, data: st.DataObject) -> None:
    table = TABLES[kind]
    place = data.draw(st.sampled_from(places(table)))
    read(kind, with_value(table, place, data.draw(values)))


@pytest.mark.parametrize("kind", KINDS)
@given(table=st.dictionaries(st.text(max_size=10), values, max_size=4))
def test_any_table(kind: type, table: dict[str, Any]) -> None:
    read(kind, table)
    read(kind, TABLES[kind] | table)


@pytest.mark.parametrize("kind", KINDS)
def test_any_odd_value_in_every_place(kind: type) -> None:
    """What was found once, and its like, everywhere."""
    odd: list[Any] = [
        *("", "/", "~nobody-of-this-name/x", "/a\0b", "\n", "https://[", "http://a:b@c:99999/", "x" * 5000),
        *(-1, 0, 65536, 10**400, float("nan"), float("inf"), True, [], [[]], {}, {"": {}}, [{}], datetime.time(1)),
    ]
    for place in places(TABLES[kind]):
        for value in odd:
            read(kind, with_value(TABLES[kind], place, value))


@pytest.mark.parametrize("name", ["config.toml", "directory", "none/x", "a\0b"])
def test_what_is_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "directory").mkdir()
    for kind in KINDS:
        with pytest.raises(ConfigError):
            toml.load(kind, tmp_path / name)
